"""The arguments of forward: made from shapes, given, and what is said of wrong ones."""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

import nnprof
import nnprof.calls.inputs
from benchmarks.models import torchvision_model
from nnprof.calls.examples import Sizes
from nnprof.calls.examples.tensors import REAL_IDS_LIMIT
from nnprof.calls.inputs import explain_call_failure
from nnprof.errors import InputError
from nnprof.tracing.run import bare_output

make_inputs = functools.partial(nnprof.calls.inputs.make_inputs, run=bare_output)


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.convolution(x)


class Language(nn.Module):
    """Like a transformers model: ids by name, a config with special tokens."""

    def __init__(self, vocabulary: int = 50) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 8, padding_idx=3)
        self.config = SimpleNamespace(bos_token_id=1, eos_token_id=[2, 5], pad_token_id=None)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        return self.embedding(input_ids)


class Two(nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor, *, scale: float = 1.0) -> Any:
        return first + second * scale


def lookup() -> nn.Module:
    return nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 8))


# Made from shapes.


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), [1, 3, 8, 8], torch.Size([1, 3, 8, 8])])
def test_one_shape_is_one_meta_tensor(shape: Any) -> None:
    args, kwargs = make_inputs(Image(), shape)
    assert [(a.shape, a.dtype, a.device.type) for a in args] == [
        ((1, 3, 8, 8), torch.float32, "meta")
    ]
    assert kwargs == {}


def test_numpy_sizes_are_sizes() -> None:
    (x,), _ = make_inputs(Image(), tuple(np.array([1, 3, 8, 8])))
    assert x.shape == (1, 3, 8, 8)


def test_several_shapes_are_positional() -> None:
    args, _ = make_inputs(Two(), [(2, 3), (3,)])
    assert [tuple(a.shape) for a in args] == [(2, 3), (3,)]


def test_a_dict_of_shapes_is_keywords() -> None:
    args, kwargs = make_inputs(Two(), {"second": (3,), "first": (2, 3)})
    assert args == ()
    assert {name: tuple(a.shape) for name, a in kwargs.items()} == {"second": (3,), "first": (2, 3)}


def test_a_shape_may_carry_its_dtype() -> None:
    args, _ = make_inputs(Two(), [((2, 3), torch.float64), (3,)])
    assert [a.dtype for a in args] == [torch.float64, torch.float32]
    (ids,), _ = make_inputs(Image(), ((1, 77), torch.int32))
    assert (ids.dtype, ids.device.type) == (torch.int32, "cpu")
    _, kwargs = make_inputs(Two(), {"first": ((4,), torch.bool)})
    assert kwargs["first"].all()


def test_the_dtype_is_the_models() -> None:
    assert make_inputs(Image().bfloat16(), (1, 3, 8, 8))[0][0].dtype == torch.bfloat16
    assert make_inputs(Image().bfloat16(), (1, 3, 8, 8), dtype=torch.half)[0][0].dtype == torch.half
    assert make_inputs(Two(), [(1,), (1,)])[0][0].dtype == torch.get_default_dtype()


def test_a_dtype_may_be_named() -> None:
    assert make_inputs(Image(), (1, 3, 8, 8), dtype="bfloat16")[0][0].dtype == torch.bfloat16
    with pytest.raises(InputError, match="'float17' is no dtype"):
        make_inputs(Image(), (1, 3, 8, 8), dtype="float17")


def test_extra_keywords_are_added() -> None:
    args, kwargs = make_inputs(Two(), [(1,), (1,)], kwargs={"scale": 2.0})
    assert len(args) == 2
    assert kwargs == {"scale": 2.0}


def test_a_callable_will_do() -> None:
    (x,), _ = make_inputs(lambda x: x + 1, (2, 2))
    assert x.shape == (2, 2)
    assert make_inputs(lambda: 1) == ((), {})
    assert make_inputs(functools.partial(torch.add, other=1), (2,))[0][0].shape == (2,)


# Token ids.


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: nn.DataParallel(cast("nn.Module", torch.compile(model, backend="eager"))),
    ],
    ids=["plain", "DataParallel", "compiled", "both"],
)
def test_ids_are_recognised_by_name_through_wrappers(wrap: Any) -> None:
    (ids,), _ = make_inputs(wrap(Language()), (4, 200))
    assert (ids.dtype, ids.device.type, ids.shape) == (torch.int64, "cpu", (4, 200))


@pytest.mark.parametrize("shape", [(7,), (2, 7)])
def test_ids_are_recognised_by_the_first_layer(shape: tuple[int, ...]) -> None:
    (ids,), _ = make_inputs(lookup(), shape)
    assert ids.dtype == torch.int64


def test_three_dimensions_are_no_ids() -> None:
    assert make_inputs(lookup(), (2, 7, 8))[0][0].dtype == torch.float32


