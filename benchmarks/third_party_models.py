"""Models of third-party packages, as small as shows what they are made of, and one call of each.

A package is imported in its case alone: what is not installed is left out, and said so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

#: The model, and the arguments of one call: positional ones, or by keyword.
Made = tuple[nn.Module, tuple[Any, ...] | dict[str, Any]]

CASES: dict[str, tuple[str, Callable[[], Made]]] = {}


def case(package: str) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    """Adds a function that makes a model of `package` under its own name."""

    def add(make: Callable[[], Made]) -> Callable[[], Made]:
        CASES[make.__name__] = package, make
        return make

    return add


def _image(size: int, channels: int = 3, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, size, size)


def _ids(vocabulary: int, length: int, batch: int = 2) -> Tensor:
    return torch.randint(0, vocabulary, (batch, length))


# ultralytics


def _yolo(name: str) -> Made:
    from ultralytics.nn import tasks
    from ultralytics.nn.tasks import yaml_model_load

    kinds = {"seg": tasks.SegmentationModel, "pose": tasks.PoseModel, "obb": tasks.OBBModel}
    kinds["cls"] = tasks.ClassificationModel
    made = kinds.get(name.partition("-")[2], tasks.DetectionModel)
    return made(yaml_model_load(f"{name}.yaml"), verbose=False).train(), (_image(64),)


@case("ultralytics")
def yolov8n() -> Made:
    return _yolo("yolov8n")


@case("ultralytics")
def yolo11n() -> Made:
    return _yolo("yolo11n")


@case("ultralytics")
def yolov8n_seg() -> Made:
    return _yolo("yolov8n-seg")


@case("ultralytics")
def yolov8n_cls() -> Made:
    return _yolo("yolov8n-cls")


@case("ultralytics")
def yolo12n() -> Made:
    return _yolo("yolo12n")


# segmentation-models-pytorch


def _smp(name: str, encoder: str = "resnet18", **options: Any) -> Made:
    import segmentation_models_pytorch as smp

    model = getattr(smp, name)(encoder, encoder_weights=None, classes=3, **options)
    return model, (_image(64),)


@case("segmentation_models_pytorch")
def smp_unet() -> Made:
    return _smp("Unet")


@case("segmentation_models_pytorch")
def smp_unet_plus_plus() -> Made:
    return _smp("UnetPlusPlus", decoder_attention_type="scse")


@case("segmentation_models_pytorch")
def smp_deeplab_v3_plus() -> Made:
    return _smp("DeepLabV3Plus")


@case("segmentation_models_pytorch")
def smp_fpn_mobilenet() -> Made:
    return _smp("FPN", "mobilenet_v2")


@case("segmentation_models_pytorch")
def smp_manet() -> Made:
    return _smp("MAnet")


@case("segmentation_models_pytorch")
def smp_pspnet() -> Made:
    return _smp("PSPNet")


# monai


@case("monai")
def monai_unet() -> Made:
    from monai.networks.nets import UNet

    return UNet(3, 1, 2, (8, 16, 32), (2, 2), num_res_units=1), (torch.randn(1, 1, 32, 32, 32),)


@case("monai")
def monai_segresnet() -> Made:
    from monai.networks.nets import SegResNet

    return SegResNet(3, init_filters=8), (torch.randn(1, 1, 32, 32, 32),)


@case("monai")
def monai_unetr() -> Made:
    from monai.networks.nets import UNETR

    return UNETR(1, 2, (32, 32, 32), feature_size=8, hidden_size=48, mlp_dim=96, num_heads=4), (
        torch.randn(1, 1, 32, 32, 32),
    )


@case("monai")
def monai_densenet121() -> Made:
    from monai.networks.nets import DenseNet121

    return DenseNet121(2, 1, 3), (_image(64, 1),)


@case("monai")
def monai_vnet() -> Made:
    from monai.networks.nets import VNet

    return VNet(3, 1, 2), (torch.randn(1, 1, 32, 32, 32),)


# torch_geometric


def _graph(nodes: int = 30, features: int = 16, edges: int = 120) -> tuple[Tensor, Tensor]:
    return torch.randn(nodes, features), torch.randint(0, nodes, (2, edges))


def _pyg(name: str, **options: Any) -> Made:
    from torch_geometric.nn import models

    return getattr(models, name)(16, 32, num_layers=2, out_channels=4, **options), _graph()


@case("torch_geometric")
def pyg_gcn() -> Made:
    return _pyg("GCN")


@case("torch_geometric")
def pyg_sage() -> Made:
    return _pyg("GraphSAGE")


@case("torch_geometric")
def pyg_gat() -> Made:
    return _pyg("GAT", heads=4)


@case("torch_geometric")
def pyg_gin() -> Made:
    return _pyg("GIN")


@case("torch_geometric")
def pyg_transformer_conv() -> Made:
    from torch_geometric.nn import TransformerConv

    return TransformerConv(16, 8, heads=4), _graph()


@case("torch_geometric")
def pyg_schnet() -> Made:
    from torch_geometric.nn import SchNet

    class OnEdges(nn.Module):
        """SchNet's blocks on given edges: its own search for neighbours is an extension's."""

        def __init__(self) -> None:
            super().__init__()
            self.net = SchNet(32, 32, 2, 16)

        def forward(self, atoms: Tensor, edges: Tensor, lengths: Tensor) -> Tensor:
            h = self.net.embedding(atoms)
            basis = self.net.distance_expansion(lengths)
            for block in self.net.interactions:
                h = h + block(h, edges, lengths, basis)
            return h

    return OnEdges(), (torch.randint(1, 9, (30,)), _graph()[1], torch.rand(120))


# peft and transformers


def _tiny_llama(**options: Any) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=200,
        **options,
    )
    return LlamaForCausalLM(config)


def _peft(config: Any) -> Made:
    from peft import get_peft_model

    model = get_peft_model(_tiny_llama(), config)
    ids = _ids(200, 12)
    return model, {"input_ids": ids, "labels": ids}


@case("peft")
def peft_lora() -> Made:
    from peft import LoraConfig

    return _peft(LoraConfig(task_type="CAUSAL_LM", r=4))


@case("peft")
def peft_dora() -> Made:
    from peft import LoraConfig

    return _peft(LoraConfig(task_type="CAUSAL_LM", r=4, use_dora=True))


@case("peft")
def peft_ia3() -> Made:
    from peft import IA3Config

    return _peft(IA3Config(task_type="CAUSAL_LM"))


@case("peft")
def peft_prompt_tuning() -> Made:
    from peft import PromptTuningConfig

    return _peft(PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))


# litgpt


def _litgpt(name: str) -> Made:
    from litgpt.config import Config
    from litgpt.model import GPT

    config = Config.from_name(
        name, n_layer=2, n_embd=64, n_head=4, padded_vocab_size=200, block_size=32
    )
    return GPT(config), (_ids(200, 12),)


@case("litgpt")
def litgpt_pythia() -> Made:
    return _litgpt("pythia-14m")


@case("litgpt")
def litgpt_mixtral() -> Made:
    from litgpt.config import Config
    from litgpt.model import GPT

    config = Config.from_name(
        "Mixtral-8x7B-v0.1",
        n_layer=2,
        n_embd=64,
        n_head=4,
        n_query_groups=2,
        intermediate_size=96,
        padded_vocab_size=200,
        block_size=32,
    )
    return GPT(config), (_ids(200, 12),)


# e3nn, nflows


@case("e3nn")
def e3nn_gate_points() -> Made:
    from e3nn import o3

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.product = o3.FullyConnectedTensorProduct("4x0e+2x1o", "2x0e+2x1o", "3x0e+2x1o")
            self.linear = o3.Linear("3x0e+2x1o", "2x0e+1x1o")

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.linear(self.product(x, y))

    return Product(), (torch.randn(5, 10), torch.randn(5, 8))


def _flow(transform: Any) -> Made:
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow

    class LogLikelihood(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flow = Flow(transform, StandardNormal([6]))

        def forward(self, x: Tensor) -> Tensor:
            return self.flow.log_prob(x)

    return LogLikelihood(), (torch.randn(8, 6),)


@case("nflows")
def nflows_autoregressive() -> Made:
    from nflows.transforms import CompositeTransform, ReversePermutation
    from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform

    return _flow(
        CompositeTransform(
            [ReversePermutation(6), MaskedAffineAutoregressiveTransform(6, hidden_features=16)]
        )
    )


@case("nflows")
def nflows_splines() -> Made:
    from nflows.transforms.autoregressive import (
        MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
    )

    return _flow(
        MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            6, hidden_features=16, tails="linear", tail_bound=3.0
        )
    )


# opacus


@case("opacus")
def opacus_per_sample_gradients() -> Made:
    from opacus import GradSampleModule

    return GradSampleModule(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))), (
        torch.randn(8, 16),
    )


@case("opacus")
def opacus_lstm() -> Made:
    from opacus.layers import DPLSTM

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = DPLSTM(8, 16, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0][:, -1]

    return Last(), (torch.randn(4, 10, 8),)


# pytorch-forecasting


@case("pytorch_forecasting")
def forecasting_nbeats_block() -> Made:
    from pytorch_forecasting.models.nbeats.sub_modules import NBEATSGenericBlock

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = NBEATSGenericBlock(
                units=32, thetas_dim=8, num_block_layers=3, backcast_length=20, forecast_length=10
            )

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat(self.block(x), -1)

    return Block(), (torch.randn(4, 20),)


@case("pytorch_forecasting")
def forecasting_variable_selection() -> Made:
    from pytorch_forecasting.models.temporal_fusion_transformer.sub_modules import (
        GatedResidualNetwork,
        InterpretableMultiHeadAttention,
    )

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = GatedResidualNetwork(16, 32, 16)
            self.attention = InterpretableMultiHeadAttention(n_head=4, d_model=16)

        def forward(self, x: Tensor) -> Tensor:
            h = self.gate(x)
            return self.attention(h, h, h)[0]

    return Part(), (torch.randn(4, 12, 16),)


# lucidrains' packages


@case("vit_pytorch")
def vit_pytorch_vit() -> Made:
    from vit_pytorch import ViT

    return ViT(image_size=32, patch_size=8, num_classes=5, dim=64, depth=2, heads=4, mlp_dim=96), (
        _image(32),
    )


@case("vit_pytorch")
def vit_pytorch_cait() -> Made:
    from vit_pytorch.cait import CaiT

    return CaiT(
        image_size=32,
        patch_size=8,
        num_classes=5,
        dim=64,
        depth=2,
        cls_depth=1,
        heads=4,
        mlp_dim=96,
    ), (_image(32),)


@case("vit_pytorch")
def vit_pytorch_maxvit() -> Made:
    from vit_pytorch.max_vit import MaxViT

    return MaxViT(num_classes=5, dim=16, depth=(1, 1), window_size=4, dim_head=8), (_image(64),)


@case("x_transformers")
def x_transformers_decoder() -> Made:
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(dim=64, depth=2, heads=4, rotary_pos_emb=True)
    return TransformerWrapper(num_tokens=200, max_seq_len=32, attn_layers=layers), (_ids(200, 16),)


@case("x_transformers")
def x_transformers_encoder_relative() -> Made:
    from x_transformers import Encoder, TransformerWrapper

    layers = Encoder(dim=64, depth=2, heads=4, rel_pos_bias=True)
    return TransformerWrapper(num_tokens=200, max_seq_len=32, attn_layers=layers), (_ids(200, 16),)


@case("perceiver_pytorch")
def perceiver() -> Made:
    from perceiver_pytorch import Perceiver

    return Perceiver(
        num_freq_bands=2,
        depth=2,
        max_freq=4.0,
        input_channels=3,
        num_latents=16,
        latent_dim=32,
        latent_heads=2,
        num_classes=5,
    ), (torch.randn(2, 16, 16, 3),)


@case("denoising_diffusion_pytorch")
def diffusion_unet() -> Made:
    from denoising_diffusion_pytorch import Unet

    return Unet(dim=16, dim_mults=(1, 2), flash_attn=False), (
        _image(16),
        torch.tensor([3, 7]),
    )


@case("vector_quantize_pytorch")
def residual_quantizer() -> Made:
    from vector_quantize_pytorch import FSQ

    class Quantized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(16, 4), nn.Linear(4, 16)
            self.quantize = FSQ([8, 5, 5, 5])

        def forward(self, x: Tensor) -> Tensor:
            return self.decode(self.quantize(self.encode(x))[0])

    return Quantized(), (torch.randn(2, 10, 16),)


@case("local_attention")
def local_transformer() -> Made:
    from local_attention import LocalTransformer

    return LocalTransformer(
        num_tokens=200,
        dim=64,
        depth=2,
        max_seq_len=32,
        heads=4,
        dim_head=16,
        local_attn_window_size=8,
    ), (_ids(200, 32),)


# Others


@case("open_clip")
def open_clip_vit() -> Made:
    from open_clip.model import CLIP

    return CLIP(
        embed_dim=32,
        vision_cfg={"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 16},
        text_cfg={"context_length": 16, "vocab_size": 200, "width": 64, "heads": 4, "layers": 2},
    ), (_image(32), _ids(200, 16))


@case("efficientnet_pytorch")
def efficientnet_b0() -> Made:
    from efficientnet_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-b0", image_size=64).eval(), (_image(64),)


@case("facenet_pytorch")
def facenet() -> Made:
    from facenet_pytorch import InceptionResnetV1

    return InceptionResnetV1().eval(), (_image(96),)


@case("pytorchcv")
def pytorchcv_seresnet() -> Made:
    from pytorchcv.model_provider import get_model

    return get_model("seresnet18"), (_image(224, batch=1),)


@case("pytorchcv")
def pytorchcv_shufflenet() -> Made:
    from pytorchcv.model_provider import get_model

    return get_model("shufflenet_g3_wd4"), (_image(224, batch=1),)


@case("segment_anything")
def sam_image_encoder() -> Made:
    from segment_anything.modeling.image_encoder import ImageEncoderViT

    return ImageEncoderViT(
        img_size=64,
        patch_size=16,
        embed_dim=64,
        depth=2,
        num_heads=4,
        out_chans=16,
        use_rel_pos=True,
        window_size=2,
        global_attn_indexes=(1,),
    ), (_image(64),)


@case("kornia")
def kornia_hardnet() -> Made:
    from kornia.feature import HardNet

    return HardNet(pretrained=False), (_image(32, 1, 4),)


@case("torchdiffeq")
def neural_ode() -> Made:
    from torchdiffeq import odeint

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 4))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.net(y)

    class Ode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field = Field()

        def forward(self, y: Tensor) -> Tensor:
            times = torch.linspace(0.0, 1.0, 6)
            return odeint(self.field, y, times, method="rk4")[-1]

    return Ode(), (torch.randn(8, 4),)


@case("gpytorch")
def deep_kernel() -> Made:
    import gpytorch

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
            self.kernel = gpytorch.kernels.RBFKernel()

        def forward(self, x: Tensor) -> Tensor:
            return self.kernel(self.net(x)).to_dense()

    return Features(), (torch.randn(12, 6),)


@case("pytorch_tabnet")
def tabnet() -> Made:
    from pytorch_tabnet.tab_network import TabNetNoEmbeddings

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = TabNetNoEmbeddings(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)[0]

    return Net(), (torch.randn(256, 12),)


@case("sentence_transformers")
def sentence_embedding() -> Made:
    from sentence_transformers.models import Pooling
    from transformers import BertConfig, BertModel

    class Embedder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = BertModel(
                BertConfig(
                    hidden_size=32,
                    num_hidden_layers=2,
                    num_attention_heads=4,
                    intermediate_size=64,
                    vocab_size=200,
                )
            )
            self.pool = Pooling(32)

        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            tokens = self.bert(ids, attention_mask=mask).last_hidden_state
            features = {"token_embeddings": tokens, "attention_mask": mask}
            return self.pool(features)["sentence_embedding"]

    return Embedder(), (_ids(200, 12), torch.ones(2, 12, dtype=torch.long))


@case("torchao")
def torchao_int8_weights() -> Made:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)).eval()
    quantize_(model, Int8WeightOnlyConfig())
    return model, (torch.randn(8, 64),)
