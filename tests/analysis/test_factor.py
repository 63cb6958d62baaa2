# SPDX-License-Identifier: Apache-2.0
"""A factor study against pandas, SciPy, the engine, a holder simulated bar by bar, and numbers worked by hand."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import polars as pl
import pytest
from emulator.build import why_not
from emulator.fake_arrays import on_device
from emulator.fake_cupy import FakeCupy, installed
from scipy.stats import rankdata, spearmanr

import gpu_bt as bt
from gpu_bt.analysis import sections
from gpu_bt.analysis.forward import forward_returns
from gpu_bt.analysis.ranks import average_ranks, row_correlation, series_statistics
from gpu_bt.synthetic import synthetic_universe

HORIZONS = (1, 3, 8)
EXECUTIONS = ("next_open", "next_close", "same_close")
DAYS = np.busday_offset("2020-01-01", np.arange(300), roll="forward")


def clean(close, **fields) -> bt.Panel:
    t, n = np.shape(close)
    return bt.Panel(np.array(close, float), timestamps=DAYS[:t], assets=[f"A{i}" for i in range(n)], **fields)


def messy(bars: int = 90, assets: int = 40, seed: int = 3) -> bt.Panel:
    """Splits, dividends, late listings, delistings told and silent, halts, bars without open or close, a universe."""
    made = synthetic_universe(bars, assets, seed=seed)
    rng = np.random.default_rng(seed)
    close, open_ = made.close.copy(), made.open.copy()
    close[rng.random(close.shape) < 0.04] = np.nan
    open_[rng.random(close.shape) < 0.04] = np.nan
    gone = np.where(rng.random(assets) < 0.3, rng.integers(5, bars, assets), -1)
    back = rng.choice([0.0, -0.5, -1.0, 0.25], assets)
    fields = {"dividend": made.dividend, "split": made.split, "universe": rng.random(close.shape) < 0.9}
    close[bars // 2 : bars // 2 + 9, :3] = open_[bars // 2 : bars // 2 + 9, :3] = np.nan  # silent, then trading again
    return bt.Panel(
        close, open=open_, timestamps=made.timestamps, assets=made.assets, prices="raw", delisted_at=gone,
        delisting_return=back, group=made.group, **fields,
    )  # fmt: skip


def scored(panel: bt.Panel, seed: int = 0) -> np.ndarray:
    """Scores with many ties and NaN; a constant row and an empty one."""
    rng = np.random.default_rng(seed)
    found = np.round(rng.normal(size=panel.shape), 1)
    found[rng.random(panel.shape) < 0.1] = np.nan
    found[7], found[8] = 1.0, np.nan
    return found


def held(panel: bt.Panel, t: int, i: int, h: int, execution: str, delist_after: int) -> float:
    """The forward return of one asset, by following a share through the bars."""
    e = t + (execution != "same_close")
    price = panel.open if execution == "next_open" else panel.close
    gone, back = panel.delisted_at[i], panel.delisting_return[i]
    if e + h >= panel.shape[0] or np.isnan(price[e, i]) or 0 <= gone <= e:
        return np.nan
    shares, cash, silent = 1.0, 0.0, 0
    mark = panel.close[e, i] if not np.isnan(panel.close[e, i]) else panel.open[e, i]
    for b in range(e + 1, e + h + 1):
        cash += shares * panel.dividend[b, i]
        shares, mark = shares * panel.split[b, i], mark / panel.split[b, i]
        there = not np.isnan(panel.close[b, i]) or not np.isnan(panel.open[b, i])
        silent = 0 if there else silent + 1
        if b == gone or silent == delist_after:
            return (cash + shares * mark * (1 + back)) / price[e, i] - 1
        carried = mark
        if there:
            mark = panel.close[b, i] if not np.isnan(panel.close[b, i]) else panel.open[b, i]
    sold = price[e + h, i] if not np.isnan(price[e + h, i]) else carried if execution == "next_open" else mark
    return (cash + shares * sold) / price[e, i] - 1


def returns_of(panel: bt.Panel, h: int, execution: str, delist_after: int = 20) -> np.ndarray:
    t, n = panel.shape
    return np.array([[held(panel, b, i, h, execution, delist_after) for i in range(n)] for b in range(t)])


def ranked_of(panel: bt.Panel, scores: np.ndarray) -> np.ndarray:
    bars = np.arange(panel.shape[0])[:, None]
    found = ~np.isnan(scores) & ((panel.delisted_at < 0) | (bars < panel.delisted_at))
    return found if panel.universe is None else found & panel.universe


def cube(table: pl.DataFrame, column: str, *shape: int) -> np.ndarray:
    return table[column].to_numpy().reshape(shape)


def quantile_of(values: np.ndarray, quantiles: int) -> np.ndarray:
    """By pandas, of one bar: equal scores in the order of assets, the first one the best."""
    first = pd.Series(values[::-1]).rank(method="first")[::-1]
    if first.count() < quantiles:
        return np.full(len(values), np.nan)
    edges = [(first.count() - 1) * q / quantiles + 1 for q in range(quantiles + 1)]
    return pd.cut(first, edges, labels=False, include_lowest=True).to_numpy() + 1


@pytest.fixture(params=[2**19, 1], ids=["whole", "blocks"])
def blocks(request, monkeypatch):
    """In one block of rows, and in many."""
    monkeypatch.setattr(sections, "_CELLS", request.param)


@pytest.mark.parametrize("delist_after", [20, 5])
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_all_numbers_against_pandas_and_scipy(blocks, execution, delist_after):
    panel = messy()
    scores, t = scored(panel), panel.shape[0]
    q, own = 4, ranked_of(panel, scores)
    how = {"horizons": HORIZONS, "quantiles": q, "execution": execution, "delist_after": delist_after}
    study = bt.factor(panel, scores, **how)
    ic, assets = (cube(study.ic, name, t, 3) for name in ("ic", "assets"))
    means, counts = (cube(study.quantile_returns, name, t, 3, q) for name in ("return", "assets"))
    spread = cube(study.spread, "spread", t, 3)
    of = np.array([quantile_of(np.where(own[b], scores[b], np.nan), q) for b in range(t)])
    for k, h in enumerate(HORIZONS):
        got = returns_of(panel, h, execution, delist_after)
        for b in range(t):
            there = own[b] & ~np.isnan(got[b])
            x, y = scores[b, there], got[b, there]
            assert assets[b, k] == there.sum()
            if there.sum() > 1 and np.ptp(x) and np.ptp(y):
                assert ic[b, k] == pytest.approx(spearmanr(x, y)[0], abs=1e-12)
            else:
                assert np.isnan(ic[b, k])
            want = [got[b, there & (of[b] == p)] for p in range(1, q + 1)]
            assert counts[b, k].tolist() == [len(w) for w in want]
            np.testing.assert_allclose(means[b, k], [w.mean() if len(w) else np.nan for w in want], atol=1e-12)
        np.testing.assert_array_equal(spread[:, k], means[:, k, -1] - means[:, k, 0])
    assert np.isnan(ic[7]).all() and np.isnan(ic[8]).all() and (assets[7, 0] > 5) and assets[8, 0] == 0
    assert np.isfinite(ic).sum() > 2 * t


def test_turnover_and_autocorrelation_against_sets_and_pandas(blocks):
    panel = messy()
    scores, t, q = scored(panel), panel.shape[0], 4
    study = bt.factor(panel, scores, horizons=HORIZONS, quantiles=q)
    own = np.where(ranked_of(panel, scores), scores, np.nan)
    of = np.array([quantile_of(row, q) for row in own])
    ranks = pd.DataFrame(own).rank(axis=1)
    for k, h in enumerate(HORIZONS):
        for name, quantile in (("top_turnover", q), ("bottom_turnover", 1)):
            got = cube(study.turnover, name, t, 3)[:, k]
            for b in range(t):
                new, old = (set(np.flatnonzero(of[c] == quantile)) if c >= 0 else set() for c in (b, b - h))
                want = len(new - old) / len(new) if new and old else np.nan
                np.testing.assert_equal(got[b], want)
        want = [ranks.iloc[b].corr(ranks.iloc[b - h]) if b >= h and ranks.iloc[b].nunique() > 1 and
                ranks.iloc[b - h].nunique() > 1 else np.nan for b in range(t)]  # fmt: skip
        np.testing.assert_allclose(cube(study.turnover, "autocorrelation", t, 3)[:, k], want, atol=1e-12)


def test_coverage(blocks):
    panel = messy()
    scores = scored(panel)
    groups = np.where(np.arange(panel.shape[1]) < 4, "", panel.group)
    table = bt.factor(panel, scores, groups=groups, horizons=1, quantiles=3).coverage
    listed = ranked_of(panel, np.zeros(panel.shape))
    own = ranked_of(panel, scores) & (groups != "")
    large = np.zeros(panel.shape, bool)
    for name in np.unique(groups[4:]):
        large |= own & (groups == name) & ((own & (groups == name)).sum(axis=1, keepdims=True) >= 3)
    bought = own & ~np.isnan(returns_of(panel, 1, "next_open"))
    for name, want in {"listed": listed, "scored": listed & ~np.isnan(scores), "ranked": own, "in_quantiles": large,
                       "with_return": bought}.items():  # fmt: skip
        assert table[name].to_list() == want.sum(axis=1).tolist(), name
    assert 0 < large.sum() < own.sum() < (listed & ~np.isnan(scores)).sum()


@pytest.mark.parametrize("demean", [False, True])
@pytest.mark.parametrize("by_bar", [False, True])
def test_groups(blocks, by_bar, demean):
    panel = messy(60, 60)
    scores, (t, n), q = scored(panel), panel.shape, 3
    groups = np.array([["x", "y", ""], ["y", "x", "y"]])[(np.arange(t) > 30).astype(int)][:, np.arange(n) % 3]
    groups = groups if by_bar else groups[0]
    study = bt.factor(panel, scores, groups=groups, horizons=HORIZONS, quantiles=q, demean=demean)
    assert study.groups == ("x", "y")
    labels = np.broadcast_to(groups, (t, n))
    own = ranked_of(panel, scores) & (labels != "")
    ic, means = cube(study.ic, "ic", t, 3), cube(study.quantile_returns, "return", t, 3, q)
    for k, h in enumerate(HORIZONS):
        got = np.where(own, returns_of(panel, h, "next_open"), np.nan)
        alone = {name: ([], []) for name in study.groups}
        for b in range(t):
            of = np.full(n, np.nan)
            for name in study.groups:
                here = labels[b] == name
                of[here] = quantile_of(np.where(own[b], scores[b], np.nan)[here], q)
                there = here & ~np.isnan(got[b])
                if demean and there.any():
                    got[b, there] -= got[b, there].mean()
                x, y = scores[b, there], got[b, there]
                told = len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0
                alone[name][0].append(spearmanr(x, y)[0] if told else np.nan)
                ends = [got[b, there & (of == p)] for p in (q, 1)]
                alone[name][1].append(ends[0].mean() - ends[1].mean() if len(ends[0]) and len(ends[1]) else np.nan)
            there = ~np.isnan(got[b])
            if there.sum() > 1 and np.ptp(scores[b, there]):
                assert ic[b, k] == pytest.approx(spearmanr(scores[b, there], got[b, there])[0], abs=1e-12)
            want = [got[b, there & (of == p)] for p in range(1, q + 1)]
            np.testing.assert_allclose(means[b, k], [w.mean() if len(w) else np.nan for w in want], atol=1e-12)
        for name, series in alone.items():
            row = study.by_group.filter((pl.col("horizon") == h) & (pl.col("group") == name)).to_dicts()[0]
            for what, values in zip(("ic", "spread"), series, strict=True):
                for statistic, number in series_statistics(np.array(values), h).items():
                    assert row[f"{what}_{statistic}"] == pytest.approx(number, rel=1e-7, abs=1e-9)


def test_by_hand():
    """5 bars, 4 assets, bought and sold at closes one bar apart."""
    close = [[10, 10, 10, 10], [11, 12, 10, 9], [11, 12, 12, 9], [22, 6, 12, 9], [22, 6, 15, 9]]
    nan = np.nan
    scores = [[4, 3, 2, 1], [1, 1, 2, 2], [nan, 1, 2, 3], [5, 5, 5, 5], [1, 2, 3, 4]]
    study = bt.factor(clean(close), scores, horizons=1, quantiles=2, execution="same_close")
    # Bar 0: returns .1 .2 0 -.1, ranks 3 4 2 1 of scores 4 3 2 1: 1 - 6*2/60. Bar 1: returns 0 0 .2 0: ranks 2 2 4 2 of
    # 1.5 1.5 3.5 3.5: 2/sqrt(3*4). Bar 2: returns -.5 0 0: ranks 1 2.5 2.5 of 1 2 3: 1.5/sqrt(1.5*2).
    ic = [0.8, 2 / np.sqrt(12), 1.5 / np.sqrt(3), nan, nan]
    np.testing.assert_allclose(study.ic["ic"], ic, rtol=1e-14)
    assert study.ic["assets"].to_list() == [4, 4, 3, 4, 0]
    # The better half: 0 1; 2 3; 3 alone, as the middle one of three goes down; 0 1, by the order of assets.
    means = study.quantile_returns["return"].to_numpy().reshape(5, 2)
    want = [[-0.05, 0.15], [0, 0.1], [-0.25, 0], [0.125, 0], [nan, nan]]
    np.testing.assert_allclose(means, want, atol=1e-15)
    top = [nan, 1.0, 0.0, 1.0, 1.0]
    np.testing.assert_array_equal(study.turnover["top_turnover"], top)
    ic, spread = np.array(ic[:3]), np.array([0.2, 0.1, 0.25, -0.125])
    row = study.summary().to_dicts()[0]
    assert row["ic_bars"] == 3 and row["spread_bars"] == 4 and row["spread_positive"] == 0.75
    assert row["ic_t"] == pytest.approx(ic.mean() / (ic.std(ddof=1) / np.sqrt(3)))
    assert row["ic_t_newey_west"] == pytest.approx(row["ic_t"]) and row["ic_ratio"] == pytest.approx(
        ic.mean() / ic.std(ddof=1)
    )
    assert row["spread_mean"] == pytest.approx(spread.mean()) and row["top_turnover"] == 0.75


@pytest.mark.filterwarnings("ignore:.*(was settled|nothing was traded):gpu_bt.errors.BacktestWarning")
@pytest.mark.parametrize("execution", ["same_close", "next_close"])
def test_a_forward_return_is_what_the_engine_earns(execution):
    """All money in one asset, held: what equity gains in the h bars after the fill, over what was paid."""
    panel, h, lag = messy(60, 12, seed=8), 6, int(execution != "same_close")
    fields = {name: getattr(panel, name) for name in ("open", "dividend", "split", "delisted_at", "delisting_return")}
    panel = bt.Panel(panel.close, timestamps=panel.timestamps, assets=panel.assets, prices="raw", **fields)
    config = bt.Config(initial_cash=1e6, execution=execution, lot=0, cash_buffer=0, delist_after=5)
    [returns] = forward_returns(panel.market, execution, 5, 0, 60, [h])
    compared = 0
    for t, i in np.ndindex(50, 12):
        if (t + i) % 5 or t + lag + h >= 60 or np.isnan(panel.close[t, i]):
            continue  # without a close the engine decides nothing
        weights = np.full(panel.shape, np.nan)
        weights[t, i] = 1.0
        result = bt.run(panel, weights, config, engine="numpy")
        bought = result.fills.filter(pl.col("timestamp") == result.timestamps[t + lag])
        assert bought.height == (not np.isnan(returns[t, i]))
        if bought.height:
            equity = result.equity["equity"]
            earned = (equity[t + lag + h] - equity[t + lag]) / (bought["shares"][0] * bought["price"][0])
            assert returns[t, i] == pytest.approx(earned, abs=1e-9)
            compared += 1
    assert compared > 50


def changed(panel: bt.Panel, after: int) -> bt.Panel:
    """Everything after a bar is another."""
    rng = np.random.default_rng(1)
    fields = {name: getattr(panel, name).copy() for name in ("close", "open", "dividend", "split", "universe")}
    late = slice(after + 1, None)
    for name in ("close", "open"):
        fields[name][late] *= rng.uniform(0.9, 1.1, fields[name][late].shape)
        fields[name][late][rng.random(fields[name][late].shape) < 0.5] = np.nan
    fields["universe"][late] = rng.random(fields["universe"][late].shape) < 0.5
    fields["split"][late], fields["dividend"][late] = 1.0, 0.01
    gone = np.where(panel.delisted_at > after, -1, panel.delisted_at)
    gone[::2] = np.where(gone[::2] < 0, after + 1, gone[::2])
    names = {"timestamps": panel.timestamps, "assets": panel.assets, "prices": "raw"}
    return bt.Panel(
        **fields, **names, delisted_at=gone, delisting_return=np.where(gone == after + 1, -1.0, panel.delisting_return)
    )


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")  # of prices that jump
@pytest.mark.parametrize("execution", ["next_open", "same_close"])
def test_what_comes_later_changes_nothing_before(execution):
    panel, after = messy(), 50
    scores = scored(panel)
    other = np.where(np.arange(90)[:, None] > after, -scores, scores)
    how = {"horizons": HORIZONS, "quantiles": 4, "execution": execution}
    one, two = bt.factor(panel, scores, **how), bt.factor(changed(panel, after), other, **how)
    shorter = bt.factor(panel[: panel.label(after)], scores[: after + 1], **how)
    lag = int(execution != "same_close")
    for name in ("ic", "quantile_returns", "spread"):
        a, b, c = (getattr(x, name).with_row_index("bar") for x in (one, two, shorter))
        ends = pl.col("bar") // (a.height // 90) + pl.col("horizon") + lag
        assert a.filter(ends <= after).equals(b.filter(ends <= after), null_equal=True)
        assert a.filter(ends <= after).equals(c.filter(ends <= after), null_equal=True)
        assert not a.equals(b)
    columns = [name for name in sections.COVERAGE if name != "with_return"]
    for a, b in ((one.turnover, two.turnover), (one.coverage[columns], two.coverage[columns])):
        rows = (after + 1) * (a.height // 90)
        assert a.head(rows).equals(b.head(rows)) and not a.equals(b)
    counts = [x.quantile_returns.filter(pl.col("horizon") == 8)["assets"].to_list()[: after * 4] for x in (one, two)]
    assert counts[0] == counts[1]  # nobody is dropped for what comes later: exits at bars that are now NaN count, too


def test_a_delisted_asset_earns_its_delisting_return():
    close = np.full((6, 4), 10.0)
    close[3:, 0] = np.nan
    panel = clean(close, delisted_at=[4, -1, -1, -1], delisting_return=[-0.5, 0, 0, 0])
    study = bt.factor(panel, np.tile([4.0, 3, 2, 1], (6, 1)), horizons=[1, 4], quantiles=4, execution="same_close")
    top = cube(study.quantile_returns, "return", 6, 2, 4)[:, :, 3]
    want = np.full((6, 2), np.nan)
    want[:3, 0], want[:2, 1] = 0.0, -0.5
    np.testing.assert_array_equal(top, want)
    assert study.coverage["listed"].to_list() == [4, 4, 4, 4, 3, 3]
    assert study.coverage["in_quantiles"].to_list() == [4, 4, 4, 4, 0, 0]
    assert study.coverage["with_return"].to_list() == [4, 4, 4, 3, 3, 0]


def test_splits_and_dividends_of_raw_prices():
    raw = clean(
        [[10.0, 1], [5, 1], [6, 1]], prices="raw", split=[[1, 1], [2, 1], [1, 1]], dividend=[[0, 0], [1, 0], [0.5, 0]]
    )
    study = bt.factor(raw, np.tile([2.0, 1], (3, 1)), horizons=[1, 2], quantiles=2, execution="same_close")
    got = cube(study.quantile_returns, "return", 3, 2, 2)[:, :, 1]
    np.testing.assert_allclose(got[0], [(1 + 2 * 5) / 10 - 1, (1 + 2 * 0.5 + 2 * 6) / 10 - 1])
    np.testing.assert_allclose(got[1, 0], 6.5 / 5 - 1)


def test_earlier_dividends_leave_no_rounding():
    """Prices that do not move earn 0 exactly, so that they are equal when returns are ranked."""
    still = np.tile(1 + np.random.default_rng(0).random(50), (6, 1))
    paid = np.zeros(still.shape)
    paid[2] = np.random.default_rng(1).random(50)
    study = bt.factor(clean(still, prices="raw", dividend=paid), still, horizons=[1, 2], execution="same_close")
    means = cube(study.quantile_returns, "return", 6, 2, 5)
    assert (means[2:-1, 0] == 0).all() and (means[2:-2, 1] == 0).all() and (means[1, 0] > 0).all()


def test_labels_and_kinds_of_scores():
    panel = clean(100 + np.random.default_rng(0).random((20, 6)))
    scores = np.random.default_rng(1).normal(size=(20, 6))
    scores[3, 2] = np.nan
    how = {"horizons": 2, "quantiles": 3, "execution": "same_close"}
    want = bt.factor(panel, scores, **how).summary()
    names = list(panel.assets)
    wide = pl.DataFrame({"timestamp": DAYS[:20], **{name: scores[:, i] for i, name in enumerate(names)}})
    mixed = wide.select("timestamp", *names[::-1]).sample(fraction=1, shuffle=True, seed=1)
    long = wide.unpivot(index="timestamp", variable_name="asset", value_name="score")
    frame = pd.DataFrame(scores, index=pd.DatetimeIndex(DAYS[:20]), columns=names)
    for given in (mixed, long, frame, frame[names[::-1]], scores.astype(np.float32).astype(float), scores.tolist(),
                  bt.Scores(scores), bt.read_weights(wide, panel, missing="hold")):  # fmt: skip
        found = bt.factor(panel, given, **how).summary()
        if isinstance(given, np.ndarray):
            assert found.shape == want.shape
        else:
            assert found.equals(want)
    grouped = bt.factor(panel, bt.Scores(scores, groups=list("ababab")), **how)
    assert grouped.groups == ("a", "b")
    labels = pl.DataFrame({"timestamp": DAYS[:20], **{name: ["ab"[i % 2]] * 20 for i, name in enumerate(names)}})
    for groups in (dict(zip(names, "ababab", strict=True)), labels, pd.Series(list("ababab"), names)):
        found = bt.factor(panel, scores, groups=groups, **how)
        assert found.groups == ("a", "b") and found.summary().equals(grouped.summary())
        assert found.by_group.equals(grouped.by_group) and found.by_group.height == 2


def test_time_zone_and_order_of_horizons():
    panel = bt.Panel(100 + np.random.default_rng(0).random((9, 6)), timestamps=DAYS[:9], assets=list("ABCDEF"),
                     time_zone="America/New_York")  # fmt: skip
    study = bt.factor(panel, np.random.default_rng(1).random((9, 6)), horizons=[5, 1, 5], execution="next_close")
    assert study.horizons == (1, 5) and study.time_zone == "America/New_York"
    assert study.ic["timestamp"].dtype == pl.Datetime("us", "America/New_York") and study.ic.height == 18
    assert study.ic["timestamp"].unique(maintain_order=True).equals(study.timestamps)


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_panel_and_scores_on_a_device(execution):
    panel = messy()
    scores = scored(panel)
    names = ("open", "dividend", "split", "universe", "delisted_at", "delisting_return", "group")
    fields = {name: getattr(panel, name) for name in ("close", *names)}
    how = {"horizons": HORIZONS, "groups": "panel", "quantiles": 2, "execution": execution}
    with installed(FakeCupy("random")) as fake:
        there = {name: on_device(fake, fields[name], "cupy", "C") for name in ("close", "open", "split", "dividend")}
        labels = {"timestamps": panel.timestamps, "assets": panel.assets, "prices": "raw"}
        found = bt.factor(bt.Panel(**fields | there, **labels), on_device(fake, scores, "cupy", "C"), **how)
    want = bt.factor(panel, scores, **how)
    for name in ("ic", "quantile_returns", "turnover", "coverage", "by_group"):
        assert getattr(found, name).equals(getattr(want, name), null_equal=True), name


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_single_precision_and_whole_numbers(dtype):
    made = messy()
    scores = np.nan_to_num(scored(made), nan=-3.0).astype(dtype)
    fields = {name: getattr(made, name).astype(np.float32) for name in ("close", "open", "dividend", "split")}
    panel = bt.Panel(**fields, timestamps=made.timestamps, assets=made.assets, prices="raw")
    doubles = {name: value.astype(np.float64) for name, value in fields.items()}
    other = bt.Panel(**doubles, timestamps=made.timestamps, assets=made.assets, prices="raw")
    one, two = (bt.factor(x, y) for x, y in ((panel, scores), (other, scores.astype(np.float64))))
    assert one.ic.equals(two.ic) and one.quantile_returns.equals(two.quantile_returns)


def test_fewer_names_than_quantiles_and_nothing_at_all():
    panel = clean(100 + np.random.default_rng(0).random((6, 4)))
    scores = np.random.default_rng(1).random((6, 4))
    study = bt.factor(panel, scores, execution="same_close", horizons=1)  # 5 quantiles of 4 assets
    assert study.spread["spread"].is_nan().all() and np.isfinite(study.ic["ic"][0])
    assert study.coverage["ranked"].to_list() == [4] * 6 and study.coverage["in_quantiles"].to_list() == [0] * 6
    for nothing in (np.full((6, 4), np.nan), np.ones((6, 4))):
        study = bt.factor(panel, nothing, execution="same_close", quantiles=2)
        row = study.summary().to_dicts()[0]
        assert row["ic_bars"] == 0 and np.isnan(row["ic_mean"]) and np.isnan(row["ic_t"])
        assert study.ic["ic"].is_nan().all() and "nan" in repr(study)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"horizons": 0}, bt.ConfigError, "horizons is 0: it must be a whole number >= 1 and <= 10"),
        ({"horizons": 11}, bt.ConfigError, "horizons is 11: it must be a whole number >= 1 and <= 10"),
        ({"horizons": [1, 2.5]}, bt.ConfigError, "horizons is 2.5"),
        ({"horizons": []}, bt.ConfigError, r"horizons is \[\]: it must be a number of bars, or several"),
        ({"horizons": "1"}, bt.ConfigError, "horizons is '1'"),
        ({"quantiles": 1}, bt.ConfigError, "quantiles is 1: it must be a whole number >= 2"),
        ({"quantiles": 2.0}, bt.ConfigError, "quantiles is 2.0"),
        ({"demean": "no"}, bt.ConfigError, "demean is 'no': it must be True or False"),
        ({"execution": "close"}, bt.ConfigError, "execution is 'close'"),
        ({"execution": "next_open"}, bt.ConfigError, "buys at the open: pass open= to the Panel, or execution="),
        ({"execution": "next_vwap"}, bt.ConfigError, "buys at the vwap: pass vwap= to the Panel, or another execution"),
        ({"delist_after": -1}, bt.ConfigError, "delist_after is -1"),
        ({"groups": ["a"]}, bt.PanelError, r"groups: shape \(1,\)"),
        ({"groups": "panel"}, bt.PanelError, "groups='panel': the panel has none"),
        ({"scores": np.zeros((10, 3))}, bt.WeightsError, r"scores has shape \(10, 3\)"),
        ({"scores": np.zeros(10)}, bt.WeightsError, r"shape \(10,\)"),
        ({"scores": np.full((10, 4), np.inf)}, bt.WeightsError, r"scores\[2020-01-01, 'A0'\] is inf"),
        ({"scores": "none.parquet"}, bt.WeightsError, "none.parquet"),
        ({"scores": {"x": np.ones((10, 4)), "y": np.ones((10, 4))}}, bt.ConfigError, "pass the Scores of one"),
        ({"scores": bt.Scores(np.ones((10, 4))), "groups": list("aabb")}, bt.ConfigError, "groups are given beside"),
        ({"panel": np.ones((10, 4))}, bt.PanelError, "panel is a ndarray: pass a gpu_bt.Panel"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(given, error, text):
    how = {
        "panel": clean(np.ones((10, 4))),
        "scores": np.ones((10, 4)),
        "execution": "same_close",
        "horizons": 1,
        **given,
    }
    with pytest.raises(error, match=text) as caught:
        bt.factor(how.pop("panel"), how.pop("scores"), **how)
    assert "\n" not in str(caught.value)


def test_ranks_and_correlations_against_scipy():
    rng = np.random.default_rng(5)
    values = np.round(rng.normal(size=(50, 30)), 1)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[0], values[1, 1:], values[2] = np.nan, np.nan, 0.0
    values[2, ::2] = -0.0
    np.testing.assert_array_equal(average_ranks(values), rankdata(values, axis=1, nan_policy="omit"))
    other = rng.normal(size=values.shape)
    found, count = row_correlation(values, other)
    assert count.tolist() == (~np.isnan(values)).sum(axis=1).tolist() and np.isnan(found[:3]).all()
    for b in range(3, 50):
        there = ~np.isnan(values[b])
        assert found[b] == pytest.approx(np.corrcoef(values[b, there], other[b, there])[0, 1], abs=1e-12)


@pytest.mark.parametrize("h", [1, 2, 5, 40])
def test_statistics_of_a_series(h):
    """Newey and West by their definition, bar by bar; a bar without a value has no deviation."""
    rng = np.random.default_rng(h)
    values = np.convolve(rng.normal(0.1, 1.0, 60), np.ones(h))[:30]
    values[[3, 11]] = np.nan
    there = values[~np.isnan(values)]
    n, mean = len(there), there.mean()
    d = [0.0 if np.isnan(x) else x - mean for x in values]
    total = sum(x * x for x in d)
    for lag in range(1, min(h, 30)):
        total += 2 * (1 - lag / h) * sum(d[t] * d[t - lag] for t in range(lag, 30))
    found = series_statistics(values, h)
    assert (
        found["bars"] == n and found["mean"] == pytest.approx(mean) and found["std"] == pytest.approx(there.std(ddof=1))
    )
    assert found["t"] == pytest.approx(mean / (there.std(ddof=1) / np.sqrt(n)))
    assert found["t_newey_west"] == pytest.approx(mean / np.sqrt(total / (n - 1) / n))
    assert found["positive"] == (there > 0).mean()
    if h == 1:
        assert found["t"] == pytest.approx(found["t_newey_west"])
    for few in ([0.1] * 4, [0.3], []):
        found = series_statistics(np.array(few), h)
        assert np.isnan(found["t"]) and np.isnan(found["t_newey_west"]) and found["bars"] == len(few)


@pytest.mark.skipif(importlib.util.find_spec("statsmodels") is None, reason="statsmodels is not installed")
def test_newey_west_against_statsmodels():
    import statsmodels.api as sm

    values = np.random.default_rng(0).normal(0.1, 1.0, 200)
    for h in (1, 5, 21):
        want = sm.OLS(values, np.ones(200)).fit(cov_type="HAC", cov_kwds={"maxlags": h - 1, "use_correction": True})
        assert series_statistics(values, h)["t_newey_west"] == pytest.approx(want.tvalues[0])


@pytest.mark.skipif(importlib.util.find_spec("alphalens") is None, reason="alphalens-reloaded is not installed")
@pytest.mark.filterwarnings("ignore")  # its own
@pytest.mark.parametrize("demean", [False, True])
def test_against_alphalens(demean):
    """Closes, all there; alphalens leaves out bars whose longest return ends after the panel."""
    import alphalens as al

    rng = np.random.default_rng(2)
    panel = clean(100 * np.exp(np.cumsum(rng.normal(0, 0.01, (60, 23)), axis=0)))
    scores, sectors = rng.normal(size=(60, 23)), dict(zip(panel.assets, "ab" * 11 + "a", strict=True))
    close = pd.DataFrame(panel.close, pd.DatetimeIndex(DAYS[:60], freq="B"), list(panel.assets))
    stacked = pd.DataFrame(scores, close.index, close.columns).stack()
    stacked.index.names = ["date", "asset"]
    data = al.utils.get_clean_factor_and_forward_returns(
        stacked, close, groupby=sectors, binning_by_group=True, quantiles=4, periods=(1, 5), max_loss=1.0
    )
    study = bt.factor(
        panel, scores, horizons=(1, 5), quantiles=4, groups=sectors, execution="same_close", demean=demean
    )
    ic = al.performance.factor_information_coefficient(data, group_adjust=demean)
    by_bar = al.performance.mean_return_by_quantile(data, by_date=True, demeaned=False, group_adjust=demean)[0]
    bars = len(ic)
    assert bars == 55
    np.testing.assert_allclose(cube(study.ic, "ic", 60, 2)[:bars], ic.to_numpy(), atol=1e-12)
    means = cube(study.quantile_returns, "return", 60, 2, 4)[:bars]
    for k, name in enumerate(("1D", "5D")):
        want = by_bar[name].unstack("date").to_numpy().T
        np.testing.assert_allclose(means[:, k], want, atol=1e-12)
    for k, h in enumerate((1, 5)):
        for name, quantile in (("top_turnover", 4), ("bottom_turnover", 1)):
            want = al.performance.quantile_turnover(data["factor_quantile"], quantile, h).reindex(ic.index).to_numpy()
            np.testing.assert_allclose(cube(study.turnover, name, 60, 2)[:bars, k], want, atol=1e-12)
        want = al.performance.factor_rank_autocorrelation(data, h).reindex(ic.index).to_numpy()
        np.testing.assert_allclose(cube(study.turnover, "autocorrelation", 60, 2)[:bars, k], want, atol=1e-12)
