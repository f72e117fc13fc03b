"""What Python reads of a tensor's device: that of the model's parameters and inputs."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import nnprof
from nnprof import measure
from nnprof.errors import DataDependentError


class Asking(nn.Module):
    """Keeps what `ask` answers for an activation, an input and a buffer."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.register_buffer("table", torch.arange(8))
        self.asked = [ask]

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        ANSWERS.append(self.asked[0](h, x, self.table))
        return h


ANSWERS: list[Any] = []

QUESTIONS: dict[str, Callable[..., Any]] = {
    "device": lambda h, x, table: (h.device, x.device, table.device),
    "equal": lambda h, x, table: h.device == x.device == table.device,
    "is": lambda h, x, table: (h.is_cpu, h.is_cuda, h.is_meta, h.is_mps, h.is_xpu),
    "is of a constant": lambda h, x, table: torch.arange(3, device=h.device).is_cpu,
    "type": lambda h, x, table: (h.type(), x.type(), table.type(), (h > 0).type()),
    "cast": lambda h, x, table: (table.type(h.type()).dtype, h.type(table.type()).type()),
    "get_device": lambda h, x, table: (h.get_device(), torch.get_device(h)),
    "made on it": lambda h, x, table: torch.ones(3, device=h.device).device,
    "moved": lambda h, x, table: h.to(table.device).device == table.to(h).device,
    "double": lambda h, x, table: (h.double() * table).to(x.device).type(),
    "autocast": lambda h, x, table: _under_autocast(h).dtype,
    "generator": lambda h, x, table: torch.Generator(device=h.device).device,
    "index": lambda h, x, table: (h.device.type, h.device.index, str(h.device)),
    "no number": lambda h, x, table: f"{table.sum():d}",
}


def _under_autocast(h: Tensor) -> Tensor:
    with torch.autocast(h.device.type, dtype=torch.bfloat16):
        return h @ h.mT


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_are_those_of_a_real_run(question: str, backward: bool) -> None:
    model, x = Asking(QUESTIONS[question]), torch.randn(4, 8)
    ANSWERS.clear()
    model(x)
    measure(model, inputs=x, backward=backward)
    assert ANSWERS[1:]
    assert all(answer == ANSWERS[0] for answer in ANSWERS)


def devices_of(model: nn.Module, **arguments: Any) -> set[str]:
    ANSWERS.clear()
    measure(model, **arguments)
    return {device.type for device in ANSWERS[-1]}


def made_here(h: Tensor, x: Tensor, table: Tensor) -> Any:
    made = torch.arange(3, device=h.device), torch.tensor([1.0], device=x.device)
    return [tensor.device for tensor in (h, x, table, *made)]


@pytest.mark.parametrize("target", [{}, {"hardware": "h200"}, {"hardware": "a100"}])
def test_one_device_whatever_the_times_are_for(target: dict[str, str]) -> None:
    assert devices_of(Asking(made_here), inputs=torch.randn(4, 8), **target) == {"cpu"}
    assert devices_of(Asking(made_here), shape=(4, 8), **target) == {"cpu"}


def test_meta_stays_meta() -> None:
    with torch.device("meta"):
        model, x = Asking(made_here), torch.randn(4, 8)
    assert devices_of(model, shape=(4, 8)) == {"meta"}
    assert devices_of(model, inputs=x) == {"meta"}
    # A model without weights runs where its inputs are.
    assert devices_of(model, inputs=torch.randn(4, 8)) == {"cpu"}


def test_made_ids_are_where_the_weights_are() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(10, 4)

        def forward(self, input_ids: Tensor) -> Tensor:
            assert input_ids.device == self.words.weight.device
            return self.words(input_ids)

    for device in "cpu", "meta":
        with torch.device(device):
            model = Words()
        assert measure(model, (2, 3)).params == 40


def test_functions_show_where_their_inputs_are() -> None:
    seen = []

    def function(x: Tensor) -> Tensor:
        seen.append((x * 2).device.type)
        return x

    measure(function, inputs=torch.randn(3))
    measure(function, inputs=torch.randn(3, device="meta"))
    with nnprof.trace():
        function(torch.randn(3))
        function(nn.Linear(3, 3)(torch.randn(3)))
    assert seen == ["cpu", "meta", "cpu", "cpu"]


def test_what_is_on_meta_stays_there_without_a_model() -> None:
    def seen(*tensors: Tensor) -> set[str]:
        return {tensor.device.type for tensor in tensors}

    with torch.device("meta"):
        model, x = nn.Linear(3, 3), torch.randn(2, 3)
    with nnprof.trace():
        assert seen(x, model.weight) == {"meta"}  # before anything was computed
        assert seen(x, model(x), x * 2) == {"meta"}
    for device in "meta", "cpu", "cuda":
        with nnprof.trace():
            with torch.device(device):
                model, x = nn.Linear(3, 3), torch.randn(2, 3)
            assert seen(x, model.weight, model(x), x * 2) == {device}
    with nnprof.trace():
        model, x = nn.Linear(3, 3), torch.randn(2, 3)
        assert seen(x, model.weight, model(x), x * 2) == {"cpu"}


