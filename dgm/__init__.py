"""Helpers of the book: everything a lecture needs that no lecture has an equation for.

Importing `dgm` loads no deep-learning framework.  Modules that need one say so in their first line.
"""

from dgm import checks, data, plotting
from dgm.runtime import Run, start

__all__ = ["Run", "checks", "data", "plotting", "start"]
__version__ = "0.1.0"
