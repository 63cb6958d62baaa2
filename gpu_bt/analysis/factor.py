# SPDX-License-Identifier: Apache-2.0
"""What scores are worth: rank correlation with later returns, returns by quantile, turnover, coverage.

Letters: T bars, N assets, H horizons, Q quantiles, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import polars as pl

from gpu_bt.analysis import factor_plots
from gpu_bt.analysis.ranks import series_statistics
from gpu_bt.analysis.sections import COVERAGE, LASTING, measure
from gpu_bt.arguments import flag, must_be, one_of, several, whole
from gpu_bt.books.scores import Scores
from gpu_bt.config import Config, Execution
from gpu_bt.data.forks import with_threads
from gpu_bt.data.labels import as_row
from gpu_bt.data.panel import Panel
from gpu_bt.data.times import stamp, time_series
from gpu_bt.engine.prepare import price_of
from gpu_bt.errors import ConfigError, PanelError
from gpu_bt.show.html import card, table
from gpu_bt.typing import Groups, Values

__all__ = ["FactorStudy", "factor"]

#: About a day, a week and a month of daily bars.
_HORIZONS = (1, 5, 21)
#: The most quantiles.
_MOST = 1000


def factor(
    panel: Panel, scores: Values | Scores, *, horizons: int | Sequence[int] | None = None, quantiles: int = 5,
    groups: Groups | None = None, execution: Execution = "next_open", demean: bool = False, delist_after: int = 20,
) -> FactorStudy:  # fmt: skip
    """What (T, N) scores say of the returns that follow them, bar by bar; docs/factor.md has the sources.

    scores: as `bt.Scores` takes them, the higher the better, NaN = none, or a `bt.Scores` with its groups.
    Who counts at bar t is ranked there ([B1]): a score, in the panel's universe, t before its `delisted_at`, and with
    groups in one. Nothing later than t decides that.

    *Forward return* of bar t over h bars, of a holder under `execution`: bought at bar e = t + 1 ("same_close": e = t)
    at its open ("next_open"), close or vwap, sold h bars after e at the same kind of price. Splits and dividends of raw
    prices count, dividends as cash. An asset delisted in between earns its `delisting_return` on its last mark, then
    nothing; so does one that is silent for `delist_after` dates ([S3]). Without a price at the exit its mark is in its
    place. Without a price at e it cannot be bought and has no return, but keeps its quantile. Where bar e + h is after
    the panel's last, nobody has a return. `can_buy`, `can_sell`, volume and costs do not matter.

    *Information coefficient*: Spearman's correlation of scores and forward returns over all that have both, equal
    values with their average rank; NaN with fewer than 2, or where scores or returns are all equal.
    *Quantile* of a ranked asset: of n, that at place j from the top ([B1]: equal scores in the order of assets) is in
    max(1, ceil((n - 1 - j)*Q/(n - 1))), Q the best, which is that of `pandas.qcut`; with groups among those of its own.
    A bar (or group) with fewer than Q ranked assets has none, NaN. The return of a quantile is the mean over its
    assets; spread is that of Q less that of 1.
    *Turnover* at t over h: the share of the names of quantile Q (1) at t that were not in it at t - h.
    *Autocorrelation*: Pearson's correlation of the ranks at t and at t - h, over the assets that are ranked at both.

    horizons: bars, h in [1, T]; None = 1, 5 and 21, as far as the panel has so many.   quantiles: Q in [2, 1000].
    groups: "panel" (its `group`), (N,) labels, {asset: label} or (T, N) labels.   execution, delist_after: as in
    `Config`.   demean: the mean of all that are ranked and have a return, or of their group, is taken off each.
    Raises PanelError for what is no Panel and for groups that do not fit, WeightsError for scores that do not or are
    infinite, ConfigError for other arguments and for a panel without the price that `execution` needs.
    """
    if not isinstance(panel, Panel):
        raise PanelError(f"panel is a {type(panel).__name__}: pass a gpu_bt.Panel, or read one with read_panel")
    with_threads("factor()")
    t_count = panel.shape[0]
    asked: Any = [h for h in _HORIZONS if h <= t_count] if horizons is None else horizons
    asked = asked if several(asked) else [asked]
    spans = tuple(sorted({whole("horizons", h, 1, t_count) for h in asked}))
    if not spans:
        must_be("horizons", horizons, "a number of bars, or several")
    quantiles, demean = whole("quantiles", quantiles, 2, _MOST), flag("demean", demean)
    how = Config(execution=execution, delist_after=delist_after)
    if (field := price_of(how.execution)) not in panel.fields:
        other = "execution='next_close' or 'same_close'" if field == "open" else "another execution"
        raise ConfigError(f"execution={execution!r} buys at the {field}: pass {field}= to the Panel, or {other}")
    if isinstance(scores, Scores) and groups is not None:
        raise ConfigError("groups are given beside a Scores: leave them out here, it has its own")
    book = scores if isinstance(scores, Scores) else Scores(scores, groups=groups)
    return FactorStudy(panel.on_host(), book, spans, quantiles, how, demean)


class FactorStudy:
    """What `factor` gives: tables by bar, by quantile, by group; str() says what was studied.

    horizons, quantiles, execution, demean: as asked, horizons in order.   Tables are Polars', with a row per bar and
    horizon, in this order, or without bars; NaN = not defined. What mean, std, t, t_newey_west, ratio, positive and
    bars are, `gpu_bt.analysis.ranks.series_statistics` says.
    """

    def __init__(
        self, panel: Panel, book: Scores, horizons: tuple[int, ...], quantiles: int, how: Config, demean: bool
    ) -> None:  # fmt: skip
        self.horizons, self.quantiles, self.demean = horizons, quantiles, demean
        self.execution, self.shape = how.execution, panel.shape
        self.timestamps = time_series(panel.timestamps, panel.time_zone)
        #: The zone of `timestamps`.
        self.time_zone: str | None = getattr(self.timestamps.dtype, "time_zone", None)
        ranking, codes = book.ranked(panel).ranking, None
        #: Names of the groups, in the order in which they appear; () = none.
        self.groups: tuple[str, ...] = ()
        if book._groups is not None:
            codes = book._codes(panel)
            self.groups = _names(book._groups, panel, codes)
        scores = book._read(panel, book.names[0] if book.names else "")
        self._bars = measure(panel.market, scores, ranking, codes, horizons, quantiles, how, demean)

    @property
    def ic(self) -> pl.DataFrame:
        """timestamp, horizon, ic, assets (how many it is of)."""
        return self._by_bar(ic=self._bars["ic"], assets=self._bars["assets"])

    @property
    def quantile_returns(self) -> pl.DataFrame:
        """timestamp, horizon, quantile (Q the best), return (the mean of its assets), assets (how many have one)."""
        return self._by_bar(**{"return": self._bars["means"], "assets": self._bars["counts"]})

    @property
    def spread(self) -> pl.DataFrame:
        """timestamp, horizon, spread: return of the top quantile less that of the bottom one."""
        return self._by_bar(spread=self.series("spread"))

    @property
    def turnover(self) -> pl.DataFrame:
        """timestamp, horizon, top_turnover, bottom_turnover, autocorrelation (of the ranks)."""
        return self._by_bar(**{name: self._bars[name] for name in LASTING})

    @property
    def coverage(self) -> pl.DataFrame:
        """timestamp; of the assets: listed (in the universe, not delisted), scored (of these), ranked (of these, in a
        group), in_quantiles (not in too small a group or bar), with_return (ranked, over the shortest horizon)."""
        with_threads("FactorStudy.coverage")
        return pl.DataFrame({"timestamp": self.timestamps, **{n: self._bars[n] for n in COVERAGE}})

    @cached_property
    def by_quantile(self) -> pl.DataFrame:
        """horizon, quantile, and of its returns by bar `series_statistics`."""
        means = self._bars["means"]
        rows = [
            {"horizon": h, "quantile": q + 1, **series_statistics(means[:, k, q], h)}
            for k, h in enumerate(self.horizons)
            for q in range(self.quantiles)
        ]
        return pl.DataFrame(rows)

    @cached_property
    def by_group(self) -> pl.DataFrame:
        """horizon, group, then ic_* and spread_* as in `summary`, of each group alone; no rows where there are none."""
        ic, spread = self._bars["group_ic"], self._bars["group_spread"]
        rows = [
            {"horizon": h, "group": name, **_both(ic[:, k, g], spread[:, k, g], h)}
            for k, h in enumerate(self.horizons)
            for g, name in enumerate(self.groups)
        ]
        return pl.DataFrame(rows)

    @property
    def decay(self) -> pl.DataFrame:
        """horizon, ic_mean, ic_t_newey_west: how long the scores say something; pass many horizons for a curve."""
        return self.summary().select("horizon", "ic_mean", "ic_t_newey_west")

    def summary(self) -> pl.DataFrame:
        """One row per horizon: ic_* and spread_* (`series_statistics` of the information coefficient and of the
        spread), top_turnover, bottom_turnover and autocorrelation (means over bars)."""
        rows = []
        for k, h in enumerate(self.horizons):
            lasting = {name: series_statistics(self._bars[name][:, k], h)["mean"] for name in LASTING}
            rows.append({"horizon": h, **_both(self._bars["ic"][:, k], self.series("spread")[:, k], h), **lasting})
        return pl.DataFrame(rows)

    def __repr__(self) -> str:
        found = [f"{h}: {ic:.4f} (t {t:.2f})" for h, ic, t in self.decay.head(6).rows()]
        return f"FactorStudy({self.head}; mean IC by horizon {', '.join(found)}{', ...' * (len(self.horizons) > 6)})"

    def _repr_html_(self) -> str:
        """The means by horizon, and the returns of the quantiles."""
        rows = self.summary().select("horizon", pl.col("^(ic|spread)_(mean|t_newey_west)$"), *LASTING)
        quantiles = self.by_quantile
        return card(
            "FactorStudy", self.head, table(rows.iter_rows(), rows.columns, numbers=True),
            table(quantiles.head(60).iter_rows(), quantiles.columns, numbers=True),
        )  # fmt: skip

    @property
    def head(self) -> str:
        """What was studied, in a line."""
        (t, n), groups = self.shape, f" in {len(self.groups)} groups" if self.groups else ""
        when = f"{stamp(self.timestamps[0])} to {stamp(self.timestamps[-1])}"
        return f"{when}, {t:,} bars x {n:,} assets, {self.quantiles} quantiles{groups}, {self.execution}"

    plot = factor_plots.plot

    def series(self, name: str) -> np.ndarray:
        """(T, H) float64 of "ic", "spread", "top_turnover", "bottom_turnover" or "autocorrelation"."""
        one_of("name", name, ("ic", "spread", *LASTING))
        means = self._bars["means"]
        found: np.ndarray = means[:, :, -1] - means[:, :, 0] if name == "spread" else self._bars[name]
        return found

    def _by_bar(self, **columns: np.ndarray) -> pl.DataFrame:
        """A table of (T, H) or (T, H, Q) arrays."""
        with_threads("FactorStudy")
        where = [axis.ravel() for axis in np.indices(next(iter(columns.values())).shape)]
        labels = {"timestamp": self.timestamps.gather(where[0]), "horizon": np.array(self.horizons)[where[1]]}
        if len(where) == 3:
            labels["quantile"] = where[2] + 1
        return pl.DataFrame({**labels, **{name: values.ravel() for name, values in columns.items()}})


def _names(groups: Any, panel: Panel, codes: np.ndarray) -> tuple[str, ...]:
    """What the groups are called: their label where each is first, by its number."""
    labels: Any = panel.group if isinstance(groups, str) else as_row(groups, panel.index, _refused, "")
    labels = labels[list(panel.assets)].to_numpy() if hasattr(labels, "columns") else labels
    numbers, cells = np.unique(codes, return_index=True)
    return tuple(str(np.ravel(labels)[i]) for i in cells[numbers >= 0])


def _refused(rule: str) -> NoReturn:
    raise PanelError(f"groups: {rule}")


def _both(ic: np.ndarray, spread: np.ndarray, h: int) -> dict[str, float]:
    """Statistics of an information coefficient and of a spread, over bars."""
    series = {"ic": ic, "spread": spread}
    return {f"{a}_{b}": x for a, values in series.items() for b, x in series_statistics(values, h).items()}
