# SPDX-License-Identifier: Apache-2.0
"""The narrow waist: what an engine is given and gives back, engines by name, what compiled engines share."""

from gpu_bt.engine.registry import ENGINES, reasons, resolve

__all__ = ["ENGINES", "reasons", "resolve"]
