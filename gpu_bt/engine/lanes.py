# SPDX-License-Identifier: Apache-2.0
"""What the compiled engines share: a RunSpec cut into lanes, the structs that describe them, the record they write.

A lane is a group of scenarios that read the same rows: equal weights, lag, schedule and panel-side rules (_SHARED).
The native and the CUDA engine derive their sessions from LaneSession; what a lane does at a bar is gpu_bt/law/run.h.
Letters: T bars, N assets, K scenarios.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_bt.config import CHOICES
from gpu_bt.engine import prepare
from gpu_bt.engine.ranked import Ranked
from gpu_bt.engine.spec import Book, Decision, Market, RawResult, RunSpec, ordered, start_of
from gpu_bt.law import layout

__all__ = ["ADRIFT", "LaneSession", "has_books", "lane_bytes", "read_by", "row_length"]

#: What scenarios have alike that read the same rows but for weights; those of a lane read the same weights too.
_READ = ["signal_lag", "schedule", "lot", "execution", "delist_after", "sizing", "outside"]
#: An asset logs at most this many cuts of its orders in a bar: [S2] 1, [S3] 1, [S4] 5, [S5m] 1, [S6] to [S8] 5.
_CUTS = 13
#: Panels of the market that ROWS has, too, as they are.
_PANELS = [n for n in layout.members_of(layout.ROWS) if layout.ROWS[n].names and n in Market.__dataclass_fields__]
#: Of a panel's type; the name of a dtype takes long to ask for, of a thousand books.
_KINDS = {np.dtype(name): kind for kind, name in enumerate(layout.PANEL_KINDS)}
#: Where a session stands that was interrupted within a call.
ADRIFT = -1
_GIVEN = ("weights", "lots", "limit", "stop")
_RECORDED = ("money", "counts", "state", "holdings", "orders", "positions")


def lane_bytes(scenarios: int, assets: int, books: bool = False) -> int:
    """Bytes of one lane's arena (gpu_bt/law/lane.h, bt_lane): slots, classes, rows, holdings and orders, books."""
    stride, doubles = row_length(assets), len(layout.BUFFERS["double"]) + 2 * scenarios
    flat = (scenarios + 1) * layout.SIZES["BT_SLOT"] + 8 * 2 * layout.SIZES["BT_CLASSES"]
    flat += stride * scenarios * 21 * books
    return flat + stride * (8 * doubles + 4 * len(layout.BUFFERS["int32_t"]) + len(layout.BUFFERS["uint8_t"]))


def has_books(spec: RunSpec) -> bool:
    """Whether some scenario forms its books of a ranking."""
    return any(isinstance(read, Ranked) for read in spec.weights)


def read_by(spec: RunSpec) -> list[Any]:
    """The arrays that a run's weights read, each once: panels, and what rankings consist of."""
    found = dict[int, Any]()
    for read in spec.weights:
        arrays = (read.ranking.order, read.ranking.starts) if isinstance(read, Ranked) else (read,)
        found |= {id(array): array for array in arrays}
    return list(found.values())


def _books(spec: RunSpec) -> np.ndarray:
    """BOOK of each entry of the spec's weights; zeros where it is a panel."""
    out = np.zeros(len(spec.weights), layout.BOOK)
    for i, read in enumerate(spec.weights):
        if isinstance(read, Ranked):
            out[i] = read.book
    return out


