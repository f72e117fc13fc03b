"""The arguments of `forward`: made from shapes, or taken as they are given.

Made tensors hold no data: floats are meta tensors. Token ids are an exception, for models branch on
them, look for the end of the text in them and index with them: they are real, seeded, inside the
vocabulary and never special.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from nnprof.base.dtypes import COMPUTED, as_dtype, cast
from nnprof.base.modules import looked_through, model_of_inputs, modules_of, parameters_of
from nnprof.calls.examples import NO_SIZES, Sizes, example_inputs
from nnprof.calls.examples.tensors import floating_dtype, token_ids
from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nnprof.calls.examples.tensors import Runner

__all__ = ["explain_call_failure", "kept", "make_inputs"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

#: Arguments that a forward cannot change, or that a trace itself puts back.
_UNCHANGING = (torch.Tensor, nn.Module, int, float, complex, str, bytes, type, torch.dtype)


def make_inputs(
    model: Any,
    shape: Any = None,
    inputs: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    dtype: torch.dtype | str | None = None,
    sizes: Sizes = NO_SIZES,
    *,
    run: Runner,
) -> Arguments:
    """The positional and the keyword arguments to call `model` with.

    `shape` makes tensors: sizes with the batch, (1, 3, 224, 224); several of them in a list, one a
    positional argument; or a dict from keyword to sizes. Where sizes stand, (sizes, dtype) may too.
    `dtype` is that of the tensors which name none; by default int64 for a token model, else the
    model's own first floating dtype. Of a library's usual inputs a floating one is that of the
    floating tensors, an integer one that of the others.

    `inputs` are passed as they are. A tuple holds the positional arguments; so does a list if
    `forward` demands two or more. A dict holds keyword arguments if its keys are parameters of
    `forward`. Anything else, a named tuple or a dataclass too, is the one positional argument.

    Without either, a model of transformers, diffusers, timm or torchvision gets what it usually
    takes, with the batch and the sequence of `sizes`; any other what it keeps as its own
    `example_input_array`, as lightning's modules do.

    `kwargs` are further keyword arguments, or some of those that would be made: the others fit to
    them. `run` is how to run a part of the model, shape-only: how many tokens stand for an image
    only the model knows. Raises `InputError` for what cannot be meant.
    """
    model = model_of_inputs(looked_through(model))
    if sizes != NO_SIZES and not (shape is None and inputs is None):
        raise InputError("batch= and sequence= say how to make the inputs: leave out shape/inputs")
    if shape is not None and inputs is not None:
        raise InputError("give shape= (to make the inputs) or inputs= (to use yours), not both")
    wanted = as_dtype(dtype, COMPUTED)
    if shape is not None:
        args, keywords = _made(model, shape, wanted)
    elif inputs is not None:
        if wanted is not None:
            raise InputError("dtype= is of made inputs, and inputs= have their own: leave it out")
        args, keywords = _given(model, inputs)
    else:
        beside = kwargs if isinstance(kwargs, Mapping) else {}
        made = example_inputs(model, sizes, run, beside) or _own_example(model, sizes, beside)
        args, keywords = made or _none_needed(model, kwargs)
        if wanted is not None:
            args, keywords = cast((args, keywords), wanted, _name(model))
    return (args, _merged(keywords, kwargs)) if kwargs else (args, keywords)


def _own_example(model: Any, sizes: Sizes, given: Mapping[str, Any]) -> Arguments | None:
    """What a model keeps as `example_input_array`: a tensor, a tuple of them, or a dict by name."""
    example = getattr(model, "example_input_array", None) if isinstance(model, nn.Module) else None
    if example is None or given:
        return None
    if sizes != NO_SIZES:
        raise InputError(
            f"{_name(model)} has inputs of its own in example_input_array: leave out batch= and "
            "sequence=, or pass shape="
        )
    if isinstance(example, Mapping):
        return (), dict(example)
    return (example if isinstance(example, tuple) else (example,)), {}


def _none_needed(model: Any, kwargs: Mapping[str, Any] | None) -> Arguments:
    required = [p.name for p in _signature(model) if p.required]
    if not kwargs and required:
        raise InputError(
            f"{_name(model)} takes {', '.join(required)}: pass shape=(1, 3, 224, 224), batch "
            "included, or inputs="
        )
    return (), {}


def _merged(keywords: dict[str, Any], kwargs: Any) -> dict[str, Any]:
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise InputError(f"kwargs must be a dict from parameter names, not {_named(kwargs)}")
    twice = sorted(keywords.keys() & kwargs.keys())
    if twice:
        raise InputError(f"given both as an input and in kwargs: {', '.join(twice)}")
    return {**keywords, **kwargs}


# Given inputs.


def _given(model: Any, inputs: Any) -> Arguments:
    if isinstance(inputs, Mapping):
        return _given_mapping(model, inputs)
    if isinstance(inputs, tuple) and not hasattr(inputs, "_fields"):
        return inputs, {}
    if isinstance(inputs, list) and sum(p.required for p in _signature(model)) > 1:
        return tuple(inputs), {}
    return (inputs,), {}


def _given_mapping(model: Any, inputs: Mapping[Any, Any]) -> Arguments:
    parameters = _signature(model)
    names = {p.name for p in parameters if p.keyword}
    unknown = [key for key in inputs if key not in names]
    takes_any = any(p.keywords for p in parameters) and all(isinstance(key, str) for key in inputs)
    if not unknown or (takes_any and (len(unknown) < len(inputs) or not names)):
        return (), dict(inputs)
    if len(unknown) < len(inputs) and not takes_any:
        raise InputError(_unknown_keyword(model, str(unknown[0]), names))
    return (inputs,), {}


# Made inputs.


def _made(model: Any, shape: Any, dtype: torch.dtype | None) -> Arguments:
    if isinstance(shape, Mapping):
        maker = _Maker(model, dtype)
        return (), {str(name): maker.named(str(name), *_spec(shape[name])) for name in shape}
    maker = _Maker(model, dtype)
    specs = _specs(shape)
    names = [p.name for p in _signature(model) if p.positional]
    names += [""] * (len(specs) - len(names))
    made = [maker.named(names[i], *spec, first=i == 0) for i, spec in enumerate(specs)]
    return tuple(made), {}


def _specs(shape: Any) -> list[tuple[list[int], torch.dtype | None]]:
    """The one shape or the several of them."""
    if not isinstance(shape, (tuple, list)):
        raise InputError(
            f"shape must be sizes such as (1, 3, 224, 224), not {_named(shape)}; "
            "pass tensors as inputs="
        )
    if not shape:
        raise InputError("shape is empty: give the sizes, batch included, as in (1, 3, 224, 224)")
    several = all(isinstance(item, (tuple, list)) for item in shape)
    return [_spec(item) for item in shape] if several else [_spec(shape)]


def _spec(spec: Any) -> tuple[list[int], torch.dtype | None]:
    """Sizes, and the dtype that may stand beside them."""
    if isinstance(spec, (tuple, list)) and len(spec) == 2 and isinstance(spec[1], torch.dtype):
        return _sizes(spec[0]), spec[1]
    return _sizes(spec), None


def _sizes(shape: Any) -> list[int]:
    if not isinstance(shape, (tuple, list)):
        raise InputError(f"a shape must be a tuple of sizes, not {_named(shape)}: {shape!r}")
    sizes = []
    for size in shape:
        # NumPy's integers and the like have __index__; so has True.
        if type(size) is not int and (isinstance(size, bool) or not hasattr(size, "__index__")):
            raise InputError(f"the sizes of a shape are whole numbers, not {size!r}, in {shape!r}")
        sizes.append(int(size))
    if sizes and min(sizes) <= 0:
        raise InputError(f"every size must be at least 1, not {min(sizes)}, in {tuple(sizes)}")
    return sizes


@dataclass
class _Maker:
    """Makes the inputs of one model: what its parameters' names and first layer ask for."""

    model: Any
    dtype: torch.dtype | None

    def named(
        self, name: str, sizes: list[int], dtype: torch.dtype | None, *, first: bool = False
    ) -> torch.Tensor:
        """A tensor for the parameter `name` of forward, its `first` or not."""
        dtype = dtype or self.dtype
        if dtype is None or not (dtype.is_floating_point or dtype.is_complex):
            by_name = len(sizes) <= 2 or name in _INTEGERS_OF_ANY_RANK
            make = _MAKERS.get(name) if by_name else None
            make = make or self._unnamed(sizes, dtype, first=first)
            if make is not None:
                return make(self.model, sizes).to(dtype or torch.int64)
        return torch.empty(sizes, dtype=dtype or floating_dtype(self.model), device="meta")

    def _unnamed(
        self, sizes: list[int], dtype: torch.dtype | None, *, first: bool
    ) -> Callable[[Any, list[int]], torch.Tensor] | None:
        """How to fill a tensor whose name says nothing; None: it holds floats."""
        if dtype is not None:
            return _ones if dtype == torch.bool else _ids
        looked_up = first and len(sizes) <= 2 and isinstance(_first_layer(self.model), nn.Embedding)
        return _ids if looked_up else None


