"""Drawn sizes and options of convolutions and their like."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings

few = settings(max_examples=80, suppress_health_check=list(HealthCheck))
small = st.integers(1, 3)
flags = st.booleans()


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    dims, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3]))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    return {
        "batch": draw(st.integers(1, 2)),
        "inputs": groups * draw(st.integers(1, 2)),
        "outputs": groups * draw(st.integers(1, 2)),
        "groups": groups,
        "sizes": each(3, 5 if dims < 3 else 3),
        "kernel": each(1, 2),
        "stride": each(1, 2),
        "padding": each(0, 1),
        "dilation": each(1, 2),
    }
