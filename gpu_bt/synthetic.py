# SPDX-License-Identifier: Apache-2.0
"""Made-up universes and books: the public name of gpu_bt.data.synthetic."""

from gpu_bt.data.synthetic import momentum_weights, random_weights, synthetic_universe

__all__ = ["momentum_weights", "random_weights", "synthetic_universe"]
