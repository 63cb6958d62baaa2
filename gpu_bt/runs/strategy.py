# SPDX-License-Identifier: Apache-2.0
"""Strategy: a decision a bar over the whole cross-section, written as a class; its portfolio and its orders.

Letters: N assets.
"""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from gpu_bt.analysis.spans import outside
from gpu_bt.arguments import disguised
from gpu_bt.config import Config
from gpu_bt.data.fields import PRICE_RANGE
from gpu_bt.data.labels import row_of
from gpu_bt.data.panel import Panel
from gpu_bt.data.weights import DUST, MAX_WEIGHT
from gpu_bt.engine.prepare import in_shares, lots
from gpu_bt.engine.spec import Book, Decision
from gpu_bt.errors import StrategyError, shown
from gpu_bt.runs.batch import Batch, column_of
from gpu_bt.runs.exits import Exits
from gpu_bt.runs.orders import Orders
from gpu_bt.runs.views import numbers
from gpu_bt.show.cards import strategy_card
from gpu_bt.typing import Assets, Floats, Numbers

__all__ = ["Portfolio", "Strategy"]

_MAX_AMOUNT = 1e15
_WEIGHTS, _LOTS, _LIMIT, _STOP = range(4)


class Strategy:
    """Decides once per bar for all assets: subclass it, override `on_data_batch`, pass an instance to `run`.

    Parameters are plain attributes. A run works on the instance itself and begins with `initialize`, so that what is
    set there is fresh in every run. `rebalance`, `rebalance_every` and `rebalance_offset` of the Config say at which
    bars the strategy is asked (default: every bar); it is not asked after the end, from a drawdown stop on, nor at a
    bar with a margin call. `signal_lag` is refused.

    Orders are differences against what is held, never additions: asking twice is asking once. An asset has one working
    order; a bar's last call for it counts and replaces what worked before. NaN as an amount leaves an asset as it is.
    `assets` is a name, an index, a list of either, an index array, or an (N,) bool mask. Rows, amounts, prices, masks
    may be {asset: number} or a Series, NaN for labels they lack. Mistakes are StrategyErrors that name bar and asset.
    `device`: arrays are CuPy's where the engine is "cuda", in `batch` (whose `xp` is the library), `portfolio` and
    `orders`; False = NumPy's; None (default) = as the panel's arrays lie. Elsewhere they are NumPy's.
    """

    exits: Exits | None = None  #: built-in stops of every position
    device: bool | None = None  #: where its arrays lie
    _desk: _Desk | None = None
    _repr_html_ = strategy_card

    def initialize(self) -> None:
        """Called once, before the first bar."""

    def on_data_batch(self, timestamp: dt.datetime, batch: Batch) -> None:
        """Called at each scheduled bar, after its fills: `timestamp` in the panel's time zone; the cross-section."""
        raise StrategyError(f"{type(self).__name__} needs a method on_data_batch(self, timestamp, batch)")

    def finalize(self) -> None:
        """Called once, after the last bar; `portfolio` is then that at the end."""

    def risk(self, orders: Orders, portfolio: Portfolio, batch: Batch) -> Orders:
        """Called after `on_data_batch`, at each bar that asks, with all that it has asked for; what it returns is what
        is ordered: `orders`, changed or not (default). An order method called here is a StrategyError. The limits of
        the Config, and once more the zeros of `exits` and of the universe, apply after it.

        One whose first argument is called `targets` is given the (N,) target weights alone (NaN = none) and returns
        such; direct orders stay where it gives none."""
        return orders

    @property
    def portfolio(self) -> Portfolio:
        """What is held now."""
        return Portfolio(self._open_desk("portfolio"))

    def order_target_percent(self, assets: Assets, weight: Numbers | None = None) -> None:
        """Hold this fraction of equity: [S7] and [S8] of docs/semantics.md, as a weights row does. |weight| <= 1000;
        0 closes. With one argument: a full (N,) row of weights, NaN = no target."""
        self._open_desk("order_target_percent").targets("order_target_percent", assets, weight)

    def order_target_value(self, assets: Assets, value: Numbers | None = None) -> None:
        """Hold this much money's worth at P, the close (see `sizing`): x = value/P - h lots, rounded as [S8] rounds; 0
        closes; without P nothing but NO_PRICE. Of [S7] its increase meets the name cap and the gross cap; turnover cap,
        band, `cash_buffer` and `min_trade_value` do not apply."""
        self._open_desk("order_target_value").target_value(assets, value)

    def order_target_shares(self, assets: Assets, shares: Numbers | None = None) -> None:
        """Hold this many shares: x = shares/lot - h lots, else as `order_target_value`."""
        self._open_desk("order_target_shares").target_shares(assets, shares)

    def order(self, assets: Assets, shares: Numbers, *,
              limit: Numbers | None = None, stop: Numbers | None = None) -> None:  # fmt: skip
        """Buy (> 0) or sell (< 0) shares: x = shares/lot lots, rounded as [S8] rounds; 0 = no order.

        limit, stop: prices per share ([S4l]; NaN or None = none), worked off on the open, high and low of the bars that
        follow, until filled, replaced or cancelled (`unfilled="cancel"`: one bar). Raises StrategyError where the panel
        lacks one of them.
        """
        self._open_desk("order").order(assets, shares, limit, stop)

    def cancel(self, assets: Assets | None = None) -> None:
        """Take back the working orders of these assets, and what this bar has asked for them so far; None = of all."""
        self._open_desk("cancel").cancel(assets)

    def close_others(self, assets: Assets) -> None:
        """Target 0 for every other asset that is held, has a working order, or was ordered at this bar."""
        self._open_desk("close_others").close_others(assets)

    def _open_desk(self, what: str) -> _Desk:
        if self._desk is None or self._desk.book is None:
            raise StrategyError(f"{what} at no bar: it is for on_data_batch, while `run` asks the strategy")
        return self._desk


