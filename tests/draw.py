# SPDX-License-Identifier: Apache-2.0
"""Drawn scenarios: a whole small panel, its weights and a Config from one seed, made to reach the law's rare paths.

Every Config field and every panel field varies. Four moods steer what a scenario runs into: "plain"; "tight" (little
cash for the prices, full targets: clips and buy-backs); "levered" (margin, crashes: clips, calls, bankruptcies);
"edge" (ledger grids near their limits, tiny accounts, huge weights).
"""

from __future__ import annotations

import datetime as dt
from hashlib import blake2b
from typing import Any

import numpy as np
from hypothesis import strategies as st
from oracle import OraclePanel

from gpu_bt.config import CHOICES, Config

__all__ = ["draw", "scenario", "scenarios", "to_public"]

_DAY = 86_400_000_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
#: Zones, and UTC times near which their clocks change: by an hour, by half of one, over midnight, from midnight on; one
#: has no change, one is a fixed offset.
_CHANGES = {
    "America/New_York": ("2024-03-10T07", "2024-11-03T06"),
    "Europe/Berlin": ("2024-03-31T01", "2024-10-27T01"),
    "Australia/Lord_Howe": ("2024-04-06T15", "2024-10-05T15:30"),
    "America/St_Johns": ("2006-10-29T02:31", "2007-03-11T03:31"),
    "America/Santiago": ("2024-04-07T03", "2024-09-08T04"),
    "Asia/Kolkata": (),
    "+05:45": (),
}
_RATIOS = (2.0, 0.5, 3.0, 1 / 3, 1.5, 0.1, 7 / 3, 10.0, 1.0000001, 0.97, 1.25)
_FLOAT_FIELDS = (
    "close open high low vwap volume half_spread volatility dividend split borrow_rate".split()
)  # what a float32 panel casts


def scenario(seed: int, assets: int | None = None) -> tuple[OraclePanel, np.ndarray, Config]:
    """`draw` from a seed."""
    return draw(np.random.default_rng(seed), assets)


def scenarios() -> st.SearchStrategy[tuple[OraclePanel, np.ndarray, Config]]:
    """A hypothesis strategy over drawn scenarios; the seed is what it shrinks."""
    return st.integers(0, 2**63 - 1).map(scenario)


def draw(rng: np.random.Generator, assets: int | None = None) -> tuple[OraclePanel, np.ndarray, Config]:
    """(panel, weights (T, N) with NaN = no target, config), each valid by the law's input rules; N is drawn too, mostly
    small, where it is not given."""
    t = int(rng.integers(1, 41)) if chance(rng, 0.3) else int(rng.integers(12, 41))
    n = int(rng.integers(13, 41)) if chance(rng, 0.1) else int(rng.integers(1, 13))
    n = n if assets is None else assets
    mood = pick(rng, ("plain", "tight", "levered", "edge"), (0.3, 0.31, 0.29, 0.1))
    execution = pick(rng, CHOICES["execution"])
    cash = initial_cash(rng, mood)
    panel = draw_panel(rng, t, n, mood, execution, cash)
    span = int(panel.microseconds[-1] - panel.microseconds[0])
    more = rng.spawn(1)[0]  # what is drawn by it leaves the other draws as they are
    late_fields(more, panel)
    config = Config(
        initial_cash=cash,
        execution=execution,
        money_tick=money_tick(rng, mood, cash),
        **account(rng, mood),
        **costs(rng, panel, cash, mood),
        **decisions(rng, mood, cash, span),
        **rarities(more, cash),
    )
    weights = draw_weights(rng, t, n, mood, config)
    draw_clock(rng, panel)
    return panel, weights, config.replace(**calendar(rng))


def to_public(panel: OraclePanel, config: Config) -> dict[str, Any]:
    """Keyword arguments for `gpu_bt.Panel`. A drawn split may be hidden by a price move: expect BacktestWarning."""
    names = (*_FLOAT_FIELDS, "can_buy", "can_sell", "universe", "assets", "delisted_at", "delisting_return", "lot")
    following = panel.next_microseconds
    stamps = [moment(int(u), panel.time_zone) for u in panel.microseconds]
    return {
        **{name: getattr(panel, name) for name in names},
        "timestamps": np.array(stamps, object),
        "next_timestamp": None if following is None else moment(int(following), panel.time_zone),
        "time_zone": panel.time_zone,
        "prices": "raw",
    }


