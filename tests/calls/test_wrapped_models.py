"""Wrappers are looked through: the same numbers at the same paths as the bare model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof
from nnprof.base.packages import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.alone import Starter

SHAPE = (4, 3, 16, 16)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def numbers(model: Any, **options: Any) -> tuple[Any, ...]:
    """Totals, and every layer with its costs."""
    profile = nnprof.measure(model, SHAPE, **options)
    layers = [(x.path, x.type, x.calls, x.macs, x.flops, x.bytes) for x in profile.layers]
    return profile.params, profile.macs, profile.flops, profile.bytes, layers


def total(model: Any) -> tuple[int, ...]:
    profile = nnprof.measure(model, SHAPE)
    return profile.params, profile.macs, profile.flops, profile.bytes


@pytest.fixture(autouse=True)
def _compiled_anew() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def frames_compiled() -> int:
    from torch._dynamo.utils import counters

    return sum(counters["frames"].values())


def test_data_parallel() -> None:
    model = Net()
    expected = numbers(model)
    assert numbers(nn.DataParallel(model)) == expected
    assert numbers(model) == expected


@pytest.mark.parametrize("wrapper", ["PeftModel", "LoraModel"])
def test_a_peft_model_takes_what_the_model_inside_takes(wrapper: str) -> None:
    """Shown on a stand-in for its classes: all is measured, the added layers too."""
    import_torchvision()
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "vocab_size": 90}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    inner = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads)).eval()
    base = type("BaseTuner", (nn.Module,), {"__module__": "peft.tuners.tuners_utils"})

    class Tuner(base):  # type: ignore[misc, valid-type]
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model, self.added = model, nn.Linear(90, 7)

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = self.model(*args, **kwargs)
            self.added(output.logits)
            return output

    outer = type("PeftModel", (Tuner,), {"__module__": "peft.peft_model"})
    model: Any = Tuner(inner).eval()
    if wrapper == "PeftModel":
        model = outer(model).eval()
        model.added = nn.Identity()
        model.get_base_model = lambda: inner
    ids = torch.ones(2, 5, dtype=torch.int64)
    cases: list[tuple[dict[str, Any], int]] = [
        ({}, 128),
        ({"sequence": 9}, 9),
        ({"batch": 3, "sequence": 9}, 27),
        ({"phase": "prefill", "context": 16}, 16),
        ({"phase": "decode", "context": 16}, 1),
        ({"kwargs": {"input_ids": ids}}, 10),
        ({"shape": (1, 6)}, 6),
    ]
    for options, tokens in cases:
        profile, bare = nnprof.measure(model, **options), nnprof.measure(inner, **options)
        assert profile.macs - bare.macs == tokens * 90 * 7
        assert profile.tokens == bare.tokens


@pytest.fixture
def _process_group(tmp_path: Path) -> Iterator[None]:
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("_process_group")
def test_distributed_data_parallel() -> None:
    model = Net()
    expected = numbers(model)
    wrapped = nn.parallel.DistributedDataParallel(model)
    assert numbers(wrapped) == expected
    # And it still trains.
    wrapped(torch.randn(SHAPE)).sum().backward()
    assert model.conv.weight.grad is not None


def test_compiled() -> None:
    model = Net()
    expected = numbers(model)
    before = frames_compiled()
    assert numbers(torch.compile(model)) == expected
    assert numbers(torch.compile(nn.DataParallel[Any](torch.compile(model)))) == expected
    assert frames_compiled() == before


def test_compiled_in_place() -> None:
    expected = numbers(Net())
    model = Net()
    model.compile(backend="eager")
    assert numbers(model) == expected


def test_compiled_submodule() -> None:
    model = Net()
    expected = total(model)
    model.head = torch.compile(model.head, backend="eager")  # type: ignore[assignment]
    assert total(model) == expected
    model = Net()
    model.head.compile(backend="eager")
    assert total(model) == expected


def test_decorated_forward() -> None:
    class Decorated(Net):
        forward = torch.compile(Net.forward, backend="eager")

    assert total(Decorated()) == total(Net())


def test_decorated_function() -> None:
    @torch.compile(backend="eager")
    def activation(x: Tensor) -> Tensor:
        return F.silu(x) * 2

    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = activation(self.conv(x))
            return out

    class Plain(Calls):
        def forward(self, x: Tensor) -> Tensor:
            return F.silu(self.conv(x)) * 2

    assert total(Calls()) == total(Plain())


def test_a_function_that_was_compiled_before_is_compiled_no_second_time() -> None:
    model = Net().eval()
    compiled = torch.compile(model, backend="eager")
    x = torch.randn(SHAPE)
    with torch.no_grad():
        expected = compiled(x)
        before = frames_compiled()
        assert before > 0
        assert numbers(compiled) == numbers(model)
        torch.testing.assert_close(compiled(x), expected)
    assert frames_compiled() == before


def test_the_stance_of_dynamo_is_put_back() -> None:
    import torch._dynamo.eval_frame as eval_frame

    before = eval_frame._stance
    nnprof.measure(Net(), SHAPE)
    assert eval_frame._stance == before


def test_dynamo_is_not_loaded_for_a_model_that_needs_none(run_alone: Starter) -> None:
    code = (
        "import sys, torch, nnprof;"
        "nnprof.measure(torch.nn.Linear(20, 2), (4, 20)).macs;"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert run_alone(code).returncode == 0


@pytest.mark.parametrize("train", [True, False])
def test_scripted(train: bool) -> None:
    model = Net().train(train)
    expected = total(model)
    scripted = torch.jit.script(model)
    for _ in range(3):  # the profiling executor rewrites the graph after the first calls
        assert total(scripted) == expected


def test_scripted_submodule() -> None:
    model = Net()
    expected = total(model)
    model.head = torch.jit.script(model.head)  # type: ignore[assignment]
    assert total(model) == expected


def test_traced_by_jit() -> None:
    model = Net().eval()
    traced = torch.jit.trace(model, torch.randn(SHAPE))
    assert total(traced) == total(model)


def test_captured_by_fx() -> None:
    model = Net()
    assert total(torch.fx.symbolic_trace(model)) == total(model)


def test_exported() -> None:
    model = Net().eval()
    exported = torch.export.export(model, (torch.randn(SHAPE),)).module()
    assert nnprof.measure(exported, SHAPE).macs == nnprof.measure(model, SHAPE).macs


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm])
def test_parametrized_weights(wrap: Any) -> None:
    model = Net()
    macs = nnprof.measure(model, SHAPE).macs
    wrap(model.conv)
    profile = nnprof.measure(model, SHAPE)
    assert profile.macs == macs
    assert profile.params == sum(p.numel() for p in model.parameters())


def test_functional_call() -> None:
    model = Net()
    weights = {name: torch.empty_like(p, device="meta") for name, p in model.named_parameters()}

    def call(x: Tensor) -> Any:
        return torch.func.functional_call(model, weights, (x,))

    assert nnprof.measure(call, SHAPE).macs == nnprof.measure(model, SHAPE).macs


def test_what_functional_call_lends_a_module_is_not_kept() -> None:
    """The module is met while other tensors stand in for its own."""
    layer, norm = nn.Linear(8, 4), nn.BatchNorm1d(4)
    own = [*layer.parameters(), *norm.parameters(), *norm.buffers()]
    lent = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
    state = {name: torch.ones_like(t) for name, t in norm.state_dict().items()}
    stacked = {name: torch.stack([p] * 3).detach() for name, p in layer.named_parameters()}

    def lends(x: Tensor) -> Any:
        x = torch.func.functional_call(layer, lent, (x,))
        return torch.func.functional_call(norm, state, (x,))

    def ensemble(x: Tensor) -> Any:
        one = lambda weights: torch.func.functional_call(layer, weights, (x,))  # noqa: E731
        return torch.vmap(one)(stacked)

    assert nnprof.measure(lends, (5, 8)).macs == 5 * 8 * 4
    assert nnprof.measure(ensemble, (5, 8)).macs == 3 * 5 * 8 * 4
    after = [*layer.parameters(), *norm.parameters(), *norm.buffers()]
    assert all(one is other for one, other in zip(own, after, strict=True))


def test_what_a_module_met_inside_keeps_in_itself_is_put_back() -> None:
    class Keeps(nn.Module):
        total: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(200))
            self.last: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.total = self.total + x.sum(0)
            self.last = x
            return x * 2

    model = Keeps()
    total = model.total
    nnprof.measure(lambda x: model(x), (5, 200))
    assert model.total is total
    assert model.last is None


# Transforms and higher-order operators ------------------------------------------------------------

LAYER = nn.Linear(8, 4)
ROWS = 5
OF_LAYER = ROWS * 8 * 4


def _while_loop(x: Tensor) -> Any:
    from torch._higher_order_ops import while_loop

    square = torch.ones(8, 8, device=x.device)
    start = (torch.tensor(0), x)
    loop: Any = while_loop
    return loop(lambda i, a: i < 3, lambda i, a: (i + 1, a @ square), start)


def _map(x: Tensor) -> Any:
    from torch._higher_order_ops import map as map_rows

    rows: Any = map_rows
    return rows(lambda row: row @ LAYER.weight.T, x)


def _scan(x: Tensor) -> Any:
    from torch._higher_order_ops import scan

    def step(carry: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        return carry + row, LAYER(row)

    return scan(step, torch.zeros(8, device=x.device), x)


def _checkpoint(x: Tensor, *, reentrant: bool) -> Any:
    return torch.utils.checkpoint.checkpoint(LAYER, x, use_reentrant=reentrant)


def _dual(x: Tensor) -> Any:
    return torch.func.jvp(lambda a: torch.tanh(LAYER(a)), (x,), (torch.ones_like(x),))


def _cond(x: Tensor) -> Any:
    return torch.cond(x.shape[0] > 3, lambda a: a @ LAYER.weight.T, lambda a: a[:, :4], (x,))


TRANSFORMED: dict[str, tuple[Any, int]] = {
    "vmap": (torch.vmap(LAYER), OF_LAYER),
    "vmap in vmap": (lambda x: torch.vmap(torch.vmap(LAYER))(x.expand(2, ROWS, 8)), 2 * OF_LAYER),
    "vmap with dropout": (
        lambda x: torch.vmap(lambda row: F.dropout(LAYER(row)), randomness="different")(x),
        OF_LAYER,
    ),
    "jvp": (_dual, 2 * OF_LAYER),
    "functionalize": (torch.func.functionalize(lambda x: LAYER(x).relu_()), OF_LAYER),
    "cond": (_cond, OF_LAYER),
    "while_loop": (_while_loop, 3 * ROWS * 8 * 8),
    "map": (_map, OF_LAYER),
    "scan": (_scan, OF_LAYER),
    "checkpoint": (lambda x: _checkpoint(x, reentrant=False), OF_LAYER),
    "reentrant checkpoint": (lambda x: _checkpoint(x, reentrant=True), OF_LAYER),
}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", TRANSFORMED)
def test_transforms(name: str, device: str) -> None:
    function, macs = TRANSFORMED[name]
    assert nnprof.measure(function, inputs=torch.randn(ROWS, 8).to(device)).macs == macs


@pytest.mark.parametrize("derivatives", [1, 2])
def test_gradients_inside_of_a_forward(derivatives: int) -> None:
    """On the meta device; the real run's products are counted one by one."""
    from tests.fuzz.counter import BruteForceCounter

    def energy(x: Tensor) -> Tensor:
        return (x @ x.T).square().sum()

    def slope(x: Tensor) -> Tensor:
        gradient: Tensor = torch.func.grad(energy)(x)
        return gradient.sum()

    function = torch.func.grad([energy, slope][derivatives - 1])
    with BruteForceCounter() as counter:
        function(torch.randn(ROWS, 8))
    assert counter.macs > derivatives * ROWS * ROWS * 8
    assert nnprof.measure(function, (ROWS, 8)).macs == counter.macs


