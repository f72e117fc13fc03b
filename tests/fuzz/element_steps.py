"""Steps of a network that lay out, write, combine and reduce elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.fuzz.drawing import (
    Drawing,
    Inapplicable,
    Step,
    at_least,
    filled,
    floating,
    set_item,
    writable,
)

# Steps: elementwise -------------------------------------------------------------------------------

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "abs": torch.abs,
    "neg": torch.neg,
    "x * 2": lambda x: x * 2,
    "1 - x": lambda x: 1 - x,
    "x / 3": lambda x: x / 3,
    "x ** 2": lambda x: x**2,
    "x // 2": lambda x: x // 2,
    "x > 0": lambda x: x > 0,
    "round": torch.round,
    "isnan": torch.isnan,
    "clamp": lambda x: x.clamp(min=0),
    "hardtanh": F.hardtanh,
    "leaky_relu": F.leaky_relu,
    "dropout": lambda x: F.dropout(x, 0.5),
    "zeros_like": torch.zeros_like,
    "full_like": lambda x: torch.full_like(x, 1),
    "clone": torch.clone,
    "detach": lambda x: x.detach(),
    "logical_not": torch.logical_not,
    "softplus": F.softplus,
}

BINARY: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "maximum": torch.maximum,
    "x < y": lambda x, y: x < y,
    "x == y": lambda x, y: x == y,
    "where": lambda x, y: torch.where(x > 0, x, y),
    "lerp": lambda x, y: torch.lerp(x, y, 0.5),
    "atan2": torch.atan2,
    "addcmul": lambda x, y: torch.addcmul(x, x, y),
    "masked_fill": lambda x, y: x.masked_fill(y > 0, 0.0),
    "cdist": torch.cdist,
    "matmul": torch.matmul,
    "x @ y.mT": lambda x, y: x @ y.mT,
    "x.mT @ y": lambda x, y: x.mT @ y,
    "linear": F.linear,
    "bmm": torch.bmm,
    "dot": torch.dot,
    "addmm": lambda x, y: torch.addmm(x, x, y),
    "baddbmm": lambda x, y: torch.baddbmm(x, x, y.mT),
    "tensordot": lambda x, y: torch.tensordot(x, y, dims=1),
    "einsum ij,kj": lambda x, y: torch.einsum("ij,kj->ik", x, y),
    "einsum bij,bkj": lambda x, y: torch.einsum("bij,bkj->bik", x, y),
    "einsum ...i,...i": lambda x, y: torch.einsum("...i,...i->...", x, y),
    "kron": torch.kron,
    "expand_as": lambda x, y: x.expand_as(y),
    "view_as": lambda x, y: x.view_as(y),
    "type_as": lambda x, y: x.type_as(y),
    "broadcast_tensors": lambda x, y: torch.broadcast_tensors(x, y),
    "cosine_similarity": lambda x, y: F.cosine_similarity(x, y, dim=-1),
    "mse_loss": lambda x, y: F.mse_loss(x, y) if x.shape == y.shape else x,
}


def unary(d: Drawing) -> Step:
    name = d.choice(list(UNARY))
    return Step(name, (d.pick(),), UNARY[name])


def binary(d: Drawing) -> Step:
    name = d.choice(list(BINARY))
    return Step(name, (d.pick(), d.pick()), BINARY[name])


def residual(d: Drawing) -> Step:
    """Two of one shape."""
    one = d.pick()
    other = d.pick(lambda tensor: tensor.shape == d.pool[one].shape)
    return Step("residual", (one, other), lambda x, y: x + y)


CASTS: dict[str, Callable[[Tensor], Tensor]] = {
    "float": lambda x: x.float(),
    "double": lambda x: x.double(),
    "bfloat16": lambda x: x.bfloat16(),
    "half": lambda x: x.to(torch.float16),
    "long": lambda x: x.long(),
    "int": lambda x: x.to(torch.int32),
    "bool": lambda x: x.bool(),
    "as int32": lambda x: x.view(torch.int32),
    "as bytes": lambda x: x.view(torch.uint8),
}


def cast(d: Drawing) -> Step:
    name = d.choice(list(CASTS))
    return Step(name, (d.pick(),), CASTS[name])


# Steps: views and copies --------------------------------------------------------------------------


def reshape(d: Drawing) -> Step:
    i = d.pick(filled)
    rest, sizes = d.pool[i].numel(), []
    for _ in range(d.size(0, 3)):
        divisors = [n for n in range(1, rest + 1) if rest % n == 0]
        sizes.append(d.choice(divisors))
        rest //= sizes[-1]
    sizes.append(d.choice([rest, -1]))
    kind = d.choice(["reshape", "view"])
    return Step(f"{kind}({sizes})", (i,), lambda x: getattr(x, kind)(sizes))


def permute(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    order = d.order(d.pool[i])
    return Step(f"permute({order})", (i,), lambda x: x.permute(order))


def transpose(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    a, b = d.dim(d.pool[i]), d.dim(d.pool[i])
    return Step(f"transpose({a}, {b})", (i,), lambda x: x.transpose(a, b))


def unsqueeze(d: Drawing) -> Step:
    i, dim = d.pick(), d.size(-3, 3)
    return Step(f"unsqueeze({dim})", (i,), lambda x: x.unsqueeze(dim))


def squeeze(d: Drawing) -> Step:
    i = d.pick()
    dims = d.dims(d.pool[i])
    return Step(f"squeeze({dims})", (i,), lambda x: x.squeeze(dims))


def expand(d: Drawing) -> Step:
    i = d.pick()
    sizes = [d.size(), *(d.choice([-1, n if n != 1 else 3]) for n in d.pool[i].shape)]
    return Step(f"expand({sizes})", (i,), lambda x: x.expand(sizes))


def sliced(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    slices = []
    for _ in range(d.size(1, d.pool[i].dim())):
        start, stop, step = d.size(-3, 2), d.size(-1, 5), d.size(1, 2)
        slices.append(
            d.choice([slice(None), slice(start, stop, step), slice(start, None), None, ...])
        )
    if slices.count(...) > 1:
        raise Inapplicable
    return Step(f"x[{slices}]", (i,), lambda x: x[tuple(slices)])


def selected(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    dim, index = d.dim(d.pool[i]), d.size(-1, 1)
    return Step(f"select({dim}, {index})", (i,), lambda x: x.select(dim, index))


def diagonal(d: Drawing) -> Step:
    offset = d.size(-1, 1)
    return Step(f"diagonal({offset})", (d.pick(at_least(2)),), lambda x: x.diagonal(offset))


def windows(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    dim, size, step = d.dim(d.pool[i]), d.size(1, 3), d.size(1, 2)
    return Step(f"unfold({dim}, {size}, {step})", (i,), lambda x: x.unfold(dim, size, step))


def flatten(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    a, b = d.dim(d.pool[i]), d.dim(d.pool[i])
    return Step(f"flatten({a}, {b})", (i,), lambda x: x.flatten(a, b))


def split(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    dim, size = d.dim(d.pool[i]), d.size(1, 3)
    kind = d.choice(["split", "chunk", "tensor_split", "unbind"])
    if kind == "unbind":
        return Step(f"unbind({dim})", (i,), lambda x: x.unbind(dim))
    return Step(f"{kind}({size}, {dim})", (i,), lambda x: getattr(x, kind)(size, dim))


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "repeat": lambda x: x.repeat(2, *[1] * max(x.dim() - 1, 0)),
    "repeat_interleave": lambda x: x.repeat_interleave(2),
    "roll": lambda x: x.roll(1, 0),
    "flip": lambda x: x.flip(0),
    "rot90": lambda x: x.rot90(),
    "tril": torch.tril,
    "triu": torch.triu,
    "diag_embed": torch.diag_embed,
    "pad": lambda x: F.pad(x, (1, 2)),
    "pad reflect": lambda x: F.pad(x, (1, 1), mode="reflect"),
    "new_zeros": lambda x: x.new_zeros(x.shape),
    "mT": lambda x: x.mT,
    "as_strided": lambda x: x.as_strided((2, 2), (1, 1)),
    "meshgrid": lambda x: torch.meshgrid(x, x, indexing="ij")[1],
}


def copy(d: Drawing) -> Step:
    name = d.choice(list(COPIES))
    return Step(name, (d.pick(),), COPIES[name])


def joined(d: Drawing) -> Step:
    first = d.pick(at_least(1))
    others = tuple(d.pick() for _ in range(d.size(1, 2)))
    kind, dim = d.choice([torch.cat, torch.stack]), d.dim(d.pool[first])
    return Step(f"{kind.__name__}({dim})", (first, *others), lambda *xs: kind(xs, dim))


# Steps: writes ------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu_": F.relu_,
    "zero_": lambda x: x.zero_(),
    "fill_": lambda x: x.fill_(1),
    "mul_": lambda x: x.mul_(2),
    "div_": lambda x: x.div_(2),
    "clamp_": lambda x: x.clamp_(0, 1),
    "sigmoid_": lambda x: x.sigmoid_(),
    "t_": lambda x: x.t_(),
    "unsqueeze_": lambda x: x.unsqueeze_(0),
    "squeeze_": lambda x: x.squeeze_(),
    "transpose_": lambda x: x.transpose_(0, -1),
    "x[0] = 1": lambda x: set_item(x, 0, 1),
    "x[..., 1:] = 0": lambda x: set_item(x, (..., slice(1, None)), 0),
    "x[x > 0] = 1": lambda x: set_item(x, x > 0, 1),
    "normal_": lambda x: x.normal_(),
    "cumsum_": lambda x: x.cumsum_(0),
    "tril_": lambda x: x.tril_(),
}

WRITES_OF_TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add_": lambda x, y: x.add_(y),
    "x += y": lambda x, y: x.__iadd__(y),
    "mul_": lambda x, y: x.mul_(y),
    "copy_": lambda x, y: x.copy_(y),
    "x[0] = y": lambda x, y: set_item(x, 0, y),
    "x[..., :1] = y": lambda x, y: set_item(x, (..., slice(1)), y),
    "masked_fill_": lambda x, y: x.masked_fill_(y > 0, 1),
    "out=": lambda x, y: torch.add(x, y, out=x),
    "addcmul_": lambda x, y: x.addcmul_(x, y),
}


def write(d: Drawing) -> Step:
    i, name = d.pick(writable), d.choice(list(WRITES))
    return Step(name, (i,), WRITES[name], writes=i)


def write_of_two(d: Drawing) -> Step:
    i, name = d.pick(writable), d.choice(list(WRITES_OF_TWO))
    return Step(name, (i, d.pick()), WRITES_OF_TWO[name], writes=i)


# Steps: reductions, norms, sorting ----------------------------------------------------------------


def reduction(d: Drawing) -> Step:
    i = d.pick()
    dims, keep = d.dims(d.pool[i]), d.flag()
    kind = d.choice(["sum", "mean", "amax", "var", "std", "all", "any", "logsumexp", "norm"])
    return Step(
        f"{kind}({dims}, keepdim={keep})", (i,), lambda x: getattr(x, kind)(dim=dims, keepdim=keep)
    )


def along(d: Drawing) -> Step:
    i = d.pick(at_least(1))
    dim = d.dim(d.pool[i])
    kind = d.choice(["softmax", "log_softmax", "cumsum", "prod", "max", "min", "median"])
    return Step(f"{kind}({dim})", (i,), lambda x: getattr(x, kind)(dim))


def ordered(d: Drawing) -> Step:
    """Indices among the outputs are those of values that a trace does not know: of floats only."""
    i = d.pick(floating, at_least(1))
    dim, kind = d.dim(d.pool[i]), d.choice(["argmax", "sort", "topk"])
    if kind == "topk":
        k = d.size(1, 3)
        return Step(f"topk({k}, {dim})", (i,), lambda x: x.topk(k, dim))
    return Step(f"{kind}({dim})", (i,), lambda x: getattr(x, kind)(dim))


def norm(d: Drawing) -> Step:
    i = d.pick(floating, at_least(2), filled)
    shape = d.pool[i].shape
    channels, last, spatial = shape[1], shape[-1], min(max(len(shape) - 2, 1), 3)
    groups = d.choice([n for n in range(1, channels + 1) if channels % n == 0])
    batch_norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    instance_norms = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
    makers: list[Callable[[], nn.Module]] = [
        lambda: nn.LayerNorm(last),
        lambda: nn.RMSNorm(last),
        lambda: nn.GroupNorm(groups, channels),
        lambda: batch_norms[spatial - 1](channels),
        lambda: instance_norms[spatial - 1](channels, affine=True),
        lambda: nn.LocalResponseNorm(2),
    ]
    layer = d.layer(d.choice(makers))
    return Step(repr(layer), (i,), layer)


STEPS: tuple[Callable[[Drawing], Step], ...] = (
    unary,
    binary,
    residual,
    cast,
    reshape,
    permute,
    transpose,
    unsqueeze,
    squeeze,
    expand,
    sliced,
    selected,
    diagonal,
    windows,
    flatten,
    split,
    copy,
    joined,
    write,
    write_of_two,
    reduction,
    along,
    ordered,
    norm,
)
