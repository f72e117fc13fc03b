"""An optimizer's step in a trace: by name it is what torch's own class does; all is put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof
from nnprof.errors import InputError
from tests.tracing.training.picture import picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.results.profile import Profile

SHAPE = (2, 6)


def make(device: str = "cpu") -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 4, bias=False)).to(device)


def step_of(model: nn.Module, optimizer: Any, **options: Any) -> Profile:
    return nnprof.measure(model, SHAPE, backward=True, optimizer=optimizer, **options)


# Steps that the core records ----------------------------------------------------------------------

RECORDED: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
}
IMPLEMENTATIONS: dict[str, dict[str, bool]] = {
    "": {},
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"foreach": False, "fused": True},
}


def calls_of(profile: Profile) -> list[tuple[Any, ...]]:
    ops = profile.ops
    columns = ("op", "input_shapes", "flops", "bytes_read", "bytes_written", "dtype")
    rows = zip(*(ops[name].tolist() for name in columns), strict=True)
    of_step = [row for row, phase in zip(rows, ops["phase"], strict=True) if phase == "optimizer"]
    return [row for row in of_step if row[0] != "aten::detach_"]  # of torch.tensor(1.0)


def mixed(device: str) -> nn.Module:
    """Of two dtypes, with a layer that gets no gradient and a shared weight."""
    model = make(device)
    model[2].to(torch.float64)
    tied, unused = nn.Linear(6, 5).to(device), nn.Linear(3, 3).to(device)
    tied.weight = cast("nn.Parameter", model[0].weight)

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.tied, self.unused = model, tied, unused

        def forward(self, x: Tensor) -> Tensor:
            both = self.model[1](self.model[0](x) + self.tied(x))
            return self.model[2](both.double())

    return Mixed()


@pytest.mark.parametrize("make_model", [make, mixed])
@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", RECORDED)
def test_by_name_is_call_by_call_what_torch_does(
    name: str, implementation: str, device: str, make_model: Callable[[str], nn.Module]
) -> None:
    kind, settings = RECORDED[name]
    model = make_model(device)
    own: Any = kind
    optimizer = own(model.parameters(), **settings, **IMPLEMENTATIONS[implementation])
    expected = calls_of(step_of(model, optimizer))
    assert expected
    assert calls_of(step_of(make_model(device), f"{implementation} {name}".strip())) == expected


# What a step costs --------------------------------------------------------------------------------


def stack(layers: int, width: int) -> nn.Sequential:
    return nn.Sequential(*[nn.Linear(width, width, bias=False) for _ in range(layers)])


def cost(optimizer: str, layers: int, width: int) -> tuple[int, int]:
    phase = nnprof.measure(
        stack(layers, width), (2, width), backward=True, optimizer=optimizer
    ).phase("optimizer")
    return phase.flops, phase.bytes


@pytest.mark.parametrize("optimizer", ["loop sgd", "fused momentum", "loop adam", "fused adamw"])
def test_costs_scale_with_the_parameters(optimizer: str) -> None:
    one, four = cost(optimizer, 1, 8), cost(optimizer, 4, 8)
    assert four == (4 * one[0], 4 * one[1])
    # Per tensor there is a constant, of counters; the rest is by element.
    wide, wider = cost(optimizer, 1, 16), cost(optimizer, 1, 32)
    for small, middle, large in zip(one, wide, wider, strict=True):
        assert (large - middle) == 4 * (middle - small)


def test_bytes_of_known_steps() -> None:
    elements = 16 * 16
    # The parameter and its gradient are read, the parameter is written.
    assert cost("sgd", 1, 16) == (2 * elements, 3 * 4 * elements)
    # Both moments are read and written, too; the counter is read twice, written once.
    assert cost("fused adamw", 1, 16)[1] == 7 * 4 * elements + 3 * 4


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    tensors = [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def real_state_bytes(optimizer: torch.optim.Optimizer) -> int:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return state_bytes(optimizer)


def held_after_backward(optimizer: Any, model: nn.Module) -> int:
    return step_of(model, optimizer).memory.after("backward")["optimizer"]


@pytest.mark.parametrize("implementation", ["loop", "foreach", "fused"])
@pytest.mark.parametrize("name", RECORDED)
def test_state_is_as_large_as_torch_makes_it(name: str, implementation: str) -> None:
    kind, settings = RECORDED[name]
    own: Any = kind
    optimizer = own(make().parameters(), **settings, **IMPLEMENTATIONS[implementation])
    assert held_after_backward(f"{implementation} {name}", make()) == real_state_bytes(optimizer)


def test_state_of_adam_is_two_of_the_parameters() -> None:
    model = make()
    parameters = list(model.parameters())
    counters = 4 * len(parameters)
    held = held_after_backward("adamw", model)
    assert held == 2 * sum(4 * parameter.numel() for parameter in parameters) + counters


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.RMSprop])
def test_state_of_an_object_is_as_large_as_torch_makes_it(kind: Any) -> None:
    model = make()
    expected = real_state_bytes(kind(make().parameters(), foreach=False))
    assert held_after_backward(kind(model.parameters(), foreach=False), model) == expected


def test_state_of_adagrad() -> None:
    expected = real_state_bytes(torch.optim.Adagrad(make().parameters(), foreach=False))
    assert held_after_backward("loop adagrad", make()) >= expected


def test_counters_on_the_host_take_no_device_memory() -> None:
    model = stack(3, 16)  # 1 KiB each: whole blocks of the device's allocator
    profile = nnprof.measure(model.to("meta"), (2, 16), backward=True, optimizer="foreach adam")
    assert profile.memory.after("backward")["optimizer"] == 2 * 3 * 1024


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adamax])
def test_the_step_that_makes_the_state_is_no_part_of_the_memory(kind: Any) -> None:
    expected = step_of(make(), "loop adamw").memory
    model = make()
    memory = step_of(model, kind(model.parameters(), foreach=False)).memory
    for phase in ("forward", "backward"):
        assert memory.peak_of(phase) == expected.peak_of(phase)


# Every class --------------------------------------------------------------------------------------

BY_NAME = [
    "sgd",
    "momentum",
    "nesterov",
    "adam",
    "adamw",
    "adafactor",
    "muon",
    "adagrad",
    "adadelta",
    "adamax",
    "asgd",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
]


def trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.ones(SHAPE)).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", BY_NAME)
def test_every_class_by_name(name: str) -> None:
    model = make()
    optimizer = torch.optim.AdamW(model.parameters())
    trained(model, optimizer)
    expected = picture(model, optimizer)
    profile = step_of(model, name.upper())
    assert picture(model, optimizer) == expected
    elements = sum(parameter.numel() for parameter in model.parameters())
    assert profile.phase("optimizer").flops >= 2 * elements
    assert step_of(make("meta"), name).phase("optimizer").calls > 0


@pytest.mark.parametrize("name", ["muon", "adagrad", "adafactor"])
def test_a_model_that_has_no_gradients_has_none_after(name: str) -> None:
    model = make()
    step_of(model, name)
    assert [parameter.grad for parameter in model.parameters()] == [None] * 5


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adagrad", "Adafactor", "RMSprop", "Rprop"])
def test_an_object_is_put_back(name: str, fresh: bool) -> None:
    model = make()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.01)
    if not fresh:
        trained(model, optimizer)
    expected = picture(model, optimizer)
    for _ in range(2):
        assert step_of(model, optimizer).phase("optimizer").calls > 0
        assert picture(model, optimizer) == expected
    trained(model, optimizer)


class SignDescent(torch.optim.Optimizer):
    """The user's own, with a state and a setting that changes."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})
        self.steps = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.steps += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if "average" not in state:
                    state["average"] = torch.zeros_like(parameter)
                state["average"].lerp_(parameter.grad, 0.1)
                parameter.add_(state["average"].sign(), alpha=-group["lr"])
            group["lr"] *= 0.5