def _ids(model: Any, sizes: list[int]) -> torch.Tensor:
    return token_ids(model, sizes)


def _ones(model: Any, sizes: list[int]) -> torch.Tensor:
    return torch.ones(sizes, dtype=torch.int64, device="cpu")


def _zeros(model: Any, sizes: list[int]) -> torch.Tensor:
    return torch.zeros(sizes, dtype=torch.int64, device="cpu")


def _lengths(model: Any, sizes: list[int]) -> torch.Tensor:
    """Of sequences: not known, so that who packs them takes them as full."""
    return torch.empty(sizes, dtype=torch.int64, device="meta")


def _positions(model: Any, sizes: list[int]) -> torch.Tensor:
    return torch.arange(sizes[-1], device="cpu").expand(sizes).contiguous()


#: Parameter names of forward that say what integers they take.
_MAKERS: dict[str, Callable[[Any, list[int]], torch.Tensor]] = {
    **dict.fromkeys(("input_ids", "decoder_input_ids", "token_ids", "input_tokens"), _ids),
    **dict.fromkeys(("tokens", "token", "ids", "idx", "src_tokens", "prev_output_tokens"), _ids),
    **dict.fromkeys(("attention_mask", "decoder_attention_mask", "padding_mask"), _ones),
    "token_type_ids": _zeros,
    **dict.fromkeys(("lengths", "length", "lens", "seq_lengths", "seq_lens", "src_lens"), _lengths),
    **dict.fromkeys(("input_lengths", "src_lengths", "text_lengths", "x_lengths"), _lengths),
    "position_ids": _positions,
}
# The other names stand for floats too: `tokens` of (batch, patches, channels), an additive mask.
_INTEGERS_OF_ANY_RANK = frozenset({"input_ids", "decoder_input_ids", "position_ids"})


