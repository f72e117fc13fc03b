"""Runs one call twice, really and shape-only, and tells how the two outputs differ.

The shape-only run gets meta tensors in place of floating ones: same sizes, strides, storage offset
and sharing of storages. Integers and booleans stay real, as they do in models.
"""

from __future__ import annotations

import itertools
import tomllib
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import Tensor

import nnprof
from tests.helpers.errors import agrees, class_of
from tests.helpers.trees import leaves, mapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: What can differ, as the table of exceptions names it.
KINDS = (
    "raises",  # shape-only raises where the real call does not
    "accepts",  # shape-only does not raise where the real call does
    "error",  # both raise, and not the same class
    "structure",  # other outputs: their number, or what is no tensor
    "shape",
    "dtype",
    "strides",
    "offset",
    "aliasing",  # which inputs and outputs share a storage
    "value",  # of integers made from integers only
)


@dataclass(frozen=True)
class Mismatch:
    """One difference between the real and the shape-only run of a call."""

    kind: str
    call: str
    text: str

    def __str__(self) -> str:
        return f"[{self.kind}] {self.call}: {self.text}"


Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def describe(value: Any) -> str:
    """A tensor by what counts here, and the rest by its repr, short enough for one line."""
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            return f"{value.layout}{list(value.shape)}"
        dtype = str(value.dtype).removeprefix("torch.")
        offset = f"+{value.storage_offset()}" if value.storage_offset() else ""
        return f"{dtype}{list(value.shape)}/{list(value.stride())}{offset}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(describe(item) for item in value) + "]"
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def describe_call(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    parts = [describe(arg) for arg in args]
    parts += [f"{key}={describe(value)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(parts)})"


def strided(value: Any) -> bool:
    """Whether ``value`` is a plain tensor, with a storage."""
    return isinstance(value, Tensor) and value.layout is torch.strided


def storage_id(tensor: Tensor) -> int:
    """Equal for tensors that share a storage."""
    return int(tensor.untyped_storage()._cdata)


class Copier:
    """Copies tensors with their strides and the way they share storages."""

    def __init__(self, to_meta: Callable[[Tensor], bool]) -> None:
        self._to_meta = to_meta
        self._storages: dict[tuple[int, str], torch.UntypedStorage] = {}

    def __call__(self, value: Any) -> Any:
        if not strided(value) or type(value) is not Tensor or value.is_quantized:
            return value
        device = "meta" if self._to_meta(value) else value.device.type
        storage = self._storage(value, device)
        copied = torch.empty(0, dtype=value.dtype, device=device)
        copied.set_(storage, value.storage_offset(), value.shape, value.stride())
        if value.is_conj():
            torch._C._set_conj(copied, True)
        if value.is_neg():
            torch._C._set_neg(copied, True)
        return copied

    def _storage(self, tensor: Tensor, device: str) -> torch.UntypedStorage:
        key = (storage_id(tensor), device)
        if key not in self._storages:
            storage = tensor.untyped_storage()
            on_device = torch.empty(storage.nbytes(), dtype=torch.uint8, device=device)
            self._storages[key] = on_device.untyped_storage()
            if device != "meta":
                self._storages[key].copy_(storage)
        return self._storages[key]


def copy_arguments(arguments: Arguments, to_meta: Callable[[Tensor], bool]) -> Arguments:
    """The arguments with every plain tensor copied, those of ``to_meta`` to the meta device."""
    copied: Arguments = mapped(Copier(to_meta), arguments)
    return copied


def is_floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def is_floating_and_not_a_scalar(tensor: Tensor) -> bool:
    return is_floating(tensor) and tensor.dim() > 0


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in leaves(tree) if strided(leaf)]


def _aliases(inputs: list[Tensor], handles: list[Tensor], outputs: list[Tensor]) -> list[list[str]]:
    """Which inputs and earlier outputs each output shares its storage with.

    ``handles`` are aliases of the inputs made by an operator: in a trace, the input itself may be
    stood for by another tensor.
    """
    found = []
    for number, out in enumerate(outputs):
        shared = [
            f"input {i}"
            for i, (tensor, handle) in enumerate(zip(inputs, handles, strict=True))
            if out is tensor or storage_id(out) in (storage_id(tensor), storage_id(handle))
        ]
        shared += [
            f"output {i}" for i in range(number) if storage_id(out) == storage_id(outputs[i])
        ]
        found.append(shared)
    return found


def _is_computed(tensor: Tensor) -> bool:
    """In a trace tensors show the model's device, and only their memory tells where they are."""
    return bool(tensor.untyped_storage().device.type == "cpu")


def _known_values(tensor: Tensor) -> list[Any] | None:
    copy = tensor.clone()  # on the meta device, where what was written in place is not known
    values: list[Any] | None = copy.flatten().tolist() if _is_computed(copy) else None
    return values


@dataclass(frozen=True)
class Output:
    """What is compared of an output tensor, taken while the trace still runs: at its end, what was
    written in place is put back."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    bits: tuple[bool, bool]
    values: list[Any] | None

    @classmethod
    def of(cls, value: Any) -> Any:
        """The picture of a tensor; all else stands for itself."""
        if not strided(value):
            return value
        numbers = is_floating(value) or value.is_quantized
        integers = _is_computed(value) and not numbers
        return cls(
            tuple(value.shape),
            value.stride(),
            value.storage_offset(),
            value.dtype,
            (value.is_conj(), value.is_neg()),
            _known_values(value) if integers else None,
        )

    def significant_strides(self) -> list[int]:
        """The strides that say where elements are: not those of dimensions of one element."""
        if 0 in self.shape:
            return []
        pairs = zip(self.shape, self.stride, strict=True)
        return [stride for size, stride in pairs if size > 1]

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}{list(self.shape)}/{list(self.stride)}"


@dataclass
class Run:
    """What came out of one run of a call."""

    outputs: list[Any] | None  # None: it raised
    aliases: list[list[str]]
    error: Exception | None = None


def _run(function: Callable[..., Any], arguments: Arguments) -> Run:
    inputs = _tensors(arguments)
    outputs = list(leaves(function(*arguments[0], **arguments[1])))
    handles = [tensor.detach() for tensor in inputs]
    aliases = _aliases(inputs, handles, [out for out in outputs if strided(out)])
    return Run([Output.of(out) for out in outputs], aliases)


def run_really(function: Callable[..., Any], arguments: Arguments) -> Run:
    try:
        return _run(function, arguments)
    except Exception as error:  # whatever PyTorch raises is the expectation
        return Run(None, [], error)


def run_traced(function: Callable[..., Any], arguments: Arguments) -> Run:
    try:
        with nnprof.trace():
            return _run(function, arguments)
    except Exception as error:  # is compared with what the real run raises
        return Run(None, [], error)


def compare(
    name: str,
    function: Callable[..., Any],
    arguments: Arguments,
    reference: Callable[..., Any] | None = None,
) -> list[Mismatch]:
    """How ``function`` differs shape-only from really, on ``arguments``, which stay as they are.

    ``reference`` runs in its place where it cannot run really: it has no CPU kernel.
    """
    traced_arguments = copy_arguments(arguments, is_floating)
    real = run_really(reference or function, copy_arguments(arguments, lambda tensor: False))
    traced = run_traced(function, traced_arguments)
    if isinstance(traced.error, nnprof.errors.DataDependentError) and real.outputs is not None:
        # A value that no one knows was asked for. Scalars are known in practice: give them.
        traced_arguments = copy_arguments(arguments, is_floating_and_not_a_scalar)
        traced = run_traced(function, traced_arguments)
    uninitialised = "empty" in name or "resize" in name
    integers_only = not uninitialised and not any(map(is_floating, _tensors(arguments)))
    found = list(_compare_runs(real, traced, integers_only))
    if any(kind == "value" for kind, _ in found):

        def differs_again() -> bool:
            again = run_really(function, copy_arguments(arguments, lambda tensor: False))
            return any(kind == "value" for kind, _ in _compare_runs(real, again, integers_only))

        if any(differs_again() for _ in range(3)):  # a random one: few numbers may come twice
            found = [(kind, text) for kind, text in found if kind != "value"]
    return [Mismatch(kind, describe_call(name, *arguments), text) for kind, text in found]


def _compare_runs(real: Run, traced: Run, exact: bool) -> Iterator[tuple[str, str]]:
    if real.outputs is None or traced.outputs is None:
        if traced.error is not None and real.error is None:
            yield "raises", f"{type(traced.error).__name__}: {str(traced.error)[:400]}"
        elif real.error is not None and traced.error is None:
            yield "accepts", f"PyTorch raises {type(real.error).__name__}: {str(real.error)[:200]}"
        elif real.error is not None and traced.error is not None:
            yield from _compare_errors(real.error, traced.error)
        return
    kinds = [[isinstance(out, Output) for out in run.outputs or []] for run in (real, traced)]
    if kinds[0] != kinds[1]:
        expected, got = (", ".join(map(str, run.outputs or [])) for run in (real, traced))
        yield "structure", f"expected {expected}, got {got}"
        return
    for number, (expected, got) in enumerate(zip(real.outputs, traced.outputs, strict=True)):
        if not isinstance(expected, Output):
            if type(expected) is not type(got):
                yield "structure", f"output {number}: expected {expected!r}, got {got!r}"
            continue
        for kind, text in _compare_outputs(expected, got, exact):
            yield kind, f"output {number}: {text}"
    for number, (shared, got_shared) in enumerate(zip(real.aliases, traced.aliases, strict=True)):
        if shared != got_shared:
            what = (", ".join(names) or "nothing" for names in (shared, got_shared))
            yield "aliasing", f"output {number}: expected to alias {next(what)}, got {next(what)}"


def _compare_errors(real: Exception, traced: Exception) -> Iterator[tuple[str, str]]:
    if not agrees(traced, real):
        yield "error", f"expected {class_of(real).__name__}: {real}, got {traced!r}"[:400]


def _compare_outputs(expected: Output, got: Output, exact: bool) -> Iterator[tuple[str, str]]:
    if expected.shape != got.shape:
        yield "shape", f"expected {expected}, got {got}"
        return
    if expected.dtype != got.dtype:
        yield "dtype", f"expected {expected.dtype}, got {got.dtype}"
    if expected.significant_strides() != got.significant_strides():
        yield "strides", f"expected {expected}, got {got}"
    if expected.offset != got.offset:
        yield "offset", f"expected {expected.offset}, got {got.offset}"
    if expected.bits != got.bits:
        yield "structure", "the conjugate or negative bit differs"
    if exact and got.values is not None and expected.values != got.values:
        yield "value", f"expected {expected.values}, got {got.values}"[:400]


# PyTorch's own samples ----------------------------------------------------------------------------

#: By OpInfo (its formatted_name) and kind of mismatch: the reason why it may be so.
EXCEPTIONS: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("op_db_exceptions.toml").read_text()
)

#: Beside float32, of which every sample runs; of these the first ones.
OTHER_DTYPES = (torch.int64, torch.bool, torch.bfloat16, torch.complex64)
OTHER_SAMPLES = 12


@dataclass
class Report:
    """What running all samples of one OpInfo gave."""

    name: str
    samples: int
    mismatches: list[Mismatch]

    def kinds(self) -> dict[str, int]:
        """Mismatches by kind."""
        counts = {kind: sum(m.kind == kind for m in self.mismatches) for kind in KINDS}
        return {kind: count for kind, count in counts.items() if count}


def variants(op: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The call, and its in-place sibling, of an OpInfo."""
    yield op.name, op.op
    if op.inplace_variant is not None:
        yield f"{op.name}_", op.inplace_variant


def arguments_of(sample: Any) -> Arguments:
    return (sample.input, *sample.args), sample.kwargs


def check_samples(op: Any) -> Report:
    """Every sample that OpInfo ``op`` gives, and every input that it says is an error."""
    report = Report(op.formatted_name, 0, [])
    with warnings.catch_warnings(), torch.no_grad(), seeding_the_cpu_alone():
        warnings.simplefilter("ignore")
        for dtype in (torch.float32, *OTHER_DTYPES):
            if dtype not in op.dtypes:
                continue
            torch.default_generator.manual_seed(0)  # all samples are on the CPU: see conftest.py
            limit = None if dtype is torch.float32 else OTHER_SAMPLES
            # Not op.sample_inputs: that notes the stack of every sample, which takes the longest.
            samples = op.sample_inputs_func(op, "cpu", dtype, False)
            for sample in itertools.islice(samples, limit):
                _check_sample(op, sample, report)
        for error_input in error_inputs(op):
            arguments = arguments_of(error_input.sample_input)
            report.mismatches += compare(op.name, op.op, arguments)
            report.samples += 1
    return report


def _yes() -> bool:  # a mock in its place takes longer to make than most samples
    return True


@contextmanager
def seeding_the_cpu_alone() -> Iterator[None]:
    """Samples that seed themselves: for each device that is not there torch notes the stack."""
    lacking = [
        device for device in (torch.cuda, torch.mtia, torch.xpu) if not device.is_available()
    ]
    with ExitStack() as stack:
        for device in lacking:
            stack.enter_context(mock.patch.object(device, "_is_in_bad_fork", _yes))
        yield


def _check_sample(op: Any, sample: Any, report: Report) -> None:
    for name, function in variants(op):
        if name != op.name and sample.broadcasts_input:
            continue
        report.mismatches += compare(name, function, arguments_of(sample))
        report.samples += 1


def error_inputs(op: Any) -> list[Any]:
    if op.error_inputs_func is None:
        return []
    return list(op.error_inputs_func(op, "cpu"))  # not op.error_inputs: see check_samples