@pytest.mark.parametrize("fresh", [True, False])
def test_an_optimizer_of_the_user(fresh: bool) -> None:
    model = make()
    optimizer = SignDescent(model.parameters())
    if not fresh:
        trained(model, optimizer)
    expected = picture(model, optimizer), optimizer.steps
    profile = step_of(model, optimizer)
    assert (picture(model, optimizer), optimizer.steps) == expected
    assert [call[0] for call in calls_of(profile)] == [
        "aten::lerp_.Scalar",
        "aten::sign",
        "aten::add_.Tensor",
    ] * 5


# A training loop of the user ----------------------------------------------------------------------


def test_a_loop_with_clipping_and_a_printed_loss() -> None:
    model = make()
    optimizer = torch.optim.AdamW(model.parameters())
    trained(model, optimizer)
    expected = picture(model, optimizer)
    with nnprof.trace(model, backward=True, optimizer=optimizer) as running:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.mse_loss(model(torch.ones(SHAPE)), torch.zeros(2, 4))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        told = loss.item()
    assert isinstance(told, float)
    assert norm.shape == ()
    assert picture(model, optimizer) == expected
    profile = running.profile()
    assert profile.phase("optimizer").calls > 0
    assert profile.assumptions
    trained(model, optimizer)


def scheduled(model: nn.Module) -> tuple[torch.optim.Optimizer, Any]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1)