class Portfolio:
    """What is held at the bar, after its fills; (N,) arrays are read-only."""

    __slots__ = ("_book", "_desk")

    def __init__(self, desk: _Desk) -> None:
        self._desk, self._book = desk, desk.now()

    @property
    def equity(self) -> float:
        """Cash and holdings at their marks."""
        return self._book.equity

    @property
    def cash(self) -> float:
        """Money not invested; negative where a margin account has borrowed."""
        return self._book.cash

    @property
    def shares(self) -> Floats:
        """(N,) shares held, signed."""
        return _read_only(in_shares(self._book.lots, self._desk.unit))

    @property
    def orders(self) -> Floats:
        """(N,) shares of the working orders, signed: what earlier bars left unfilled."""
        return _read_only(in_shares(self._book.orders, self._desk.unit))

    @property
    def values(self) -> Floats:
        """(N,) R(h*m): money each holding adds to equity, signed; cash + values.sum() == equity."""
        held, tick = self._book.lots, self._desk.config.tick
        worth = np.where(held != 0, held * self._desk.view.marks(self._desk.bar), 0.0)
        return _read_only(np.rint(worth / tick) * tick)

    @property
    def weights(self) -> Floats:
        """(N,) values*(1/equity)."""
        return _read_only(self.values * (1 / self.equity))


def _read_only(array: Floats) -> Floats:
    if isinstance(array, np.ndarray):  # CuPy has no such flag, and these are copies
        array.flags.writeable = False
    return array


