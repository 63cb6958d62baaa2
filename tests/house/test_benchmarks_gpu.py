# SPDX-License-Identifier: Apache-2.0
"""benchmarks.gpu_check on the emulated device: all of its steps, with NumPy alone; what it writes, and when it fails.

Nothing is timed here.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from emulator.build import why_not
from emulator.fake_cupy import FakeCupy, installed
from waits import HANGS, wait_for

from benchmarks import gpu_bits, gpu_check, gpu_data, gpu_profile, gpu_several, gpu_steps, gpu_tables
from benchmarks.cases import Case, panel_of, weights_of
from benchmarks.gpu_steps import STEPS, Context
from benchmarks.gpu_variants import _planned
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.cuda.plain import needs_full, plain_of
from gpu_bt.engine.registry import resolve

ROOT = Path(__file__).resolve().parents[2]
#: What a machine with a GPU may lack; the package itself is taken from the checkout.
ABSENT = ("polars", "narwhals", "typer", "rich", "tomli_w", "cudf", "pandas", "pytest", "hypothesis", "jax", "cupy")


def needs_emulator() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which ABSENT cannot be imported."""
    folder = tmp_path_factory.mktemp("absent")
    for name in ABSENT:
        text = f"raise ModuleNotFoundError('blocked: {name}', name={name!r})\n"
        (folder / f"{name}.py").write_text(text)
    environment = {name: value for name, value in os.environ.items() if name != "OUT"}
    return environment | {"PYTHONPATH": str(folder)}


def run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_check", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS, check=False
    )


@pytest.mark.parametrize("stage", gpu_check.STAGES)
def test_a_stage(bare, tmp_path, stage):
    """Each alone, as on a fresh machine: all of its steps, with NumPy alone."""
    needs_emulator()
    process = run([stage, "--emulate", "--scale", "50", "--out", str(tmp_path)], bare)  # time enough on a busy machine
    assert process.returncode == 0, process.stderr + process.stdout
    assert [path.name for path in tmp_path.iterdir()] == [f"gpu-emulated-{stage}.json"]
    found = json.loads((tmp_path / f"gpu-emulated-{stage}.json").read_text())
    assert {name: step["status"] for name, step in found["steps"].items()} == dict.fromkeys(
        gpu_check.STAGES[stage], "done"
    )
    assert found["complete"] is True and found["equal"] is True and found["left_out"] == []
    assert found["kind"] == "gpu-check" and found["stage"] == stage and found["emulated"] is True
    assert found["device"]["name"] == "emulated" and found["device"]["capability"] == 90
    assert found["versions"]["python"] and found["versions"]["numpy"] and found["versions"]["gpu-bt"]
    assert process.stdout.startswith("bits: ") and "0 rows differ" in process.stdout and "EMULATED" in process.stdout
    for claim in (found, found | {"emulated": False}):
        with pytest.raises(ValueError, match="emulated on a CPU"):
            gpu_tables.measured(claim)
    what_each_stage_says[stage](found)


def smoke(found: dict) -> None:
    kernels = [(row["plain"], row["near"], row["threads"], row["general"]) for row in found["compile"]]
    assert sorted(kernels) == [(True, True, 64, False), (True, True, 64, True)]
    assert {row["plain"] for row in found["bits"]} == {True}
    assert works(found) == {("one scenario", 1.0, 1, 1), ("shared panels", 1.0, 1, 4)}
    assert {row["step"]: row["reason"] for row in found["skipped"]} == {"sanitizer": "emulated"}
    good_rows(found["cases"])