def take_scheduled(model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Any) -> float:
    with nnprof.trace(model, backward=True, optimizer=optimizer):
        trained(model, optimizer)
        schedule.step()
        return float(optimizer.param_groups[0]["lr"])


def test_a_schedule_steps_and_the_rate_is_put_back() -> None:
    model = make()
    optimizer, schedule = scheduled(model)
    assert take_scheduled(model, optimizer, schedule) == pytest.approx(0.1)
    assert optimizer.param_groups[0]["lr"] == 1.0


def test_a_schedule_is_put_back() -> None:
    model = make()
    optimizer, schedule = scheduled(model)
    expected = schedule.state_dict()
    take_scheduled(model, optimizer, schedule)
    assert schedule.state_dict() == expected


def scaled_step(model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.ones(SHAPE)).square().mean()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()


@pytest.mark.parametrize("used", [False, True])
def test_scaled_gradients_put_all_back(used: bool) -> None:
    model, scaler = make(), torch.amp.GradScaler("cpu")
    optimizer = torch.optim.AdamW(model.parameters())
    if used:
        scaled_step(model, optimizer, scaler)
    expected = picture(model, optimizer), scaler.state_dict()
    with nnprof.trace(model, backward=True, optimizer=optimizer):
        scaled_step(model, optimizer, scaler)
    assert (picture(model, optimizer), scaler.state_dict()) == expected


def test_scaled_gradients_step() -> None:
    model, scaler = make(), torch.amp.GradScaler("cpu")
    optimizer = torch.optim.AdamW(model.parameters())
    with nnprof.trace(model, backward=True, optimizer=optimizer) as running:
        scaled_step(model, optimizer, scaler)
    assert running.profile().phase("optimizer").calls > 0


def test_scaled_gradients_work_afterwards() -> None:
    model, scaler = make(), torch.amp.GradScaler("cpu")
    optimizer = torch.optim.AdamW(model.parameters())
    with nnprof.trace(model, backward=True, optimizer=optimizer):
        scaled_step(model, optimizer, scaler)
    scaled_step(model, optimizer, scaler)


# Errors -------------------------------------------------------------------------------------------


