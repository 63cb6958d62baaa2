# SPDX-License-Identifier: Apache-2.0
"""What a person sees while and after something runs: progress bars, and HTML in a notebook."""