def measure(found: dict) -> None:
    compiled = [{name: row[name] for name in gpu_tables.VARIANT} for row in found["compile"]]
    assert len(compiled) >= 5 and all(compiled.count(one) == 1 for one in compiled)
    assert {(row["full"], row["plain"], row["list"], row["weight32"]) for row in compiled} >= {
        (False, True, False, False), (False, True, True, False), (False, True, False, True),
        (True, False, False, False), (False, False, False, False),
    }  # fmt: skip
    taken = [row["variant"] for row in found["cases"]]
    assert [one for one in taken if one not in compiled] == []  # nothing is compiled while it is timed
    variants = {(row["full"], row["plain"], row["shared"] or row["near"], row["together"]) for row in found["bits"]}
    assert variants >= {(full, False, shared, 1) for full in (False, True) for shared in (False, True)}
    assert variants >= {
        (False, True, True, 1),
        (False, True, True, 2),
        (False, True, False, 1),
        (False, False, True, 3),
    }
    assert all(row["scenarios"] >= 8 and row["difference"] is None for row in found["bits"])
    for density in (1.0, 0.1):
        assert {("shared panels", density, 1, 4), ("own float32 weights", density, 1, 4)} <= works(found)
        assert {("one scenario", density, 1, 1), ("one scenario", density, 21, 1)} <= works(found)
    good_rows(found["cases"])
    good_rows(found["blocks"], repeats=1)
    assert {(r["density"], r["together"], r["shared"]) for r in found["blocks"]} == {
        (density, together, shared)
        for density in (1.0, 0.1) for together, shared in ((1, True), (2, True), (1, False), (2, False), (4, False))
    }  # fmt: skip
    assert [(row["what"], row["place"]) for row in found["resident"]] == [
        (what, place) for what in ("inputs", "positions", "a strategy") for place in ("host", "device")
    ]
    panel = 8 * found["resident"][0]["bars"] * found["resident"][0]["assets"]
    moved = {(row["what"], row["place"]): (row["sent"], row["fetched"]) for row in found["resident"]}
    assert all(row["difference"] is None and row["seconds"] > 0 for row in found["resident"])
    assert moved["inputs", "host"][0] > 3 * panel and moved["positions", "host"][1] > panel
    assert moved["positions", "device"][1] < moved["positions", "host"][1] - panel / 2
    assert all(row.get("right", True) for row in found["micro"])
    assert {row["name"].split(",")[0] for row in found["micro"]} == {
        "launch",
        "sums over a block",
        "copy to the device",
    }
    assert {row["step"]: row["reason"] for row in found["skipped"]} == {"profile": "emulated"}


def rest(found: dict) -> None:
    assert {row["note"] for row in found["cases"]} == {"", "messy", "full kernel", "scores"}
    good_rows(found["cases"])
    assert [row["assets"] for row in found["strategy"]] == [8] and found["strategy"][0]["microseconds"] > 0
    assert {row["density"] for row in found["clips"]} == {1.0, 0.1} and all(
        0 <= r["share"] <= 1 for r in found["clips"]
    )
    assert [(row["workers"], row["devices"]) for row in found["several"]] == [(1, [0]), (2, [0, 1])]
    assert all(row["difference"] is None and row["seconds"] > 0 for row in found["several"])
    assert "numpy" in {row["engine"] for row in found["cpu"]}
    assert {row["step"]: row["reason"] for row in found["skipped"]} == {
        "jax": "jax is not installed", "sanitizer": "emulated", "clock": "emulated",
    }  # fmt: skip


what_each_stage_says = {"smoke": smoke, "measure": measure, "rest": rest}


def works(found: dict) -> set:
    return {(r["name"], r["density"], r["every"], r["scenarios"]) for r in found["cases"]}


def good_rows(rows: list[dict], repeats: int = 3) -> None:
    for row in rows:
        times = [row[name] for name in ("kernel_seconds", "seconds", "cold_seconds")]
        assert all(math.isfinite(x) and x > 0 for x in times) and row["kernel_seconds"] <= max(row["all_seconds"])
        assert len(row["all_seconds"]) == row["repeats"] == repeats and row["difference"] is None


def test_a_kernel_that_does_not_compile_ends_the_call(bare, tmp_path):
    """With the compiler's log in the file and in the terminal; no later step and no later stage begins."""
    needs_emulator()
    (tmp_path / "sitecustomize.py").write_text(
        "import gpu_bt.cuda.module as m\ntext = m.source()\nm.source = lambda: text + 'planted mistake'\n"
    )
    environment = bare | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), bare["PYTHONPATH"]])}
    process = run(["--emulate", "--scale", "50", "--out", str(tmp_path / "out")], environment)
    assert process.returncode == 1 and "planted" in process.stderr and "plan=True: does not compile" in process.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gpu-emulated-smoke.json"]
    found = json.loads((tmp_path / "out" / "gpu-emulated-smoke.json").read_text())
    assert list(found["steps"]) == ["versions", "compile_first"] and found["complete"] is False
    assert found["steps"]["compile_first"]["status"] == "failed" and "planted" in found["compile"][0]["log"]


