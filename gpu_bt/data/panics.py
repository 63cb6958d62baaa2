# SPDX-License-Identifier: Apache-2.0
"""What libraries written in Rust say on stderr when they panic, which they raise as well."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_panics"]

#: The stderr of a process is one.
_ONE = threading.RLock()


@contextmanager
def without_panics() -> Iterator[None]:
    """What comes on the process's stderr meanwhile is shown after it, but not where Rust tells of a panic of Polars,
    which is raised, too."""
    try:
        shown = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with _ONE, tempfile.TemporaryFile() as kept:
        try:
            os.dup2(kept.fileno(), 2)
            yield
        finally:
            os.dup2(shown, 2)
            os.close(shown)
            kept.seek(0)
            if b"panicked at" not in (said := kept.read()):
                os.write(2, said)
