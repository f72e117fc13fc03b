"""What a profile tells of memory, over a trace made by hand, and the report on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nnprof.errors import InputError, UnknownLayerError
from nnprof.report import TableOptions, memory
from nnprof.results import stored as files
from nnprof.results.memory import KINDS, Checkpointing

if TYPE_CHECKING:
    from nnprof.results.profile import Profile


def held(**kinds: int) -> dict[str, int]:
    return dict.fromkeys(KINDS, 0) | kinds


def test_working_memory_is_the_running_modules(training: Profile) -> None:
    by_module = training.memory.by_module
    assert training.memory.peak_module == "stages.1"
    assert by_module["stages.1"] == held(temporaries=3_200_000)
    assert by_module[""] == held(inputs=training.memory.inputs)


def test_a_file_of_an_older_version_knows_the_model_alone(stored: dict[str, Any]) -> None:
    for name in ("saved_bytes", "recomputed"):
        del stored["ops"][name]
    del stored["memory"]
    old = files.from_dict(
        stored
        | {"format": "nnprof-profile", "version": 1, "trace_s": 0.0}
        | {"model": {"name": "Net", "parameter_bytes": 12}}
    )
    assert old.memory.parameters == 12
    assert not old.memory.known
    assert "Peak memory" not in str(old)
    assert repr(old.memory) == "<Memory: peak unknown>"
    assert not old.ops["recomputed"].any()
    with pytest.raises(InputError, match="measure the model again"):
        old.memory.peak  # noqa: B018
    assert "measure again" in memory.render(old)


def test_advice_on_checkpointing(training: Profile, cnn: Profile) -> None:
    block = training.memory.checkpointing("stages.2")
    written = 3_600_000 + 3 * 3_200_000
    given = 4 * 8  # an input of [1, 8]
    assert block == Checkpointing(written - given, cnn["stages.2"].flops)
    every = training.memory.checkpointing("stages")
    assert every.saved_bytes == 3 * written - given  # stages.1 is checkpointed
    assert every.recompute_flops == cnn["stages"].flops
    assert training.memory.checkpointing("stages.1").saved_bytes == 0


def test_advice_is_for_training(cnn: Profile, training: Profile) -> None:
    with pytest.raises(InputError, match="backward=True"):
        cnn.memory.checkpointing("stages.2")
    with pytest.raises(UnknownLayerError, match=r"did you mean 'stages\.2'"):
        training.memory.checkpointing("stages.22")
    with pytest.raises(UnknownLayerError, match="never called"):
        training.memory.checkpointing("aux")


@pytest.mark.parametrize("width", [50, 80, 120])
def test_fits_the_width(width: int, training: Profile) -> None:
    text = memory.render(training, TableOptions(width=width))
    assert all(len(line) <= width for line in text.splitlines())
    assert "50.16 MB" in text


def test_equal_modules_are_one_line(decoder: Profile) -> None:
    text = memory.render(decoder)
    assert "model.layers.*.mlp.up_proj (x126)" in text
    assert len(text.splitlines()) < 50


def test_the_curve_begins_with_each_phase(training: Profile) -> None:
    names = memory.render(training).splitlines()[-1]
    phases = list(training.memory.timeline["phase"])
    for phase in training.memory.phases:
        assert names.index(phase) == phases.index(phase)