def test_an_unknown_stage_is_refused(bare, tmp_path):
    process = run(["smok", "--out", str(tmp_path)], bare)
    assert process.returncode == 2 and "there is no stage 'smok': take one of smoke, measure, rest" in process.stderr


def test_data_is_made_once_and_mapped(tmp_path):
    """Later steps read the files of the first; a folder is there whole or not at all."""
    case, made = Case(6, 20, 0.5, 1), []

    def make():
        made.append(1)
        return {"a": np.arange(3)}

    for _ in range(2):
        assert gpu_data.mapped(tmp_path / "x", make)["a"].tolist() == [0, 1, 2]
    assert made == [1]
    first, second = (gpu_data.panel(tmp_path, case) for _ in range(2))
    wanted = panel_of(case)
    for panel in (first, second):
        for name in ("close", "open", "volume", "timestamps"):
            assert np.array_equal(np.asarray(getattr(panel, name)), np.asarray(getattr(wanted, name))), name
        assert panel.assets == wanted.assets
    book = gpu_data.weights(tmp_path, case, first)
    assert np.array_equal(book, weights_of(case, first)) and not book.flags.writeable and not book.flags.owndata

    def broken():
        raise MemoryError

    with pytest.raises(MemoryError):
        gpu_data.mapped(tmp_path / "y", broken)
    assert not (tmp_path / "y").exists()


def test_emulation_writes_only_where_it_is_told(bare):
    process = run(["--emulate"], bare)
    assert process.returncode == 2 and "--emulate needs --out" in process.stderr


def test_without_a_device_it_says_why_and_fails(bare, tmp_path):
    process = run(["--out", str(tmp_path)], bare)
    assert process.returncode == 1 and process.stdout == ""
    assert process.stderr == "gpu-check: cupy is not installed (pip install 'gpu-bt[gpu]')\n"
    assert list(tmp_path.iterdir()) == []


def test_the_target_of_make(bare, tmp_path):
    command = ["make", "gpu-check", f"PYTHON={sys.executable}", f"GPU_CHECK=--out {tmp_path}"]
    process = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=HANGS, check=False)
    assert process.returncode != 0 and "gpu-check: " in process.stderr and "Traceback" not in process.stderr


def test_a_step_that_takes_too_long_is_ended(tmp_path):
    needs_emulator()
    check = gpu_check.Check(argparse.Namespace(emulate=True, out=tmp_path, scale=1.0), "smoke")
    assert check.step("versions", HANGS, tmp_path / "scratch") == "done"
    assert check.step("bits", 0.2, tmp_path / "scratch") == "out of time"
    found = json.loads((tmp_path / "gpu-emulated-smoke.json").read_text())
    assert {name: step["status"] for name, step in found["steps"].items()} == {
        "versions": "done",
        "bits": "out of time",
    }
    assert found["complete"] is False


def test_an_end_from_outside_loses_nothing(bare, tmp_path):
    needs_emulator()
    (tmp_path / "sitecustomize.py").write_text(  # no later step ends before
        "import benchmarks.gpu_bits as b, time\nb.check = lambda *_, **__: time.sleep(9999)\n"
    )
    environment = bare | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), bare["PYTHONPATH"]])}
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--emulate", "--scale", "50", "--out", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        path = tmp_path / "gpu-emulated-smoke.json"
        wait_for(lambda: process.poll() is not None or (path.exists() and json.loads(path.read_text())["compile"]))
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANGS) == 143
    found = json.loads(path.read_text())
    assert found["complete"] is False and found["device"]["name"] == "emulated" and found["compile"]


