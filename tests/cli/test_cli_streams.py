# SPDX-License-Identifier: Apache-2.0
"""gpu-bt beside other programs: JSON alone on stdout, readers that go away, full disks, help, completion."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from extent import chosen
from waits import HANGS

import gpu_bt as bt
from gpu_bt.cli import commands as cli
from gpu_bt.cli import common, complete
from gpu_bt.cli.samples import write_samples
from gpu_bt.config import FIELDS
from gpu_bt.engine.registry import reasons

PROGRAM = [sys.executable, "-m", "gpu_bt.cli"]
RUN = ["run", "--prices", "prices.parquet", "--raw-prices", "--config", "config.toml", "--weights", "weights.parquet"]
SWEEP = ["sweep", *RUN[1:], "--axis", "band=0,0.01,1"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder, force=False)
    (folder / "talks.py").write_text(
        "import os, gpu_bt as bt\nclass Talks(bt.Strategy):\n    def on_data_batch(self, *_):\n        print(1)\n"
        "class Raw(bt.Strategy):\n    def on_data_batch(self, *_):\n        os.write(1, b'raw')\n"
    )
    return folder


@pytest.fixture
def there(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(here)
    return here


def record(arguments: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> tuple[dict, str]:
    """What --json writes, which is all of stdout, and stderr."""
    assert cli.main([*arguments, "--json"]) == status
    out, err = capsys.readouterr()
    return json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON")), err


def test_a_run_as_json(there, tmp_path, capsys):
    found, err = record([*RUN, "--out", str(tmp_path), "--no-plot"], capsys)
    assert err.splitlines() == [f"wrote {path}" for path in ordered(tmp_path)]
    assert found["metrics"] == json.loads((tmp_path / "metrics.json").read_text())
    assert found["first"] == "2020-01-02T00:00:00" and found["metrics_since"] == "2020-03-31T00:00:00"
    equity = pl.read_parquet(tmp_path / "equity.parquet")
    assert found["counts"]["fills"] == equity["fills"].sum() > 0 and found["counts"]["working"] == equity["working"][-1]
    assert found["sums"]["dividends"] == equity["dividends"].sum() > 0
    assert bt.Config.from_dict(found["config"]) == bt.read_config("config.toml")
    assert (found["bars"], found["assets"], found["out"]) == (1042, 20, str(tmp_path))


def ordered(folder: Path) -> list[Path]:
    tables = [f"{name}.parquet" for name in ("equity", "fills", "cuts", "assets", "orders_next")]
    return [folder / name for name in (*tables, "config.toml", "metrics.json")]


def test_what_is_not_finite_is_null(there, capsys):
    found, err = record([*RUN, "--set", "initial_cash=0.5"], capsys)
    assert found["metrics"]["sharpe"] is None and "warning: " in err and found["advice"]


def test_what_a_strategy_prints_is_not_among_the_json(there, capsys):
    found, err = record([*RUN[:-2], "--strategy", "talks.py:Talks"], capsys)
    assert found["metrics"]["total_return"] == 0 and err.startswith("1\n1\n")


@pytest.mark.parametrize(
    "line", ["sweep --strategy talks.py:Talks --axis band=0,0.1 --workers 2", "run --strategy talks.py:Raw"]
)
def test_what_workers_and_libraries_print_is_not_among_the_json(line: str, here: Path):
    """They write to the file that is stdout, not to what Python has in its place."""
    status, out, err = shell(f"gpu-bt {line} --prices prices.parquet --raw-prices --json", here)
    assert status == 0 and json.loads(out)["engine"] and ("1\n1\n" in err or "rawraw" in err)


def test_a_sweep_and_its_plan_as_json(there, tmp_path, capsys):
    found, err = record([*SWEEP, "--best", "2", "--metric", "turnover"], capsys)
    panel = bt.read_panel("prices.parquet", prices="raw")
    with pytest.warns(bt.BacktestWarning, match="never traded 1"):
        want = bt.sweep(panel, "weights.parquet", bt.read_config("config.toml"), {"band": [0, 0.01, 1]})
    assert (
        found["axes"] == ["band"]
        and "never traded 1" in err
        and found["scenarios"] == 3
        and sum(found["status"].values()) == 3
    )
    best = want.best("turnover", 2).to_dicts()
    assert found["best"] == json.loads(json.dumps(best, default=lambda value: value.isoformat()))
    assert found["metric"] == "turnover" and found["out"] is None
    plan, _ = record([*SWEEP, "--dry-run"], capsys)
    assert plan["scenarios"] == 3 and plan["asset_bars"] == 3 * 1042 * 20


def test_info_and_verify_as_json(there, capsys, monkeypatch: pytest.MonkeyPatch):
    found, _ = record(["info"], capsys)
    assert found["version"] == bt.__version__ and found["engines"] == reasons() and found["auto"] in found["engines"]
    fields, _ = record(["info", "--config"], capsys)
    assert list(fields) == list(bt.Config().to_dict())
    assert {name: field["default"] for name, field in fields.items()} == bt.Config().to_dict()
    assert fields["account"]["choices"] == ["cash", "margin"] and fields["account"]["least"] is None
    assert (fields["slippage"]["unit"], fields["slippage"]["least"], fields["slippage"]["most"]) == ("fraction", 0, 1)
    from gpu_bt.cli import verify

    monkeypatch.setattr(verify, "SCENARIOS", {"defaults": {}})
    found, err = record(["verify"], capsys)
    assert found["same"] is True and [check["scenario"] for check in found["checks"]] == ["defaults"]
    assert all(f"{name}: not compared" in err for name in found["absent"])
    monkeypatch.setattr(verify, "difference", lambda *_: "cash[0] is 1, not 2")
    found, _ = record(["verify"], capsys, status=1)
    assert found["same"] is False and "cash[0] is 1, not 2" in found["checks"][0]["differs"].values()


def test_values_as_json_has_them():
    zoned = datetime(2024, 1, 2, 15, 30, tzinfo=UTC)
    given = {"a": [math.nan, -math.inf, 1.5], 2: (True, None), "t": zoned, "p": Path("x/y")}
    want = {"a": [None, None, 1.5], "2": [True, None], "t": "2024-01-02T15:30:00+00:00", "p": "x/y"}
    assert common.finite(given) == want


def test_errors_are_no_json(there, capsys):
    assert cli.main([*RUN, "--set", "slipage=1", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and "did you mean 'slippage'?" in err


@pytest.mark.parametrize("command", [RUN, SWEEP], ids=["run", "sweep"])
def test_without_out_nothing_is_written(command: list[str], there, capsys):
    before = sorted(there.iterdir())
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert "wrote" not in out + err and ("final equity" in out or "best by sharpe" in out)
    assert sorted(there.iterdir()) == before


def shell(line: str, folder: Path) -> tuple[int, str, str]:
    text = line.replace("gpu-bt", shlex.join(PROGRAM))
    root = str(Path(bt.__file__).parents[1])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {text}"], cwd=folder, capture_output=True, text=True, timeout=HANGS,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("| true", 0, ""),
        ("> /dev/full", 2, "error: stdout: No space left on device; wrote "),
        ("2> /dev/full", 0, ""),
        *chosen(
            [
                ("| head -1", 0, ""),
                ("--json | true", 0, None),
                ("--json > /dev/full", 2, "error: stdout: No space left on device; wrote "),
                ("2> >(true)", 0, ""),
                ("2>&-", 0, ""),
                (">&-", 0, ""),
                (">&- 2>&-", 0, ""),
            ],
            1,
            "streams",
        ),
    ],
)
def test_a_result_outlives_its_reader(end: str, status: int, said: str | None, here: Path, tmp_path: Path):
    """The run warns, too, so that there is something for stderr."""
    line = f"gpu-bt {shlex.join(RUN)} --set initial_cash=500 --no-plot --out {tmp_path}/o {end}"
    found, _, err = shell(line, here)
    assert found == status and "Traceback" not in err and "Exception" not in err
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert said is None or (lines == [] if said == "" else len(lines) == 1 + 7 * ("json" in end)), err
    assert said is None or lines[-1:] == [] or lines[-1].startswith(said)
    assert {path.name for path in (tmp_path / "o").iterdir()} == {path.name for path in ordered(tmp_path)}
    assert pl.read_parquet(tmp_path / "o" / "equity.parquet").height == 1042
    assert not list(here.glob(".*")) and "warning" not in (tmp_path / "o" / "config.toml").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_help_on_a_full_disk(here: Path):
    status, _, err = shell("gpu-bt run -h > /dev/full", here)
    assert status == 2 and err == "error: stdout: No space left on device; nothing was to be written to files\n"


def test_a_template_is_the_default_config(capsys, tmp_path):
    assert cli.main(["info", "--toml"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "c.toml").write_text(text)
    assert bt.read_config(tmp_path / "c.toml") == bt.Config()
    lines = {line.split(" = ")[0]: line for line in text.splitlines()}
    assert set(bt.Config().to_dict()) < set(lines)
    assert FIELDS["slippage"].meaning in lines["slippage"] and "next_vwap" in lines["execution"]


@pytest.mark.parametrize("command", ["", "run", "sweep", "demo", "info", "verify"])
def test_help_fits_a_screen(command: str, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([*command.split(), "-h"]) == 0
    brief = capsys.readouterr().out
    assert cli.main([*command.split(), "--help"]) == 0
    whole = capsys.readouterr().out
    assert all(len(line) <= 80 for line in (brief + whole).splitlines())
    assert brief.count("\n") <= 40 and whole.count("\n") <= 60
    if command in ("run", "sweep"):
        assert "--align" in whole and "--align" not in brief and f"gpu-bt {command} --help" in brief
        groups = [line for line in whole.splitlines() if line[:1].strip() and line.endswith(":")]
        assert len(groups) == 4 and "Examples:" in whole
        options = [line for line in whole.splitlines() if line.startswith("  --")]
        assert len(options) >= 30 and all(len(line.split("  ")) >= 3 for line in options)  # each in one line


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", ["run", "sweep", "demo", "info", "verify"]),
        ("run --sc", ["--scores"]),
        ("run --set rebalance_e", ["rebalance_every=", "rebalance_every=1"]),
        ("run --set execution = next_c", ["next_close"]),
        ("run --set account =", ["cash", "margin"]),
        ("run --set max_gross =", ["none"]),
        ("run --set lot = 1 --align n", ["next"]),
        ("run --engine = na", ["native"]),
        ("sweep --metric shar", ["sharpe"]),
        ("sweep --axis slip", ["slippage="]),
        ("run --set nothing =", []),
    ],
)
def test_bash_completes(typed: str, found: list[str], capsys, monkeypatch: pytest.MonkeyPatch):
    words = ["gpu-bt", *typed.split(), *([""] if not typed or typed.endswith(" ") else [])]
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv("_GPU_BT_COMPLETE", "complete_bash")
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 0 and capsys.readouterr().out.split() == found


def test_other_shells_complete_the_whole_word(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("COMP_WORDS", raising=False)
    complete.rejoin()
    assert complete.settings("execution=next_c") == ["execution=next_close"]


def test_completion_is_light():
    code = "import sys; from gpu_bt.cli import complete; complete.settings('ex'); complete.axes('ba');"
    code += "print(sorted({'numpy', 'polars', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
