# SPDX-License-Identifier: Apache-2.0
"""Files of states, which are data from outside: what may stand in one, how it is written, every check before its use.

A file is an .npz: one array for each of ENTRIES, a `head` of JSON for those of HEAD, and a checksum over all of it.
Letters: N assets, L <= signal_lag rows of weights, S statuses.
"""

from __future__ import annotations

import datetime as dt
import errno
import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from gpu_bt.arguments import path_of
from gpu_bt.config import RANGES, Config
from gpu_bt.data.clock import DAY, EPOCH, MICROSECOND, local_microseconds
from gpu_bt.data.disk import write_beside
from gpu_bt.data.fingerprints import fingerprint
from gpu_bt.data.panel import Panel
from gpu_bt.data.weights import MAX_WEIGHT
from gpu_bt.engine.prepare import NEVER_PRICED, lots
from gpu_bt.errors import ResultError
from gpu_bt.law.layout import EARLIER, NEVER, SCENARIO_STATUS

__all__ = ["NOT_YET", "read", "shown", "write"]

#: What `head` calls the layout of this file; another number is another layout.
FORMAT = 2
#: Of a status that was never set, in `earlier`.
NOT_YET = int(np.iinfo(np.int64).min)
_WAY_OUT = "pass an undamaged copy, or run again from the start without resume="
_TICK = RANGES["money_tick"]
#: Units of the ledger's grid that no number of money reaches (semantics.md, The ledger).
_UNITS = 2.0**51
_MONEY = _UNITS * _TICK[1]
_FIRST, _LAST = ((moment - EPOCH) // MICROSECOND for moment in (dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)))
_DATES = (dt.date.max - dt.date.min).days
#: Bytes of a head, and of what any array has beside its numbers, at most.
_ROOM = 16384


class Entry(NamedTuple):
    """dtype, shape (in letters) and closed range of an array; nan: NaN may stand there, too."""

    dtype: Any
    shape: str
    low: float = -math.inf
    high: float = math.inf
    nan: bool = False


#: Entries of the head, as arrays.
HEAD = {
    "microsecond": Entry(np.int64, "", _FIRST, _LAST),
    "clock": Entry(np.int64, ""),
    "named": Entry(np.int64, "", 0, 2**53),
    "last_named": Entry(np.bool_, ""),
    "longest": Entry(np.int64, "", 0, _LAST - _FIRST),
    "opening": Entry(np.float64, "", -_MONEY, _MONEY),
    "tick": Entry(np.float64, "", *_TICK),
    "earlier": Entry(np.int64, "S", NOT_YET, _LAST),
}
#: Arrays of the file. Holdings and orders are finite; a mark may be infinite after absurd splits of what is not held.
ENTRIES = {
    "cash": Entry(np.float64, "1", -_MONEY, _MONEY),
    "peak": Entry(np.float64, "1", 0.0, _MONEY),
    "first_bar": Entry(np.int32, "1S", EARLIER, NEVER),
    "ended": Entry(np.int32, "1", 0, 1),
    "holdings": Entry(np.float64, "1N", -np.finfo(np.float64).max, np.finfo(np.float64).max),
    "orders": Entry(np.float64, "1N", -np.finfo(np.float64).max, np.finfo(np.float64).max),
    "marks": Entry(np.float64, "N", 0.0),
    "silent": Entry(np.int64, "N", NEVER_PRICED, _DATES),
    "rows": Entry(np.float64, "LN", -MAX_WEIGHT, MAX_WEIGHT, nan=True),
    "delisted": Entry(np.bool_, "N"),
}


def _near_whole(x: Any) -> Any:
    return np.abs(x - np.rint(x)) <= 1e-6 + 1e-15 * np.abs(x)


def _whole_shares(s: Any) -> Any:
    """Whether holdings are whole shares, or whole lots of a share or less; where lots and shares do not divide one
    another, opening holdings leave fractions of both."""
    divides = _near_whole(np.where(s.unit > 1, s.unit, 1 / s.unit))
    return ~s.whole | ~divides | _near_whole(s.holdings * np.maximum(s.unit, 1))


def _on_grid(s: Any, name: str) -> Any:
    units = getattr(s, name) / s.tick
    return (np.abs(units) < _UNITS) & (units == np.rint(units))


def _equity(s: Any) -> Any:
    """[S5] of the book."""
    value = np.rint(np.abs(s.holdings * np.where(s.holdings == 0, 0, s.marks)) / s.tick) * s.tick
    return s.cash[0] + value[s.holdings > 0].sum() - value[s.holdings < 0].sum()


class Rule(NamedTuple):
    """What the law implies between entries. live: only while the run has not ended, after which nothing is read."""

    name: str
    text: str
    holds: Callable[[Any], Any]
    live: bool = False


RULES = (
    Rule("tick", "it must be a power of two, and the config's where that has one",
         lambda s: math.frexp(s.tick)[0] == 0.5 and s.config.money_tick in (None, float(s.tick))),
    Rule("clock", "it must be that of the last bar",
         lambda s: 0 <= s.clock - local_microseconds(s.microsecond[None], s.time_zone)[0] <= DAY),
    Rule("named", "the last bar counts, too", lambda s: s.named >= s.last_named),
    Rule("first_bar", "a status that was set has its time, and OK is never set",
         lambda s: ((s.first_bar == EARLIER) == (s.earlier != NOT_YET)) & (s.unset | (s.first_bar == NEVER))),
    Rule("earlier", "no status was set after the last bar",
         lambda s: (s.earlier == NOT_YET) | ((s.earlier >= _FIRST) & (s.earlier <= s.microsecond))),
    Rule("ended", "a run ends by BANKRUPT or LEDGER_OVERFLOW",
         lambda s: s.ended == (s.first_bar[:, 3:] == EARLIER).any()),
    Rule("silent", "it must count dates", lambda s: (s.silent >= 0) | (s.silent <= NEVER_PRICED + _DATES)),
    Rule("rows", "they must be at most signal_lag", lambda s: len(s.rows) <= s.config.signal_lag),
    Rule("rows", "a cash account is long-only", lambda s: s.margin | ~(s.rows < 0)),
    Rule("holdings", "a cash account is long-only", lambda s: s.margin | (s.holdings >= 0)),
    Rule("holdings", "they must be whole lots or shares", _whole_shares),
    Rule("orders", "they must be whole lots, or lead from an odd lot to such",
         lambda s: ~s.whole | (s.orders == np.rint(s.orders))
         | ((s.holdings != np.rint(s.holdings)) & _near_whole(s.orders + s.holdings)), True),
    Rule("delisted", "a delisted asset has neither holding nor order",
         lambda s: ~s.delisted | ((s.holdings == 0) & (s.orders == 0)), True),
    Rule("marks", "what is held has a mark", lambda s: (s.holdings == 0) | ((s.marks > 0) & (s.marks < np.inf)), True),
    Rule("cash", "it must be a multiple of the tick, below 2^51 of them", lambda s: _on_grid(s, "cash"), True),
    Rule("peak", "it must be a multiple of the tick, below 2^51 of them", lambda s: _on_grid(s, "peak"), True),
    Rule("opening", "it must be what cash and holdings are worth, above 0 and at most the peak",
         lambda s: _equity(s) == s.opening and 0 < s.opening <= s.peak[0], True),
)  # fmt: skip


def read(
    value: Any, panel: Panel, config: Config, parts: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, entries of the head as arrays) of a file, checked for this panel and config.

    parts: what the file and this run must have in common, by the name that an error gives it.
    Raises ResultError, one line, for anything that `write` has not written for them.
    """
    path = path_of("resume", value)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            raise OSError(errno.EINVAL, "it is no regular file")
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
            text = _member(archive, "head", 0).item()
            head = json.loads(text)
            if json.dumps(head) != text:
                raise ValueError("it was written otherwise, as with a key twice")
            if head.get("format") != FORMAT:
                version = str(head["parts"]["version"])[:20]
                raise ResultError(
                    f"{shown(path)} was saved by version {shown(version)}, whose state files this version does not"
                    " read: run again from the start without resume="
                )
            for name, part in parts.items():
                if head["parts"].get(name) != part:
                    raise ResultError(
                        f"{shown(path)} was saved with another {name}: go on with the same, or begin without resume="
                    )
            if sorted(names) != sorted([*ENTRIES, "head", "checksum"]) or len(head["parts"]) != len(parts):
                raise _damaged(path, f"it has the entries {', '.join((*names, *head['parts']))}")
            room = 8 * len(panel.assets) * max(config.signal_lag, 1)
            found = {name: _member(archive, name, room) for name in names}
            numbers = _numbers(head)
    except ResultError:
        raise
    except Exception as error:  # whatever zipfile, NumPy and json make of bytes that they do not understand
        reason = getattr(error, "strerror", None) or "it is not whole, or something else"
        raise ResultError(
            f"{shown(path)} is no saved state, or a damaged one ({reason}): pass an undamaged copy, or make one with"
            " result.checkpoint(path)"
        ) from error
    if found.pop("checksum").tolist() != _checksum(found):
        raise _damaged(path, "its checksum is another")
    del found["head"]
    _check(path, {**found, **numbers}, panel, config)
    return found, numbers


def write(value: Any, head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Path:
    """Write a state so that it appears whole and survives a power cut. Raises ResultError where the system refuses."""
    path = path_of("path", value)
    if os.path.exists(path) and not os.path.isfile(path):
        raise ResultError(f"{shown(path)} was not written: it is no regular file; choose another name")
    contents = {"head": np.array(json.dumps({"format": FORMAT, **head})), **arrays}
    contents["checksum"] = np.array(_checksum(contents))
    put: Callable[..., None] = np.savez

    def job(beside: Path) -> None:
        with open(beside, "wb") as file:
            put(file, **contents)

    write_beside(path, job)
    return path


def shown(path: Any) -> str:
    """A path as a message may print it, on one line."""
    text = str(path) if str(path).isprintable() else ascii(str(path))
    return text if len(text) <= 250 else f"{text[:120]}...{text[-120:]}"


def _damaged(path: Path, what: str) -> ResultError:
    return ResultError(f"{shown(path)} is damaged ({shown(what)}): {_WAY_OUT}")


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    return fingerprint(*(part for name in sorted(arrays) for part in (name, arrays[name])))


def _member(archive: zipfile.ZipFile, name: str, room: int) -> np.ndarray:
    """An array of an .npz, of at most so many bytes. Raises for what claims more, before any of it is unpacked."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > room + _ROOM:
        raise ValueError(f"{name} is too large")
    raw = archive.read(info)
    file = io.BytesIO(raw)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} has another format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or dtype.itemsize * math.prod(shape) != len(raw) - file.tell():
        raise ValueError(f"{name} has another length")
    flat = np.frombuffer(raw, dtype, offset=file.tell()) if math.prod(shape) else np.empty(0, dtype)
    return np.array(flat.reshape(shape, order="F" if fortran else "C"), order="C")


