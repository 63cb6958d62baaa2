# SPDX-License-Identifier: Apache-2.0
"""Prices, labels and units that are legal and probably not what was meant: each kind is a BacktestWarning that counts.

Letters: T bars, N assets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unicodedata import normalize

import numpy as np

from gpu_bt.data.clock import DAY, local_microseconds, time_label
from gpu_bt.engine.resident import Resident
from gpu_bt.errors import warn

__all__ = ["warn_of_labels", "warn_of_prices", "warn_of_units"]

#: Rows looked at together: few enough to take no memory to speak of.
_ROWS = 64
#: Prices that differ by no more than this fraction are one: numbers are rounded when they are adjusted.
_ROUNDING = 1e-6
#: A move within a bar that is none where the next bar opens with it taken back.
_LEAP = 1.5
#: A move from one close to the next that is none: a price in another unit, or a misprint.
_JUMP = 50.0
#: A move from one unit to another that is 100 times as large, or as small, with that of the day; and a small move.
_CENTS, _STEP = (70.0, 140.0), 0.05
#: Bars from which the usual move within a bar of an asset is judged, and the usual number of a field.
_SAMPLE = 256
#: The mean move within a bar from which an asset is looked at.
_DRIFT = 0.01
#: Bars that lie further apart than this many days are of two data sets, or one has a wrong year.
_GAP = 3660
#: Field -> the median above which it is in another unit, and what it is.
_UNITS = {
    "half_spread": (1.0, "of the price: 5 basis points are 0.0005"),
    "borrow_rate": (1.0, "a year: 5 % are 0.05"),
    "volatility": (1.0, "of a bar's return, not of a year's: 2 % are 0.02"),
    "delisting_return": (5.0, "of the last price: 5 % are 0.05"),
}


def warn_of_prices(fields: Mapping[str, Any], label: Callable[[int], str], assets: Sequence[str]) -> None:
    """Warn of high below low, of close or open outside them, and of close and open on two scales, with their number.

    Of panels on a GPU those columns alone are fetched in which something may be found; all rules are of one column.
    """
    if isinstance(close := fields["close"], Resident):
        wider = 1 + _ROUNDING / 2
        bounds = (1 - _ROUNDING / 2, wider / _LEAP, wider / _JUMP, _DRIFT * 0.9)
        some = close.tools.columns_to_look_at(fields, *bounds, _middle(len(close)))
        names = {"close", "open", "high", "low", "split", "dividend"} & fields.keys()
        fields, assets = {name: fields[name][:, some] for name in names}, [assets[int(i)] for i in some]

    adjusted = "are all prices adjusted alike? read_panel has adjust='scale' for an adjusted close beside others"

    def tell(found: list[np.ndarray], text: str, rule: str = adjusted) -> None:
        cells = np.concatenate(found)
        if len(cells):
            t, i = cells[0].tolist()
            warn(f"{text} in {len(cells)} cells, the first [{label(t)}, {assets[i]!r}]: {rule}", stacklevel=4)

    close = fields["close"]
    pairs = [("high", "low"), ("high", "close"), ("high", "open"), ("close", "low"), ("open", "low")]
    with np.errstate(invalid="ignore", divide="ignore"):
        for more, less in pairs:
            if more in fields and less in fields:
                tell(_below(fields[more], fields[less], 1 - _ROUNDING), f"{more} is below {less}")
        rule = "are all of one unit, such as dollars and no cents, and none a misprint?"
        tell([_jumps(close, fields.get("split"))], f"close moves by more than {_JUMP:g} times in one bar", rule)
        if "dividend" in fields:
            paid = np.concatenate(_below(close[:-1], fields["dividend"][1:], 1.0))
            tell(
                [paid + np.array([1, 0])],
                "dividend is more than the close before it",
                "it is cash per share, in the unit of the prices",
            )
        if "open" in fields:
            open = fields["open"]
            leaps = [*_below(close, open, 1 / _LEAP), *_below(open, close, 1 / _LEAP)]
            wrong = np.concatenate([_taken_back(close, open, np.concatenate(leaps)), _apart(close, open)])
            tell([np.unique(wrong, axis=0)], "close and open are on two scales")


def warn_of_labels(assets: Sequence[str], microseconds: np.ndarray, time_zone: str | None) -> None:
    """Warn of names that a reader takes for one, of bars years apart, and of dates that a time zone has shifted."""
    first: dict[str, str] = {}
    alike = [(one, name) for name in assets if (one := first.setdefault(_spoken(name), name)) != name]
    if alike:
        (a, b), rule = alike[0], "differ only by case, width, blanks or zeros from another: are they two assets?"
        warn(f"assets: {len(alike)} names {rule} The first are {a!r} and {b!r}", stacklevel=3)
    far = np.flatnonzero(np.diff(microseconds) > _GAP * DAY)
    if len(far):
        a, b = (time_label(x) for x in microseconds[far[0] : far[0] + 2].astype("datetime64[us]"))
        rule = f"lie more than ten years apart, the first {a} and {b}: is the year right?"
        warn(f"timestamps: {len(far)} bars {rule}", stacklevel=3)
    if time_zone is not None and len(microseconds) > 1 and not (microseconds % DAY).any():
        if (local_microseconds(microseconds, time_zone) < microseconds).all():
            rule = f"on the clock of {time_zone} the day before: for daily bars pass dates without a zone"
            warn(f"timestamps: all {len(microseconds)} are midnight in UTC, {rule}, or time_zone='UTC'", stacklevel=3)


def warn_of_units(fields: Mapping[str, Any]) -> None:
    """Warn of rates whose median is that of another unit: percents, basis points, a year's. Of panels on a GPU the
    samples' rows are fetched."""
    for name in _UNITS.keys() & fields.keys():
        (most, rule), values = _UNITS[name], _sample(fields[name])
        if name == "volatility":
            moves = np.abs(np.diff(np.log(fields["close"][-_SAMPLE:]), axis=0))
            moves = moves[moves > 0]
            most = min(most, 10 * float(np.median(moves))) if len(moves) > 20 else most
        # Of an asset's own returns most are 0, as most are not delisted; of rates all count where there is a price.
        values = values[values != 0] if values.ndim == 1 else values[~np.isnan(_sample(fields["close"]))]
        if len(values) and (median := float(np.median(values))) > most:
            warn(f"the median {name} is {median:.3g}: it is a fraction {rule}", stacklevel=3)


