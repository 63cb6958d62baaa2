# SPDX-License-Identifier: Apache-2.0
"""Fingerprints: whether what was saved belongs to what is given."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

__all__ = ["fingerprint"]


def fingerprint(*parts: Any) -> str:
    """A hash of arrays, by dtype, shape and bytes, and of other values, by their JSON."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).view(np.uint8).data if part.size else b"")
        else:
            total.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\0")
    return total.hexdigest()