def moment(microsecond: int, time_zone: str | None) -> dt.datetime:
    """A datetime, in UTC where the panel has a zone."""
    found = _EPOCH + dt.timedelta(microseconds=microsecond)
    return found if time_zone else found.replace(tzinfo=None)


def chance(rng: np.random.Generator, p: float) -> bool:
    return bool(rng.random() < p)


def pick(rng: np.random.Generator, options: tuple[Any, ...], p: tuple[float, ...] | None = None) -> Any:
    return options[int(rng.choice(len(options), p=p))]


def maybe(rng: np.random.Generator, p: float, value: Any, otherwise: Any = None) -> Any:
    return value if chance(rng, p) else otherwise


def initial_cash(rng: np.random.Generator, mood: str) -> float:
    if mood == "tight":
        return round(float(10 ** rng.uniform(2, 4.5)), 2)
    if mood == "edge":
        return pick(rng, (0.01, 1.0, 1e4, 2.0**20, 1e9, 1e15))
    return pick(rng, (1e5, 1e6, 2.0**17, round(float(10 ** rng.uniform(4, 8)), 2)))


# --- the panel ---


def draw_panel(rng: np.random.Generator, t: int, n: int, mood: str, execution: str, cash: float) -> OraclePanel:
    us = timestamps(rng, t)
    split = maybe(rng, 0.4, np.ones((t, n)))
    if split is not None:
        hit = rng.random((t, n)) < pick(rng, (0.02, 0.1))
        split[hit] = rng.choice(_RATIOS, int(hit.sum()))
    close = prices(rng, t, n, mood, split)
    traded = listed(rng, t, n)
    panel = OraclePanel(us, close, assets=names(rng, n), split=split)
    need = {"next_open": "open", "next_vwap": "vwap"}.get(execution)
    if need == "open" or chance(rng, 0.5):
        panel.open = quote(rng, close * np.exp(rng.normal(0, 0.01, (t, n))))
    holes(rng, panel, traded)
    alive = ~np.isnan(panel.close) | (False if panel.open is None else ~np.isnan(panel.open))
    if need == "vwap" or chance(rng, 0.3):
        panel.vwap = np.where(alive & (rng.random((t, n)) < 0.95), quote(rng, close * 1.001), np.nan)
    if chance(rng, 0.3):
        known = [close if panel.open is None else np.where(np.isnan(panel.open), close, panel.open), close]
        wide = np.abs(rng.normal(0, 0.02, (t, n)))
        panel.high = np.where(alive, np.maximum(*known) * (1 + wide), np.nan)
        panel.low = np.where(alive, np.minimum(*known) / (1 + wide), np.nan)
    optional_fields(rng, panel, close, cash)
    per_asset_fields(rng, panel, t, n)
    if chance(rng, 0.25):
        for name in _FLOAT_FIELDS:
            if getattr(panel, name) is not None:
                setattr(panel, name, getattr(panel, name).astype(np.float32))
    if chance(rng, 0.4):
        panel.next_microseconds = int(us[-1]) + int(10 ** rng.uniform(3, 13))
    return panel


def names(rng: np.random.Generator, n: int) -> list[str]:
    """N unique ids; in some scenarios most share one tie, so that a class of the buy-back has several members."""
    prefix = pick(rng, ("A", "BB", "é", "0"))
    plain = [f"{prefix}{i}" for i in range(n)]
    if chance(rng, 0.75):
        return plain
    many = (f"{prefix}{i}" for i in range(n, 64 * n))
    same = [x for x in many if blake2b(x.encode(), digest_size=8).digest()[-1] % 64 == 7]
    return (same + plain)[:n]