def _numbers(head: dict[str, Any]) -> dict[str, Any]:
    """What stands in the head as arrays. Raises for keys that it should not have."""
    given = {name: head[name] for name in HEAD}
    if len(head) != len(HEAD) + 2 or not set(given["earlier"]) <= set(SCENARIO_STATUS):  # with format and parts
        raise ValueError("other keys")
    given |= {name: float.fromhex(given[name]) for name in ("opening", "tick")}
    given["earlier"] = [given["earlier"].get(name, NOT_YET) for name in SCENARIO_STATUS]
    return {name: np.asarray(number) for name, number in given.items()}


def _check(path: Path, found: Mapping[str, np.ndarray], panel: Panel, config: Config) -> None:
    """Raise ResultError for the first entry that has another type, shape or range, or contradicts the others."""
    sizes = {"1": 1, "N": len(panel.assets), "S": len(SCENARIO_STATUS), "L": sum(found["rows"].shape[:1])}
    for name, entry in {**HEAD, **ENTRIES}.items():
        array, wanted = found[name], tuple(sizes[letter] for letter in entry.shape)
        if array.dtype != entry.dtype or array.shape != wanted:
            raise _damaged(path, f"{name} is {array.dtype}{array.shape}, not {np.dtype(entry.dtype)}{wanted}")
        fine = (array >= entry.low) & (array <= entry.high)
        if array.dtype == np.float64:
            fine = fine & ((array != 0) | ~np.signbit(array) | entry.nan) | (np.isnan(array) & entry.nan)
        _say(path, name, fine, f"it must be in [{entry.low:g}, {entry.high:g}]", array, panel)
    unit = lots(panel.market, config.lot)
    state = SimpleNamespace(
        **found, config=config, margin=config.account == "margin", time_zone=panel.time_zone, unit=unit.unit,
        whole=unit.whole, unset=np.arange(len(SCENARIO_STATUS)) > 0,
    )  # fmt: skip
    with np.errstate(all="ignore"):
        for rule in RULES:
            if not (rule.live and found["ended"][0]):
                _say(path, rule.name, np.asarray(rule.holds(state)), rule.text, found[rule.name], panel)


def _say(path: Path, name: str, fine: np.ndarray, rule: str, array: np.ndarray, panel: Panel) -> None:
    """Raise ResultError unless all is fine, naming the first asset with which it is not."""
    if fine.all():
        return
    where = ""
    if fine.shape == array.shape and array.shape[-1:] == (len(panel.assets),):
        at = tuple(np.argwhere(~fine)[0])
        where = f"[{panel.assets[at[-1]]!r}] is {array[at]}"
    raise _damaged(path, f"{name}{where}: {rule}")
