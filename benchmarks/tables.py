# SPDX-License-Identifier: Apache-2.0
"""Tables from results: python -m benchmarks.tables [RESULT.json] [--gpu FILE] [--readme FILE] [--page FILE] [--check].

Without a result the newest of benchmarks/results/ is taken, and with it every gpu-*.json there; docs/speed.md gets the
largest shape, docs/performance.md all of it. The text between the two markers is replaced; --check changes nothing and
fails where it would. A file that was emulated, or in which a bit differs, is refused.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import gpu_tables
from benchmarks.gpu_check import sources
from benchmarks.gpu_tables import KIND, measured, merged

__all__ = ["BEGIN", "END", "main", "render", "render_page", "replaced"]

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
_ROOT = Path(__file__).resolve().parent


#: What a case is known by.
_KEY = ("bars", "assets", "density", "every", "scenarios", "messy")
#: A cell of an engine that no result has measured on a real device.
_NONE = "not measured"
#: Scenarios below which what they add to the memory of a process is lost in what the process does anyway.
_MANY = 256


def render(found: dict[str, Any], devices: list[dict[str, Any]] | None = None) -> str:
    """One result for docs/speed.md: engines at the largest shape, peers, devices, then where it was measured."""
    devices = merged(devices or [])
    largest = max(row["bars"] * row["assets"] for row in found["cases"])
    parts = [_engines([row for row in found["cases"] if row["bars"] * row["assets"] == largest], devices)]
    parts += [f"{_on(d)}:\n\n{gpu_tables.summary(d)}\n\n{gpu_tables.footnote(d)}" for d in devices]
    if found["peers"]:
        parts.append(_peers(found["peers"]))
    return "\n\n".join([*parts, _footnote(found)])


def render_page(found: dict[str, Any], devices: list[dict[str, Any]] | None = None) -> str:
    """Everything that was measured, for docs/performance.md."""
    devices = merged(devices or [])
    parts = [_engines(found["cases"], devices), _reads(found["cases"])]
    parts += [_widths(found["widths"])] if found.get("widths") else []
    parts += (
        [_memory(found["cases"])]
        if any(row["scenarios"] >= _MANY and row.get("scenario_kib") for row in found["cases"])
        else []
    )
    parts += [f"{_on(d)}:\n\n{gpu_tables.page(d)}" for d in devices]
    parts += [] if devices else ["No GPU has been measured: there is no file of `python -m benchmarks.gpu_check`."]
    return "\n\n".join([*parts, _footnote(found)])


def _on(device: dict[str, Any]) -> str:
    """Where, and that it is of other sources than these, which nobody has measured then."""
    earlier = ", measured with an earlier kernel (this version's is not measured)" if _is_earlier(device) else ""
    return f"On one {device['device']['name']}{earlier}"


def _is_earlier(device: dict[str, Any]) -> bool:
    return bool(device["sources"] != sources())


def _name(row: dict[str, Any]) -> str:
    """The column of a row: its engine, with its threads where it may have several."""
    threads = row.get("threads") if row["engine"] == "native" else None
    return row["engine"] if threads is None else f"native, {threads} thread{'s' if threads > 1 else ''}"


def _grid(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> tuple[list[str], dict[tuple, dict[str, dict]]]:
    """(columns, key -> column -> row), both in the order of the rows."""
    table: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        table.setdefault(tuple(row[key] for key in keys), {})[_name(row)] = row
    return list(dict.fromkeys(map(_name, rows))), table


def _table(
    head: list[str], names: list[str], table: dict[tuple, dict[str, dict]], start: Callable[[tuple], list[str]],
    cell: Callable[[tuple, str], str],
) -> str:  # fmt: skip
    lines = [_line([*head, *names]), _line(["---"] * len(head) + ["---:"] * len(names))]
    return "\n".join([*lines, *(_line([*start(key), *(cell(key, name) for name in names)]) for key in table)])


def _work(key: tuple) -> list[str]:
    bars, assets, density, every, scenarios, messy = key
    decides = "every bar" if every == 1 else f"every {every} bars"
    return [f"{bars:,} x {assets:,}" + (", messy" if messy else ""), f"{density:.0%}", decides, f"{scenarios:,}"]


def _engines(rows: list[dict[str, Any]], devices: list[dict[str, Any]]) -> str:
    names, table = _grid(rows, _KEY)
    names = [name for name in names if name != "cuda"] + ["cuda"]
    on_devices = {
        (*(row[key] for key in _KEY[:-1]), row["note"] == "messy"): row
        for d in devices for row in d["cases"] if row["note"] in ("", "messy")
    }  # fmt: skip

    def cell(key: tuple, name: str) -> str:
        row = table[key].get(name)
        if name != "cuda":
            return _cell(row)
        return _cell(row or on_devices.get(key)) or _NONE

    head = ["bars x assets", "weights not zero", "decides", "scenarios"]
    text = "Million asset-bars per second, in brackets the time of a run"
    if any(map(_is_earlier, devices)):
        text += "; cuda as an earlier kernel was measured, this version's is not"
    return f"{text}:\n\n" + _table(head, names, table, _work, cell)


def _reads(rows: list[dict[str, Any]]) -> str:
    """One scenario: the engine's time over that of reading its panels."""
    names, table = _grid([row for row in rows if row["scenarios"] == 1 and not row["messy"]], _KEY)

    def cell(key: tuple, name: str) -> str:
        row = table[key].get(name)
        return "" if row is None else f"{row['engine_seconds'] / row['read_seconds']:,.1f}"

    head = ["bars x assets", "weights not zero", "decides", "scenarios"]
    text = "The engine's time over that of reading close, open and weights once, on one core (a sum of each array):\n\n"
    return text + _table(head, names, table, _work, cell)