class Giving(nn.Module):
    """Whose output is made from its layer's."""

    def __init__(self, of: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.of = nn.Linear(6, 2), of

    def forward(self, x: Tensor) -> Any:
        return self.of(self.layer(x))


NO_OPTIMIZER = {"adamm": "adamw", "quick adam": "fused adamw", "": "sgd", "fused": "loop"}


@pytest.mark.parametrize("name", NO_OPTIMIZER)
def test_an_unknown_name_lists_the_choices(name: str) -> None:
    with pytest.raises(InputError, match=NO_OPTIMIZER[name]) as raised:
        step_of(make(), name)
    for choice in BY_NAME:
        assert choice in str(raised.value)


@pytest.mark.parametrize("name", ["lbfgs", "sparseadam"])
def test_those_that_need_more_are_no_choices(name: str) -> None:
    with pytest.raises(InputError, match=r"or pass a torch\.optim\.Optimizer"):
        step_of(make(), name)


@pytest.mark.parametrize(
    "options",
    [{"loss": torch.sum}, {"optimizer": "adamw"}, {"checkpoint": "0"}],
    ids=["loss", "optimizer", "checkpoint"],
)
def test_training_needs_backward(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options))}= .*backward=True"):
        nnprof.measure(make(), SHAPE, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": torch.optim.Adam}, "optimizer= must be a name such as 'adamw'.*got type"),
        ({"loss": 3}, "loss= must be a function.*got int"),
        ({"loss": lambda y: y}, r"one element, got shape \(2, 4\).*loss="),
        ({"loss": lambda y: 1.0}, "one element, got float.*loss="),
        ({"loss": lambda y: y.sum().detach()}, "requires_grad.*detaches"),
        ({"checkpoint": "layers.*"}, r"checkpoint='layers\.\*' matches no module"),
        ({"checkpoint": ["0", "nothing"]}, "checkpoint='nothing' matches no module"),
        ({"checkpoint": {"0": "partly"}}, "no way is called 'partly': there are whole, selective"),
        ({"checkpoint": {"nothing": "selective"}}, "checkpoint='nothing' matches no module"),
        ({"optimizer": "fused adadelta"}, "Adadelta.*fused"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    model = make()
    with pytest.raises(InputError, match=message):
        nnprof.measure(model, SHAPE, backward=True, **options)
    nnprof.measure(model, SHAPE, backward=True)


@pytest.mark.parametrize(
    "of",
    [lambda y: "text", lambda y: (), lambda y: y.argmax(-1)],
    ids=["text", "empty", "integers"],
)
def test_an_output_to_make_no_loss_of(of: Callable[[Tensor], Any]) -> None:
    with pytest.raises(InputError, match="no tensor to make a loss of: pass loss="):
        nnprof.measure(Giving(of), SHAPE, backward=True)


def test_a_function_has_no_parameters_to_step() -> None:
    with pytest.raises(InputError, match=r"nn\.Module"):
        nnprof.measure(lambda x: x, SHAPE, backward=True, optimizer="adamw")


@pytest.mark.parametrize("optimizer", [None, "sgd", "adamw"])
def test_a_frozen_model_with_a_loss(optimizer: str | None) -> None:
    with pytest.raises(InputError, match="no parameter of the model has requires_grad"):
        step_of(make().requires_grad_(False), optimizer, loss=torch.sum)


def test_a_frozen_model() -> None:
    with pytest.raises(InputError, match="requires_grad"):
        step_of(make().requires_grad_(False), None)


@pytest.mark.parametrize("optimizer", ["adagrad", "rprop"])
def test_a_frozen_model_with_an_optimizer_of_torch(optimizer: str) -> None:
    with pytest.raises(InputError, match="requires_grad"):
        step_of(make().requires_grad_(False), optimizer, loss=torch.sum)


def test_muon_has_no_lists() -> None:
    with pytest.raises(InputError, match=r"Muon.*foreach"):
        step_of(make(), "foreach muon")


# Checkpointing ------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(x)))


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(8) for _ in range(3))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_selective_checkpoint_makes_no_product_again(device: str) -> None:
    def measured(checkpoint: str | dict[str, str] | None) -> Profile:
        model = Blocks().to(device)
        return nnprof.measure(model, (64, 8), backward=True, checkpoint=checkpoint)

    plain, whole = measured(None), measured("layers.*")
    selective = measured({"layers.*": "selective"})
    again = selective.ops["recomputed"].astype(bool)
    assert again.any()
    assert not selective.ops["macs"][again].any()
    assert plain.macs == selective.macs < whole.macs
    assert plain.flops < selective.flops < whole.flops
    assert measured({"layers.*": "whole"}).flops == whole.flops


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_checkpointed_modules(device: str) -> None:
    def measured(checkpoint: str | None) -> Profile:
        model = Blocks().to(device)
        profile = nnprof.measure(
            model, (64, 8), backward=True, optimizer="adamw", checkpoint=checkpoint
        )
        assert all("forward" not in module.__dict__ for module in model.modules())
        return profile

    plain, again = measured(None), measured("layers.*")
    ops, plain_ops = again.ops, plain.ops
    recomputed = ops["recomputed"].astype(bool)
    assert not plain_ops["recomputed"].astype(bool).any()
    assert set(ops["phase"][recomputed]) == {"backward"}
    # What the backward takes from a block is made again: all but the last product and the sum.
    scopes = {scope for scope in ops["scope"][recomputed] if scope.endswith((".up", ".down"))}
    assert scopes <= {f"layers.{i}.{part}" for i in range(3) for part in ("up", "down")}
    assert not any(scope.startswith("head") for scope in ops["scope"][recomputed])
    forward = {
        (scope, op): flops
        for scope, op, flops, phase in zip(
            *(plain_ops[name].tolist() for name in ("scope", "op", "flops", "phase")), strict=True
        )
        if phase == "forward"
    }
    for scope, op, flops in zip(
        *(ops[name][recomputed].tolist() for name in ("scope", "op", "flops")), strict=True
    ):
        if op == "aten::linear":
            assert forward[scope, op] == flops
    assert again.phase("forward").flops == plain.phase("forward").flops
    assert (
        again.phase("backward").flops
        == plain.phase("backward").flops + ops["flops"][recomputed].sum()
    )
    assert again.memory.peak < plain.memory.peak
    assert again.model_flops == plain.model_flops
    assert again.hardware_flops == plain.hardware_flops + 2 * ops["macs"][recomputed].sum()
    assert again.hardware_flops > plain.hardware_flops
    held = [profile.memory.after("backward") for profile in (plain, again)]
    assert held[0]["gradients"] == held[1]["gradients"]
    assert calls_of(again) == calls_of(plain)