def timestamps(rng: np.random.Generator, t: int) -> np.ndarray:
    """(T,) int64 microseconds, some before 1970, some intraday, some months apart."""
    day = _DAY
    kind = pick(rng, ("daily", "business", "intraday", "irregular", "monthly"))
    start = int(rng.integers(-4000, 22000)) * day
    if kind == "irregular":
        steps = (10 ** rng.uniform(0, 13, t)).astype(np.int64) + 1
    elif kind == "business":
        steps = rng.choice([day, day, day, 3 * day, 4 * day], t)
    else:
        steps = {"daily": day, "intraday": int(rng.integers(1, 390)) * 60_000_000, "monthly": 31 * day}[kind]
        steps = np.full(t, steps) + (rng.integers(0, 1000, t) if kind == "intraday" else 0)
    return start + int(rng.integers(0, day)) * chance(rng, 0.3) + np.cumsum(steps).astype(np.int64)


def draw_clock(rng: np.random.Generator, panel: OraclePanel) -> None:
    """A time zone, bars of sessions (some a date, some minutes apart), and bars around a change of the zone's clock."""
    us = np.asarray(panel.microseconds)
    due = None if panel.next_microseconds is None else panel.next_microseconds - int(us[-1])
    if chance(rng, 0.3):
        minutes, a_day = pick(rng, (1, 30, 60, 180)), int(rng.integers(1, 8))
        bars = np.arange(len(us))
        us = int(us[0]) + bars // a_day * _DAY + bars % a_day * minutes * 60_000_000
    panel.time_zone = maybe(rng, 0.5, pick(rng, tuple(_CHANGES)))
    changes = _CHANGES.get(panel.time_zone or "", ())
    if changes and chance(rng, 0.6):
        change = int(np.datetime64(pick(rng, changes), "us").astype(np.int64))
        if chance(rng, 0.4):
            us = us[0] + np.arange(len(us)) * pick(rng, (5, 15, 60)) * 60_000_000
        us = us + (change - int(us[rng.integers(0, len(us))])) + int(rng.integers(-2, 3)) * 15 * 60_000_000
    if (us // (31 * _DAY) == 0).all():  # January 1970, which the panel takes for a wrong unit
        us = us + 31 * _DAY
    panel.microseconds = us.astype(np.int64)
    panel.next_microseconds = None if due is None else int(us[-1]) + due


def quote(rng: np.random.Generator, price: np.ndarray) -> np.ndarray:
    """Prices as a feed quotes them: in cents, in eighths, or in full precision."""
    kind = pick(rng, ("cents", "eighths", "full"))
    price = np.clip(price, 1e-6, 1e9)
    if kind == "full":
        return price
    unit = 100.0 if kind == "cents" else 8.0
    return np.maximum(np.rint(price * unit), 1.0) / unit


def prices(rng: np.random.Generator, t: int, n: int, mood: str, split: np.ndarray | None) -> np.ndarray:
    """(T, N) closes without gaps, divided by the splits so far."""
    steps = rng.normal(0, pick(rng, (0.005, 0.02, 0.1)), (t, n))
    if mood == "levered" or chance(rng, 0.2):
        jump = (rng.random((t, n)) < 0.03) | (rng.random((t, 1)) < 0.05)
        steps += np.where(jump, rng.choice([-2.0, -0.7, -0.3, -0.15, 0.5, 1.2], (t, n)), 0.0)
    start = 10 ** rng.uniform(*pick(rng, ((0, 2), (1, 3.5), (-2, 1))), 1 if chance(rng, 0.2) else n)
    path = start * np.exp(np.cumsum(steps, axis=0))
    return quote(rng, path if split is None else path / np.cumprod(split, axis=0))


def listed(rng: np.random.Generator, t: int, n: int) -> np.ndarray:
    """(T, N) bool: single gaps, late listings, early ends, long gaps."""
    traded = rng.random((t, n)) >= pick(rng, (0.0, 0.03, 0.3), (0.4, 0.4, 0.2))
    if chance(rng, 0.5):
        for i in range(n):
            a, b = np.sort(rng.integers(0, t + 1, 2))
            kind = pick(rng, ("none", "late", "early end", "gap", "never"), (0.4, 0.2, 0.2, 0.17, 0.03))
            where = {"late": slice(0, a), "early end": slice(b, t), "gap": slice(a, b), "never": slice(0, t)}.get(kind)
            if where is not None:
                traded[where, i] = False
    return traded


def holes(rng: np.random.Generator, panel: OraclePanel, traded: np.ndarray) -> None:
    """NaN where nothing trades, and now and then in one of close and open alone."""
    some = 0.04 if chance(rng, 0.5) else 0.0
    panel.close = np.where(traded & (rng.random(traded.shape) >= some), panel.close, np.nan)
    if panel.open is not None:
        panel.open = np.where(traded & (rng.random(traded.shape) >= some), panel.open, np.nan)


def optional_fields(rng: np.random.Generator, panel: OraclePanel, close: np.ndarray, cash: float) -> None:
    t, n = shape = close.shape
    if chance(rng, 0.6):
        usual = cash / close / n * 10 ** rng.uniform(-1.0, 2.5)
        panel.volume = np.rint(usual * rng.lognormal(0, 1, shape)) if chance(rng, 0.7) else usual
        panel.volume = sprinkle(rng, panel.volume, 0.07, (0.0, np.nan))
    if chance(rng, 0.35):
        wide = pick(rng, (0.001, 0.01, 0.9), (0.6, 0.3, 0.1))
        panel.half_spread = sprinkle(rng, rng.uniform(0, wide, shape), 0.1, (0.0, np.nan))
    if chance(rng, 0.35):
        paid = rng.random(shape) < 0.1
        panel.dividend = sprinkle(rng, np.where(paid, close * rng.uniform(0, 0.05, shape), 0.0), 0.1, (np.nan,))
    if panel.split is not None:
        panel.split = np.where((panel.split == 1.0) & (rng.random(shape) < 0.1), np.nan, panel.split)
    if chance(rng, 0.3):
        panel.borrow_rate = sprinkle(rng, rng.uniform(0, 0.5, shape), 0.1, (0.0, 1.0, np.nan))
    if chance(rng, 0.3):
        panel.can_buy = rng.random((t, n)) < pick(rng, (0.5, 0.9))
    if chance(rng, 0.3):
        panel.can_sell = rng.random((t, n)) < pick(rng, (0.5, 0.9))


def per_asset_fields(rng: np.random.Generator, panel: OraclePanel, t: int, n: int) -> None:
    if chance(rng, 0.3):
        panel.delisted_at = np.where(rng.random(n) < 0.4, rng.integers(0, t + 2, n), -1)
    if chance(rng, 0.4):
        panel.delisting_return = rng.choice([0.0, -1.0, -0.3, -0.5, 0.25, np.nan], n)
    if chance(rng, 0.25):
        panel.lot = rng.choice([0.0, 1.0, 0.5, 10.0, 100.0, 0.01], n)


def late_fields(rng: np.random.Generator, panel: OraclePanel) -> None:
    if chance(rng, 0.4):
        sigma = sprinkle(rng, rng.uniform(0, pick(rng, (0.03, 0.5)), panel.shape), 0.1, (0.0, np.nan))
        panel.volatility = sigma.astype(np.float32) if chance(rng, 0.2) else sigma
    if chance(rng, 0.25):  # assets enter and leave once in so many bars
        flips = np.cumsum(rng.random(panel.shape) < pick(rng, (0.02, 0.1, 0.4)), axis=0)
        panel.universe = (flips + (rng.random(panel.shape[1]) < 0.3)) % 2 == 0


def sprinkle(rng: np.random.Generator, values: np.ndarray, p: float, special: tuple[float, ...]) -> np.ndarray:
    return np.where(rng.random(values.shape) < p, rng.choice(special, values.shape), values)


# --- the config ---


def account(rng: np.random.Generator, mood: str) -> dict[str, Any]:
    rates = (0.0, 0.03, 0.2, -0.05)
    return {
        "account": {"levered": "margin", "tight": "cash"}.get(mood, pick(rng, ("cash", "margin"))),
        "max_leverage": pick(rng, (None, 0.5, 1.0, 2.0, 4.0, 20.0), (0.25, 0.05, 0.15, 0.25, 0.2, 0.1)),
        "maintenance_margin": pick(rng, (None, 0.0, 0.1, 0.25, 0.5, 0.95), (0.25, 0.03, 0.2, 0.3, 0.17, 0.05)),
        "cash_rate": maybe(rng, 0.4, pick(rng, rates, (0.1, 0.5, 0.3, 0.1)), 0.0),
        "debit_rate": maybe(rng, 0.5, pick(rng, rates), 0.0),
        "borrow_rate": maybe(rng, 0.4, pick(rng, (0.01, 0.3)), 0.0),
        "lot": pick(rng, (1.0, 0.0, 0.5, 100.0, 10.0), (0.55, 0.2, 0.1, 0.08, 0.07)),
        "rounding": pick(rng, CHOICES["rounding"]),
        "delist_after": pick(rng, (0, 1, 2, 3, 5, 20)),
        "bars_per_year": maybe(rng, 0.2, 252.0),
    }


def costs(rng: np.random.Generator, panel: OraclePanel, cash: float, mood: str) -> dict[str, Any]:
    free = chance(rng, 0.15)
    on = 0.0 if free else 0.5
    per_fill = min(round(cash * float(10 ** rng.uniform(-5, -2.5)), 2), 100.0)
    if mood == "edge" and chance(rng, 0.7):
        per_fill = cash * float(rng.uniform(0.3, 1.2))
    has_volume = panel.volume is not None
    return {
        "commission_rate": maybe(rng, on, pick(rng, (5e-4, 0.001, 2.0**-9, 0.1)), 0.0),
        "sell_tax": maybe(rng, on / 2, pick(rng, (0.001, 0.005, 0.3)), 0.0),
        "commission_per_share": maybe(rng, on / 2, pick(rng, (0.005, 0.0625, 1.0)), 0.0),
        "min_commission": maybe(rng, on / 2, min(per_fill, 1e15), 0.0),
        "max_commission_rate": maybe(rng, on / 2, pick(rng, (0.0, 0.002, 0.01, 0.5))),
        "slippage": maybe(rng, on, pick(rng, (5e-4, 2.0**-10, 0.02, 0.6), (0.45, 0.25, 0.25, 0.05)), 0.0),
        "impact": maybe(rng, 0.5 if has_volume else 0.0, pick(rng, (0.01, 0.1, 1.0)), 0.0),
        "participation": maybe(
            rng, 0.6 if has_volume else 0.0, pick(rng, (0.01, 0.1, 0.25, 1.0, 0.0), (0.3, 0.3, 0.2, 0.15, 0.05))
        ),
        "unfilled": pick(rng, CHOICES["unfilled"]),
    }


def decisions(rng: np.random.Generator, mood: str, cash: float, span: int) -> dict[str, Any]:
    """Schedule and limits. Half of all scenarios have no limits, so that their books fill and meet the ledger's."""
    buffers = (0.0025, 0.0, 0.1, -0.01, -0.5, 1.0)
    odds = (0.2, 0.5, 0.05, 0.2, 0.05, 0.0) if mood == "tight" else (0.5, 0.3, 0.1, 0.07, 0.01, 0.02)
    on = 0.35 if chance(rng, 0.5) else 0.0
    four = (0.04, 0.32, 0.32, 0.32)
    days = {"bar": 0, "day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}
    fitting = tuple(name for name, length in days.items() if 3 * length * _DAY <= span)
    return {
        "cash_buffer": pick(rng, buffers, odds),
        "rebalance": pick(rng, fitting if chance(rng, 0.8) else CHOICES["rebalance"]),
        "rebalance_every": maybe(rng, 0.25, int(rng.integers(2, 6)), 1),
        "rebalance_offset": maybe(rng, 0.25, int(rng.integers(1, 5)), 0),
        "signal_lag": maybe(rng, 0.25, int(rng.integers(1, 4)), 0),
        "band": maybe(rng, on, pick(rng, (0.002, 0.02, 0.125)), 0.0),
        "min_trade_value": maybe(rng, on, pick(rng, (cash * 0.001, cash * 0.02, 100.0)), 0.0),
        "max_weight": maybe(rng, on, pick(rng, (0.0, 0.05, 0.25, 0.5), four)),
        "max_gross": maybe(rng, on, pick(rng, (0.0, 0.3, 0.75, 2.5), four)),
        "max_turnover": maybe(rng, on, pick(rng, (0.0, 0.02, 0.1, 0.4), four)),
        "max_drawdown": maybe(rng, 0.25, pick(rng, (0.02, 0.1, 0.3))),
    }


def rarities(rng: np.random.Generator, cash: float) -> dict[str, Any]:
    fixed = min(round(cash * float(10 ** rng.uniform(-6, -2)), 2), 1e3)
    return {
        "sizing": pick(rng, CHOICES["sizing"]),
        "outside": pick(rng, CHOICES["outside"]),
        "fixed_commission": maybe(rng, 0.25, pick(rng, (fixed, 0.0625, cash / 3), (0.7, 0.2, 0.1)), 0.0),
    }


def money_tick(rng: np.random.Generator, mood: str, cash: float) -> float | None:
    """Mostly the default; in an edgy mood a grid on which the account nearly overflows, or one too coarse for it."""
    if mood != "edge" or chance(rng, 0.35):
        return maybe(rng, 0.1, 2.0 ** int(rng.integers(-20, -6))) if cash >= 100.0 and mood != "edge" else None
    power = int(np.floor(np.log2(cash)))
    bits = pick(rng, (50, 49, 48, 52, 8, 4, 0), (0.2, 0.2, 0.1, 0.05, 0.15, 0.1, 0.2))
    return float(2.0 ** min(max(power - bits, -80), 60))


def calendar(rng: np.random.Generator) -> dict[str, Any]:
    return {"rebalance_on": pick(rng, CHOICES["rebalance_on"]), "week_starts": pick(rng, CHOICES["week_starts"])}


# --- the weights ---


def draw_weights(rng: np.random.Generator, t: int, n: int, mood: str, config: Config) -> np.ndarray:
    """(T, N): full, sparse, partly NaN, zero and absent rows; some held over several bars."""
    total = pick(rng, (1.0, 0.8, 1.3), (0.5, 0.3, 0.2))
    if mood == "levered" or (mood == "edge" and config.account == "margin"):
        total = pick(rng, (1.5, 3.0, 6.0))
    if mood == "edge" and chance(rng, 0.2):
        total = 5000.0
    short = config.account == "margin" and chance(rng, 0.75)
    style = pick(rng, ("decimal", "dyadic", "full"))
    sticky, equal = chance(rng, 0.5), chance(rng, 0.2)
    out = np.full((t, n), np.nan)
    for bar in range(t):
        if bar and sticky and chance(rng, 0.6):
            out[bar] = out[bar - 1]
            continue
        row = one_row(rng, n, total, short, equal)
        unit = {"decimal": 1000.0, "dyadic": 256.0, "full": 0.0}[style]
        out[bar] = np.clip(np.rint(row * unit) / unit if unit else row, -1000.0, 1000.0)
    return out.astype(np.float32) if chance(rng, 0.1) else out


def one_row(rng: np.random.Generator, n: int, total: float, short: bool, equal: bool) -> np.ndarray:
    kind = pick(rng, ("full", "sparse", "gaps", "zero", "absent"), (0.4, 0.25, 0.2, 0.05, 0.1))
    if kind in ("zero", "absent"):
        return np.full(n, 0.0 if kind == "zero" else np.nan)
    row = np.full(n, total / n) if equal else rng.dirichlet(np.full(n, pick(rng, (0.3, 1.0, 5.0)))) * total
    if kind == "sparse":
        keep = rng.random(n) < 0.25
        row = np.where(keep, row, 0.0)
        row *= total / row.sum() if row.sum() > 0.0 else 1.0
    if short:
        row *= rng.choice([1.0, 1.0, -1.0], n)
    if kind == "gaps":
        row[rng.random(n) < 0.4] = np.nan
    return row