class _Desk:
    """The orders of one bar on their way to the engine: (4, N) of weights, lots, limits and stops, NaN = nothing."""

    def __init__(self, panel: Panel, config: Config, view: Any) -> None:
        self.panel, self.config, self.view, self.xp = panel, config, view, view.xp
        self.unit = view.here(lots(panel.market, config.lot).unit)
        self.n, self.bar = panel.shape[1], 0
        self.book: Callable[[], Book] | None = None
        self._seen: Book | None = None
        self.cells: Any = None
        self.direct = False  # some cell may hold a direct order
        self.over = self.reviewing = False
        self.least = 0.0 if config.account == "cash" else -1.0  # times the largest target is the smallest
        self.watched: Exits | None = None
        self.alone: bool | None = None  # the strategy's `risk` takes targets alone

    def open(self, bar: int, book: Callable[[], Book]) -> None:
        self.bar, self.book, self._seen, self.cells, self.direct = bar, book, None, None, False

    def close(self) -> None:
        self.book = self._seen = None

    def now(self) -> Book:
        """The engine's book, fetched once a bar and only where somebody looks."""
        if self._seen is None:
            assert self.book is not None  # between bars nobody is let in
            self._seen = self.book()
        return self._seen

    def decision(self) -> Decision | None:
        if self.cells is None:
            return None
        return Decision(*self.cells) if self.direct else Decision(self.cells[_WEIGHTS])

    # ---- from words to cells

    def fail(self, what: str, rule: str, asset: Any = None) -> NoReturn:
        where = "" if asset is None else f"[{self.panel.assets[int(asset)]!r}]"
        raise StrategyError(f"{what}{where} at {self.panel.label(self.bar)}: {rule}")

    def put(self, row: int, where: Any, *values: Any) -> None:
        """Set cells of a row and those below it; everything else asked for these assets before is forgotten."""
        if self.over:
            self.fail("an order in finalize", "the run is over; order in on_data_batch")
        if self.reviewing:
            self.fail("an order in risk", "change `orders` and return them")
        if self.cells is None:
            self.cells = self.xp.full((4, self.n), np.nan)
        else:
            self.view.put(self.cells, where, np.nan)
        self.direct |= row == _LOTS
        for i, x in enumerate(values):
            self.view.put(self.cells[row + i], where, x)

    def index(self, what: str, assets: Assets) -> Any:
        """(k,) indices of what a user calls assets."""
        given = self.view.taken(lambda: f"{what} at {self.panel.label(self.bar)}", assets)
        array = self.view.here(self.listed(what, assets)) if given is None else given
        array = array[None] if array.ndim == 0 else array  # as CuPy's argmax gives one
        if array.dtype == bool and array.shape == (self.n,):
            return np.flatnonzero(array)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            self.fail(what, f"assets are {shown(assets)}: pass names, indices or an (N,) bool mask")
        if array.size and ((least_most := self.view.span(array))[0] < 0 or least_most[1] >= self.n):
            bad = int(array[int(np.argmax((array < 0) | (array >= self.n)))])
            self.fail(what, f"the panel has no asset {bad}: an index must be in [0, {self.n - 1}]")
        return array if array.size else array.astype(np.int64)

    def listed(self, what: str, assets: Assets) -> np.ndarray:
        """What is in host memory: indices of names; a mask, or numbers, as they are."""
        if isinstance(assets, str):
            return np.array([column_of(self.panel, self.bar, what, assets)])
        named = row_of(self.panel, self.bar, what, assets, False)  # of a mask with labels
        try:
            array = np.atleast_1d(np.asarray(named))
        except (ValueError, MemoryError):  # what is ragged, or has no end
            return np.empty((0, 0))
        if array.dtype.kind in "UO" and array.ndim == 1:
            return np.array([column_of(self.panel, self.bar, what, x) for x in array.tolist()], np.int64)
        if array.size == 0 and array.ndim == 1:
            return np.empty(0, np.int64)
        return np.empty((0, 0)) if disguised(named, array.dtype == bool) else array

    def each(self, what: str, where: Any, x: Any) -> Any:
        """(k,) numbers: one for each asset, or one for all."""
        found = numbers(self.view, self.panel, self.bar, what, x, where=where)
        if found is None:
            self.fail(what, f"{shown(x)} is no number: pass one, or one for each asset, none masked")
        try:
            return np.broadcast_to(found, where.shape)
        except ValueError:
            self.fail(what, f"{len(where)} assets and {found.size} numbers: pass one number, or one for each")

    def amounts(self, what: str, assets: Assets, amount: Any, low: float, high: float) -> tuple[Any, Any]:
        """(where, values) without NaN: each asset's amount, checked."""
        if amount is None:
            where: Any = slice(None)
            values: Any = numbers(self.view, self.panel, self.bar, what, assets)
            if values is None or values.shape != (self.n,):
                self.fail(what, f"without an amount it takes an (N,) row of numbers, N = {self.n}")
        else:
            where = chosen = self.index(what, assets)
            one = type(amount) in (int, float) and abs(amount) <= _MAX_AMOUNT and chosen.size  # needs no device
            values = np.float64(amount) if one else self.each(what, chosen, amount)
        least, most, holes = self.view.span(values) if values.size else (low, low, False)
        if least < low or most > high:
            k = int(np.argmax((values < low) | (values > high)))
            value = float(np.ravel(values)[k])
            rule = f"{value} is not in [{round(low, 6) + 0.0:g}, {high:g}]"
            if value < 0 and low >= -DUST:
                rule = f"{value}: a cash account is long-only; use Config(account='margin') for short positions"
            self.fail(what, rule, self.xp.arange(self.n)[where][k])
        if not holes:
            return where, values
        given = ~np.isnan(values)
        return self.xp.arange(self.n)[where][given], values[given]

    # ---- the orders

    def targets(self, what: str, assets: Assets, weight: Any) -> None:
        least = self.least * MAX_WEIGHT
        where, values = self.amounts(what, assets, weight, min(least, -DUST), MAX_WEIGHT)
        self.put(_WEIGHTS, where, np.maximum(values, least))

    def target_shares(self, assets: Assets, shares: Any) -> None:
        where, values = self.amounts("order_target_shares", assets, shares, self.least * _MAX_AMOUNT, _MAX_AMOUNT)
        self.put(_LOTS, where, values / self.unit[where] - self.now().lots[where])

    def target_value(self, assets: Assets, value: Any) -> None:
        where, values = self.amounts("order_target_value", assets, value, self.least * _MAX_AMOUNT, _MAX_AMOUNT)
        price = self.view.prices(self.bar)[where]
        held = self.now().lots[where]
        x = values * (1 / np.where(price > 0, price, np.nan)) - held
        self.put(_LOTS, where, np.where(values == 0, -held, np.where(np.isnan(x), np.inf, x)))

    def order(self, assets: Assets, shares: Any, limit: Any, stop: Any) -> None:
        if shares is None or np.isnan(self.each("order", self.index("order", assets), shares)).any():
            self.fail("order", "shares are None or have a NaN: leave out what is not to be ordered")
        where, values = self.amounts("order", assets, shares, -_MAX_AMOUNT, _MAX_AMOUNT)
        names = self.xp.arange(self.n)[where]
        prices = [self.trigger(name, names, x) for name, x in (("limit", limit), ("stop", stop))]
        self.put(_LOTS, where, values / self.unit[where], *prices)

    def trigger(self, name: str, where: Any, price: Any) -> Any:
        """Limit or stop prices, checked."""
        if price is None or not len(where):
            return np.nan
        prices = self.each(f"order({name}=)", where, price)
        lacks = [field for field in ("open", "high", "low") if getattr(self.panel, field) is None]
        if lacks and not np.isnan(prices).all():
            self.fail(f"order({name}=)", f"it needs open, high and low; pass {lacks[0]}= to the Panel", where[0])
        bad = (prices < PRICE_RANGE[0]) | (prices > PRICE_RANGE[1])
        if bad.any():
            k = int(np.argmax(bad))
            rule = f"{float(prices[k])} is no price: it must be in [1e-10, 1e12], or NaN"
            self.fail(f"order({name}=)", rule, where[k])
        return prices

    def ordered(self) -> Any:
        """(N,) bool: an order works, or this bar has asked for something."""
        works = self.now().orders != 0
        return works if self.cells is None else works | (self.cells[:2] == self.cells[:2]).any(axis=0)

    def cancel(self, assets: Assets | None) -> None:
        self.put(_LOTS, self.ordered() if assets is None else self.index("cancel", assets), 0.0)

    def close_others(self, assets: Assets) -> None:
        others = self.ordered() | (self.now().lots != 0)
        others[self.index("close_others", assets)] = False
        self.put(_WEIGHTS, others, 0.0)

    def risk(self, strategy: Strategy, batch: Batch) -> None:
        """The strategy's `exits`, and its `risk`, which sees them and cannot take them back."""
        if strategy.exits is None and type(strategy).risk is Strategy.risk:
            return
        hit = self.xp.zeros(self.n, bool)
        if strategy.exits is not None:
            if strategy.exits is not self.watched:
                if not isinstance(strategy.exits, Exits):
                    self.fail("exits", f"it is {shown(strategy.exits)}: it must be gpu_bt.Exits(...), or None")
                self.watched = strategy.exits
                self.watched.start(self.view.market, self.config, self.bar)
            hit = strategy.exits.hit(self.bar, self.now().lots * self.unit)
        if type(strategy).risk is not Strategy.risk:
            self.put(_WEIGHTS, hit, 0.0)
            self.review(strategy, batch)
        if hit.any():
            self.put(_WEIGHTS, hit, 0.0)

    def closes(self) -> Any:
        """(N,) bool: what the universe closes at this bar, [S6], whatever else is decided for it."""
        some = self.ordered() | (self.now().lots != 0)
        return some & outside(self.view.market, self.bar) if self.config.outside == "close" else some & False

    def review(self, strategy: Strategy, batch: Batch) -> None:
        """Replace what was asked for by what the strategy's `risk` makes of it."""
        assert self.cells is not None
        before, unit, book, closes = self.cells, self.unit, self.now(), self.closes()
        asked = before.copy()
        asked[_LOTS] *= unit
        asked[:, closes] = np.nan
        asked[_WEIGHTS, closes] = 0.0
        orders = Orders(
            *asked.copy(), held=in_shares(book.lots, unit), standing=in_shares(book.orders, unit),
            marks=self.view.marks(self.bar) / unit, equity=book.equity, index=self.index,
        )  # fmt: skip
        if self.alone is None:
            self.alone = next(iter(inspect.signature(strategy.risk).parameters), "") == "targets"
        alone = self.alone
        self.reviewing = True
        after: Any = strategy.risk(orders.weights if alone else orders, Portfolio(self), batch)  # type: ignore[arg-type]
        self.reviewing = False
        if after is None or isinstance(after, Orders) == alone:
            what = "None" if after is None else f"a {type(after).__name__}"
            self.fail("risk", f"it returned {what}: it must return {'(N,) targets' if alone else 'its orders'}")
        if alone:
            orders.weights, after = after, orders
        self.cells, every = self.xp.full((4, self.n), np.nan), self.xp.arange(self.n)
        given = self.xp.stack([self.each("risk", every, x) for x in (after.shares, after.limit, after.stop)])
        changed = ~((given == asked[1:]) | (np.isnan(given) & np.isnan(asked[1:]))).all(axis=0)
        direct = np.flatnonzero(~np.isnan(given[0]))
        if len(direct):
            self.put(_LOTS, direct, *before[1:, direct])
        if len(direct := np.flatnonzero(changed & ~np.isnan(given[0]))):
            self.order(direct, *(row[direct] for row in given))
        self.targets("risk", after.weights, None)
        stray = (~np.isnan(given[1:]) & (given[1:] != asked[2:])).any(axis=0) & np.isnan(self.cells[_LOTS])
        if stray.any():
            self.fail("risk", "a limit or stop needs shares and no weight", int(stray.argmax()))
        self.cells[:, closes] = before[:, closes]  # closed by the law, which counts what was asked for it
