"""Helpers of the book: everything a lecture needs that no lecture has an equation for.

Importing `dgm` loads no deep-learning framework.  Modules that need one say so in their first line.

Import it before torch: it tells the threads of OpenMP, which torch starts, to sleep while they wait.  By default they
spin, which costs nothing on an idle machine, and makes a training step many times slower on one that does other work.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dgm import checks, data, plotting
from dgm.runtime import Run, start

__all__ = ["Run", "checks", "data", "plotting", "start"]
__version__ = "0.1.0"
