# SPDX-License-Identifier: Apache-2.0
"""What a user has, as arrays: panels, target weights, calendars, tables and files."""