def test_drawn_scenarios_are_lean_or_full_as_asked():
    """The lean kernel is only compared on what it may be given; panels of all widths are drawn."""
    specs = [(kind, gpu_bits.drawn(seed, kind)) for seed in range(6) for kind in gpu_bits.KINDS]
    assert all(needs_full(spec) == (kind in ("full", "books")) for kind, spec in specs)
    assert all(plain_of(spec) is not None for kind, spec in specs if kind == "plain")
    assert {97, 300, 1500} <= {spec.market.shape[1] for _, spec in specs}
    assert all(len(spec.params) == 8 and not spec.params["schedule"].any() for _, spec in specs)


@pytest.mark.parametrize("kind", gpu_bits.KINDS)
def test_drawn_scenarios_run(kind):
    """Whatever is drawn has the fields that its rules ask for: one that lacks some ends the process that compares."""
    numpy = resolve("numpy")
    for seed in range(40):
        spec = gpu_bits.drawn(seed, kind, (None,))
        assert gpu_bits.run_cut(numpy, spec, 0)[0].money.shape[1] == 8, seed


def test_processes_share_the_variants():
    """Each is some process's, and no two compile the same kernel of plain bars."""
    assert sorted(map(repr, gpu_bits.ALL)) == sorted(repr(how) for group in gpu_bits.GROUPS for how in group)
    spec = gpu_bits.drawn(3, "plain")
    needs_emulator()
    with installed(FakeCupy()):
        taken = [{_planned(spec, CudaEngine(*how[1:], how[0])) for how in group} for group in gpu_bits.GROUPS]
    assert [sum(kernel.plain for kernel in kernels) for kernels in taken] == [1] * 12
    assert gpu_bits.GROUPS[0] == (gpu_bits.FEW[0],)  # what most runs take has a process of its own


