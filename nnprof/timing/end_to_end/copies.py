"""Deep copies of a model and its inputs whose tensors are made on the device at once.

`copy.deepcopy` copies the objects; whenever it comes to a tensor, the tensor is put on the device:
no second copy in between, tensors with a history (which `deepcopy` refuses) lose it, and those
that hold no values get some. What shares a storage does so in the copy: tied weights stay tied.
"""

from __future__ import annotations

import contextvars
import copy
import functools
import threading
import types
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._library.custom_ops import CustomOpDef
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from nnprof.base.modules import buffers_of, modules_of, parameters_of
from nnprof.timing.end_to_end.values import Place, Values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DeviceCopies", "reachable", "storage_bytes"]

#: Objects with nothing inside that a copy must not share, and which `deepcopy` cannot copy.
_SHARED = (
    contextvars.ContextVar,
    torch.jit.ScriptFunction,
    CustomOpDef,
    torch.library.Library,
    types.MappingProxyType,
    types.ModuleType,
    type(threading.Lock()),
    type(threading.RLock()),
)
_LEAVES = (str, bytes, int, float, complex, type, torch.dtype, torch.device, *_SHARED)


class DeviceCopies:
    """Copies made one after another, on `device`; they share what their originals share."""

    def __init__(self, device: torch.device, *, shared: tuple[Any, ...] = ()) -> None:
        """`shared` are objects that copies refer to as they are."""
        self._device = device
        self._values = Values(device)
        self._memo: dict[int, Any] = {id(value): value for value in shared}
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._cells: dict[int, types.CellType] = {}
        self._originals: list[Any] = [shared]  # ids are keys here: what has them has to stay
        self._kind = "attribute"
        self._made: dict[str, None] = {}

    def of(self, value: Any, *, inputs: bool = False) -> Any:
        """A copy of anything. Raises what `copy.deepcopy` raises, and where memory is short."""
        self._originals.append(value)
        self._kind = "input" if inputs else "attribute"
        # Made as normal tensors, of which inference mode can count the writes too.
        with torch.inference_mode(False), torch.no_grad():
            return self._copied(value)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was made up."""
        notes = []
        if "parameter" in self._made:
            notes.append("weights are random")
        if self._values.guesses:
            notes.append("filled by name, as they hold no values: " + _some(self._values.guesses))
        if "integer input" in self._made:
            notes.append("integer inputs that hold no values are 0 and 1")
        return tuple(notes)

    def _copied(self, value: Any) -> Any:
        for item in reachable(value, known=self._memo):
            if isinstance(item, _SHARED):
                self._memo.setdefault(id(item), item)
            elif isinstance(item, types.FunctionType):
                self._remake(item)
            elif isinstance(item, nn.Module) and not isinstance(item, torch.jit.ScriptModule):
                self._place_own(item)
            elif type(item) is nn.Parameter and id(item) not in self._memo:
                self._memo[id(item)] = self.tensor(item)  # of no module
        with _Placing(self):
            copied = copy.deepcopy(value, self._memo)
        for item in copied if isinstance(copied, tuple) else (copied,):
            if isinstance(item, nn.Module):
                self._finish(item)
        return copied

    def _finish(self, copied: nn.Module) -> None:
        tensors = [*parameters_of(copied), *buffers_of(copied)]
        if any(tensor.device.type != self._device.type for tensor in tensors):
            copied.to(self._device)  # scripted modules, weights of other libraries' classes
        for module in modules_of(copied):
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters()  # as the device wants its weights laid out

    def _place_own(self, module: nn.Module) -> None:
        """Puts a module's tensors into the memo, filled by the names that they have in it."""
        for kind, own in (("parameter", module._parameters), ("buffer", module._buffers)):
            for name, tensor in own.items():
                if tensor is None or id(tensor) in self._memo:
                    continue
                if is_lazy(tensor):
                    raise ValueError(f"{name} of a lazy module is not made yet: call it once")
                if _is_plain(tensor):
                    place = Place(type(module).__name__, name, tuple(tensor.shape), kind)
                    self._memo[id(tensor)] = self.tensor(tensor, place)

    def tensor(self, original: torch.Tensor, place: Place | None = None) -> torch.Tensor:
        """The tensor of the copy that stands for `original`."""
        parameter = False
        if _is_plain(original):
            place = place or Place("", "", tuple(original.shape), self._kind)
            storage = self._storage(original, place)
            placed = torch.empty(0, dtype=original.dtype, device=self._device)
            placed.set_(storage, original.storage_offset(), original.size(), original.stride())
            parameter = isinstance(original, nn.Parameter)
        else:
            placed = original.detach().to(self._device, copy=True)
        if parameter:
            return nn.Parameter(placed, original.requires_grad)
        return placed.requires_grad_(original.requires_grad)

    def _storage(self, original: torch.Tensor, place: Place) -> torch.UntypedStorage:
        storage = original.untyped_storage()
        made = self._storages.get(storage._cdata)
        if made is None:
            made = self._filled(original, place) if _is_empty(original) else self._moved(original)
            self._storages[storage._cdata] = made
        return made

    def _moved(self, original: torch.Tensor) -> torch.UntypedStorage:
        all_bytes = torch.empty(0, dtype=torch.uint8, device=original.device)
        all_bytes.set_(original.untyped_storage())
        return all_bytes.to(self._device, copy=True).untyped_storage()

    def _filled(self, original: torch.Tensor, place: Place) -> torch.UntypedStorage:
        count = original.untyped_storage().nbytes() // original.element_size()
        flat = torch.empty(count, dtype=original.dtype, device=self._device)
        self._values.fill(flat, place)
        drawn = original.dtype.is_floating_point or original.dtype.is_complex
        integer = place.kind == "input" and not drawn and original.dtype != torch.bool
        self._made["integer input" if integer else place.kind] = None
        return flat.untyped_storage()

    def _remake(self, function: types.FunctionType) -> None:
        """Puts `function` over copies of what it names into the memo.

        `deepcopy` takes functions as they are, and a hook, or a forward that was put in place of
        another, would go on writing to the user's model and lists.
        """
        if id(function) in self._memo or not any(map(_is_to_copy, named_by(function))):
            return
        cells = [self._cells.setdefault(id(cell), types.CellType()) for cell in _cells(function)]
        names = function.__globals__
        made = types.FunctionType(
            function.__code__, {**names}, function.__name__, None, tuple(cells)
        )
        self._memo[id(function)] = made  # before what it names is copied, which may hold it
        made.__dict__.update(function.__dict__)
        made.__defaults__ = self._named(function.__defaults__)
        made.__kwdefaults__ = self._named(function.__kwdefaults__)
        for name in _globals(function):
            made.__globals__[name] = self._named(names[name])
        for old, new in zip(_cells(function), cells, strict=True):
            for content in _contents([old]):
                new.cell_contents = self._named(content)

    def _named(self, value: Any) -> Any:
        return self._copied(value) if _is_to_copy(value) else value