class Called(TorchDispatchMode):
    """The operators of a real run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.append(function._schema.name)
        return function(*args, **(kwargs or {}))


class SelfAttention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


def encoder_layer(**options: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)


LAYERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "attention": (lambda: SelfAttention(num_heads=2), 1),
    "odd heads": (lambda: SelfAttention(num_heads=1), 0),
    "encoder layer": (encoder_layer, 1),
    "norm first, gelu": (lambda: encoder_layer(norm_first=True, activation="gelu"), 1),
    "other activation": (lambda: encoder_layer(activation=nn.SiLU()), 1),  # attention alone
    "encoder": (lambda: nn.TransformerEncoder(encoder_layer(), 3), 3),
}
FUSED = {"aten::_native_multi_head_attention", "aten::_transformer_encoder_layer_fwd"}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_fused_layers_are_those_of_a_real_run(layer: str, training: bool) -> None:
    build, fused = LAYERS[layer]
    found = []
    for device in "cpu", "meta":
        with torch.device(device):
            model = build().train(training)
        if device == "cpu":
            with torch.no_grad(), Called() as real:
                model(torch.randn(2, 5, 8))
        for target in "cpu", "cuda":
            with torch.no_grad(), nnprof.trace(model, target=target) as running:
                model(torch.randn(2, 5, 8, device=device))
            found.append([name for name in running.profile().ops["op"].tolist() if name in FUSED])
    in_fact = [name for name in real.names if name in FUSED]
    assert len(in_fact) == (0 if training else fused)
    assert found == [in_fact] * 4


def test_only_in_the_thread_that_traces_and_only_while_it_does() -> None:
    there: list[str] = []
    look = threading.Event()

    def look_at_it() -> None:
        assert look.wait(timeout=30)
        there.append(made.device.type)

    thread = threading.Thread(target=look_at_it)  # one started inside would belong to the trace
    thread.start()
    with nnprof.trace(nn.Linear(2, 2)):
        made = torch.ones(3, 3) @ torch.ones(3, 30_000)
        look.set()
        thread.join()
        assert made.device.type == "cpu"
    assert there == [made.device.type] == ["meta"]
    assert (made.is_meta, made.is_cpu, made.type()) == (True, False, "torch.meta.FloatTensor")


def test_what_reads_memory_knows_where_it_is() -> None:
    def printed_and_copied(h: Tensor, x: Tensor, table: Tensor) -> Any:
        text = f"{h.detach()} {h.sum()} {table.sum()} {table.sum():3d}"
        copied = copy.deepcopy({"h": h.detach(), "n": torch.arange(3)})
        stored = pickle.loads(pickle.dumps(h.detach()))
        return text, copied["h"].shape, copied["n"].sum().item(), stored.shape

    measure(Asking(printed_and_copied), inputs=torch.randn(4, 8))
    text, copied, total, stored = ANSWERS[-1]
    assert text.endswith(" 28  28")
    assert "meta" in text
    assert (copied, total, stored) == ((4, 8), 3, (4, 8))


def test_a_written_number_is_asked_for() -> None:
    model = Asking(lambda h, x, table: f"{h.sum():.3f}")
    with pytest.raises(DataDependentError):
        measure(model, inputs=torch.randn(4, 8))
    measure(model, inputs=torch.randn(4, 8), assume=2.5)
    assert ANSWERS[-1] == "2.500"


def test_moving_to_the_same_device_is_no_copy() -> None:
    class Moving(nn.Module):
        def __init__(self, move: bool) -> None:
            super().__init__()
            self.layer, self.move = nn.Linear(64, 64), move

        def forward(self, x: Tensor) -> Tensor:
            h = self.layer(x)
            return h.to(x.device).cpu().type(x.type()).relu() if self.move else h.relu()

    for backward in False, True:
        moved, left = (measure(Moving(move), (32, 64), backward=backward) for move in (True, False))
        assert moved.memory.peak == left.memory.peak
        assert moved.bytes == left.bytes


class OneDevice(torch.optim.Optimizer):
    """As optimizers whose kernels take parameter, gradient and state at once ask."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})
        self.devices: list[Any] = []

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            assert parameter.grad is not None
            empty = torch.zeros_like(parameter, dtype=torch.uint8, device=parameter.device)
            state = self.state[parameter].setdefault("moment", empty)
            scale = torch.full((4,), 0.5, device=parameter.grad.device)
            devices = {t.device for t in (parameter, parameter.grad, state, scale)}
            assert devices == {torch.device("cpu")}
            assert parameter.grad.is_cpu
            assert state.type() == "torch.ByteTensor"
            parameter.add_(parameter.grad, alpha=-1e-3)


def test_gradients_are_where_their_parameters_are() -> None:
    model = nn.Linear(64, 64)
    profile = measure(model, (2, 64), backward=True, optimizer=OneDevice(model.parameters()))
    assert profile.memory.after("optimizer")["optimizer"] == 64 * 64 + 64
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert all(p.grad is None for p in model.parameters())