@pytest.mark.parametrize("masked", [False, True])
def test_fast_path_of_encoder_layers(masked: bool) -> None:
    """Fused, and with padding packed, counted as padded: the MACs are as in training."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2)
    x, mask = torch.randn(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool)
    mask[:, -1] = masked
    options = {"src_key_padding_mask": mask}
    expected = nnprof.measure(model.train(), inputs=x, kwargs=options).macs
    with torch.no_grad():
        assert nnprof.measure(model.eval(), inputs=x, kwargs=options).macs == expected


def test_scripted_loop() -> None:
    class Loop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(x.size(0)):
                x = torch.matmul(x, torch.ones(8, 8))
            return x

    assert nnprof.measure(torch.jit.script(Loop()), (ROWS, 8)).macs == ROWS * ROWS * 8 * 8


def test_exported_with_sizes_left_open() -> None:
    batch = torch.export.Dim("batch", min=2, max=99)
    exported = torch.export.export(LAYER, (torch.randn(4, 8),), dynamic_shapes=({0: batch},))
    assert nnprof.measure(exported.module(), (ROWS, 8)).macs == OF_LAYER


def test_pruned_and_complex_layers() -> None:
    from torch.nn.utils import prune

    pruned: Any = nn.Linear(8, 4)
    prune.random_unstructured(pruned, "weight", 0.5)
    assert nnprof.measure(pruned, (ROWS, 8)).macs == OF_LAYER
    layer = nn.Linear(8, 4, dtype=torch.complex64)
    profile = nnprof.measure(layer, (ROWS, 8), dtype=torch.complex64)
    assert profile.macs == OF_LAYER
    assert profile.flops_by_kind["contraction"] == 8 * OF_LAYER


def test_a_module_called_twice_and_one_never_called() -> None:
    class Reuses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(20, 20)
            self.unused = nn.Linear(20, 3)
            self.through_its_weight = nn.Linear(20, 20)

        def forward(self, x: Tensor) -> Tensor:
            x = self.layer(self.layer(x))
            return F.linear(x, self.through_its_weight.weight)

    model = Reuses()
    profile = nnprof.measure(model, (4, 20))
    assert profile["layer"].calls == 2
    assert profile["layer"].macs == 2 * 4 * 400
    assert profile.macs == 3 * 4 * 400
    assert profile.params == sum(p.numel() for p in model.parameters())
    assert profile.facts.never_called == ("unused",)