def row_length(assets: int) -> int:
    """Numbers of one row in an arena: above `assets`, so that a row has a cell of its own for a column not there."""
    return (assets // 8 + 1) * 8


class LaneSession:
    """A run whose bars compiled code moves. An engine says where arrays live and how a call is made:

    `put(array)` and `zeros(shape, dtype)` give arrays in the engine's memory, `address(array)` where one begins,
    `host(array)` its NumPy copy, `call(launch)` runs the lanes over [t0, t1). `most` is how many scenarios a lane holds
    at most, `least` the number of lanes worth having. `t`, `before`: go on at this bar with the record so far.
    """

    name = ""

    def __init__(
        self, spec: RunSpec, most: int, least: int, log_bytes: int, t: int = 0, before: RawResult | None = None
    ) -> None:
        self.spec, self.t = spec, t
        t_count, n = spec.market.shape
        self.kept: list[Any] = []  # arrays that compiled code reads
        self.shown: dict[str, Any] = {}  # panels of the last lane by their names in ROWS
        alike = self._alike()
        read = self._read(alike)
        groups = self._lanes(alike, self.prepared(read, most), least)
        self.per_lane = max(len(members) for _, members in groups)
        self.logs: dict[str, list[np.ndarray]] = {"fills": [], "cuts": []}
        if before is not None and before.fills is not None and before.cuts is not None:
            self.logs = {"fills": [before.fills], "cuts": [before.cuts]}
        per_bar = self.per_lane * n * _CUTS
        self.log_bars = max(1, log_bytes // (len(groups) * per_bar * layout.FILL.itemsize)) if spec.fills else t_count
        self.log_room = min(self.log_bars, t_count) * per_bar if spec.fills else 0
        self.opened = False
        self.money = 0.0, 0.0  # cash and equity at the open bar
        size = lane_bytes(self.per_lane, n, has_books(spec))
        #: What the lanes write, by the names of RECORD.
        self.arrays = self._record(len(groups), size, before)
        self.given = {name: self.zeros(n, np.float64) for name in _GIVEN} if spec.callback else {}
        rows = self._rows(read, groups)
        record = np.zeros(1, layout.RECORD)
        record["T"], record["N"], record["K"] = t_count, n, len(spec.params)
        record["columns"] = len(layout.MONEY) if spec.columns == "all" else 2
        record["logging"], record["log_room"] = spec.fills, self.log_room
        record["lane_bytes"], record["stride"] = size, row_length(n)
        for name, array in self.arrays.items():
            record[name] = self.address(array)
        self.launch = np.zeros(1, layout.LAUNCH)
        self.launch["lanes"] = len(groups)
        self.launch["rows"], self.launch["record"] = self._keep(rows), self._keep(record)

    def _record(self, lanes: int, size: int, before: RawResult | None) -> dict[str, Any]:
        """The arrays of RECORD for lanes of `size` bytes, but those that are not kept; with the record so far."""
        spec, k, (t_count, n) = self.spec, len(self.spec.params), self.spec.market.shape
        start = before or spec.start or start_of(spec.params, np.zeros((k, 0)))
        arrays = {"params": np.ascontiguousarray(spec.params), "state": start.state.copy()}
        columns = len(layout.MONEY) if spec.columns == "all" else 2
        rows: dict[str, tuple[Any, Any, float]] = {"money": ((columns, k, t_count), np.float64, np.nan)}
        if spec.columns == "all":
            rows["counts"] = ((len(layout.COUNTS), k, t_count), np.int32, 0.0)
        if spec.positions:
            rows["positions"] = ((k, t_count, n), np.float64, np.nan)
        if before is not None:
            arrays |= {name: getattr(before, name) for name in rows}
        if before or spec.start:
            arrays |= {name: getattr(start, name).copy() for name in ("holdings", "orders")}
        rows |= dict.fromkeys(("holdings", "orders"), ((k, n), np.float64, 0.0))  # which nobody need send
        return {name: self.put(array) for name, array in arrays.items()} | {
            **{name: self.zeros(*row) for name, row in rows.items() if name not in arrays},
            "fills": self.zeros(lanes * self.log_room, layout.FILL, None),
            "cuts": self.zeros(lanes * self.log_room, layout.FILL, None),
            "logged": self.zeros((lanes, 2), np.int64),
            "book": self.zeros(3, np.float64),
            "arena": self.zeros(lanes * size, np.uint8),
        }

    def prepared(self, read: np.ndarray, most: int) -> int:
        """Makes what the engine wants beside the panels, into ROWS, one entry for all lanes that read alike; how many
        scenarios a lane holds at most."""
        return most

    def put(self, array: np.ndarray) -> Any:
        """The array in the engine's memory."""
        return array

    def panel(self, array: Any, weights: bool) -> Any:
        """The same for a (T, N) panel, of the market or of weights."""
        return self.put(array)

    def whole(self, array: np.ndarray) -> Any:
        """The same for a part of a ranking, of which all bars are there at once."""
        self.kept.append(self.put(array))
        return self.kept[-1]

    def zeros(self, shape: Any, dtype: Any, fill: float | None = 0.0) -> Any:
        """A new array; fill=None leaves it as it comes."""
        if fill is None:
            return np.empty(shape, dtype)
        return np.zeros(shape, dtype) if fill == 0.0 else np.full(shape, fill, dtype)

    def address(self, array: Any) -> int:
        """Where the array begins."""
        return int(array.ctypes.data)

    def host(self, array: Any, start: int = 0, stop: int | None = None) -> np.ndarray:
        """A NumPy copy, of entries [start, stop) of a flat array."""
        return np.array(array[start:stop])

    def write(self, array: Any, values: np.ndarray) -> None:
        """Copy NumPy values into an array of `zeros`."""
        array[...] = values

    def bars_a_call(self) -> int:
        """How many bars a call may move."""
        return self.spec.market.shape[0]

    def call(self, launch: np.ndarray) -> None:
        """Run the lanes of a LAUNCH struct."""
        raise NotImplementedError

    def advance(self, t0: int, t1: int) -> None:
        """Run bars t0..t1-1; t0 is where the last call stopped."""
        if t0 != self.t or self.opened or not t0 <= t1 <= self.spec.market.shape[0]:
            raise ValueError(f"advance({t0}, {t1}): the session stands at bar {self.t} of {self.spec.market.shape[0]}")
        step = max(1, min(self.bars_a_call(), self.log_bars))
        while self.t < t1:
            stop = min(t1, self.t + step)
            self.launch["t0"], self.launch["t1"], self.launch["last"] = self.t, stop, stop == t1
            self._move(stop)

    def _move(self, stop: int) -> None:
        """One call and what it logged. After Ctrl-C nobody knows whether the lanes have moved: no call goes on."""
        at, self.t = self.t, ADRIFT
        try:
            self.call(self.launch)
            if self.spec.fills and stop > at:
                self._drain()
        except Exception:  # of a call that did not run
            self.t = at
            raise
        self.t = stop

    def open_bar(self, t: int) -> bool:
        """[S1] to [S5m], with same_close [S1] to [S5d]; whether a strategy may decide now."""
        if not t == self.t < self.spec.market.shape[0] or self.opened or not self.spec.callback:
            raise ValueError(f"open_bar({t}): the session stands at bar {self.t}, or is no callback run")
        self._half("open")
        self.opened = True
        cash, equity, may = self.host(self.arrays["book"]).tolist()
        self.money = cash, equity
        return bool(may)

    def book(self) -> Book:
        """The portfolio at the open bar."""
        return Book(*self.money, self.host(self.arrays["holdings"])[0], self.host(self.arrays["orders"])[0])

    def close_bar(self, t: int, decision: Decision | None) -> None:
        """[S6] to [S9] of the open bar."""
        if t != self.t or not self.opened:
            raise ValueError(f"close_bar({t}): open_bar({self.t}) comes first")
        for name, at in self.given.items():
            values = None if decision is None else getattr(decision, name)
            self.launch[name] = 0 if values is None else self.address(at)
            if values is not None:
                self.write(at, values)
        self._half("close")
        self.opened = False

    def _half(self, phase: str) -> None:
        """Half a bar of a callback run, "open" or "close"."""
        self.launch["t0"], self.launch["t1"], self.launch["last"] = self.t, self.t + 1, True
        self.launch["phase"] = layout.PHASES.index(phase)
        self._move(self.t + (phase == "close"))
        self.launch["phase"] = layout.PHASES.index("bars")

    def result(self, stay: bool = False) -> RawResult:
        """The record of bars [0, t); stay: what is large stays where it is, for `left`."""
        if self.t == ADRIFT:
            raise ValueError("result(): the session was interrupted within a call; run it again")
        record: dict[str, Any] = dict.fromkeys(_RECORDED)
        left: dict[str, Any] = self.left() if stay else {}
        record |= {name: self.host(self.arrays[name]) for name in _RECORDED if name in self.arrays and name not in left}
        logs = {name: ordered(log) for name, log in self.logs.items()} if self.spec.fills else {}
        return RawResult(self.name, **{**record, **left, **logs})

    def left(self) -> dict[str, Any]:
        """Of the record what is not fetched where it may stay."""
        return {}

    def _drain(self) -> None:
        """Take what the lanes logged."""
        logged, room = self.host(self.arrays["logged"]), self.log_room
        for which, (name, log) in enumerate(self.logs.items()):
            for lane, count in enumerate(logged[:, which].tolist()):
                if count:
                    log.append(self.host(self.arrays[name], lane * room, lane * room + count))
        self.write(self.arrays["logged"], np.zeros_like(logged))

    def _alike(self) -> list[list[int]]:
        """Numbers of the scenarios that read the same, those with books of about as many names side by side."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        weights, sizes = self.spec.weights, dict[int, tuple[float, int]]()
        for i, (own, *key) in enumerate(self.spec.params[["weights", *_READ]].tolist()):
            read = weights[own] if weights else None
            if isinstance(read, Ranked):
                sizes[i] = float(read.book["long_names"] + read.book["short_names"]), own
                own = id(read.ranking)
            groups.setdefault((own, *key), []).append(i)
        return [sorted(members, key=lambda i: sizes.get(i, (0.0, 0))) for members in groups.values()]

    def _read(self, alike: list[list[int]]) -> np.ndarray:
        """ROWS, but for the members, of each group of scenarios that read the same."""
        spec, leaders = self.spec, [members[0] for members in alike]
        rows, due = np.zeros(len(alike), layout.ROWS), self._keep(spec.due().T[leaders])
        firsts, books = spec.params[leaders], self._keep(_books(spec)) if has_books(spec) else 0
        known: dict[tuple[float, ...], np.ndarray] = {}
        for i, key in enumerate(firsts[_READ].tolist()):
            if key not in known:
                self._describe(rows[i], firsts[i])
                known[key] = rows[i].copy()
            rows[i] = known[key]
            rows[i]["due"] = due + i * spec.market.shape[0]
            read = None if spec.callback else spec.weights[firsts[i]["weights"]]
            if isinstance(read, Ranked):
                order, starts = read.ranking.order, read.ranking.starts
                rows[i]["narrow" if order.dtype == np.uint16 else "wide"] = self.address(self.whole(order))
                rows[i]["starts"], rows[i]["groups"] = self.address(self.whole(starts)), starts.shape[1] - 1
                rows[i]["books"] = books
            elif read is not None:
                rows[i]["weights"] = self._panel(read, True)
        return rows

    @staticmethod
    def _lanes(alike: list[list[int]], most: int, least: int) -> list[tuple[int, np.ndarray]]:
        """Lane by lane, the number of its group and those of its scenarios."""
        out: list[tuple[int, np.ndarray]] = []
        for i, members in enumerate(alike):
            pieces = max(-(-len(members) // most), min(least // len(alike), len(members)), 1)
            whole = np.array(members, np.int64)
            out += [(i, piece) for piece in (np.array_split(whole, pieces) if pieces > 1 else [whole])]
        return out

    def _rows(self, read: np.ndarray, groups: list[tuple[int, np.ndarray]]) -> np.ndarray:
        """ROWS of each lane. All members are one array, since a thousand small copies to a device take long."""
        rows, start = read[[i for i, _ in groups]], self._keep(np.concatenate([members for _, members in groups]))
        for row, (_, members) in zip(rows, groups, strict=True):
            row["members"], row["K"] = start, len(members)
            start += members.nbytes
        return rows

    def _describe(self, rows: np.ndarray, first: np.ndarray) -> None:
        """One entry of ROWS, but for its members, weights and the bars due: what scenarios like `first` read."""
        spec, market = self.spec, self.spec.market
        lot, field = float(first["lot"]), prepare.PRICE_OF[first["execution"]]
        unit = prepare.lots(market, lot)
        price, close, marks = self.derived(field, lot, CHOICES["sizing"][first["sizing"]])
        happens = prepare.events(market, int(first["delist_after"]))
        bars = sorted(happens.settled)
        settled = [happens.settled[t] for t in bars]
        per_bar, days = np.zeros(market.shape[0] + 1, np.int64), prepare.days_between(market)
        per_bar[np.array(bars, np.int64) + 1] = [len(s) for s in settled]
        arrays = {
            "days": days, "year": days / 360.0, "unit": unit.unit, "back": market.delisting_return,
            "whole": unit.whole.astype(np.float64), "exec_gap": price.gaps,
            "dividend_bar": happens.dividend, "split_bar": happens.split, "tie": market.tie,
            "event_start": happens.bar_start, "event_asset": happens.assets, "settle_start": np.cumsum(per_bar),
            "settle_asset": np.concatenate([np.zeros(0, np.int64), *settled]), "off_bar": happens.off_bar,
            "off_asset": happens.off_asset,
            "opening": None if market.before is None else prepare.opening_marks(market, lot),
        }  # fmt: skip
        for name, array in arrays.items():
            rows[name] = self._keep(array)
        panels = {name: getattr(market, name) for name in _PANELS} | {
            "close": close,
            "exec": price.values,
            "marks": marks,
            "field": getattr(market, field),
        }
        for name, panel in panels.items():
            if panel is not None:
                rows[name] = self._panel(panel, False)
                self.shown[name] = self.kept[-1]
        rows["T"], rows["N"] = market.shape
        rows["off_count"], rows["lag"] = len(happens.off_bar), int(first["signal_lag"])
        rows["all_whole"], rows["none_whole"] = unit.all_whole, unit.none_whole
        rows["even"] = bool((unit.unit == unit.unit[0]).all()) and (unit.all_whole or unit.none_whole)
        rows["closes"] = market.universe is not None and CHOICES["outside"][first["outside"]] == "close"
        rows["odd"], rows["callback"] = prepare.odd_lots(spec, unit), spec.callback

    def derived(self, field: str, lot: float, sizing: str) -> tuple[prepare.Prices, Any, Any]:
        """Per lot: the prices of the field that fills, those that decide, and the marks."""
        market = self.spec.market
        decide = prepare.decision_prices(market, lot, sizing).values
        return prepare.prices(market, field, lot), decide, prepare.marks(market, lot)

    def _panel(self, array: Any, weights: bool) -> tuple[int, int]:
        """A panel that stays alive as long as the session: its address and kind."""
        self.kept.append(self.panel(array, weights))
        return self.address(self.kept[-1]), _KINDS[array.dtype]

    def _keep(self, array: np.ndarray | None) -> int:
        """The address of an array that stays alive as long as the session; 0 for none."""
        if array is None:
            return 0
        kept = self.put(np.ascontiguousarray(array))
        self.kept.append(kept)
        return self.address(kept)
