"""Deep copies of a model and its inputs whose tensors are made on the device at once.

`copy.deepcopy` copies the objects; whenever it comes to a tensor, the tensor is put on the device:
no second copy in between, tensors with a history (which `deepcopy` refuses) lose it, and those
that hold no values get some. What shares a storage does so in the copy: tied weights stay tied.
"""

from __future__ import annotations

import copy
import functools
import threading
import types
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from nnprof.end_to_end.values import Place, Values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DeviceCopies", "reachable", "storage_bytes"]

#: Objects with nothing inside that a copy must not share, and which `deepcopy` cannot copy.
_SHARED = (
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
        self._originals: list[Any] = [shared]  # ids are keys here: what has them has to stay
        self._kind = "attribute"
        self._made: dict[str, None] = {}

    def of(self, value: Any, *, inputs: bool = False) -> Any:
        """A copy of anything. Raises what `copy.deepcopy` raises, and where memory is short.

        A plain function is made anew over copies of the modules and tensors that it names; what
        the functions it calls name is not copied.
        """
        self._originals.append(value)
        # Made as normal tensors, of which inference mode can count the writes too.
        with torch.inference_mode(False), torch.no_grad():
            self._kind = "input" if inputs else "attribute"
            if isinstance(value, types.FunctionType):
                return self._function(value)
            return self._anything(value)

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

    def _anything(self, value: Any) -> Any:
        for item in reachable(value, known=self._memo):
            if isinstance(item, _SHARED):
                self._memo.setdefault(id(item), item)
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
        tensors = [*copied.parameters(), *copied.buffers()]
        if any(tensor.device.type != self._device.type for tensor in tensors):
            copied.to(self._device)  # scripted modules, weights of other libraries' classes
        for module in copied.modules():
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

    # Functions.

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        """`function` over copies of what it names."""
        if id(function) in self._memo:
            known: types.FunctionType = self._memo[id(function)]
            return known
        named = set(function.__code__.co_names) & function.__globals__.keys()
        cells = function.__closure__ or ()
        inside = [function.__globals__[name] for name in named] + list(_contents(cells))
        self._memo[id(function)] = function  # to itself, where functions name each other
        if not any(map(_is_to_copy, inside)):
            return function
        made = types.FunctionType(
            function.__code__,
            function.__globals__
            | {name: self._named(function.__globals__[name]) for name in named},
            function.__name__,
            function.__defaults__,
            tuple(map(self._cell, cells)),
        )
        made.__kwdefaults__ = function.__kwdefaults__
        self._memo[id(function)] = made
        return made

    def _cell(self, cell: types.CellType) -> types.CellType:
        return types.CellType(*map(self._named, _contents([cell])))

    def _named(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType):
            return self._function(value)
        return self._anything(value) if _is_to_copy(value) else value


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
    """All objects inside `values`, each once: through containers, attributes and methods.

    Those whose ids are `known` are left out, with all that only they reach.
    """
    waiting, seen = list(values), set(known)
    while waiting:
        value = waiting.pop()
        if value is None or id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, (*_LEAVES, types.FunctionType)):
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
            waiting += [*value.parameters(), *value.buffers()]
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


def _is_to_copy(value: Any) -> bool:
    if isinstance(value, types.FunctionType):
        return any(map(_is_to_copy, _contents(value.__closure__ or ())))
    return any(isinstance(item, (torch.Tensor, nn.Module)) for item in reachable(value))


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
