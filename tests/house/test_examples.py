# SPDX-License-Identifier: Apache-2.0
"""The examples run as a user runs them; the benchmarks' checks can fail and their tables say what the JSON says.

Nothing is timed here.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import gpu_bt as bt  # noqa: E402
from benchmarks import strategy, tables, verify  # noqa: E402
from benchmarks.cases import Case, cases  # noqa: E402
from benchmarks.measure import measure  # noqa: E402
from gpu_bt.data.synthetic import synthetic_universe  # noqa: E402

STOCKS = [f"S{i:02d}" for i in range(20)]


def run(code_or_file: list[str], cwd: Path, path: list[Path]) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(str(p) for p in path)
    env = {**os.environ, "PYTHONPATH": paths, "MPLBACKEND": "Agg", "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, *code_or_file], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture
def made_up_skfolio(tmp_path: Path) -> Path:
    """A package folder with a table in the shape of skfolio's, and code that may not be imported."""
    data = tmp_path / "site" / "skfolio" / "datasets" / "data"
    data.mkdir(parents=True)
    (tmp_path / "site" / "skfolio" / "__init__.py").write_text("raise ImportError('scikit-learn is missing')\n")
    panel = synthetic_universe(700, len(STOCKS), messy=False)
    table = pl.DataFrame({"Date": panel.timestamps.astype("datetime64[D]")}).hstack(
        pl.DataFrame(np.round(panel.close, 3), schema=STOCKS)
    )
    (data / "sp500_dataset.csv.gz").write_bytes(gzip.compress(table.write_csv().encode()))
    return tmp_path / "site"