def test_ids_of_a_scripted_model() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 8)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.embedding(input_ids)

    scripted = torch.jit.script(Plain())
    assert make_inputs(scripted, (1, 5))[0][0].dtype == torch.int64


def test_ids_are_in_the_vocabulary_seeded_and_never_special() -> None:
    model = Language()
    before = torch.get_rng_state()
    (ids,), _ = make_inputs(model, (16, 1000))
    (again,), _ = make_inputs(model, (16, 1000))
    assert torch.equal(ids, again)
    assert torch.equal(before, torch.get_rng_state())
    seen = set(ids.unique().tolist())
    assert seen == set(range(50)) - {0, 1, 2, 3, 5}


@pytest.mark.parametrize("vocabulary", [4, 5, 7])
def test_tiny_vocabularies(vocabulary: int) -> None:
    (ids,), _ = make_inputs(Language(vocabulary), (1, 50))
    assert 0 <= ids.min() <= ids.max() < vocabulary


def test_ids_beyond_a_few_million_have_no_values() -> None:
    (ids,), _ = make_inputs(lookup(), (2, REAL_IDS_LIMIT))
    assert (ids.device.type, ids.dtype) == ("meta", torch.int64)


def test_masks_and_positions_by_name() -> None:
    shape = {"input_ids": (2, 3), "attention_mask": (2, 3)}
    shape |= {"token_type_ids": (2, 3), "position_ids": (2, 3)}
    _, kwargs = make_inputs(Language(), shape)
    assert kwargs["attention_mask"].tolist() == [[1, 1, 1]] * 2
    assert kwargs["token_type_ids"].tolist() == [[0, 0, 0]] * 2
    assert kwargs["position_ids"].tolist() == [[0, 1, 2]] * 2
    assert all(value.dtype == torch.int64 for value in kwargs.values())


def test_an_unknown_vocabulary_takes_the_safest_id() -> None:
    (ids,), _ = make_inputs(lambda idx: idx, (3,))
    assert ids.tolist() == [1, 1, 1]


def test_inside_a_meta_context_ids_stay_real() -> None:
    with torch.device("meta"):
        (ids,), _ = make_inputs(Language(), (1, 4))
    assert ids.device.type == "cpu"


# Given.


@dataclasses.dataclass
class Batch:
    image: torch.Tensor


Pair = collections.namedtuple("Pair", ["first", "second"])


def test_given_inputs_are_passed_as_they_are() -> None:
    x, y = torch.ones(1), torch.empty(1, device="meta")
    for inputs in (x, Batch(x), Pair(x, y), {"image": x}):
        args, kwargs = make_inputs(Image(), inputs=inputs)
        assert len(args) == 1
        assert args[0] is inputs
        assert kwargs == {}
    args, _ = make_inputs(Two(), inputs=(x, y))
    assert args[0] is x
    assert args[1] is y


def test_a_list_is_unpacked_only_where_forward_demands_several() -> None:
    images = [torch.ones(3, 4, 4), torch.ones(3, 5, 5)]
    assert make_inputs(Two(), inputs=images)[0] == tuple(images)
    assert make_inputs(Image(), inputs=images)[0] == (images,)


def test_a_dict_is_keywords_if_forward_has_them_all() -> None:
    x = torch.ones(1)
    assert make_inputs(Two(), inputs={"first": x, "second": x}) == ((), {"first": x, "second": x})
    assert make_inputs(Image(), inputs={"a": x}) == (({"a": x},), {})
    batch = collections.UserDict(input_ids=x, attention_mask=x, novelty=x)
    assert set(make_inputs(Language(), inputs=batch)[1]) == set(batch)


