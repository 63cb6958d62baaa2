# SPDX-License-Identifier: Apache-2.0
"""python tests/faults/page.py: writes docs/faults.md, the list of all faults that tests/faults tries."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(folder) for folder in Path(__file__).parents[:3]]  # under the names that pytest gives the modules

from faults import kit  # noqa: E402

__all__ = ["PAGE", "page"]

PAGE = kit.ROOT / "docs" / "faults.md"
_HEAD = """# What is tried, and what comes of it

Every fault below is one test of `tests/faults`, which checks the outcome that stands beside it; this page is made from
these tests by `python tests/faults/page.py`. `make test` runs a part of them, at least one of each test but for the
longest, `make check` all.

"""


def page() -> str:
    """The text of the page."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(path.stem)
    kinds = sorted({f.kind for f in kit.FAULTS})
    count = Counter((f.kind, f.outcome) for f in kit.FAULTS)
    meanings = [f"- **{name}**: {meaning}." for name, meaning in kit.OUTCOMES.items()]
    rows = [("kind", "tried", *kit.OUTCOMES), ("---", *["---:"] * (1 + len(kit.OUTCOMES)))]
    for kind in kinds:
        numbers = [count[kind, outcome] for outcome in kit.OUTCOMES]
        rows.append((kind, str(sum(numbers)), *(str(n or "") for n in numbers)))
    total = [sum(count[kind, outcome] for kind in kinds) for outcome in kit.OUTCOMES]
    rows.append(("**all**", f"**{sum(total)}**", *(f"**{n}**" for n in total)))
    table = [f"| {' | '.join(row)} |" for row in rows]
    lists = []
    for kind in kinds:
        lists += ["", f"## {kind[:1].upper()}{kind[1:]}", ""]
        lists += [f"- {f.what}: {f.outcome}" for f in kit.FAULTS if f.kind == kind]
    return _HEAD + "\n".join([*meanings, "", *table, *lists]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