def _widths(rows: list[dict[str, Any]]) -> str:
    names, table = _grid(rows, ("bars", "assets"))

    def cell(key: tuple, name: str) -> str:
        row = table[key].get(name)
        return "" if row is None else f"{row['engine_seconds'] / (row['bars'] * row['assets']) * 1e9:,.2f} ns"

    text = "Dense, one scenario, bars times assets kept equal: the engine's time for an asset-bar:\n\n"
    return text + _table(["bars", "assets"], names, table, lambda key: [f"{n:,}" for n in key], cell)


def _memory(rows: list[dict[str, Any]]) -> str:
    many = [row for row in rows if row["scenarios"] >= _MANY and row.get("scenario_kib") and row["engine"] != "cuda"]
    names, table = _grid(many, _KEY)

    def cell(key: tuple, name: str) -> str:
        row = table[key].get(name)
        return "" if row is None else f"{row['scenario_kib']:,.0f} KiB"

    head = ["bars x assets", "weights not zero", "decides", "scenarios"]
    text = "What each scenario adds to the process's memory at its peak, equity and cash of every bar among it:\n\n"
    return text + _table(head, names, table, _work, cell)


def _peers(rows: list[dict[str, Any]]) -> str:
    head = ["bars x assets", "weights not zero", "system", "time", "of ours"]
    lines = [_line(head), _line(["---"] * 3 + ["---:"] * 2)]
    for row in rows:
        ratio = f"{row['ratio']:,.1f} x" if "ratio" in row else "1"
        shape = f"{row['bars']:,} x {row['assets']:,}"
        lines.append(_line([shape, f"{row['density']:.0%}", row["system"], _seconds(row), ratio]))
    text = (
        "Beside vectorbt, a decision every bar, filled at the same close, the same costs and whole shares. vectorbt is"
        " timed for `from_orders` alone, ours with checks, equity table and metrics:"
    )
    return text + "\n\n" + "\n".join(lines)


