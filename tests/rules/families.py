"""The families of rules in force, and what may differ of PyTorch's outputs."""

from __future__ import annotations

from tests.rules.coverage import rules_in_force

FAMILIES = sorted({rule["family"] for rule in rules_in_force().values()})
#: By operator, its out= and in-place siblings too: what may differ, and why.
EXCEPTIONS: dict[str, tuple[set[str], str]] = {
    "aten::log_sigmoid_forward": ({"shape"}, "the buffer is empty where no CPU kernel fills it"),
    "aten::_embedding_bag": ({"shape"}, "what is kept for backward is as on CUDA"),
    "aten::_embedding_bag_forward_only": ({"shape"}, "what is kept for backward is as on CUDA"),
    "aten::nonzero": ({"shape"}, "the values of floats are unknown: all are taken as not zero"),
}


def excepted(name: str) -> set[str]:
    function = name.partition(".")[0]
    return EXCEPTIONS.get(name, EXCEPTIONS.get(function, (set(), "")))[0]