# What a model tells about its inputs.


def _modules(model: Any) -> Iterator[nn.Module]:
    return modules_of(model) if isinstance(model, nn.Module) else iter(())


def _first_layer(model: Any) -> nn.Module | None:
    """The first module, in the order of registration, with parameters of its own."""
    return next((m for m in _modules(model) for _ in _own_parameters(m)), None)


def _own_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    # A ScriptModule has no plain dict; both have the method, but it takes ten times as long.
    own = module.__dict__.get("_parameters")
    if own is None:
        yield from parameters_of(module, recurse=False)
    else:
        yield from (p for p in own.values() if p is not None)


# Signatures. `inspect.signature` takes 20 us, the code object a tenth of that.


class _Parameter(NamedTuple):
    name: str
    required: bool = False
    positional: bool = False
    keyword: bool = False
    keywords: bool = False  # it is **kwargs


def _signature(model: Any) -> list[_Parameter]:
    """The parameters of `forward`, `self` left out; none where they cannot be known."""
    function = inspect.unwrap(_forward(model))
    bound = inspect.ismethod(function)
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return _signature_of_script(function)
    names = code.co_varnames
    positional = names[bound : code.co_argcount]
    required = len(positional) - len(getattr(function, "__defaults__", None) or ())
    only_keyword = names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    defaults = getattr(function, "__kwdefaults__", None) or {}
    parameters = [
        # Positional-only parameters come first and take no keyword.
        _Parameter(name, i < required, True, i + bound >= code.co_posonlyargcount)
        for i, name in enumerate(positional)
    ]
    parameters += [_Parameter(n, n not in defaults, keyword=True) for n in only_keyword]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        parameters.append(_Parameter("", keywords=True))
    return parameters


def _signature_of_script(function: Any) -> list[_Parameter]:
    schema = getattr(function, "schema", None)
    arguments = list(getattr(schema, "arguments", ()))[1:]
    return [_Parameter(a.name, not a.has_default_value(), True, True) for a in arguments]


