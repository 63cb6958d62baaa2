# SPDX-License-Identifier: Apache-2.0
"""The README's tables from a result: python -m benchmarks.tables [RESULT.json] [--readme FILE] [--check].

Without a result the newest file of benchmarks/results/ is taken. The text between the two markers is replaced; --check
changes nothing and fails where it would.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["BEGIN", "END", "main", "render", "replaced"]

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
_ROOT = Path(__file__).resolve().parent


def render(found: dict[str, Any]) -> str:
    """The markdown of one result: engines, then peers, then what was measured on which machine."""
    parts = [_engines(found["cases"])]
    if found["peers"]:
        parts.append(_peers(found["peers"]))
    return "\n\n".join([*parts, _footnote(found)])


def _engines(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(row["engine"] for row in rows))
    table: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("bars", "assets", "density", "every", "scenarios", "messy"))
        table.setdefault(key, {})[row["engine"]] = row
    head = ["bars x assets", "weights not zero", "decides", "scenarios", *names]
    lines = [_line(head), _line(["---"] * 4 + ["---:"] * len(names))]
    for (bars, assets, density, every, scenarios, messy), by_engine in table.items():
        cells = [_cell(by_engine.get(name)) for name in names]
        shape = f"{bars:,} x {assets:,}" + (", messy" if messy else "")
        decides = "every bar" if every == 1 else f"every {every} bars"
        lines.append(_line([shape, f"{density:.0%}", decides, str(scenarios), *cells]))
    return "Million asset-bars per second, in brackets the time of a run:\n\n" + "\n".join(lines)


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
    reads = ", ".join(f"{r['engine']} {r['reads']:.1f}" for r in largest)
    peak = ", ".join(f"{r['engine']} {r['peak_mib']:,} MiB" for r in largest)
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


def main(arguments: list[str] | None = None) -> int:
    """Render into the README; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description="Render the README's tables.")
    parser.add_argument("result", nargs="?", type=Path, help="default: the newest in benchmarks/results/")
    parser.add_argument("--readme", type=Path, default=_ROOT.parent / "README.md")
    parser.add_argument("--check", action="store_true", help="fail where the README differs, change nothing")
    options = parser.parse_args(arguments)
    known = sorted((_ROOT / "results").glob("*.json"))
    if options.result is None and not known:
        parser.error("benchmarks/results/ is empty: run python -m benchmarks.run first")
    result = options.result or known[-1]
    old = options.readme.read_text()
    new = replaced(old, render(json.loads(result.read_text())))
    if options.check:
        print("up to date" if new == old else f"{options.readme.name} differs from {result.name}")
        return int(new != old)
    options.readme.write_text(new)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
