"""Why do the tools disagree? What each one's conventions make of the calls of a profile.

Nothing here runs a tool: every number is a sum over our own records. `tables.py` says what each
tool counts, `explain` where that leaves it beside our FLOPs, `tools` runs the tools.
"""

from __future__ import annotations

from nnprof.conventions.explain import Explanation, Part, explain, flops_as
from nnprof.conventions.tables import CONVENTIONS
from nnprof.conventions.vocabulary import Convention, Quirk, Rule
from nnprof.results import registry

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Explanation",
    "Part",
    "Quirk",
    "Rule",
    "explain",
    "flops_as",
]

registry.flops_as.fill(flops_as)