def test_what_was_compared_is_told_as_it_goes(monkeypatch, tmp_path):
    """In pieces, which the file adds up: an end by the timer loses no more than the last seconds."""

    def compare(seed, spec, variants, told):
        if seed == 2:
            raise KeyboardInterrupt
        told["a"] = {"full": True, "scenarios": 8, "difference": "seed 1: cash" if seed else None}

    context = Kept()
    context.emulate, context.until, context.variant = False, math.inf, "lean"
    monkeypatch.setattr(gpu_bits, "_compare", compare)
    monkeypatch.setattr(gpu_bits, "_TELLS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        gpu_bits.check(context, part=0)
    assert [row["scenarios"] for _, row in context.rows] == [8, 8]
    check = gpu_check.Check(argparse.Namespace(emulate=True, out=tmp_path, scale=1.0), "smoke")
    for section, row in context.rows:
        check.take(section, dict(row))
    check.take("bits", {"full": False, "scenarios": 8, "difference": None})
    assert [row["scenarios"] for row in check.found["bits"]] == [16, 8]
    assert check.found["bits"][0]["difference"] == "seed 1: cash" and check.found["equal"] is False


def test_one_process_that_fails_ends_the_others_at_once(tmp_path):
    """They have time to tell what they know, and so have they where the step is ended."""
    words = f"""import signal, sys, time
signal.signal(15, lambda *_: sys.exit(143))
try:
    open({str(tmp_path / "begun")!r}, "w").close()
    time.sleep({HANGS})
finally:
    open({str(tmp_path / "ended")!r}, "w").close()
"""
    code = f"""import signal, subprocess, sys
from benchmarks.gpu_steps import all_done
signal.signal(15, lambda *_: sys.exit(143))
all_done([subprocess.Popen([sys.executable, "-c", {words!r}])], "")
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as step:
        wait_for((tmp_path / "begun").exists)
        step.terminate()
        assert step.wait(HANGS) == 143 and (tmp_path / "ended").exists()
    (tmp_path / "begun").unlink()
    (tmp_path / "ended").unlink()
    slow = subprocess.Popen([sys.executable, "-c", words])
    wait_for((tmp_path / "begun").exists)
    failing = subprocess.Popen([sys.executable, "-c", "raise ValueError"], stderr=subprocess.DEVNULL)
    with pytest.raises(SystemExit, match=r"a comparison ended: exit statuses \[None, 1\]"):
        gpu_steps.all_done([slow, failing], "a comparison ended")
    assert slow.returncode == 143 and (tmp_path / "ended").exists()
    done = [subprocess.Popen([sys.executable, "-c", ""]) for _ in range(2)]
    gpu_steps.all_done(done, "")
    assert [process.returncode for process in done] == [0, 0]


def test_steps_by_name(capsys, monkeypatch, tmp_path):
    """With their own seconds, after those that they need, in a file of their own; a name that is none is refused."""
    taken = {}

    def step(self, name, seconds, scratch):
        taken[name] = seconds
        self.found["steps"][name] = {"status": "done", "seconds": 1.0, "last": []}
        if name == "versions":
            self.take("device", {"name": "A Card", "emulated": False})
        if name == "bits":
            self.take("bits", {"full": True, "scenarios": 8, "difference": None})
        return "done"

    monkeypatch.setattr(gpu_check.Check, "step", step)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert gpu_check.main(["--out", str(tmp_path), "--steps", "bits=60,compile=70"]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert list(taken) == ["versions", "compile", "bits"] and 60 >= taken["bits"] > 59 and taken["compile"] > 69
    found = json.loads((tmp_path / "gpu-a-card-some.json").read_text())
    assert found["complete"] is True and found["stage"] == "some"
    options = gpu_check._options(["--steps", "bits=60,resident"])
    assert options.steps == {"versions": 20, "compile": 45, "bits": 60.0, "resident": 30}
    for wrong, why in (["--steps", "bit"], "there is no step 'bit'"), (["--steps", "bits", "smoke"], "leave out"):
        with pytest.raises(SystemExit):
            gpu_check._options(wrong)
        assert why in capsys.readouterr().err


class Kept(Context):
    """A context that keeps its rows."""

    def __init__(self, scratch: Path | None = None) -> None:
        super().__init__(True, time.monotonic(), scratch or Path())
        self.rows: list[tuple[str, dict]] = []

    def emit(self, section: str, **row) -> None:
        self.rows.append((section, row))


@pytest.fixture
def bent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The CUDA engine gives one equity that is one ulp too high."""
    needs_emulator()
    honest = CudaEngine.open

    def opened(self, spec):
        session = honest(self, spec)
        result = session.result

        def bent_result():
            raw = result()
            raw.money[0, 0, 0] = np.nextafter(raw.money[0, 0, 0], np.inf)
            return raw

        session.result = bent_result
        return session

    monkeypatch.setattr(CudaEngine, "open", opened)
    with installed(FakeCupy()):
        yield


def test_a_difference_of_one_ulp_is_found_and_named(bent, capsys):
    context = Kept()
    gpu_bits.check(context)
    assert all(section == "bits" and "seed 0: money[0, 0, 0]: " in row["difference"] for section, row in context.rows)
    assert len(context.rows) >= 8 and "money[0, 0, 0]" in capsys.readouterr().out


def test_timed_results_are_compared_first(bent, tmp_path):
    from benchmarks.gpu_bench import Bench, spec_of

    bench = Bench(Kept(tmp_path))
    row, _ = bench.row(CudaEngine(), spec_of(bench.panel, (bench.weights(1.0),), 4))
    assert row["difference"].startswith("equity[scenario 0, bar 0] is ")


def test_a_difference_is_the_exit_status(monkeypatch, tmp_path, capsys):
    """The other steps of the stage run all the same; the next stage does not."""
    steps = []
    row = {"full": True, "shared": True, "threads": 64, "together": 1, "scenarios": 8, "difference": "seed 3: cash"}

    def step(self, name, seconds, scratch):
        steps.append(name)
        self.found["steps"][name] = {"status": "done", "seconds": 1.0, "last": []}
        if name == "versions":
            self.take("device", {"name": "A Card", "emulated": False})
        if name == "bits_first":
            self.take("bits", row)
        return "done"

    monkeypatch.setattr(gpu_check.Check, "step", step)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert gpu_check.main(["--out", str(tmp_path)]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert steps == list(gpu_check.STAGES["smoke"])
    assert "DIFFERS: seed 3: cash" in capsys.readouterr().out
    with pytest.raises(ValueError, match="a bit differs"):
        gpu_tables.measured(json.loads((tmp_path / "gpu-a-card-smoke.json").read_text()))


@pytest.fixture
def sanitizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """A context that is not emulated; a compute-sanitizer that is content, then finds something, then does not end."""
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/called\n'
        f"[ $2 = synccheck ] && sleep {HANGS}\n"
        'echo \'@row {"section": "bits", "row": {"difference": null}}\'\n'
        'echo "========= ERROR SUMMARY of $2"\n'
        "[ $2 = racecheck ] && exit 9\nexit 0\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    context = Kept()
    context.emulate, context.until = False, time.monotonic() + HANGS

    def limited(command: list[str], seconds: float) -> tuple[int | None, str]:
        return honest(command, 1.0 if "synccheck" in command else seconds)  # of what does not end there is enough

    honest = gpu_steps.limited
    monkeypatch.setattr(gpu_steps, "limited", limited)
    return context


def test_the_sanitizer(sanitizer):
    STEPS["sanitizer"](sanitizer)
    rows = [row for section, row in sanitizer.rows if section == "sanitizer"]
    assert {row["tool"]: row["clean"] for row in rows} == {"memcheck": True, "racecheck": False, "synccheck": None}
    assert rows[0]["variants"] == 1 and "ERROR SUMMARY of memcheck" in rows[0]["text"]
    assert all(row.get("difference") is None for row in rows)
    assert "not done within" in rows[2]["text"]


def test_memcheck_alone(sanitizer, tmp_path):
    STEPS["memcheck"](sanitizer)
    assert [(row["tool"], row["clean"]) for section, row in sanitizer.rows if section == "sanitizer"] == [
        ("memcheck", True)
    ]
    called = (tmp_path / "called").read_text()
    assert called.startswith(
        f"--tool memcheck --error-exitcode 9 --report-api-errors no {sys.executable} -m benchmarks"
    )
    assert '"variant": "plain"' in called


@pytest.mark.parametrize(
    ("script", "clean", "difference"),
    [
        ("exit 0\n", None, None),  # nothing was compared
        ('echo \'@row {"section": "bits", "row": {"difference": "cash"}}\'\nexit 0\n', True, "cash"),
        ("echo cannot attach\nexit 1\n", None, None),
        ("exit 9\n", False, None),
    ],
)
def test_what_a_sanitizer_may_say(tmp_path, sanitizer, script, clean, difference):
    (tmp_path / "compute-sanitizer").write_text(f"#!/bin/sh\n{script}")
    STEPS["memcheck"](sanitizer)
    row = sanitizer.rows[0][1]
    assert row["clean"] is clean and row["difference"] == difference


def test_what_a_step_has_started_ends_with_it(bare, tmp_path):
    """A tool in a group of its own does not stay on the device when its step is ended."""
    code = "from benchmarks.gpu_steps import limited; import signal, sys; signal.signal(15, lambda *_: sys.exit(1));"
    code += f"script = 'echo $$ > {tmp_path}/pid; exec sleep {HANGS}';"
    code += f"import subprocess as s; wait = s.Popen.wait; told = lambda: open('{tmp_path}/waits', 'w').close();"
    code += "s.Popen.wait = lambda *given: told() or wait(*given);"
    code += f"limited(['sh', '-c', script], {HANGS})"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=bare, process_group=0) as process:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        wait_for((tmp_path / "waits").exists)
        gpu_check._kill(process)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        wait_for(lambda: os.kill(pid, 0))


def test_counters_are_read(tmp_path, monkeypatch):
    """Of what Nsight Compute prints; where it prints something else, that is kept."""
    names = '"ID","Kernel Name","smsp__inst_executed.sum","lts__t_bytes.sum","launch__grid_size"'
    said = f'==PROF== bt_bars\n{names}\n"","","inst","Mbyte",""\n"0","bt_bars","1,234,567","8.5","3"\nafter\n'
    counted = {"smsp__inst_executed.sum [inst]": 1234567.0, "lts__t_bytes.sum [Mbyte]": 8.5}
    assert gpu_profile.metrics(said) == counted
    assert gpu_profile.metrics("==ERROR== no permission\n") == gpu_profile.metrics(names) == {}
    tool = tmp_path / "ncu"
    (tmp_path / "said").write_text(said)
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\ncat {tmp_path}/said\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    context = Kept(tmp_path)
    context.emulate, context.until = False, time.monotonic() + HANGS
    gpu_profile.profile(context)
    assert [(r["density"], r["many"]) for _, r in context.rows] == [
        (1.0, True),
        (1.0, False),
        (0.1, True),
        (0.1, False),
    ]
    assert all(row["metrics"] == counted for _, row in context.rows)
    called = (tmp_path / "called").read_text().splitlines()
    assert len(called) == 4 and all("--kernel-name bt_bars --launch-count 1 --clock-control none" in c for c in called)
    assert [json.loads(c[c.index("{") :])["variant"] for c in called] == [[False, True], [False, False], [True, True],
                                                                          [True, False]]  # fmt: skip
    (tmp_path / "said").write_text("==ERROR== no permission\n")
    context.rows.clear()
    gpu_profile.profile(context)
    assert (
        len(context.rows) == 1 and context.rows[0][1]["metrics"] == {} and "no permission" in context.rows[0][1]["text"]
    )


def test_clocks_under_load(tmp_path, monkeypatch):
    needs_emulator()
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho 1980, 2619, 350.5, 45, 99\ntouch {tmp_path}/told\n'
        f"exec sleep {HANGS}\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    # the load ends after a run, when the tool has told something
    first, told = [0.0, 0.0], tmp_path / "told"
    clock = SimpleNamespace(monotonic=lambda: first.pop() if first else math.inf if told.exists() else 0.0)
    context = Kept(tmp_path)
    context.until = time.monotonic() + HANGS
    bench = gpu_profile.Bench(context)
    monkeypatch.setattr(gpu_profile, "Bench", lambda _: bench)
    context.emulate = False
    monkeypatch.setattr(gpu_profile, "time", clock)
    with installed(FakeCupy()):
        gpu_profile.clock(context)
    row = context.rows[0][1]
    assert row["clocks.sm"] == [1980.0] * 3 and row["utilization.gpu"] == [99.0] * 3 and row["runs"] >= 1
    assert "--query-gpu=clocks.sm,clocks.mem,power.draw" in (tmp_path / "asked").read_text()


def test_two_gpus_with_other_bits_are_told(tmp_path, monkeypatch):
    needs_emulator()
    rows = [{"bits": bits, "device": 0, "seconds": 1.0, "scenarios": 4} for bits in "aab"]
    monkeypatch.setattr(gpu_several, "_each", lambda pools, *_: rows[: len(pools)] if len(pools) == 1 else rows[1:])
    context = Kept(tmp_path)
    context.until = time.monotonic() + HANGS
    with installed(FakeCupy(devices=2)):
        gpu_several.measure(context)
    assert [row["difference"] for _, row in context.rows] == [None, "2 processes took the GPUs [0, 0]"]
    rows[2]["device"] = 1
    with installed(FakeCupy(devices=2)):
        gpu_several.measure(context)
    assert context.rows[-1][1]["difference"] == "two GPUs gave other bits"
    with installed(FakeCupy()):
        gpu_several.measure(context)
    assert context.rows[-1] == ("skipped", {"step": "several", "reason": "one GPU"})


def test_clocks_are_read():
    said = "1980, 2619, 350.5, 45\n1000, 2619, [N/A], 47\n1755, 2619, 351.5, 46\ngarbage\n"
    found = gpu_profile.readings(("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu"), said)
    assert found == {
        "clocks.sm": [1000, 1755, 1980], "clocks.mem": [2619] * 3, "power.draw": [350.5, 351.0, 351.5],
        "temperature.gpu": [45, 46, 47],
    }  # fmt: skip


def test_stages_fit_in_what_is_lent():
    """A quarter of an hour, with three starts of a machine."""
    seconds = [sum(steps.values()) for steps in gpu_check.STAGES.values()]
    assert sum(seconds) <= 700 and seconds[0] <= 110 and max(seconds) <= 300
    assert {name for steps in gpu_check.STAGES.values() for name in steps} <= set(STEPS)