def _footnote(found: dict[str, Any]) -> str:
    box, versions = found["machine"], found["versions"]
    parts = [box["cpu"], f"{box['cores']} cores", f"{box['memory_gib']} GiB", box.get("gpu")]
    where = ", ".join(part for part in parts if part)
    what = ", ".join(f"{name} {version}" for name, version in versions.items())
    dense = [r for r in found["cases"] if (r["scenarios"], r["density"], r["every"], r["messy"]) == (1, 1, 1, False)]
    largest = [r for r in dense if r["bars"] * r["assets"] == max(d["bars"] * d["assets"] for d in dense)]
    reads = ", ".join(f"{_name(r)} {r['reads']:.1f}" for r in largest)
    peak = ", ".join(f"{_name(r)} {r['peak_mib']:,} MiB" for r in largest)
    parts = [
        f"{where}; {what}; {found['date']}; median of {found['repeats']} runs after a first one, all inputs in memory,"
        f" after {len(found['checks'])} checks of equality."
    ]
    if largest:
        parts.append(
            f"The largest dense run: its time over that of reading close, open and weights once: {reads}; peak memory:"
            f" {peak} (inputs {largest[0]['inputs_mib']:,} MiB)."
        )
    return " ".join([*parts, "Made by `python -m benchmarks.run`."])


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    rate = row["rate"] / 1e6
    return f"{rate:,.{0 if rate >= 10 else 1}f} ({_seconds(row)})"


def _seconds(row: dict[str, Any]) -> str:
    seconds = row["seconds"]
    return f"{seconds * 1e3:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def replaced(text: str, table: str) -> str:
    """`text` with `table` between the markers. ValueError where they are not there, once each and in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the file needs the markers {BEGIN} and {END}, once each, in this order")
    return f"{text[: text.index(BEGIN)]}{BEGIN}\n{table}\n{text[text.index(END) :]}"


def _inputs(options: argparse.Namespace) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """(name of the result, the result, what was measured on devices); ValueError for a file that is neither."""
    folder = _ROOT / "results"
    known = sorted(path for path in folder.glob("*.json") if not path.name.startswith("gpu-"))
    if options.result is None and not known:
        raise ValueError("benchmarks/results/ is empty: run python -m benchmarks.run first")
    result = options.result or known[-1]
    found = json.loads(result.read_text())
    if found.get("kind") == KIND:
        raise ValueError(
            f"{result.name} is of benchmarks.gpu_check: pass it as --gpu, beside a result of benchmarks.run"
        )
    devices = []
    for path in options.gpu or sorted(folder.glob("gpu-*.json")):
        try:
            devices.append(measured(json.loads(path.read_text())))
        except ValueError as exc:
            raise ValueError(f"{path.name}: {exc}") from None
    merged(devices)
    return result.name, found, devices


def main(arguments: list[str] | None = None) -> int:
    """Render into both pages, or into the one that is named; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description="Render the tables.")
    parser.add_argument("result", nargs="?", type=Path, help="default: the newest in benchmarks/results/")
    parser.add_argument("--gpu", action="append", type=Path, help="default: benchmarks/results/gpu-*.json")
    parser.add_argument("--readme", type=Path, help="default: docs/speed.md, unless --page is given")
    parser.add_argument("--page", type=Path, help="default: docs/performance.md, unless --readme is given")
    parser.add_argument("--check", action="store_true", help="fail where a file differs, change nothing")
    options = parser.parse_args(arguments)
    try:
        name, found, devices = _inputs(options)
    except ValueError as exc:
        parser.error(str(exc))
    if options.readme is None and options.page is None:
        options.readme, options.page = _ROOT.parent / "docs" / "speed.md", _ROOT.parent / "docs" / "performance.md"
    status = 0
    for path, text in ((options.readme, render), (options.page, render_page)):
        if path is None:
            continue
        old = path.read_text()
        new = replaced(old, text(found, devices))
        if options.check:
            print("up to date" if new == old else f"{path.name} differs from {name}")
            status |= int(new != old)
        elif new != old:
            path.write_text(new)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
