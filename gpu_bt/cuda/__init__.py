# SPDX-License-Identifier: Apache-2.0
"""The CUDA engine; the only code that imports CuPy."""
