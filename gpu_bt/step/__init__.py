# SPDX-License-Identifier: Apache-2.0
"""The law's packed structs: neutral ground that every engine includes."""
