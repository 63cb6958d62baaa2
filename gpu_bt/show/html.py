# SPDX-License-Identifier: Apache-2.0
"""Small HTML for notebooks: a title, a line drawn, tables side by side; colours are those of the page around it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from gpu_bt.errors import printable

__all__ = ["card", "folded", "sparkline", "table", "told"]

#: Rules that name this package's classes alone. Lines and small text are the page's own colour, thinned, so that they
#: are seen on white and on black; rows have no ground of their own, whatever the notebook gives tables.
_STYLE = """<style>
.gpu-bt { font-size: 13px; line-height: 1.45; color: var(--jp-content-font-color1, inherit); max-width: 960px; }
.gpu-bt .gpu-bt-title { font-weight: 600; margin: 0 0 2px; }
.gpu-bt .gpu-bt-title span { font-weight: 400; opacity: .75; margin-left: .7em; }
.gpu-bt .gpu-bt-side { display: flex; flex-wrap: wrap; gap: 4px 28px; align-items: flex-start; }
.gpu-bt .gpu-bt-side > div { max-width: 100%; overflow-x: auto; }
.gpu-bt .gpu-bt-side table { border-collapse: collapse; border: 0; margin: 4px 0; font-size: inherit; color: inherit; }
.gpu-bt .gpu-bt-side table tr, .gpu-bt .gpu-bt-side table tr:nth-child(n):hover { background: transparent; }
.gpu-bt .gpu-bt-side table :is(td, th) { border: 0; border-bottom: 1px solid rgba(128, 128, 128, .28);
  padding: 2px 12px 2px 0; text-align: left; vertical-align: top; white-space: pre-wrap; max-width: 46em; }
.gpu-bt .gpu-bt-side table th { font-weight: 400; opacity: .75; white-space: nowrap; }
.gpu-bt .gpu-bt-side table .gpu-bt-n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.gpu-bt svg { display: block; margin: 4px 0; overflow: visible; }
.gpu-bt details { margin: 2px 0; } .gpu-bt summary { cursor: pointer; opacity: .75; }
.gpu-bt ul { margin: 4px 0; padding-left: 1.2em; }
</style>"""


def _text(value: Any) -> str:
    """Any value as HTML shows it, on one line; a number to four digits."""
    return escape(printable(f"{value:.4g}" if isinstance(value, float) else str(value)))


def card(title: str, about: str, *parts: str) -> str:
    """One object: its kind, a few words about it, and what `sparkline`, `table`, `told` and `folded` have made."""
    head = f'<div class="gpu-bt-title">{_text(title)} <span>{_text(about)}</span></div>'
    return f'{_STYLE}<div class="gpu-bt">{head}<div class="gpu-bt-side">{"".join(parts)}</div></div>'


def table(rows: Iterable[Sequence[Any]], head: Sequence[Any] = (), *, numbers: bool = False) -> str:
    """Rows of cells, the first of which names its row. numbers: the others are aligned to the right."""
    kind = ' class="gpu-bt-n"' if numbers else ""
    top = "".join(f"<th{kind if i else ''}>{_text(name)}</th>" for i, name in enumerate(head))
    body = "".join(
        f"<tr><th>{_text(row[0])}</th>{''.join(f'<td{kind}>{_text(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return f"<div><table>{f'<thead><tr>{top}</tr></thead>' if head else ''}<tbody>{body}</tbody></table></div>"


def told(sentences: Iterable[str]) -> str:
    """Sentences below one another over the whole width, "" where there are none."""
    items = "".join(f"<li>{_text(text)}</li>" for text in sentences)
    return f'<div style="flex-basis: 100%"><ul>{items}</ul></div>' if items else ""


def folded(name: str, part: str) -> str:
    """A part that is opened by a click."""
    return f'<div style="flex-basis: 100%"><details><summary>{_text(name)}</summary>{part}</details></div>'


def sparkline(values: Sequence[float], about: str, *, points: int = 160) -> str:
    """A line of finite numbers, thinned to so many points; NaN is left out, and what stands still is not drawn.

    about: what it shows, for those who cannot see it.
    """
    step = max(1, -(-len(values) // points))
    thinned = [*values[::-step]][::-1]
    shown = [(i, y) for i, y in enumerate(thinned) if math.isfinite(y)]
    if len(shown) < 2:
        return ""
    low, high = min(y for _, y in shown), max(y for _, y in shown)
    if low == high:
        return ""
    across, up = 320 / (len(thinned) - 1), 44 / (high - low)
    line = " ".join(f"{i * across:.1f},{46 - (y - low) * up:.1f}" for i, y in shown)
    return (
        f'<div style="flex-basis: 100%"><svg role="img" aria-label="{_text(about)}" width="320" height="48"'
        f' viewBox="0 0 320 48"><title>{_text(about)}</title><polyline points="{line}" fill="none"'
        ' stroke="currentColor" stroke-width="1.3" stroke-opacity=".8"/></svg></div>'
    )
