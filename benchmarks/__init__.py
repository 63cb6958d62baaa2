# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: results are verified first, then timed. `python -m benchmarks.run --quick` is the short form."""