def _sample(array: Any) -> Any:
    return array[:: max(1, len(array) // _SAMPLE)] if array.ndim > 1 else array


def _spoken(name: str) -> str:
    """What two names have in common that look or sound alike; of whole numbers their value."""
    text = " ".join(normalize("NFKC", name).casefold().split())
    return (text.removesuffix(".0").lstrip("0") or "0") if re.fullmatch(r"\d+(\.0)?", text) else text


def _below(more: np.ndarray, less: np.ndarray, share: float) -> list[np.ndarray]:
    """Row and column of the cells in which `more` is below that share of `less`."""
    out = [np.empty((0, 2), np.int64)]
    for start in range(0, len(more), _ROWS):
        wrong = more[start : start + _ROWS] < less[start : start + _ROWS] * share
        if wrong.any():
            out.append(np.argwhere(wrong) + np.array([start, 0]))
    return out


def _jumps(close: np.ndarray, split: np.ndarray | None) -> np.ndarray:
    """The cells at which the price of an asset that usually moves little jumps in a bar, or over one without a price,
    and the next jump takes that back, or at which its unit changes for good. Splits are no jumps."""
    pairs = [(close[:-bars], close[bars:]) for bars in (1, 2)]
    far = [cells for a, b in pairs for x, y in ((a, b), (b, a)) for cells in _below(x, y, 1 / _JUMP)]
    out = [np.empty((0, 2), np.int64)]
    for i in np.unique(np.concatenate(far)[:, 1]).tolist():
        bars = np.flatnonzero(~np.isnan(close[:, i]))
        price = np.log(close[bars, i].astype(np.float64))
        moves, near = np.diff(price), np.diff(bars) <= 2
        if split is not None:
            near &= np.diff(np.cumsum(split[:, i] != 1)[bars]) == 0
        jumps = np.flatnonzero((np.abs(moves) > np.log(_JUMP)) & near)
        others = np.delete(np.abs(moves), jumps)
        if len(jumps) and len(others) and np.mean(others) < np.log(_JUMP) / 10:
            back = np.abs(price[jumps[1:] + 1] - price[jumps[:-1]]) < np.log(3.0)
            wrong = np.append(back, False) | np.append(False, back)
            wrong |= np.array([_new_unit(price, j) for j in jumps.tolist()], bool)
            out.append(np.stack([bars[jumps[wrong] + 1], np.full(int(wrong.sum()), i)], axis=1))
    found = np.concatenate(out)
    return found[np.lexsort(found.T[::-1])]


def _new_unit(price: np.ndarray, j: int) -> bool:
    """Whether logs of prices go from one unit to one of a hundredth between j and j + 1, and move as little afterwards
    as before. A fall that nothing follows is that of a bankrupt; a share of less than a cent trades in large steps."""
    moves = np.abs(np.diff(price))
    usual, after = (float(np.median(x)) if len(x) else 0.0 for x in (moves[:j], moves[j + 1 :]))
    alike = max(usual, after) < _STEP and ((len(moves) > j + 3 and after >= usual / 4) or price[j + 1] > price[j])
    hundred = np.log(_CENTS[0]) < moves[j] < np.log(_CENTS[1])
    return bool(alike and hundred and min(price[j : j + 2]) > np.log(0.01))


def _taken_back(close: np.ndarray, open: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Those of the cells whose move from open to close its open, or the next bar's, takes back by half or more."""
    t, i = cells.T
    within = np.log(close[t, i] / open[t, i])
    before = np.log(open[t, i] / close[np.maximum(t - 1, 0), i])
    after = np.log(open[np.minimum(t + 1, len(open) - 1), i] / close[t, i])
    back = [(-np.sign(within) * move > np.abs(within) / 2) & there
            for move, there in ((before, t > 0), (after, t < len(open) - 1))]  # fmt: skip
    kept: np.ndarray = cells[back[0] | back[1]]
    return kept


def _middle(bars: int) -> np.ndarray:
    """Some bars of so many, without the first."""
    rows = np.unique(np.linspace(1, max(1, bars - 1), _SAMPLE).astype(np.int64))
    return rows[rows < bars]


def _apart(close: np.ndarray, open: np.ndarray) -> np.ndarray:
    """The cells of assets that move by 2 % or more in the middle bar, in most bars about alike, and back overnight."""
    rows = _middle(len(close))
    moved = np.log(close[rows]) - np.log(open[rows])
    known = ~np.isnan(moved)
    mean = np.where(known, moved, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    some = np.flatnonzero((np.abs(mean) > _DRIFT) & (known.sum(axis=0) > 2))  # few: medians take their time
    out = [np.empty((0, 2), np.int64)]
    for i in some.tolist():
        bars = rows[known[:, i]]
        within, back = np.log(close[bars, i] / open[bars, i]), np.log(close[bars - 1, i] / open[bars, i])
        back = back[~np.isnan(back)]
        middle, night = np.median(within), np.median(back) if len(back) else 0.0
        spread = np.median(np.abs(within - middle))
        least = 0.02 if len(bars) > 9 else 0.05  # few bars move alike by chance
        if abs(middle) > least and spread < abs(middle) / 2 and night * np.sign(middle) > abs(middle) / 2:
            out.append(np.stack([bars, np.full(len(bars), i)], axis=1))
    return np.concatenate(out)