def written(folder: Path) -> None:
    equity = pl.read_parquet(folder / "equity.parquet")
    assert len(equity) and {"timestamp", "equity", "cash"} <= set(equity.columns)
    assert pl.read_parquet(folder / "fills.parquet").height > 50
    assert (folder / "report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_real_momentum_writes_its_files(tmp_path, made_up_skfolio):
    done = run([str(ROOT / "examples" / "real_momentum.py")], tmp_path, [made_up_skfolio, ROOT])
    assert done.returncode == 0, done.stderr
    assert "sharpe" in done.stdout and "equal" in done.stdout
    written(tmp_path / "out" / "real_momentum")


def test_factor_study_draws_both(tmp_path, made_up_skfolio):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import factor_study as e; e.main(n_bars=200, n_assets=80)"
    done = run(["-c", code, str(ROOT / "examples")], tmp_path, [made_up_skfolio, ROOT])
    assert done.returncode == 0, done.stderr
    assert "FactorStudy" in done.stdout and "20 assets, 4 quantiles, next_close" in done.stdout
    for name in ("momentum", "reversal"):
        assert (tmp_path / "out" / "factor_study" / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("large", [False, True])
def test_score_grid_checks_bits_and_draws(tmp_path, made_up_skfolio, large):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import score_grid as e\n"
    code += "for grid in (e.SMALL, e.LARGE): grid['long'], grid['short'] = grid['long'][:3], grid['short'][:2]\n"
    code += f"e.main(large={large}, n_bars=300, n_assets=120, few=3)"
    done = run(["-c", code, str(ROOT / "examples")], tmp_path, [made_up_skfolio, ROOT])
    assert done.returncode == 0, done.stderr
    assert "3 scenarios have the bits" in done.stdout and "120 scenarios of one ranking" in done.stdout
    out = tmp_path / "out" / "score_grid"
    assert pl.read_parquet(out / "table.parquet").height == 120
    assert (out / "grid.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_missing_prices_name_the_command(tmp_path):
    code = "import sys; sys.modules['skfolio'] = None; sys.path.insert(0, sys.argv[1])"
    code += "; import real_momentum; real_momentum.main()"
    done = run(["-c", code, str(ROOT / "examples")], tmp_path, [ROOT])
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith('pip install --no-deps "skfolio>=0.9"')
    assert "Traceback" not in done.stderr


def test_large_universe_writes_its_files(tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import large_universe as e; e.main(n_bars=300, n_assets=200)"
    done = run(["-c", code, str(ROOT / "examples")], tmp_path, [ROOT])
    assert done.returncode == 0, done.stderr
    assert "asset-bars per second" in done.stdout
    written(tmp_path / "out" / "large_universe")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ml_scores", "no decision changes with later data"),
        ("long_short", "net of equity by sector"),
        ("vol_target", "fills at a limit, without slippage"),
    ],
)
def test_strategies_write_their_files(tmp_path, name, says):
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import {name} as e; e.main(n_bars=420, n_assets=120)"
    done = run(["-c", code, str(ROOT / "examples")], tmp_path, [ROOT])
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert pl.read_parquet(tmp_path / "out" / name / "fills.parquet").height > 100


def test_the_pictures_of_the_pages_can_be_made(tmp_path, made_up_skfolio):
    code = "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import pictures as p"
    code += "\nfor n in ('long', 'short'): p.score_grid.SMALL[n] = p.score_grid.SMALL[n][:2]"
    code += "\np.score_grid.KEEP[:] = [1.0, 2.0]; p.main(Path('made'), n_bars=420, n_assets=60)"
    done = run(["-c", code, str(ROOT / "docs")], tmp_path, [made_up_skfolio, ROOT])
    assert done.returncode == 0, done.stderr
    pages = "".join(page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    shown = {Path(path) for path in re.findall(r"\((?:docs/)?pictures/(.+?)\)", pages)}
    made = {path.relative_to(tmp_path / "made") for path in (tmp_path / "made").iterdir()}
    assert (
        shown
        == made
        == {path.relative_to(ROOT / "docs" / "pictures") for path in (ROOT / "docs" / "pictures").iterdir()}
    )
    assert all((tmp_path / "made" / path).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in made)
    assert all((ROOT / "docs" / "pictures" / path).stat().st_size < 250_000 for path in made)


@pytest.mark.filterwarnings("ignore:no decision was taken:gpu_bt.errors.BacktestWarning")  # in so few bars
def test_the_cost_of_a_callback_is_measured_on_equal_bits(monkeypatch):
    found = strategy.measure(40, 30, 2)
    assert {"panel, 10%", "callback, 100%", "callback adds, 10%", "Momentum", "Guarded"} <= set(found)
    monkeypatch.setattr(strategy.Rows, "on_data_batch", lambda self, timestamp, batch: self.order(0, 1))
    with pytest.raises(RuntimeError, match=r"callback and panel differ at density 0\.1"):
        strategy.measure(40, 30, 2)


@pytest.mark.skipif(importlib.util.find_spec("skfolio") is None, reason="skfolio's prices are not installed")
def test_the_real_prices_are_what_the_example_says():
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        from data import load_sp500
    finally:
        sys.path.remove(str(ROOT / "examples"))
    table = load_sp500()
    assert table.shape == (8313, 21) and table.null_count().sum_horizontal()[0] == 0
    assert table["AAPL"][0] == 0.264 and str(table["timestamp"][-1])[:10] == "2022-12-28"
    assert len({tuple(table[name].to_list()) for name in table.columns[1:]}) == 20


def test_the_check_of_bits_can_fail():
    one = np.array([1.0, np.nan, 0.0])
    assert verify.same_bits(one, one.copy())
    for i, other in ((0, np.nextafter(1.0, 2.0)), (0, np.nan), (1, 1.0), (2, 5e-324)):
        two = one.copy()
        two[i] = other
        assert not verify.same_bits(one, two) and not verify.same_bits(two, one)
    assert not verify.same_bits(one, one[:2])


def test_the_benchmark_checks_numpy_against_the_oracle():
    rows = verify.verify(["numpy"])
    assert len(rows) == 2 and all(row["engine"] == "numpy" and row["bits"] for row in rows)


def test_a_difference_stops_the_benchmark(monkeypatch):
    honest = verify._oracle

    def bent(*args):
        found = honest(*args)
        found["cash"][70] = np.nextafter(found["cash"][70], np.inf)
        return found

    monkeypatch.setattr(verify, "_oracle", bent)
    with pytest.raises(RuntimeError, match=r"numpy: cash\[70\] is"):
        verify.verify(["numpy"])


def test_numpy_is_present():
    assert verify.engines()["numpy"] is None


@pytest.mark.parametrize("scenarios", [1, 3])
def test_a_row_of_a_measurement(scenarios):
    panel = synthetic_universe(30, 20, messy=False)
    row = measure(Case(30, 20, 0.5, 1, scenarios), "numpy", 1, panel)
    assert row["scenarios"] == scenarios and len(row["all_seconds"]) == 1
    assert row["rate"] == pytest.approx(30 * 20 * scenarios / row["seconds"])
    assert row["peak_mib"] > row["inputs_mib"]


def test_quick_is_a_part_of_the_whole():
    quick, whole = cases(True), cases(False)
    assert set(quick) < set(whole) and len(set(whole)) == len(whole)
    assert {(c.bars, c.assets) for c in whole} == {(252, 500), (1260, 3000), (2520, 5000)}


def found() -> dict:
    size = {"bars": 252, "assets": 500, "density": 0.1, "every": 1}
    case = {**size, "scenarios": 1, "messy": False, "engine": "numpy", "seconds": 0.002, "rate": 63e6}
    case |= {"reads": 3.0, "peak_mib": 1100, "inputs_mib": 400}
    return {
        "date": "2020-01-02",
        "repeats": 5,
        "machine": {"cpu": "A CPU", "cores": 2, "memory_gib": 8},
        "versions": {"python": "3.11"},
        "checks": [{}],
        "cases": [
            case,
            {**case, "engine": "native", "seconds": 1.5, "rate": 4e6},
            {**case, "every": 21},
            {**case, "density": 1.0},
        ],
        "peers": [
            {"system": "ours", **size, "seconds": 0.01},
            {"system": "theirs", **size, "seconds": 0.2, "ratio": 20.0},
        ],
    }


def test_tables_show_the_numbers():
    text = tables.render(found())
    assert "| 252 x 500 | 10% | every bar | 1 | 63 (2.0 ms) | 4.0 (1.50 s) |" in text
    assert "| 252 x 500 | 10% | every 21 bars | 1 | 63 (2.0 ms) |  |" in text
    assert "| 252 x 500 | 10% | theirs | 200.0 ms | 20.0 x |" in text
    assert "A CPU, 2 cores, 8 GiB" in text
    assert "numpy 3.0; peak memory: numpy 1,100 MiB (inputs 400 MiB)." in text


def test_tables_go_between_the_markers(tmp_path, capsys):
    readme, result = tmp_path / "README.md", tmp_path / "r.json"
    readme.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    result.write_text(json.dumps(found()))
    arguments = [str(result), "--readme", str(readme)]
    assert tables.main([*arguments, "--check"]) == 1 and "old" in readme.read_text()
    assert tables.main(arguments) == 0 and tables.main([*arguments, "--check"]) == 0
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "A CPU" in text
    with pytest.raises(ValueError, match="markers"):
        tables.replaced("no markers", "x")


def test_the_configuration_of_the_cases_is_valid():
    from benchmarks.cases import config

    assert config() == bt.Config(initial_cash=1e9, commission_rate=5e-4, slippage=5e-4, min_commission=1.0)
