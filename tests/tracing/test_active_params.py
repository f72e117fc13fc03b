"""Active parameters against what one token really touches: the experts that get a gradient."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from benchmarks.large_models import LARGE_MODELS
from nnprof.base.packages import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

import_torchvision()
transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "moe_intermediate_size": 24,
    "n_routed_experts": 12,
    "num_experts_per_tok": 3,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
}
MAMBA = {"mamba_d_state": 4, "mamba_d_conv": 2, "mamba_expand": 2, "mamba_dt_rank": 4}

#: Class of the model and its configuration. 12 experts and 3 of them unless a family differs.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("MixtralForCausalLM", {"num_local_experts": 12, "num_experts_per_tok": 3}),
    # As many experts as layers.
    "mixtral, 4 layers": (
        "MixtralForCausalLM",
        {"num_local_experts": 4, "num_experts_per_tok": 1, "num_hidden_layers": 4},
    ),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        {
            "num_experts": 12,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 40,
        },
    ),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM",
        {"num_experts": 12, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "head_dim": 8},
    ),
    "deepseek_v2": (
        "DeepseekV2ForCausalLM",
        {**LATENT, "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2},
    ),
    "deepseek_v3": ("DeepseekV3ForCausalLM", {**LATENT, "n_group": 4, "topk_group": 2}),
    # One group of all experts: the router picks twice among as many.
    "deepseek_v3, one group": ("DeepseekV3ForCausalLM", {**LATENT, "n_group": 1, "topk_group": 1}),
    "gpt_oss": (
        "GptOssForCausalLM",
        {"num_local_experts": 12, "num_experts_per_tok": 3, "head_dim": 8},
    ),
    "olmoe": ("OlmoeForCausalLM", {"num_experts": 12, "num_experts_per_tok": 3}),
    "granitemoe": (
        "GraniteMoeForCausalLM",
        {"num_local_experts": 12, "num_experts_per_tok": 3},
    ),
    "llama4": (
        "Llama4ForCausalLM",
        {
            "num_local_experts": 12,
            "num_experts_per_tok": 1,
            "intermediate_size_mlp": 48,
            "interleave_moe_layer_step": 2,
            "head_dim": 8,
        },
    ),
    "jamba": (
        "JambaForCausalLM",
        {
            "num_experts": 12,
            "num_experts_per_tok": 3,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            **MAMBA,
        },
    ),
    "phimoe": ("PhimoeForCausalLM", {"num_local_experts": 12, "num_experts_per_tok": 2}),
    "jetmoe": (
        "JetMoeForCausalLM",
        {"num_local_experts": 12, "num_experts_per_tok": 3, "kv_channels": 8},
    ),
    "dbrx": (
        "DbrxForCausalLM",
        {
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 64,
            "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 12, "moe_top_k": 3},
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
        },
    ),
    "switch_transformers": (
        "SwitchTransformersForConditionalGeneration",
        {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 4,
            "num_experts": 6,
            "num_sparse_encoder_layers": 1,
            "num_sparse_decoder_layers": 1,
        },
    ),
    "nllb_moe": (
        "NllbMoeForConditionalGeneration",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "num_experts": 6,
            "encoder_sparse_step": 2,
            "decoder_sparse_step": 2,
            "expert_capacity": 8,
        },
    ),
}
#: Names of the parameters that are shared out among experts, and whether each is a stack of them.
STACKED = re.compile(r"\bexperts\.(\w*proj\w*|mlp\.\w+)$|(input|output)_linear\.weight$")
LISTED = re.compile(r"experts\.\w*\d+\.")


def build(family: str, device: str) -> nn.Module:
    name, sizes = FAMILIES[family]
    architecture = getattr(transformers, name)
    torch.manual_seed(0)
    with torch.device(device):
        model: nn.Module = architecture._from_config(architecture.config_class(**SIZES | sizes))
    return model.eval()


def token_of(model: Any, device: str) -> dict[str, Tensor]:
    ids = torch.full((1, 1), 5, device=device)
    names = ("input_ids", "decoder_input_ids")
    return dict.fromkeys(names if model.config.is_encoder_decoder else names[:1], ids)


def touched_params(model: nn.Module, call: Callable[[], object], experts: int) -> int:
    """All parameters but the experts that get no gradient from the output of any module.

    (Of any, for one token's attention weight is 1 whatever its query is.)
    """
    outputs: list[Any] = []
    for module in model.modules():
        module.register_forward_hook(lambda _m, _a, output: outputs.append(output))
    call()
    with_gradient = [
        o for o in outputs if isinstance(o, Tensor) and o.requires_grad and o.is_floating_point()
    ]
    torch.stack([(o * torch.randn_like(o)).sum() for o in with_gradient]).sum().backward()
    touched = 0
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if STACKED.search(name):
            assert gradient is not None
            met = gradient.reshape(experts, -1).any(dim=1).sum()
            touched += parameter.numel() // experts * int(met)
        elif not LISTED.search(name) or (gradient is not None and gradient.any()):
            touched += parameter.numel()
    return touched


def experts_of(config: Any) -> int:
    names = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    values = vars(config) | vars(getattr(config, "ffn_config", config))
    return next(values[name] for name in names if name in values)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_token_touches_the_active_params(family: str) -> None:
    model = build(family, "cpu")
    token = token_of(model, "cpu")
    profile = nnprof.measure(model, inputs=token)
    touched = touched_params(model, lambda: model(**token), experts_of(model.config))
    assert profile.active_params == touched < profile.params


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
def test_the_implementation_of_the_experts_makes_no_difference(implementation: str) -> None:
    model: Any = build("gpt_oss", "meta")
    ids = torch.zeros(1, 16, dtype=torch.int64, device="meta")
    expected = nnprof.measure(model, inputs={"input_ids": ids})
    model.set_experts_implementation(implementation)
    profile = nnprof.measure(model, inputs={"input_ids": ids})
    assert profile.active_params == expected.active_params < profile.params
    assert profile.macs == expected.macs


# Full-size ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [name for name, large in LARGE_MODELS.items() if large.active is not None]
)
def test_published_numbers(name: str) -> None:
    large = LARGE_MODELS[name]
    assert large.active is not None
    model: Any = large.build()
    with torch.no_grad():
        profile = nnprof.measure(model, inputs=large.example())
    assert large.params.agrees(profile.params)
    left_out = model.get_input_embeddings().weight.numel() if large.active_without_embedding else 0
    assert large.active.agrees(profile.active_params - left_out)


# Tokens x experts a token x layers x the three matrices of an expert: multiplied by hand.
ROUTED_MACS = {
    "Mixtral-8x7B": 23_089_744_183_296,  # 2048 * 2 * 32 * 3 * 4096 * 14336
    "DeepSeek-V3": 41_850_161_332_224,  # 2048 * 8 * 58 * 3 * 7168 * 2048
    "gpt-oss-20b": 4_892_236_185_600,  # 2048 * 4 * 24 * 3 * 2880 * 2880
}


@pytest.mark.parametrize("name", ROUTED_MACS)
def test_routed_experts_do_the_work_of_those_a_token_meets(name: str) -> None:
    large = LARGE_MODELS[name]
    with torch.no_grad():
        profile = nnprof.measure(large.build(), inputs=large.example())
    experts = [layer for layer in profile.layers if layer.type.endswith("Experts")]
    assert sum(layer.macs for layer in experts) == ROUTED_MACS[name]


# Written by hand ---------------------------------------------------------------------------------


class Listed(nn.Module):
    """The usual loop over a list of experts, each given the tokens that picked it."""

    def __init__(self, experts: int, k: int, width: int = 8) -> None:
        super().__init__()
        self.k = k
        self.gate = nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 3 * width), nn.ReLU(), nn.Linear(3 * width, width))
            for _ in range(experts)
        )
        self.shared = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        weights, picked = self.gate(x).softmax(-1).topk(self.k, dim=-1)
        out = self.shared(x)
        for index, expert in enumerate(self.experts):
            tokens, slots = torch.where(picked == index)
            update = expert(x[tokens]) * weights[tokens, slots, None]
            out = out.index_add(0, tokens, update)
        return out


class Stacked(nn.Module):
    """All experts in one parameter, and the router's weight beside it."""

    def __init__(self, experts: int, k: int, width: int = 8) -> None:
        super().__init__()
        self.k = k
        self.router = nn.Parameter(torch.randn(experts, width))
        self.up = nn.Parameter(torch.randn(experts, width, 2 * width))
        self.up_bias = nn.Parameter(torch.randn(experts, 2 * width))
        self.down = nn.Parameter(torch.randn(experts, 2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        weights, picked = (x @ self.router.T).topk(self.k, dim=-1)
        hidden = torch.einsum("td,tkdh->tkh", x, self.up[picked]) + self.up_bias[picked]
        out = torch.einsum("tkh,tkhd->tkd", hidden.relu(), self.down[picked])
        return (out * weights.softmax(-1)[..., None]).sum(1)


class Soft(nn.Module):
    """Every token meets every expert."""

    def __init__(self, experts: int, width: int = 8) -> None:
        super().__init__()
        self.gate = nn.Linear(width, experts)
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.gate(x).softmax(-1)
        return sum(w[:, None] * e(x) for w, e in zip(weights.unbind(1), self.experts, strict=True))


def test_experts_in_a_list() -> None:
    model = Listed(experts=5, k=2)
    x = torch.randn(1, 8)
    profile = nnprof.measure(model, inputs=x)
    model(x).sum().backward()
    touched = sum(
        sum(p.numel() for p in expert.parameters())
        for expert in model.experts
        if any(p.grad is not None and bool(p.grad.any()) for p in expert.parameters())
    )
    shared = sum(p.numel() for m in (model.gate, model.shared) for p in m.parameters())
    assert profile.active_params == touched + shared


def test_experts_stacked_beside_their_router() -> None:
    model = Stacked(experts=7, k=3)
    x = torch.randn(1, 8)
    profile = nnprof.measure(model, inputs=x)
    model(x).pow(2).sum().backward()
    touched = model.router.numel()
    for parameter in (model.up, model.up_bias, model.down):
        assert parameter.grad is not None
        rows = int(parameter.grad.reshape(7, -1).any(dim=1).sum())
        touched += rows * parameter[0].numel()
    assert profile.active_params == touched


def test_experts_that_every_token_meets_are_all_active() -> None:
    profile = nnprof.measure(Soft(experts=4), (6, 8))
    assert profile.active_params == profile.params


def test_a_model_without_experts_is_all_active() -> None:
    class Best(nn.Module):
        """As many layers as classes, of which the best is taken: no experts."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(8))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x.argmax(-1)

    profile = nnprof.measure(Best(), (6, 8))
    assert profile.active_params == profile.params
    assert "active" not in str(profile)


def test_the_number_of_tokens_makes_no_difference() -> None:
    model = Listed(experts=6, k=2)
    counts = {nnprof.measure(model, (tokens, 8)).active_params for tokens in (1, 3, 6, 40)}
    assert len(counts) == 1


def test_reports_and_files_tell_active_params(tmp_path: Path) -> None:
    profile = nnprof.measure(Listed(experts=5, k=2), (6, 8))
    assert f"{profile.active_params:,} active for a token" in str(profile)
    profile.save(tmp_path / "profile.json")
    assert nnprof.Profile.load(tmp_path / "profile.json").active_params == profile.active_params