class _Placing(TorchFunctionMode):
    """While it is on, `copy.deepcopy` asks `copies` for each tensor it comes to."""

    def __init__(self, copies: DeviceCopies) -> None:
        super().__init__()
        self._copies = copies

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.Tensor.__deepcopy__:
            return self._copies.tensor(args[0])
        return function(*args, **(kwargs or {}))


def reachable(*values: Any, known: Iterable[int] = ()) -> Iterator[Any]:
    """All objects inside `values`, each once: through containers, attributes and functions.

    Those whose ids are `known` are left out, with all that only they reach.
    """
    waiting, seen = list(values), set(known)
    while waiting:
        value = waiting.pop()
        if value is None or id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, _LEAVES):
            continue
        if isinstance(value, types.FunctionType):
            waiting += named_by(value)
            continue
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple, set, frozenset)):
            waiting += value
        elif isinstance(value, types.MethodType):
            waiting.append(value.__self__)
        elif isinstance(value, functools.partial):
            waiting += [value.func, value.args, value.keywords]
        if isinstance(value, torch.jit.ScriptModule):
            waiting += [*parameters_of(value), *buffers_of(value)]
        elif not isinstance(value, torch.Tensor):
            waiting += getattr(value, "__dict__", {}).values()


def storage_bytes(*values: Any) -> int:
    """Bytes of the tensors inside `values`, those that share a storage once."""
    sizes: dict[Any, int] = {}
    for tensor in reachable(*values):
        if not isinstance(tensor, torch.Tensor) or is_lazy(tensor):
            continue
        if _is_plain(tensor):
            storage = tensor.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
        else:
            sizes["", id(tensor)] = tensor.numel() * tensor.element_size()
    return sum(sizes.values())


def _is_plain(tensor: torch.Tensor) -> bool:
    """It is no more than a view of a storage."""
    if type(tensor) not in (torch.Tensor, nn.Parameter) and not _is_fake(tensor):
        return False
    if tensor.layout != torch.strided:
        return False
    return not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())


def _is_empty(tensor: torch.Tensor) -> bool:
    """It holds no values."""
    return tensor.is_meta or _is_fake(tensor)


def _is_fake(tensor: torch.Tensor) -> bool:
    return type(tensor).__name__ == "FakeTensor"  # by name: importing its module takes its time


def named_by(function: types.FunctionType) -> list[Any]:
    """What a function reaches by names of its own, where it could be a model's state."""
    values = [*_contents(_cells(function)), *(function.__defaults__ or ())]
    values += (function.__kwdefaults__ or {}).values()
    return values + [function.__globals__[name] for name in _globals(function)]


def _globals(function: types.FunctionType) -> list[str]:
    """Names of global modules, tensors and lists and dicts of them; not all that a program has."""
    return [
        name
        for name in function.__code__.co_names
        if any(isinstance(v, (torch.Tensor, nn.Module)) for v in _held(function, name))
    ]


def _held(function: types.FunctionType, name: str) -> Iterable[Any]:
    value = function.__globals__.get(name)
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, (list, tuple)) else [value]


def _is_to_copy(value: Any) -> bool:
    """A function that names `value` could write to the user's state through it."""
    if isinstance(value, (list, dict, set)):
        return True
    return any(isinstance(item, (torch.Tensor, nn.Module)) for item in reachable(value))


def _cells(function: types.FunctionType) -> tuple[types.CellType, ...]:
    return function.__closure__ or ()


def _contents(cells: Any) -> Iterator[Any]:
    for cell in cells:
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _some(names: dict[str, None], most: int = 6) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
