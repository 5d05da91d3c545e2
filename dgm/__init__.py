"""Helpers of the book: everything a lecture needs that no lecture has an equation for.

Importing `dgm` loads no deep-learning framework.  Modules that need one say so in their first line.

Import it before torch: it tells the threads of GNU OpenMP, which torch starts, to spin only briefly while they wait for
one another and then to sleep.  By default they spin on, which is best on an idle machine and makes a training step tens
of times slower on one that does other work; with 1,000 turns it is near its best on both.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from dgm import checks, data, plotting
from dgm.progress import progress
from dgm.runtime import Run, float64, start

__all__ = ["Run", "checks", "data", "float64", "plotting", "progress", "start"]
__version__ = "0.1.0"
