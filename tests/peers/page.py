# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/peers.md from what tests/peers/agree.py has measured: `python tests/peers/page.py FILE.json ...`.

Rows that could not be run stay off the page and are named; exit status 1 where a row is not as it should be.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "peers.md"


#: What the page calls FREE: no test of cash or of leverage.
FREE = {"account": "margin", "max_leverage": None, "maintenance_margin": None}


def config(row: dict[str, Any]) -> str:
    """The row's Config as a person writes it, with what else `run` and `Panel` are given."""
    fields = row["config"] if row["cash"] == 1e5 else {"initial_cash": row["cash"], **row["config"]}
    free = FREE.items() <= fields.items()
    said = [f"{name}={json.dumps(value)}" for name, value in fields.items() if not (free and name in FREE)]
    more = ", ".join(f"`{name}`" for name in row["more"])
    return f"`bt.Config({', '.join([*said, *['**FREE'] * free])})`{f' with {more}' if more else ''}"


def tables(rows: list[dict[str, Any]]) -> str:
    """Two tables: what was drawn, and what was worked by hand."""
    drawn = ["| peer | their side | ours | same rules | worst difference |", "| --- | --- | --- | --- | ---: |"]
    hand = ["| peer | example | theirs | gpu_bt | by hand |", "| --- | --- | ---: | ---: | ---: |"]
    for row in rows:
        if row["by_hand"] is None:
            same = "yes" if row["same"] else "no"
            drawn.append(f"| {row['peer']} | {row['what']} | {config(row)} | {same} | {row['worst']:.0e} |")
        else:
            numbers = " | ".join(f"{row[name]:,.2f}" for name in ("theirs", "ours", "by_hand"))
            hand.append(f"| {row['peer']} | {row['what']} | {numbers} |")
    return "\n".join([*drawn, "", "Worked by hand, where the rules differ; equity at the end:", "", *hand])


def main() -> int:
    """Write the page's tables from the files named."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in sys.argv[1:]:
        for row in json.loads(Path(name).read_text("utf-8")):
            if found.get((row["peer"], row["what"]), row)["lacks"] or (row["peer"], row["what"]) not in found:
                found[row["peer"], row["what"]] = row
    rows = list(found.values())
    for row in rows:
        if row["lacks"] or row["wrong"]:
            print(
                f"{row['peer']}: {row['what']}:", f"not run, no {row['lacks']}" if row["lacks"] else "NOT AS EXPECTED"
            )
    text = PAGE.read_text("utf-8")
    made = tables([row for row in rows if not row["lacks"]])
    text = re.sub(r"(<!-- peers:begin -->\n).*?(\n<!-- peers:end -->)", lambda m: m[1] + made + m[2], text, flags=re.S)
    PAGE.write_text(text, "utf-8")
    return int(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
