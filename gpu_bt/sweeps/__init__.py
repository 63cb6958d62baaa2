# SPDX-License-Identifier: Apache-2.0
"""Grids of parameters: scenarios in chunks, on any executor, resumable.

`sweep` puts it together: `grid` says what the scenarios are, `chunks` what travels and how a chunk is run, in passes
that fit the memory, `files` what is kept of it, `result` and `plots` what came of it.
"""
