# SPDX-License-Identifier: Apache-2.0
"""gpu_bt beside packages that no one here wrote: the same prices, targets and costs, and how far equities lie apart.

    PYTHONPATH=. python tests/peers/agree.py [--peer NAME] [--out FILE.json]

Runs every peer that is installed; they do not share one environment, so `make peers` runs it once in each. A row says
what was set on their side, the Config that matches, whether the two should be the same, and the worst relative
difference of equity at any bar. Exit status 1 where a row is not as it should be. Letters: T bars, N assets.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gpu_bt
from gpu_bt.config import FIELDS as CONFIG
from gpu_bt.data.fields import FIELDS as PANEL

#: Equities of two float64 simulators of the same rules lie this close; those of different rules lie farther apart.
SAME = 1e-9
CASH = 1e5
RATE, SLIP = 0.001, 0.0005
#: No test of cash or of leverage, as in peers that borrow without a word.
UNTESTED = {"account": "margin", "max_leverage": None, "maintenance_margin": None}
#: Days without a session in the first half of 2021, so that every peer's calendar has the panel's dates.
CLOSED = ["2021-01-18", "2021-02-15", "2021-04-02", "2021-05-31"]


@dataclasses.dataclass
class Market:
    """Prices and volumes, (T, N), with their dates and names; a random walk, in cents."""

    dates: pd.DatetimeIndex
    names: list[str]
    open: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    cash: float = CASH

    @classmethod
    def small(cls, close: list[Any], open: list[Any] | None = None, cash: float = 1000.0) -> Market:
        """A few bars, 1,000 shares traded in each."""
        prices = np.array(close, float).reshape(len(close), -1)
        opens = prices if open is None else np.array(open, float).reshape(prices.shape)
        names = [f"A{i}" for i in range(prices.shape[1])]
        return cls(
            pd.bdate_range("2021-01-04", periods=len(close)), names, opens, prices, np.full(prices.shape, 1e3), cash
        )

    @classmethod
    def drawn(cls, bars: int = 100, assets: int = 10, gaps: bool = False) -> Market:
        """The same numbers wherever it runs; with gaps, 6 % of the bars have no price, the first one aside."""
        rng = np.random.default_rng(2021)
        dates = pd.bdate_range("2021-01-04", periods=bars + len(CLOSED)).difference(pd.DatetimeIndex(CLOSED))[:bars]
        level = rng.uniform(10, 90, assets)
        close = np.round(level * np.exp(rng.normal(0, 0.02, (bars, assets)).cumsum(axis=0)), 2)
        open_ = np.round(np.vstack([close[:1], close[:-1]]) * np.exp(rng.normal(0, 0.006, (bars, assets))), 2)
        volume = np.rint(rng.uniform(2e3, 2e4, (bars, assets)))
        if gaps:
            hole = rng.random((bars, assets)) < 0.06
            hole[0] = False
            close[hole] = open_[hole] = np.nan
            volume[hole] = 0
        return cls(dates, [f"A{i:02}" for i in range(assets)], open_, close, volume)

    def frame(self, values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index=self.dates, columns=self.names)

    def bars(self, i: int) -> pd.DataFrame:
        """Open, high, low, close and volume of an asset."""
        high, low = np.fmax(self.open, self.close) * 1.01, np.fmin(self.open, self.close) * 0.99
        fields = {"open": self.open, "high": high, "low": low, "close": self.close, "volume": self.volume}
        return pd.DataFrame({name: values[:, i] for name, values in fields.items()}, index=self.dates)


def books(market: Market, total: float = 1.0, every: int = 1, short: bool = False) -> np.ndarray:
    """(T, N) targets: half of the names at each decision, their sizes summing to `total`; NaN at other bars."""
    rng = np.random.default_rng(11)
    rows = np.full(market.close.shape, np.nan)
    for t in range(0, len(rows), every):
        row = rng.random(len(market.names)) * (rng.random(len(market.names)) < 0.5)
        row[t % len(row)] += 0.1
        if short:
            row *= rng.choice([-1, 1], len(row))
        rows[t] = row / np.abs(row).sum() * total
    return rows


@dataclasses.dataclass
class Row:
    """One comparison. what: their side in words.   config: ours, what differs from the defaults.   same: whether the
    two have the same rules.   equity: theirs, (T,) or fewer.   panel: further fields of ours.   before_costs: their
    equity is that before the bar's own costs.   holdings: shares at the start.   by_hand: the equity at the end, worked
    by hand; of the small examples that show a difference of rules."""

    what: str
    config: dict[str, Any]
    same: bool
    market: Market
    book: np.ndarray
    equity: Callable[[], Any]
    panel: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    before_costs: bool = False
    holdings: np.ndarray | None = None
    by_hand: float | None = None

    def missing(self) -> str:
        """What this gpu_bt lacks for it, "" for nothing."""
        lacks = [name for name in self.config if name not in CONFIG]
        lacks += [f"{n}={v!r}" for n, v in self.config.items()
                  if n in CONFIG and CONFIG[n].choices and v not in CONFIG[n].choices]  # fmt: skip
        lacks += [f"a panel's {name}" for name in self.panel if name not in PANEL]
        if self.holdings is not None and "holdings" not in gpu_bt.run.__kwdefaults__:
            lacks.append("holdings=")
        return ", ".join(lacks)

    def measured(self) -> dict[str, float]:
        """The worst |ours/theirs - 1| at any bar, and both equities at the end."""
        theirs = np.asarray(self.equity(), float)
        fields = {"open": self.market.open} if self.config["execution"] == "next_open" else {}
        panel = gpu_bt.Panel(
            self.market.close, timestamps=self.market.dates, assets=self.market.names, **fields, **self.panel
        )
        more = {} if self.holdings is None else {"holdings": self.holdings}
        config = gpu_bt.Config(initial_cash=self.market.cash, **self.config)
        table = gpu_bt.run(panel, self.book, config, engine="numpy", **more).equity
        mine = table["equity"].to_numpy()
        if self.before_costs:
            mine = mine + (table["commission"] + table["slippage"]).to_numpy()
        mine = mine[: len(theirs)]
        return {"worst": float(np.abs(mine / theirs - 1).max()), "ours": float(mine[-1]), "theirs": float(theirs[-1])}


def once(bars: int, *weights: float) -> np.ndarray:
    """(T, N) a book at the first bar alone."""
    return np.array([weights, *[[np.nan] * len(weights)] * (bars - 1)])


def vectorbt() -> Iterator[Row]:
    """`Portfolio.from_orders`, target percents of one shared purse."""
    import vectorbt as vbt

    def theirs(market: Market, book: np.ndarray, **settings: Any) -> Callable[[], Any]:
        given = {"size_type": "targetpercent", "group_by": True, "cash_sharing": True, "call_seq": "auto", "freq": "1D"}
        costs = {"init_cash": market.cash, "fees": RATE, "slippage": SLIP}
        frame = market.frame(market.close)
        return lambda: vbt.Portfolio.from_orders(frame, size=book, **{**given, **costs, **settings}).value()

    market, base = Market.drawn(), {"execution": "same_close", "cash_buffer": 0.0, "lot": 0.0}
    config = {**base, "commission_rate": RATE, "slippage": SLIP}
    part, full = books(market, 0.4), books(market)
    yield Row("40 % invested, fractional shares", config, True, market, part, theirs(market, part))
    whole = {**config, "lot": 1.0}
    yield Row(
        "40 % invested, `size_granularity=1`", whole, True, market, part, theirs(market, part, size_granularity=1)
    )
    fixed = {**config, "fixed_commission": 2.0}
    yield Row("40 % invested, `fixed_fees=2`", fixed, True, market, part, theirs(market, part, fixed_fees=2.0))
    yield Row("fully invested: cash is short", config, False, market, full, theirs(market, full))
    two = Market.small([[10, 10], [10, 20]])
    yield Row(
        "1,000 of cash, half in each of two stocks at 10, fees of 1 %; then the second is at 20",
        {**base, "commission_rate": 0.01}, False, two, once(2, 0.5, 0.5),
        theirs(two, once(2, 0.5, 0.5), fees=0.01, slippage=0.0), by_hand=1000 / 20.2 * 30,
    )  # fmt: skip


def bt() -> Iterator[Row]:
    """`WeighTarget` and `Rebalance`."""
    import bt as ffn_bt

    def theirs(market: Market, book: np.ndarray, whole: bool, rate: float = 0.0, *first: Any) -> Callable[[], Any]:
        def value() -> Any:
            weights = market.frame(book).dropna()
            plan = ffn_bt.Strategy("s", [*first, ffn_bt.algos.WeighTarget(weights), ffn_bt.algos.Rebalance()])
            fees = {"commissions": lambda q, price: rate * abs(q) * price, "integer_positions": whole}
            test = ffn_bt.Backtest(
                plan, market.frame(market.close), initial_capital=market.cash, progress_bar=False, **fees
            )
            ffn_bt.run(test)
            return test.strategy.values.iloc[1:]  # the first row is the day before

        return value

    market, config = Market.drawn(), {"execution": "same_close", "cash_buffer": 0.0, "lot": 0.0, **UNTESTED}
    book = books(market)
    yield Row("fractional positions, no commission", config, True, market, book, theirs(market, book, False))
    whole = {**config, "lot": 1.0, "rounding": "position"}
    yield Row("integer positions, no commission", whole, True, market, book, theirs(market, book, True))
    monthly = {**config, "rebalance": "month", "rebalance_on": "first"}
    late = book.copy()
    late[:10] = np.nan  # the panel's first bar is no first of a month to them
    run = ffn_bt.algos.RunMonthly(run_on_first_date=False)
    yield Row("`RunMonthly`", monthly, True, market, late, theirs(market, late, False, 0.0, run))
    paid = {**config, "commission_rate": RATE}
    yield Row("commission of 0.1 %", paid, False, market, book, theirs(market, book, False, RATE))
    one, half = Market.small([10, 20]), once(2, 0.5)
    yield Row(
        "1,000 of cash, half in a stock at 10, commission of 1 %; then it is at 20",
        {**config, "commission_rate": 0.01}, False, one, half,
        theirs(one, half, False, 0.01), by_hand=50 * 20 + 500 - 5,
    )  # fmt: skip


def backtrader() -> Iterator[Row]:
    """`order_target_percent`, sells first."""
    import backtrader as bk

    def theirs(market: Market, book: np.ndarray, rate: float = RATE, slip: float = SLIP) -> Callable[[], Any]:
        seen: list[float] = []

        class Book(bk.Strategy):
            def next(self) -> None:
                row, value = book[len(seen)], self.broker.getvalue()
                seen.append(value)
                if np.isnan(row).all():
                    return
                held = [self.getposition(d).size * d.close[0] for d in self.datas]
                for i in sorted(range(len(row)), key=lambda i: row[i] * value >= held[i]):
                    self.order_target_percent(self.datas[i], row[i])

        def value() -> list[float]:
            engine = bk.Cerebro(stdstats=False)
            engine.broker.setcash(market.cash)
            engine.broker.setcommission(commission=rate)
            engine.broker.set_slippage_perc(slip, slip_open=True, slip_match=True, slip_out=True)
            for i, name in enumerate(market.names):
                engine.adddata(bk.feeds.PandasData(dataname=market.bars(i), name=name))
            engine.addstrategy(Book)
            engine.run()
            return seen

        return value

    market, base = Market.drawn(), {"execution": "next_open", "cash_buffer": 0.0, "unfilled": "cancel"}
    config = {**base, "commission_rate": RATE, "slippage": SLIP}
    for total, what in ((0.7, "70 % invested, whole shares"), (1.0, "fully invested: cash is short")):
        book = books(market, total)
        yield Row(what, config, total < 1, market, book, theirs(market, book))
    one, full = Market.small([10, 10, 12], [10, 10.01, 12]), once(3, 1.0)
    yield Row(
        "1,000 of cash, all of it in a stock at 10 that opens at 10.01; then it is at 12", base, False, one, full,
        theirs(one, full, 0.0, 0.0), by_hand=99 * 12 + 1000 - 99 * 10.01,
    )  # fmt: skip


def cvxportfolio() -> Iterator[Row]:
    """`MarketSimulator` and `FixedWeights`."""
    import cvxportfolio as cvx

    market = Market.drawn()
    rng = np.random.default_rng(5)
    shape = market.close.shape
    spread, sigma = rng.uniform(0, 0.002, shape), rng.uniform(0.01, 0.04, shape)
    gap = np.r_[1.0, np.diff(market.dates) / np.timedelta64(1, "D")]
    yearly = np.repeat(
        (365 / gap * (1.05 ** (gap / 365.24) - 1))[:, None], shape[1], 1
    )  # theirs compounds, ours is simple

    def theirs(book: np.ndarray, costs: list[Any], whole: bool, shares: np.ndarray | None = None) -> Callable[[], Any]:
        def value() -> Any:
            prices, plan = market.frame(market.close), market.frame(book)
            plan["cash"] = 1 - plan.sum(axis=1)
            back, dollars = prices.shift(-1) / prices - 1, market.frame(market.volume * market.close)
            back["cash"] = 0.0
            back.iloc[-1] = dollars.iloc[-1] = np.nan
            start = pd.Series(0.0, [*market.names, "cash"])
            if shares is not None:
                start[market.names] = shares * market.close[0]
            start["cash"] = CASH
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder)
                data = cvx.UserProvidedMarketData(
                    returns=back, volumes=dollars, prices=prices, cash_key="cash", min_history=pd.Timedelta("0d"),
                    base_location=place,
                )  # fmt: skip
                simulator = cvx.MarketSimulator(market_data=data, costs=costs, round_trades=whole, base_location=place)
                first, last = market.dates[[0, -1]]
                return simulator.backtest(cvx.FixedWeights(plan), start_time=first, end_time=last, h=start).v

        return value

    config = {"execution": "same_close", "cash_buffer": 0.0, "lot": 0.0, **UNTESTED}
    whole = {**config, "lot": 1.0, "rounding": "nearest"}
    long, short = books(market), books(market, short=True)
    cost = cvx.StocksTransactionCost(a=market.frame(spread), b=None, pershare_cost=0.005)
    yield Row(
        "half spreads and 0.005 a share, long and short, `round_trades`",
        {**whole, "commission_per_share": 0.005}, True, market, short,
        theirs(short, [cost], True), {"half_spread": spread}, True,
    )  # fmt: skip
    impact = cvx.TransactionCost(a=SLIP, b=1.0, sigma=market.frame(sigma))
    yield Row(
        "spread and `b*sigma*sqrt(share of volume)`, fractional", {**config, "slippage": SLIP, "impact": 1.0}, True,
        market, long, theirs(long, [impact], False), {"volume": market.volume, "volatility": sigma}, True,
    )  # fmt: skip
    yield Row(
        "borrow fee of 5 % a year, long and short, `round_trades`", whole, True, market, short,
        theirs(short, [cvx.HoldingCost(short_fees=5)], True), {"borrow_rate": yearly}, True,
    )  # fmt: skip
    held = np.arange(len(market.names)) * 10.0
    yield Row(
        "positions at the start (`h=`), no costs",
        config,
        True,
        market,
        long,
        theirs(long, [], False, held),
        {},
        True,
        held,
    )


def ml4t() -> Iterator[Row]:
    """`TargetWeightExecutor`."""
    import polars as pl
    from ml4t.backtest import BacktestConfig, DataFeed, Engine, Strategy, TargetWeightExecutor
    from ml4t.backtest.config import CommissionType, ShareType, SlippageType

    def theirs(
        market: Market, book: np.ndarray, whole: bool, rate: float = RATE, slip: float = SLIP
    ) -> Callable[[], Any]:
        seen: list[float] = []
        table = pd.concat({name: market.bars(i) for i, name in enumerate(market.names)}, names=["symbol", "timestamp"])
        rows = pl.from_pandas(table.reset_index().sort_values(["timestamp", "symbol"]))
        rows = rows.with_columns(pl.col("timestamp").cast(pl.Datetime("us")))

        class Book(Strategy):
            executor = TargetWeightExecutor()

            def on_data(self, timestamp: Any, data: Any, context: Any, broker: Any) -> None:
                row = book[len(seen)]
                seen.append(broker.get_account_value())
                if np.isnan(row).all():
                    return
                wanted = {a: float(w) for a, w in zip(market.names, row, strict=True) if w}  # a 0 would leave a rest
                self.executor.execute(wanted, data, broker)

        def value() -> list[float]:
            config = BacktestConfig(
                initial_cash=market.cash, calendar=None,
                share_type=ShareType.INTEGER if whole else ShareType.FRACTIONAL,
                commission_type=CommissionType.PERCENTAGE, commission_rate=rate,
                slippage_type=SlippageType.PERCENTAGE, slippage_rate=slip,
            )  # fmt: skip
            Engine(feed=DataFeed(prices_df=rows, calendar=None), strategy=Book(), config=config).run()
            return seen

        return value

    market, base = Market.drawn(), {"execution": "next_open", "cash_buffer": 0.0, "rounding": "nearest"}
    config = {**base, "commission_rate": RATE, "slippage": SLIP}
    part, full = books(market, 0.85), books(market)
    yield Row("85 % invested, whole shares", config, True, market, part, theirs(market, part, True))
    yield Row("85 % invested, fractional", {**config, "lot": 0.0}, True, market, part, theirs(market, part, False))
    yield Row("fully invested: cash is short", config, False, market, full, theirs(market, full, True))
    one, all_of_it = Market.small([10, 10, 12]), once(3, 1.0)
    yield Row(
        "1,000 of cash, all of it in a stock at 10, slippage of 0.5 %; then it is at 12",
        {**base, "slippage": 0.005}, False, one, all_of_it,
        theirs(one, all_of_it, True, 0.0, 0.005), by_hand=99 * 12 + 1000 - 99 * 10.05,
    )  # fmt: skip


def zipline() -> Iterator[Row]:
    """`order_target_percent` at daily data, open orders cancelled before new ones."""
    os.environ["ZIPLINE_ROOT"] = tempfile.mkdtemp(prefix="zipline")
    import zipline.api as za
    from zipline import run_algorithm
    from zipline.data.bundles import ingest, register
    from zipline.finance import commission, slippage
    from zipline.utils.calendar_utils import get_calendar

    def bundle(name: str, market: Market) -> None:
        first, last = market.dates[[0, -1]]

        def write(environ: Any, assets: Any, minutes: Any, daily: Any, adjustments: Any, *rest: Any) -> None:
            frames = ((i, market.bars(i).fillna(0.0)) for i in range(len(market.names)))
            daily.write(frames, show_progress=False)
            life = {"start_date": first, "end_date": last, "auto_close_date": last + pd.Timedelta(days=1)}
            who = {"symbol": market.names, "exchange": "X", "asset_name": market.names}
            place = pd.DataFrame({"exchange": ["X"], "canonical_name": ["X"], "country_code": ["US"]})
            assets.write(equities=pd.DataFrame({**who, **life}), exchanges=place)
            adjustments.write()

        register(name, write, calendar_name="XNYS", start_session=first, end_session=last)
        ingest(name, show_progress=False)

    def theirs(name: str, market: Market, book: np.ndarray, floor: float) -> Callable[[], Any]:
        seen: list[float] = []

        def initialize(context: Any) -> None:
            za.set_commission(us_equities=commission.PerShare(0.005, floor))
            za.set_slippage(us_equities=slippage.FixedBasisPointsSlippage(1e4 * SLIP, 0.1))
            context.names = [za.symbol(x) for x in market.names]

        def handle(context: Any, data: Any) -> None:
            row = book[len(seen)]
            seen.append(context.portfolio.portfolio_value)
            if np.isnan(row).all():
                return
            for order in [x for orders in za.get_open_orders().values() for x in orders]:
                za.cancel_order(order)
            for asset, weight in zip(context.names, row, strict=True):
                if data.can_trade(asset):
                    za.order_target_percent(asset, weight)

        def value() -> list[float]:
            first, last = market.dates[[0, -1]]
            run_algorithm(
                start=first, end=last, initialize=initialize, handle_data=handle, capital_base=market.cash,
                data_frequency="daily", bundle=name, benchmark_returns=pd.Series(0.0, index=market.dates),
                trading_calendar=get_calendar("XNYS"),
            )  # fmt: skip
            return seen

        return value

    config = {
        "execution": "next_close", "cash_buffer": 0.0, "commission_per_share": 0.005,
        "slippage": SLIP, "participation": 0.1, **UNTESTED,
    }  # fmt: skip
    whole, holes, one = Market.drawn(), Market.drawn(gaps=True), Market.small([10.0] * 6, cash=1e5)
    whole.cash = holes.cash = 10 * CASH
    bundle("one", one)
    bundle("whole", whole)
    bundle("holes", holes)
    book = books(whole, every=7)
    volume = {"volume": whole.volume}
    yield Row("0.005 a share, 10 % of the volume", config, True, whole, book, theirs("whole", whole, book, 0.0), volume)
    last = {**config, "sizing": "last", "delist_after": 0}
    yield Row(
        "the same, with prices missing", last, True, holes, book, theirs("holes", holes, book, 0.0),
        {"volume": holes.volume},
    )  # fmt: skip
    floor = {**config, "min_commission": 1.0}
    yield Row("a minimum of 1 an order", floor, False, whole, book, theirs("whole", whole, book, 1.0), volume)
    few = once(6, 0.025)
    yield Row(
        "250 shares at 10, 100 of them a day, at least 1 an order", floor, False, one, few,
        theirs("one", one, few, 1.0), {"volume": one.volume}, by_hand=1e5 - 250 * 10 * SLIP - 1.25,
    )  # fmt: skip


#: Function -> (its distribution, the module that shows whether it is installed).
PEERS = {
    vectorbt: ("vectorbt", "vectorbt"),
    bt: ("bt", "bt"),
    backtrader: ("backtrader", "backtrader"),
    cvxportfolio: ("cvxportfolio", "cvxportfolio"),
    ml4t: ("ml4t-backtest", "ml4t"),
    zipline: ("zipline-reloaded", "zipline"),
}


def main() -> int:
    """Run what can be run, print and write it; 1 where a row is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", choices=[peer.__name__ for peer in PEERS])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    rows: list[dict[str, Any]] = []
    for peer, (name, module) in PEERS.items():
        if (given.peer and peer.__name__ not in given.peer) or importlib.util.find_spec(module) is None:
            continue
        for row in peer():
            lacks = row.missing()
            found = {} if lacks else row.measured()
            wrong = bool(found) and (found["worst"] < SAME) != row.same
            verdict = f"not run: no {lacks}"
            if found:
                verdict = "{worst:.1e}, at the end {ours:.2f}, theirs {theirs:.2f}".format(**found)
                verdict += "" if row.by_hand is None else f", by hand {row.by_hand:.2f}"
            print(f"{name} {version(name)}: {row.what}: {verdict}{' NOT AS EXPECTED' if wrong else ''}", flush=True)
            more = [*row.panel, *(["holdings="] if row.holdings is not None else [])]
            said = {field: getattr(row, field) for field in ("what", "config", "same", "by_hand")}
            said |= {"peer": f"{name} {version(name)}", "more": more, "cash": row.market.cash}
            rows.append({**said, "lacks": lacks, "wrong": wrong, **found})
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return int(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
