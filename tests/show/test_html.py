# SPDX-License-Identifier: Apache-2.0
"""_repr_html_: well-formed, every text escaped, nothing that leaves its frame, and what a person wants to see."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import gpu_bt as bt
from gpu_bt.config import FIELDS
from gpu_bt.show.html import sparkline
from gpu_bt.synthetic import random_weights, synthetic_universe

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
EVIL = "<b onclick='x()'>&\"</b>"
PANEL = synthetic_universe(300, 12, seed=1)
WEIGHTS = random_weights(PANEL, 0.5, seed=1)


class Momentum(bt.Strategy):
    """Holds <b>the</b> strongest.

    And more that is not shown.
    """

    def __init__(self, top: int = 5, name: str = EVIL) -> None:
        self.top, self.name, self._hidden = top, name, 1


class Page(HTMLParser):
    """Tags that are open, the texts of the cells, and the attributes met."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.cells: list[str] = []
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.stack.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag in ("td", "th", "li", "summary", "div", "span"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.cells and "style" not in self.stack:
            self.cells[-1] += data

    @property
    def text(self) -> str:
        return " | ".join(cell.strip() for cell in self.cells if cell.strip())


def evil_panel() -> bt.Panel:
    return bt.Panel(
        close=[[1.0, 2.0], [np.nan, 2.5], [1.2, 2.5]], timestamps=["2020-01-01", "2020-01-02", "2020-01-03"],
        assets=[EVIL, "B"], time_zone="Asia/Tokyo", notes={EVIL: EVIL},
    )  # fmt: skip


def objects(tmp_path: Path) -> dict[str, Any]:
    evil = evil_panel()
    config = bt.Config(execution="next_close", lot=0, commission_rate=0.001)
    run = bt.run(evil, np.full((3, 2), 0.4), config, record=("fills", "positions"))
    grid = bt.sweep(evil, {EVIL: np.full((3, 2), 0.4), "b": np.zeros((3, 2))}, config, {"weights": [EVIL, "b"]})
    long = {"timestamp": np.repeat(PANEL.timestamps, 12), "asset": list(PANEL.assets) * 300}
    pl.DataFrame({**long, "close": PANEL.close.ravel()}).write_parquet(tmp_path / "p.parquet")
    return {
        "FactorStudy": bt.factor(PANEL, PANEL.close, horizons=[1, 5], quantiles=3),
        "Panel": evil, "PanelStream": bt.scan_panel(tmp_path / "p.parquet"), "Config": config, "Momentum": Momentum(),
        "Result": run, "SweepResult": grid, "positions": run.positions, "weights": run.weights,
    }  # fmt: skip


KINDS = ["FactorStudy", "Panel", "PanelStream", "Config", "Momentum", "Result", "SweepResult", "positions", "weights"]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_shown_is_whole_escaped_and_alone(name: str, tmp_path: Path):
    shown = objects(tmp_path)[name]._repr_html_()
    page = Page(shown)
    assert page.cells[1].startswith(name) or page.text.startswith(name)
    assert EVIL not in shown and "<b" not in shown.replace("<body", "") and len(shown) < 12_000
    assert not page.tags & {"script", "link", "img", "iframe", "b", "h1", "body"} and "id" not in page.attributes
    assert not any(attribute.startswith("on") for attribute in page.attributes) and "http" not in shown
    if name in ("Panel", "Result", "SweepResult", "positions", "Momentum"):
        assert "onclick" in page.text or name == "Result"  # it is read as the text that it is


def test_a_panel_shows_its_size_its_fields_and_its_ends():
    text = Page(PANEL._repr_html_()).text
    for part in ("300 bars x 12 assets", "2015-01-02 to 2016-02-25", "close | float64", "priced", "and 4 more", "..."):
        assert part in text, part
    assert f"{PANEL.close[-1, 0]:.6g}" in text
    gaps = f"{np.isfinite(PANEL.close).mean():.2%} priced"
    assert gaps in text


def test_a_config_shows_what_differs_first():
    text = Page(bt.Config(lot=0, slippage=5e-4)._repr_html_()).text
    assert f"2 of {len(FIELDS)} fields differ from the default" in text
    assert (
        text.index("slippage | 0.0005 | 0.0") < text.index("fields as by default") < text.index("commission_rate | 0.0")
    )
    assert Page(bt.Config()._repr_html_()).text.startswith("Config | all fields as by default")


def test_a_strategy_shows_its_parameters_and_its_first_line():
    text = Page(Momentum()._repr_html_()).text
    assert text.startswith("Momentum | Holds <b>the</b> strongest. | top | 5 | name") and "more" not in text
    assert "_hidden" not in text

    class Bare(bt.Strategy): ...

    assert Page(Bare()._repr_html_()).text.startswith("Bare")


def test_a_result_shows_what_its_summary_says():
    result = bt.run(PANEL, WEIGHTS, bt.Config(commission_rate=0.001, rebalance_on="first"))
    shown = result._repr_html_()
    text = Page(shown).text
    for line in result.summary().splitlines():
        name, told = line[:13].strip(), line[15:]
        assert told in text and name in text, line
    assert "<svg" in shown and "currentColor" in shown and result.advice


def test_a_sweep_shows_axes_best_and_advice():
    grid = bt.sweep(PANEL, WEIGHTS, grid={"band": [0.0, 0.01, 0.02], "max_weight": [None, 1e-9]})
    text = Page(grid._repr_html_()).text
    for part in ("6 scenarios", "band | 3: 0, 0.01, 0.02", "max_weight | 2: none, 1e-09", "never traded: 3 scenarios"):
        assert part in text, part
    best = grid.best("sharpe", 1)
    assert f"{best['sharpe'][0]:.4g}" in text and "sharpe" in text


def test_positions_show_their_ends_and_largest():
    found = bt.run(PANEL, WEIGHTS, record="positions").positions
    text = Page(found._repr_html_()).text
    largest = PANEL.assets[int(np.nanargmax(np.abs(found.values[-1])))]
    assert largest in text and "those of the 8 largest" in text and "2016-02-25" in text


@pytest.mark.parametrize("ended", [False, True])
def test_a_run_that_ended_or_did_nothing_is_shown_too(ended: bool):
    weights = np.full(PANEL.shape, 30.0) if ended else np.zeros(PANEL.shape)
    config = bt.Config(account="margin", max_leverage=None, maintenance_margin=None)
    result = bt.run(PANEL, weights, config)
    assert (result.status == "BANKRUPT") == ended
    assert Page(result._repr_html_()).text.startswith(f"Result | {result.engine}, {result.status}")


def test_a_sparkline():
    assert sparkline([], "x") == sparkline([1.0], "x") == sparkline([2.0, 2.0], "x") == ""
    assert sparkline([float("nan")] * 5, "x") == ""
    drawn = sparkline([1.0, 3.0, float("nan"), 2.0], "<up>")
    assert 'points="0.0,46.0 106.7,2.0 320.0,24.0"' in drawn and "&lt;up&gt;" in drawn
    many = sparkline(list(range(100_000)), "x")
    assert many.count(",") < 165 and 'points="0.0,' in many and "320.0,2.0" in many
