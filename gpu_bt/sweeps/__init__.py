# SPDX-License-Identifier: Apache-2.0
"""Grids of parameters: scenarios in chunks, on any executor, resumable."""
