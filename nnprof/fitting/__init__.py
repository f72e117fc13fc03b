"""Will it fit: what a run takes of a GPU, and what would make it take less."""

from nnprof.fitting.fit import Fit, fits
from nnprof.fitting.largest import Largest, largest
from nnprof.fitting.planner import MemoryPlan, plan_memory

__all__ = ["Fit", "Largest", "MemoryPlan", "fits", "largest", "plan_memory"]
