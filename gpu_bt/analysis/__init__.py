# SPDX-License-Identifier: Apache-2.0
"""What came of a run: tables, metrics, statistics, pictures. It reads records and runs nothing itself."""
