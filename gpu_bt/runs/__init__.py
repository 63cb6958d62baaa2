# SPDX-License-Identifier: Apache-2.0
"""One run: from a panel and weights or a strategy to a Result.

`run` puts it together; `strategy`, `batch`, `orders` and `exits` are what a strategy sees and asks for, `drive` asks
it; `holdings` are what is there before the first bar; `checkpoint` and `ranges` carry a run from some bars to later
ones; `lookahead` looks for what was not meant to be seen.
"""
