# SPDX-License-Identifier: Apache-2.0
"""The law of a bar as compiled text, for the host and for CUDA devices, and its structs."""
