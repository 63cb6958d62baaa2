# SPDX-License-Identifier: Apache-2.0
"""python -m gpu_bt.cli"""

import sys

from gpu_bt.cli.commands import main

sys.exit(main())
