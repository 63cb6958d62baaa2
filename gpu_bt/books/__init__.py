# SPDX-License-Identifier: Apache-2.0
"""From scores to books: cross-sectional operators, and target weights made of scores. Public as `gpu_bt.books`."""

from __future__ import annotations

__all__: list[str] = []
