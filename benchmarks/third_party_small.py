"""Cases of small packages, which offer a layer, a loss, a flow or a solver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.third_party_models import Made, _ids, _image, case

if TYPE_CHECKING:
    from collections.abc import Callable


class _Around(nn.Module):
    """A function of some modules, and of what is given."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *given: Tensor) -> Tensor:
        return self.function(*self.parts, *given)


# Layers


@case("linformer")
def linformer() -> Made:
    from linformer import LinformerLM

    model = LinformerLM(num_tokens=200, dim=32, seq_len=32, depth=2, heads=4, k=8)
    return model, (_ids(200, 32),)


@case("nystrom_attention")
def nystromformer() -> Made:
    from nystrom_attention import Nystromformer

    model = Nystromformer(dim=32, dim_head=8, heads=4, depth=2, num_landmarks=8, pinv_iterations=3)
    return model, (torch.randn(1, 32, 32),)


@case("conformer")
def conformer() -> Made:
    from conformer import Conformer

    model = Conformer(dim=32, depth=2, dim_head=8, heads=4, ff_mult=2, conv_kernel_size=7)
    return model, (torch.randn(2, 24, 32),)


@case("slot_attention")
def slot_attention() -> Made:
    from slot_attention import SlotAttention

    return SlotAttention(num_slots=5, dim=32, iters=3), (torch.randn(2, 64, 32),)


@case("mambapy")
def mamba_in_torch() -> Made:
    from mambapy.mamba import Mamba, MambaConfig

    return Mamba(MambaConfig(d_model=16, n_layers=2)), (torch.randn(2, 16, 16),)


@case("loralib")
def loralib_merged() -> Made:
    import loralib

    first = loralib.Linear(16, 32, r=4)
    second = loralib.MergedLinear(32, 48, r=4, enable_lora=[True, False, True])
    return nn.Sequential(first, nn.ReLU(), second), (torch.randn(4, 16),)


@case("entmax")
def entmax_in_a_layer() -> Made:
    from entmax import entmax15, sparsemax

    def both(linear: nn.Module, x: Tensor) -> Tensor:
        return entmax15(linear(x), dim=-1) + sparsemax(linear(x), dim=-1)

    return _Around(both, nn.Linear(8, 6)), (torch.randn(4, 8),)


@case("rtdl_revisiting_models")
def rtdl_resnet() -> Made:
    from rtdl_revisiting_models import ResNet

    model = ResNet(
        d_in=8,
        d_out=2,
        n_blocks=2,
        d_block=16,
        d_hidden=None,
        d_hidden_multiplier=2.0,
        dropout1=0.1,
        dropout2=0.0,
    )
    return model, (torch.randn(6, 8),)


# Points and graphs


@case("egnn_pytorch")
def egnn_of_neighbours() -> Made:
    from egnn_pytorch import EGNN_Network

    net = EGNN_Network(num_tokens=21, num_positions=64, dim=32, depth=2, num_nearest_neighbors=4)
    model = _Around(lambda net, ids, places: net(ids, places)[0], net)
    return model, (_ids(21, 16), torch.randn(2, 16, 3))


@case("point_transformer_pytorch")
def point_transformer() -> Made:
    from point_transformer_pytorch import PointTransformerLayer

    model = PointTransformerLayer(
        dim=16, pos_mlp_hidden_dim=16, attn_mlp_hidden_mult=2, num_neighbors=4
    )
    return model, (torch.randn(1, 16, 16), torch.randn(1, 16, 3))


# Losses


@case("pytorch_metric_learning")
def supervised_contrast() -> Made:
    from pytorch_metric_learning.losses import SupConLoss

    model = _Around(lambda net, loss, x, y: loss(net(x), y), nn.Linear(8, 16), SupConLoss())
    return model, (torch.randn(12, 8), torch.arange(12) % 4)


@case("pytorch_msssim")
def structural_similarity() -> Made:
    from pytorch_msssim import SSIM

    model = _Around(
        lambda net, loss, x, y: loss(net(x).sigmoid(), y),
        nn.Conv2d(3, 3, 3, padding=1),
        SSIM(data_range=1.0, channel=3),
    )
    return model, (_image(32), torch.rand(2, 3, 32, 32))


# Flows and differential equations


@case("zuko")
def spline_flow() -> Made:
    from zuko.flows import NSF

    def loss(flow: Any, x: Tensor, context: Tensor) -> Tensor:
        return -flow(context).log_prob(x).mean()

    return _Around(loss, NSF(3, 4, transforms=2, hidden_features=(16,))), (
        torch.randn(6, 3),
        torch.randn(6, 4),
    )


@case("torchsde")
def neural_sde() -> Made:
    from torchsde import sdeint

    class Noisy(nn.Module):
        noise_type = "diagonal"
        sde_type = "ito"

        def __init__(self) -> None:
            super().__init__()
            self.drift, self.noise = nn.Linear(3, 3), nn.Linear(3, 3)

        def f(self, t: Tensor, y: Tensor) -> Tensor:
            return self.drift(y)

        def g(self, t: Tensor, y: Tensor) -> Tensor:
            return self.noise(y)

    def solved(sde: nn.Module, y: Tensor) -> Tensor:
        return sdeint(sde, y, torch.linspace(0, 1, 4), dt=0.1)

    return _Around(solved, Noisy()), (torch.randn(4, 3),)
