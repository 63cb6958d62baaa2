# SPDX-License-Identifier: Apache-2.0
"""docs/terminal.md: each command is typed, in its order, and prints what stands below it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from gpu_bt.cli import commands as cli
from gpu_bt.cli import verify

PAGE = (Path(__file__).parents[2] / "docs" / "terminal.md").read_text()


def masked(text: str) -> list[str]:
    """Lines without what depends on the machine: seconds, rates, the name of the engine."""
    text = re.sub(r"[\d.e-]+ s\b|[\d,.]+ M asset-bars/s", "#", text)
    return [" ".join(line.split()) for line in re.sub(r"\b(native|numpy|cuda), #", "engine, #", text).splitlines()]


def told(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints; of a pipe into jq, what its path finds."""
    command, _, jq = line.partition(" | jq ")
    assert cli.main(shlex.split(command)[1:]) == 0, line
    out, err = capsys.readouterr()
    if not jq:
        return err + out
    found = json.loads(out)
    for key in re.findall(r"\w+", jq):
        found = found[int(key) if key.isdigit() else key]
    return f"{found:g}" if found in (0, 1) else str(found)


def test_each_command_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    few = ("defaults", "costs, no cash buffer", "participation and impact")
    monkeypatch.setattr(verify, "SCENARIOS", {name: verify.SCENARIOS[name] for name in few})
    count = 0
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            line, _, shown = part.partition("\n")
            if line.startswith("cd "):
                monkeypatch.chdir(line[3:])
                continue
            found, count = iter(masked(told(line, capsys))), count + 1
            for wanted in masked(shown):
                assert wanted == "..." or any(text.startswith(wanted) for text in found), (line, wanted)
    assert count >= 12


def test_the_keys_of_json_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify, "SCENARIOS", {"defaults": {}})
    rows = dict(re.findall(r"^\| (`[^|]*`) \| (.*) \|$", PAGE, re.M))
    assert cli.main(["demo", "--inputs", "."]) == 0
    files = "--prices prices.parquet --raw-prices --weights weights.parquet --axis band=0"
    for title, command in {
        "`run`, `demo`": f"run {files.split(' --axis')[0]}",
        "`sweep`": f"sweep {files}",
        "`info`": "info",
        "`verify`": "verify",
    }.items():
        capsys.readouterr()
        assert cli.main([*command.split(), "--json"]) == 0
        keys = set(json.loads(capsys.readouterr().out))
        assert keys <= set(re.findall(r"`(\w+)`", rows[title])), title