def _forward(model: Any) -> Any:
    return model.forward if isinstance(model, nn.Module) else model


# Arguments that the forward changes: caches, dicts it pops from.


@contextmanager
def kept(*values: Any) -> Iterator[None]:
    """Puts lists, dicts and the attributes of objects among the arguments back as they were.

    A forward appends to the cache it is given. Tensors need no care here: a trace never writes to
    the user's.
    """
    snapshots: dict[int, tuple[Any, Any]] = {}
    for value in values:
        _snapshot(value, snapshots)
    try:
        yield
    finally:
        for container, content in snapshots.values():
            container.clear()
            if isinstance(container, list):
                container.extend(content)
                continue
            for key, value in content.items():  # a transformers ModelOutput refuses update()
                container[key] = value


def _snapshot(value: Any, snapshots: dict[int, tuple[Any, Any]]) -> None:
    if value is None or isinstance(value, _UNCHANGING) or id(value) in snapshots:
        return
    if isinstance(value, tuple):
        inside: Any = value
    elif isinstance(value, (list, dict)):
        snapshots[id(value)] = (value, value.copy())
        inside = value if isinstance(value, list) else list(value.values())
    elif isinstance(getattr(value, "__dict__", None), dict):
        inside = (value.__dict__,)
    else:
        return
    for item in inside:
        _snapshot(item, snapshots)


# Failures, explained.


def explain_call_failure(
    model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: BaseException
) -> None:
    """Raises `InputError` from `error` where the inputs were why calling `model` raised it.

    Returns where nothing is known against the inputs. To be asked only after a failure: it takes
    its time.
    """
    model = looked_through(model)
    explained = _explain_plain_sizes(args, kwargs) or _explain_float_ids(args, kwargs, error)
    if explained is None and isinstance(error, TypeError):
        explained = _explain_signature(model, args, kwargs) or _explain_list(model, args)
    if explained is not None:
        raise explained from error


def _explain_signature(
    model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> InputError | None:
    forward = _forward(model)
    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):  # not written in Python
        return None
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return InputError(_mismatch(model, signature, args, kwargs, error))
    return None


def _mismatch(
    model: Any,
    signature: inspect.Signature,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    error: TypeError,
) -> str:
    unknown = [name for name in kwargs if name not in signature.parameters]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    if unknown and not takes_any:
        return _unknown_keyword(model, unknown[0], set(signature.parameters))
    count = f"{len(args)} input{'' if len(args) == 1 else 's'} given"
    if len(args) == 1 and isinstance(args[0], (list, dict)):
        count += f" (a {type(args[0]).__name__}; pass several as a tuple)"
    names = ", ".join(signature.parameters)
    return f"{_name(model)} takes ({names}), {count}: {error}"


def _unknown_keyword(model: Any, name: str, known: set[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(sorted(known))}"
    return f"{_name(model)} has no parameter {name!r}: {hint}"


def _explain_float_ids(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], error: BaseException
) -> InputError | None:
    text = str(error).lower()
    of_pytorch = "'indices'" in text and "long, int" in text
    if not of_pytorch and not ("embedding" in text and "integer" in text):
        return None
    for name, value in [*enumerate(args), *kwargs.items()]:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            sizes = tuple(value.shape)
            return InputError(
                f"the model looks up ids in an embedding, but input {name!r} is {value.dtype}: "
                f"pass integer ids, or ask for them with shape=[({sizes}, torch.int64)]"
            )
    return None


def _explain_plain_sizes(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> InputError | None:
    if len(args) > 1 and not kwargs and all(type(value) is int for value in args):
        return InputError(f"inputs= takes tensors: pass shape={args} to have them made")
    return None


def _explain_list(model: Any, args: tuple[Any, ...]) -> InputError | None:
    if len(args) != 1 or not isinstance(args[0], list):
        return None
    return InputError(
        f"{_name(model)} was given a list as its one input, which it does not take: pass the "
        "tensor itself, or several in a tuple"
    )


def _name(model: Any) -> str:
    if isinstance(model, nn.Module):
        return f"{type(model).__name__}.forward"
    return str(getattr(model, "__name__", type(model).__name__))


def _named(value: Any) -> str:
    return f"{'an' if type(value).__name__[0] in 'aeiou' else 'a'} {type(value).__name__}"
