# SPDX-License-Identifier: Apache-2.0
"""docs/peers.md: its Configs are legal, and our side of the examples worked by hand is what it says. The peers
themselves run with `make peers`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import gpu_bt as bt

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "peers.md").read_text("utf-8")
UNTESTED = {"account": "margin", "max_leverage": None, "maintenance_margin": None}


def test_every_config_of_the_page_is_legal():
    configs = re.findall(r"`(bt\.Config\(.*?\))`", PAGE)
    assert len(configs) >= 12 and "FREE = " + json.dumps(UNTESTED).replace("null", "None") in PAGE
    for text in configs:
        assert eval(text, {"bt": bt, "FREE": UNTESTED}) != bt.Config(), text


def test_the_page_names_every_peer_with_numbers_or_says_that_it_was_not_run():
    table = PAGE.split("<!-- peers:begin -->")[1].split("<!-- peers:end -->")[0]
    for name in ("vectorbt", "bt", "backtrader", "cvxportfolio", "ml4t-backtest", "zipline-reloaded"):
        rows = [line for line in table.splitlines() if line.startswith(f"| {name} ")]
        drawn = [line.split("|")[1:-1] for line in rows if "Config(" in line]
        assert any(cells[3].strip() == "yes" for cells in drawn), name
        for cells in drawn:
            assert (float(cells[4]) < 1e-9) == (cells[3].strip() == "yes"), cells
    assert "**LEAN** was not run" in PAGE


def final(engine: str, close: list, book: list, opens: list | None = None, **settings: object) -> float:
    prices = np.array(close, float).reshape(len(close), -1)
    opens = prices if opens is None else np.array(opens, float).reshape(prices.shape)
    days = np.busday_offset("2021-01-04", np.arange(len(prices)))
    names = [f"A{i}" for i in range(prices.shape[1])]
    panel = bt.Panel(prices, open=opens, volume=np.full(prices.shape, 1e3), timestamps=days, assets=names)
    rows = np.array([book, *[[np.nan] * len(book)] * (len(prices) - 1)])
    config = bt.Config(**{"initial_cash": 1000.0, "cash_buffer": 0.0, **settings})
    return bt.run(panel, rows, config, engine=engine).equity["equity"][-1]


@pytest.mark.filterwarnings("ignore::gpu_bt.BacktestWarning")
def test_our_side_of_the_examples_is_what_a_hand_finds(engine: str):
    two = final(engine, [[10, 10], [10, 20]], [0.5, 0.5], execution="same_close", lot=0, commission_rate=0.01)
    half = final(engine, [10, 20], [0.5], execution="same_close", lot=0, commission_rate=0.01, **UNTESTED)
    cent = final(engine, [10, 10, 12], [1.0], [10, 10.01, 12], unfilled="cancel")
    dear = final(engine, [10, 10, 12], [1.0], slippage=0.005, rounding="nearest")
    costs = {"commission_per_share": 0.005, "min_commission": 1.0, "slippage": 5e-4, "participation": 0.1}
    days = final(engine, [10] * 6, [0.025], execution="next_close", initial_cash=1e5, **costs, **UNTESTED)
    assert two == pytest.approx(1000 / 20.2 * 30, rel=1e-9)  # equal targets, equal holdings
    assert half == pytest.approx(50 * 20 + 500 - 5, rel=1e-9)
    assert cent == pytest.approx(99 * 12 + 1000 - 99 * 10.01, rel=1e-9)
    assert dear == pytest.approx(99 * 12 + 1000 - 99 * 10.05, rel=1e-9)
    assert days == pytest.approx(1e5 - 2500 * 5e-4 - 3.0, rel=1e-9)  # a minimum for each of three fills
    shown = re.findall(r"\| ([\d,.]+) \| [\d,.]+ \|$", PAGE, flags=re.M)
    ours = {f"{value:,.2f}" for value in (two, half, cent, dear, days)}
    assert ours == set(shown)


def test_the_page_is_made_from_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "peers"))
    import page

    common = {"peer": "x 1", "cash": 1e5, "more": ["volume"], "same": True, "wrong": False, "by_hand": None}
    rows = [
        {**common, "what": "a", "config": {"lot": 0.0, **UNTESTED}, "lacks": "", "worst": 1e-10},
        {**common, "what": "b", "config": {"sizing": "last"}, "lacks": "sizing"},
        {**common, "what": "c", "config": {}, "lacks": "", "by_hand": 3.0, "ours": 3.0, "theirs": 2000.0},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    target = tmp_path / "peers.md"
    target.write_text("before\n<!-- peers:begin -->\nold\n<!-- peers:end -->\nafter\n")
    monkeypatch.setattr(page, "PAGE", target)
    monkeypatch.setattr(sys, "argv", ["page.py", str(tmp_path / "a.json")])
    assert page.main() == 0
    text = target.read_text()
    assert "| x 1 | a | `bt.Config(lot=0.0, **FREE)` with `volume` | yes | 1e-10 |\n" in text
    assert "| x 1 | c | 2,000.00 | 3.00 | 3.00 |\n" in text
    assert "old" not in text and "sizing" not in text and text.startswith("before") and text.endswith("after\n")
    rows[0]["wrong"] = True
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert page.main() == 1
