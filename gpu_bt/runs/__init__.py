# SPDX-License-Identifier: Apache-2.0
"""One run: from a panel and weights or a strategy to a Result.

`run` puts it together; `strategy`, `batch` and `exits` are what a strategy sees and asks for; `checkpoint` and `ranges`
carry a run from some bars to later ones; `advice` and `lookahead` look for what was probably not meant.
"""
