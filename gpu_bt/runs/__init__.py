# SPDX-License-Identifier: Apache-2.0
"""One run: from a panel and weights or a strategy to a Result."""
