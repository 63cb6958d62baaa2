# SPDX-License-Identifier: Apache-2.0
"""The law of a bar as compiled text, for the host and for CUDA devices, and its structs.

`step.h`, `team.h`, `lane.h`, `reach.h`, `fill.h`, `decide.h`, `bar.h`, `run.h`: each includes what it needs of those
before it, and a compiled engine includes `run.h`. `layout.py` imports `config` and NumPy alone: every engine uses it.
"""
