"""Every operator with PyTorch's own samples: shape-only outputs equal the real ones."""

from __future__ import annotations

from typing import Any

import pytest
from torch.testing._internal.common_methods_invocations import op_db

from tests.rules.differential import EXCEPTIONS, KINDS, check_samples


@pytest.mark.parametrize("op", op_db, ids=lambda op: op.formatted_name)
def test_shape_only_equals_pytorch(op: Any) -> None:
    report = check_samples(op)
    allowed = EXCEPTIONS.get(report.name, {})
    wrong = [m for m in report.mismatches if m.kind not in allowed]
    shown = "\n".join(map(str, wrong[:5]))
    assert not wrong, f"{len(wrong)} mismatches in {report.samples} samples, such as\n{shown}"
    stale = allowed.keys() - report.kinds().keys()
    assert not stale, f"op_db_exceptions.toml: {report.name} has no mismatch of {sorted(stale)}"


def test_exceptions_name_ops_and_kinds() -> None:
    assert EXCEPTIONS.keys() <= {op.formatted_name for op in op_db}
    for name, kinds in EXCEPTIONS.items():
        assert kinds.keys() <= set(KINDS), name
        assert all(kinds.values()), f"{name}: a reason is missing"


def test_exceptions_stay_few() -> None:
    assert len(EXCEPTIONS) <= 0.1 * len(op_db)
