# SPDX-License-Identifier: Apache-2.0
"""python -m gpu_bt.cli: the program gpu-bt."""

import sys

from gpu_bt.cli.commands import main

sys.exit(main())