# Wrong ones.


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"shape": (1, 0, 8, 8)}, "at least 1, not 0"),
        ({"shape": (1, -3, 8, 8)}, "at least 1, not -3"),
        ({"shape": [(1, 3), (0,)]}, "at least 1, not 0"),
        ({"shape": {"x": (1, 0)}}, "at least 1, not 0"),
        ({"shape": (1, 3.0)}, "whole numbers, not 3.0"),
        ({"shape": (1, True)}, "whole numbers, not True"),
        ({"shape": ()}, "shape is empty"),
        ({"shape": "1,3"}, "not a str"),
        ({"shape": 7}, "not an int"),
        ({"shape": torch.ones(1)}, "pass tensors as inputs="),
        ({"shape": {"x": 3}}, "tuple of sizes"),
        ({"shape": (1,), "inputs": torch.ones(1)}, "not both"),
        ({}, r"takes x: pass shape=\(1, 3, 224, 224\)"),
        ({"shape": {"x": (1,)}, "kwargs": {"x": 1}}, "both as an input and in kwargs: x"),
        ({"shape": (1,), "kwargs": [1]}, "kwargs must be a dict"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        make_inputs(Image(), **arguments)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (7, "model is a int, which cannot be called"),
        (None, "model is a NoneType"),
        (Image, "model is the class Image"),
    ],
)
def test_what_is_no_model(model: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        make_inputs(model, (1,))


def test_a_misspelt_keyword_among_right_ones() -> None:
    with pytest.raises(InputError, match="no parameter 'secnd': did you mean 'second'"):
        make_inputs(Two(), inputs={"first": torch.ones(1), "secnd": torch.ones(1)})


def call_and_explain(model: Any, *args: Any, **kwargs: Any) -> None:
    """As measure does: the inputs are looked at only after a failure."""
    try:
        model(*args, **kwargs)
    except Exception as error:
        explain_call_failure(model, args, kwargs, error)
        raise


@pytest.mark.parametrize(
    ("model", "args", "kwargs", "complaint"),
    [
        (Image(), (1.0, 2), {}, r"Image.forward takes \(x\), 2 inputs given"),
        (Two(), (torch.ones(1),), {}, "1 input given: missing a required argument: 'second'"),
        (Two(), ([1, 2],), {}, "a list; pass several as a tuple"),
        (Image(), ([torch.ones(1, 3, 8, 8)],), {}, "a list as its one input"),
        (Two(), (1.0, 2), {"scal": 1}, "no parameter 'scal': did you mean 'scale'"),
        (lambda a, b: a, (1,), {}, "1 input given"),
        (lookup(), (torch.ones(1, 5),), {}, r"input 0 is torch.float32.*\(1, 5\), torch.int64"),
    ],
)
def test_failed_calls_are_explained(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint) as raised:
        call_and_explain(model, *args, **kwargs)
    assert raised.value.__cause__ is not None


def test_plain_sizes_as_inputs_are_recognised() -> None:
    with pytest.raises(InputError, match=r"shape=\(1, 3, 8, 8\)"):
        explain_call_failure(lambda *sizes: None, (1, 3, 8, 8), {}, RuntimeError("?"))


@pytest.mark.parametrize(
    "text",
    [
        "embedding: expected integer indices, but got Float",
        "argument #1 'indices' has one of the scalar types: Long, Int; but got torch.float32",
    ],
)
def test_float_ids_are_recognised_in_the_cores_words_and_in_pytorchs(text: str) -> None:
    with pytest.raises(InputError, match=r"torch\.int64"):
        explain_call_failure(lookup(), (torch.ones(1, 5),), {}, RuntimeError(text))


def test_a_failure_inside_the_model_is_its_own() -> None:
    def forward(x: torch.Tensor) -> Any:
        raise TypeError("of the model's own making")

    with pytest.raises(TypeError, match="own making"):
        call_and_explain(forward, torch.ones(1))


def test_floats_are_made_fast() -> None:
    model = Image()
    make_inputs(model, (1, 3, 8, 8))
    started = time.perf_counter()
    for _ in range(200):
        make_inputs(model, (1, 3, 8, 8))
    # Some 25 us; the bound leaves room for a busy machine.
    assert (time.perf_counter() - started) / 200 < 250e-6


def test_a_dtype_of_the_usual_inputs() -> None:
    """A library's model without shapes: floating tensors, or token ids."""
    (image,), _ = make_inputs(torchvision_model("resnet18"), dtype="bfloat16")
    assert image.dtype == torch.bfloat16
    profile = nnprof.measure(torchvision_model("resnet18").bfloat16(), dtype="bfloat16")
    assert profile.macs == nnprof.measure(torchvision_model("resnet18")).macs


# A model's own example.


class WithExample(nn.Module):
    """As lightning's modules have it."""

    def __init__(self, example: Any) -> None:
        super().__init__()
        self.example_input_array = example

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return x if y is None else x + y


@pytest.mark.parametrize(
    ("example", "args", "keywords"),
    [
        (torch.ones(2, 3), 1, []),
        ((torch.ones(2, 3), torch.ones(3)), 2, []),
        ({"x": torch.ones(2, 3), "y": torch.ones(3)}, 0, ["x", "y"]),
    ],
)
def test_the_example_that_a_model_keeps(example: Any, args: int, keywords: list[str]) -> None:
    made = make_inputs(WithExample(example))
    assert (len(made[0]), list(made[1])) == (args, keywords)
    assert [*made[0], *made[1].values()][0].shape == (2, 3)
    # What the user says goes before.
    assert make_inputs(WithExample(example), (4, 5))[0][0].shape == (4, 5)
    assert make_inputs(WithExample(example), kwargs={"x": example})[0] == ()


def test_sizes_do_not_change_an_example() -> None:
    with pytest.raises(InputError, match="example_input_array"):
        make_inputs(WithExample(torch.ones(2)), sizes=Sizes(batch=2))


def test_a_model_without_an_example_asks_for_a_shape() -> None:
    with pytest.raises(InputError, match="pass shape="):
        make_inputs(WithExample(None))
