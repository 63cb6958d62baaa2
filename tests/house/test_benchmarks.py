# SPDX-License-Identifier: Apache-2.0
"""The cases of benchmarks.run, and the tables that are made of its results and of benchmarks.gpu_check's.

Nothing is timed here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waits import HANGS

from benchmarks import gpu_check, gpu_tables, operators, tables, verify
from benchmarks.cases import Case, cases, config, fits, panel_of, widths
from benchmarks.measure import measure, time_runs
from gpu_bt.data.synthetic import synthetic_universe
from gpu_bt.engine.registry import WORTH_A_KERNEL, WORTH_BLOCKS, reasons, resolve

ROOT = Path(__file__).resolve().parents[2]


def test_the_scenarios_of_the_cases():
    whole, quick = cases(False), cases(True)
    assert {c.scenarios for c in whole} == {1, 16, 256, 4096} and {c.scenarios for c in quick} == {1, 16, 256}
    assert {(c.bars, c.assets) for c in whole if c.scenarios == 4096} == {(252, 500)}


@pytest.mark.parametrize("quick", [False, True])
def test_widths_have_the_same_cells(quick):
    found = widths(quick)
    assert len({c.bars * c.assets for c in found}) == 1 and min(c.assets for c in found) == 100
    assert not {(c.bars, c.assets) for c in found} & {(c.bars, c.assets) for c in cases(False)}
    assert quick or {100, 50_000} <= {c.assets for c in found}


def test_numpy_is_spared_hours():
    long = Case(2520, 5000, 1.0, 1, 256)
    assert fits(long, "native") and fits(long, "cuda") and not fits(long, "numpy")
    assert fits(Case(252, 500, 1.0, 1, 4096), "numpy")


def test_long_panels_repeat():
    panel = panel_of(Case(6000, 3, 1.0, 1))
    assert panel.shape == (6000, 3)
    assert np.array_equal(panel.close[:2520], panel.close[2520:5040])
    assert np.array_equal(panel.close[:2520], synthetic_universe(2520, 3, seed=11, messy=False).close)


def test_operators_are_compared_before_they_are_timed(monkeypatch):
    found = operators.measure(260, 24, 1)
    assert {"rank", "rolling_std, 252 rows"} <= set(found["rows"])
    assert all(row["ours"] > 0 and row["numpy"] > 0 for row in found["rows"].values())
    monkeypatch.setattr("gpu_bt.books.zscore", lambda x, *groups: x)
    with pytest.raises(RuntimeError, match="zscore is not what plain NumPy makes of it"):
        operators.measure(260, 24, 1)


def test_long_runs_are_repeated_three_times(monkeypatch):
    clock = iter(range(0, 10_000, 4))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert len(time_runs(lambda: None, 9)["all_seconds"]) == 3
    clock = iter(np.arange(0, 10, 0.1))
    assert len(time_runs(lambda: None, 9)["all_seconds"]) == 9


def test_one_thread_is_one_processor():
    if reasons()["native"] or not hasattr(os, "sched_getaffinity"):
        pytest.skip(f"engine 'native': {reasons()['native']}")
    given = {"engine": "native", "threads": 1, "bars": 2000, "assets": 100, "repeats": 1, "quick": True}
    command = [sys.executable, "-m", "benchmarks.measure", json.dumps(given)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS, check=True)
    (row,) = json.loads(done.stdout)
    assert (row["engine"], row["threads"], row["bars"], row["scenarios"]) == ("native", 1, 2000, 1)


def test_rows_say_what_a_scenario_takes():
    panel = synthetic_universe(30, 20, messy=False)
    assert measure(Case(30, 20, 0.5, 1), "numpy", 1, panel)["scenario_kib"] is None
    row = measure(Case(30, 20, 0.5, 1, 8), "numpy", 1, panel)
    assert row["threads"] == 1 and (row["scenario_kib"] is None or row["scenario_kib"] >= 0)


def test_many_scenarios_are_compared_too(monkeypatch):
    panel, weights = verify._inputs(20, 8, 0.5)

    class Bent:
        def open(self, spec):
            session = resolve("numpy").open(spec)
            result = session.result

            def bent_result():
                raw = result()
                raw.money[1, 5, 7] = np.nextafter(raw.money[1, 5, 7], np.inf)
                return raw

            session.result = bent_result
            return session

    monkeypatch.setattr(verify, "resolve", lambda name: resolve("numpy") if name == "numpy" else Bent())
    verify._compare_many("numpy", panel, weights, config())
    with pytest.raises(RuntimeError, match=r"bent: cash\[scenario 5, bar 7\] of 16 scenarios differs"):
        verify._compare_many("bent", panel, weights, config())


# --- tables ---


def result() -> dict:
    size = {"bars": 252, "assets": 500, "density": 0.1, "every": 1, "scenarios": 1, "messy": False}
    row = {**size, "engine": "numpy", "threads": 1, "seconds": 0.002, "rate": 63e6, "reads": 3.0, "peak_mib": 1100}
    row |= {"inputs_mib": 400, "engine_seconds": 0.001, "read_seconds": 0.0005, "scenario_kib": None}
    native = {**row, "engine": "native"}
    return {
        "date": "2020-01-02", "repeats": 5, "machine": {"cpu": "A CPU", "cores": 2, "memory_gib": 8},
        "versions": {"python": "3.11"}, "checks": [{}], "peers": [],
        "cases": [
            row, {**native, "threads": 1, "rate": 500e6}, {**native, "threads": 2, "rate": 900e6},
            {**row, "scenarios": 256, "scenario_kib": 31.4}, {**row, "bars": 25},
        ],
        "widths": [{**native, "bars": 1000, "assets": 100, "engine_seconds": 2e-4}],
    }  # fmt: skip


def device() -> dict:
    case = {"name": "one scenario", "bars": 252, "assets": 500, "density": 0.1, "every": 1, "scenarios": 1}
    case |= {"note": "", "kernel_seconds": 0.004, "seconds": 0.006, "cold_seconds": 2.5, "rate": 777e6}
    case |= {"difference": None}
    return {
        "kind": "gpu-check", "stage": "smoke", "emulated": False, "equal": True, "date": "2020-01-03",
        "machine": {"cpu": "A CPU"},
        "device": {"name": "A Card", "driver": "1.2", "runtime_cuda": "13.0", "cupy": "14.0", "emulated": False},
        "compile": [{"full": full, "shared": True, "seconds": 2.0 + full} for full in (False, True)],
        "bits": [{"scenarios": 800, "difference": None}],
        "cases": [case, {**case, "note": "own float32 weights", "rate": 1e6, "scenarios": 700}],
        "jax": [{**case, "platform": "gpu", "near": True, "seconds": 0.5}],
        "blocks": [{**case, "threads": 256, "together": 2, "shared": True, "scenarios": 1000}],
        "micro": [{"name": "launch, queued", "microseconds": 2.5}, {"name": "copy", "bytes_per_second": 3e12}],
        "cpu": [], "resident": [], "several": [], "sources": "abc", "strategy": [{"assets": 500, "microseconds": 70.4}],
        "clips": [{"density": 0.1, "share": 0.125}], "clock": [{"clocks.sm": [1000.0, 1980.0, 1980.0]}], "profile": [],
        "sanitizer": [], "left_out": [], "skipped": [],
    }  # fmt: skip


def test_engines_with_their_threads_and_no_number_for_cuda():
    text = tables.render(result())
    assert "| numpy | native, 1 thread | native, 2 threads | cuda |" in text
    assert "| 252 x 500 | 10% | every bar | 1 | 63 (2.0 ms) | 500 (2.0 ms) | 900 (2.0 ms) | not measured |" in text
    assert "25 x 500" not in text and "25 x 500" in tables.render_page(result())
    assert "No GPU has been measured" in tables.render_page(result())


def test_a_device_fills_the_cells_of_cuda():
    for text in (tables.render(result(), [device()]), tables.render_page(result(), [device()])):
        assert "| 900 (2.0 ms) | 777 (6.0 ms) |" in text and "No GPU has been measured" not in text
        assert "| 252 x 500 | 1 | 10% | every bar | 4.0 ms | 6.0 ms | 2.50 s | 777 | 500.0 ms |" in text
        assert "| 252 x 500 | 700, own float32 weights | 10% | every bar | 4.0 ms | 6.0 ms | 2.50 s | 1 |  |" in text
        assert "A Card, driver 1.2, CUDA 13.0, CuPy 14.0, A CPU, 2020-01-03; 800 drawn scenarios" in text


def test_the_page_has_the_rest():
    text = tables.render_page(result(), [device()])
    assert "| 252 x 500 | 10% | every bar | 1 | 2.0 | 2.0 | 2.0 |" in text  # reads
    assert "| 1,000 | 100 | 2.00 ns |" in text
    assert "| 252 x 500 | 10% | every bar | 256 | 31 KiB |" in text
    assert "| 10% | 256 | 2 | shared memory | 4.0 ms |" in text
    assert "| launch, queued | 2.50 us |" in text and "| copy | 3,000 GB/s |" in text
    assert "| a bar of a strategy, 500 assets | 70 us |" in text and "| clock under load, median | 1,980 MHz |" in text
    assert "| bars at which cash clips, 10% | 12.5% |" in text


def test_an_earlier_kernel_is_called_one():
    """What was measured with other sources than these says so at each table that has it; with these it does not."""
    same = device() | {"sources": gpu_check.sources()}
    for render in (tables.render, tables.render_page):
        old, new = render(result(), [device()]), render(result(), [same])
        assert "On one A Card, measured with an earlier kernel (this version's is not measured):" in old
        assert "in brackets the time of a run; cuda as an earlier kernel was measured, this version's is not:" in old
        assert "On one A Card:" in new and "in brackets the time of a run:" in new and "earlier" not in new


def test_what_was_wanted_beside_what_was_measured():
    one = device()
    assert gpu_tables.bars(one).splitlines()[2:] == [
        "| 252 x 500 | 1 | 10% | every bar | 100.0 ms, a fifth of JAX's | 4.0 ms | 0.0 |"
    ]
    case = {**one["cases"][0], "bars": 2520, "assets": 5000, "every": 21}
    one["jax"], one["cases"] = [], [{**case, "name": name, "scenarios": k, "density": d, "every": e}
                                    for name, k, d, e in gpu_tables.BARS]  # fmt: skip
    text = gpu_tables.bars(one)
    assert len(text.splitlines()) == 2 + len(gpu_tables.BARS) and text in tables.render_page(result(), [one])
    assert "| 2,520 x 5,000 | 1,000 | 10% | every bar | 12.0 ms | 4.0 ms | 0.3 |" in text
    assert gpu_tables.bars(one | {"cases": []}) == ""


def test_the_stages_of_a_device_are_one():
    """A later stage's row of the same work takes the place of an earlier one's; what is of other sources is refused."""
    smoke, measure = device(), device()
    measure["cases"] = [{**smoke["cases"][0], "rate": 999e6}, {**smoke["cases"][0], "every": 21}]
    measure["bits"], measure["date"] = [{"full": True, "scenarios": 50, "difference": None}], "2020-01-04"
    other = device()
    other["device"] = {**other["device"], "name": "B Card"}
    found = gpu_tables.merged([smoke, measure, other])
    assert [one["device"]["name"] for one in found] == ["A Card", "B Card"]
    rates = {(row["every"], row["note"]): row["rate"] for row in found[0]["cases"]}
    assert rates == {(1, ""): 999e6, (21, ""): 777e6, (1, "own float32 weights"): 1e6}
    assert len(found[0]["compile"]) == 2 and len(found[0]["bits"]) == 2 and found[0]["date"] == "2020-01-04"
    assert smoke == device()
    measure["stage"] = "measure"
    assert gpu_tables.merged([measure, smoke])[0]["cases"] == gpu_tables.merged([smoke, measure])[0]["cases"]
    with pytest.raises(ValueError, match="on one A Card were made of different sources"):
        gpu_tables.merged([smoke, measure | {"sources": "xyz"}])


def test_a_messy_universe_fills_its_own_cell():
    one, plain = device(), result()
    plain["cases"].append({**plain["cases"][0], "messy": True})
    assert "252 x 500, messy | 10% | every bar | 1 | 63 (2.0 ms) |  |  | not measured |" in tables.render(plain, [one])
    one["cases"].append({**one["cases"][0], "note": "messy", "rate": 55e6})
    assert "252 x 500, messy | 10% | every bar | 1 | 63 (2.0 ms) |  |  | 55 (6.0 ms) |" in tables.render(plain, [one])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emulated": True}, "emulated on a CPU"),
        ({"device": {"name": "emulated", "emulated": True}}, "emulated on a CPU"),
        ({"equal": False}, "a bit differs"),
        ({"equal": None}, "a bit differs"),
        ({"device": "no CUDA device"}, "no result"),
        ({"kind": "other"}, "no result"),
    ],
)
def test_what_is_no_measurement_is_refused(tmp_path, capsys, change, message):
    for name, content in (("r.json", result()), ("gpu-x.json", device() | change)):
        (tmp_path / name).write_text(json.dumps(content))
    readme = tmp_path / "README.md"
    readme.write_text(f"{tables.BEGIN}\nold\n{tables.END}\n")
    with pytest.raises(SystemExit) as stopped:
        tables.main([str(tmp_path / "r.json"), "--gpu", str(tmp_path / "gpu-x.json"), "--readme", str(readme)])
    assert stopped.value.code == 2 and message in capsys.readouterr().err and "old" in readme.read_text()


def test_a_file_of_a_device_is_no_result_of_the_engines(tmp_path, capsys):
    (tmp_path / "gpu-x.json").write_text(json.dumps(device()))
    with pytest.raises(SystemExit):
        tables.main([str(tmp_path / "gpu-x.json"), "--readme", str(tmp_path / "README.md")])
    assert "pass it as --gpu" in capsys.readouterr().err


def test_the_page_and_the_readme_are_written_apart(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(result()))
    (tmp_path / "gpu-x.json").write_text(json.dumps(device()))
    paths = [tmp_path / "README.md", tmp_path / "performance.md"]
    for path in paths:
        path.write_text(f"before\n{tables.BEGIN}\n{tables.END}\nafter\n")
    given = [str(tmp_path / "r.json"), "--gpu", str(tmp_path / "gpu-x.json")]
    assert tables.main([*given, "--page", str(paths[1])]) == 0
    assert "A Card" not in paths[0].read_text() and "launch, queued" in paths[1].read_text()
    both = [*given, "--readme", str(paths[0]), "--page", str(paths[1])]
    assert tables.main([*both, "--check"]) == 1 and tables.main(both) == 0 and tables.main([*both, "--check"]) == 0


def test_committed_results_are_measurements():
    """No emulated file lies among the results, and the tables of both pages are those of the newest."""
    assert tables.main(["--check"]) == 0


def test_auto_takes_a_gpu_where_a_first_run_of_dense_books_is_shorter_on_it():
    """By the committed results: its first run beside the native engine's one core, shared by all of that machine."""
    files = sorted((ROOT / "benchmarks" / "results").glob("gpu-*.json"))
    (found,) = gpu_tables.merged([json.loads(path.read_text()) for path in files])
    work = {"bars": 2520, "assets": 5000, "density": 1.0, "every": 1, "note": ""}
    same = [row for row in found["cases"] + found["cpu"] if work.items() <= row.items()]
    first = {row["scenarios"]: row["cold_seconds"] for row in same if "cold_seconds" in row}
    alone = next(row["seconds"] for row in same if row.get("engine") == "native" and row["threads"] == 1)

    def gain(scenarios: float) -> float:
        device = first[1] + (first[1000] - first[1]) * (scenarios - 1) / 999
        return scenarios * alone / found["machine"]["cores"] - device

    assert alone < first[1] and gain(WORTH_BLOCKS) < 0 < gain(WORTH_A_KERNEL / (2520 * 5000))
