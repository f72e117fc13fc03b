"""Will it fit: what a run takes of a GPU, and what would make it take less."""

from nnprof.fitting.fit import Fit, fits
from nnprof.fitting.grid import Grid, fits_grid, methods_of
from nnprof.fitting.largest import Largest, largest
from nnprof.fitting.planner import MemoryPlan, plan_memory

__all__ = [
    "Fit",
    "Grid",
    "Largest",
    "MemoryPlan",
    "fits",
    "fits_grid",
    "largest",
    "methods_of",
    "plan_memory",
]
