"""Full-size public models as data: their published configurations, inputs and parameter counts.

`config` holds what the config.json of the checkpoint named in `source` says, as far as it decides
sizes or what the forward does; the rest are the defaults of the class in transformers. All of them
are built on the meta device.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nnprof.base.packages import import_torchvision

__all__ = ["LARGE_MODELS", "LargeModel", "Published"]

Config = dict[str, Any]
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Published:
    """A published count: to the last digit ("46,702,792,704") or to fewer ("12.9e9")."""

    text: str

    def agrees(self, value: int) -> bool:
        """Whether `value` is the number, or rounded or cut to the published digits gives it."""
        if "e" not in self.text:
            return value == int(self.text.replace(",", ""))
        digits, power = self.text.split("e")
        unit = 10 ** (int(power) - len(digits.partition(".")[2]))
        return int(digits.replace(".", "")) in (value // unit, round(value / unit))


@dataclass(frozen=True)
class LargeModel:
    """A model, what it is called with, and what is published of it."""

    name: str
    source: str  # whose config.json it is
    architecture: str  # the class in transformers
    config: Config
    inputs: dict[str, Sizes]  # sizes by argument
    params: Published
    active: Published | None = None  # None: all of them
    image_tokens: tuple[int, int] | None = None  # (id, how many): the first of the input_ids
    #: What transformers holds as parameters, and the original that was counted as buffers.
    more_params: int = 0
    #: The published active count leaves out the input embedding.
    active_without_embedding: bool = False
    note: str = field(default="")

    def build(self) -> nn.Module:
        """The model on the meta device, in bfloat16 and eval mode."""
        import_torchvision()  # transformers imports it, and may not be able to on its own
        import transformers

        architecture = getattr(transformers, self.architecture)
        config = architecture.config_class(**self.config)
        with torch.device("meta"):
            model: nn.Module = architecture._from_config(config, dtype=torch.bfloat16)
        return model.eval()

    def example(self) -> dict[str, Tensor]:
        """The keyword arguments of one call: on the meta device, but for ids that name images."""
        made = {name: self._tensor(name, sizes) for name, sizes in self.inputs.items()}
        if self.image_tokens:
            token, count = self.image_tokens
            made["input_ids"] = torch.full(self.inputs["input_ids"], 5)
            made["input_ids"][:, :count] = token
        return made

    @staticmethod
    def _tensor(name: str, sizes: Sizes) -> Tensor:
        dtype = torch.int64 if name.endswith("ids") else torch.bfloat16
        return torch.empty(sizes, dtype=dtype, device="meta")


TOKENS: dict[str, Sizes] = {"input_ids": (1, 2048)}


def _llama(hidden: int, ffn: int, layers: int, heads: int) -> Config:
    return {
        "vocab_size": 128256,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "tie_word_embeddings": False,
        "bos_token_id": 128000,
        "eos_token_id": 128001,
    }


def _qwen3(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int) -> Config:
    return {
        "vocab_size": 151936,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": False,
    }


def _qwen3_moe(expert_ffn: int, *sizes: int) -> Config:
    return _qwen3(*sizes) | {
        "moe_intermediate_size": expert_ffn,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def _gemma(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, head: int) -> Config:
    return {
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head,
    }


def _gemma2(scale: int, *sizes: int) -> Config:
    return _gemma(*sizes) | {
        "vocab_size": 256000,
        "query_pre_attn_scalar": scale,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "max_position_embeddings": 8192,
    }


def _gemma3(scale: int, *sizes: int) -> Config:
    text = {
        "vocab_size": 262208,
        "query_pre_attn_scalar": scale,
        "sliding_window": 1024,
        "max_position_embeddings": 131072,
    }
    vision = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
        "vision_use_head": False,
    }
    return {
        "text_config": _gemma(*sizes) | text,
        "vision_config": vision,
        "mm_tokens_per_image": 256,
        "image_token_index": 262144,
        "boi_token_index": 255999,
        "eoi_token_index": 256000,
    }


def _gpt_oss(layers: int, experts: int) -> Config:
    return {
        "vocab_size": 201088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": layers,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "num_local_experts": experts,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
    }


MIXTRAL = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 32768,
    "sliding_window": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}

DEEPSEEK_V3 = {
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "max_position_embeddings": 163840,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 40.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
    },
}

MAMBA2 = {
    "vocab_size": 50288,
    "hidden_size": 2560,
    "num_hidden_layers": 64,
    "state_size": 128,
    "n_groups": 1,
    "head_dim": 64,
    "num_heads": 80,
    "expand": 2,
    "conv_kernel": 4,
    "chunk_size": 256,
    "tie_word_embeddings": True,
}

GPT2_XL = {"n_embd": 1600, "n_layer": 48, "n_head": 25}

T5_11B = {
    "d_model": 1024,
    "d_ff": 65536,
    "d_kv": 128,
    "num_heads": 128,
    "num_layers": 24,
    "vocab_size": 32128,
}

WHISPER_LARGE_V3 = {
    "d_model": 1280,
    "encoder_layers": 32,
    "decoder_layers": 32,
    "encoder_attention_heads": 20,
    "decoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "decoder_ffn_dim": 5120,
    "vocab_size": 51866,
    "num_mel_bins": 128,
}

CLIP_L14 = {
    "projection_dim": 768,
    "text_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
    },
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "projection_dim": 768,
    },
}

SAM_VIT_H = {
    "vision_config": {
        "hidden_size": 1280,
        "mlp_dim": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
        "image_size": 1024,
        "patch_size": 16,
    }
}

LARGE_MODELS = {
    model.name: model
    for model in (
        LargeModel(
            "Llama-3.1-8B",
            "meta-llama/Llama-3.1-8B",
            "LlamaForCausalLM",
            _llama(4096, 14336, 32, 32),
            TOKENS,
            Published("8,030,261,248"),
        ),
        LargeModel(
            "Llama-3.1-70B",
            "meta-llama/Llama-3.1-70B",
            "LlamaForCausalLM",
            _llama(8192, 28672, 80, 64),
            TOKENS,
            Published("70,553,706,496"),
        ),
        LargeModel(
            "Llama-3.1-405B",
            "meta-llama/Llama-3.1-405B",
            "LlamaForCausalLM",
            _llama(16384, 53248, 126, 128),
            TOKENS,
            Published("405,853,388,800"),
        ),
        LargeModel(
            "Mixtral-8x7B",
            "mistralai/Mixtral-8x7B-v0.1",
            "MixtralForCausalLM",
            MIXTRAL,
            TOKENS,
            Published("46,702,792,704"),
            Published("12.9e9"),
        ),
        LargeModel(
            "Qwen3-8B",
            "Qwen/Qwen3-8B",
            "Qwen3ForCausalLM",
            _qwen3(4096, 12288, 36, 32, 8),
            TOKENS,
            Published("8,190,735,360"),
        ),
        LargeModel(
            "Qwen3-30B-A3B",
            "Qwen/Qwen3-30B-A3B",
            "Qwen3MoeForCausalLM",
            _qwen3_moe(768, 2048, 6144, 48, 32, 4),
            TOKENS,
            Published("30,532,122,624"),
            Published("3.3e9"),
        ),
        LargeModel(
            "Qwen3-235B-A22B",
            "Qwen/Qwen3-235B-A22B",
            "Qwen3MoeForCausalLM",
            _qwen3_moe(1536, 4096, 12288, 94, 64, 4),
            TOKENS,
            Published("235,093,634,560"),
            Published("22e9"),
        ),
        LargeModel(
            "Gemma-2-9B",
            "google/gemma-2-9b",
            "Gemma2ForCausalLM",
            _gemma2(256, 3584, 14336, 42, 16, 8, 256),
            TOKENS,
            Published("9,241,705,984"),
        ),
        LargeModel(
            "Gemma-2-27B",
            "google/gemma-2-27b",
            "Gemma2ForCausalLM",
            _gemma2(144, 4608, 36864, 46, 32, 16, 128),
            TOKENS,
            Published("27,227,128,320"),
        ),
        LargeModel(
            "Gemma-3-4B, an image",
            "google/gemma-3-4b-pt",
            "Gemma3ForConditionalGeneration",
            _gemma3(256, 2560, 10240, 34, 8, 4, 256),
            TOKENS | {"pixel_values": (1, 3, 896, 896)},
            Published("4,300,079,472"),
            image_tokens=(262144, 256),
        ),
        LargeModel(
            "Gemma-3-27B",
            "google/gemma-3-27b-pt",
            "Gemma3ForConditionalGeneration",
            _gemma3(168, 5376, 21504, 62, 32, 16, 128),
            TOKENS,
            Published("27,432,406,640"),
        ),
        LargeModel(
            "DeepSeek-V3",
            "deepseek-ai/DeepSeek-V3",
            "DeepseekV3ForCausalLM",
            DEEPSEEK_V3,
            TOKENS,
            Published("671e9"),
            Published("37e9"),
            note="without the module that predicts further tokens, as the published numbers",
        ),
        LargeModel(
            "gpt-oss-20b",
            "openai/gpt-oss-20b",
            "GptOssForCausalLM",
            _gpt_oss(24, 32),
            TOKENS,
            Published("20.91e9"),
            Published("3.61e9"),
            active_without_embedding=True,
        ),
        LargeModel(
            "gpt-oss-120b",
            "openai/gpt-oss-120b",
            "GptOssForCausalLM",
            _gpt_oss(36, 128),
            TOKENS,
            Published("116.83e9"),
            Published("5.13e9"),
            active_without_embedding=True,
        ),
        LargeModel(
            "Mamba-2-2.7B",
            "state-spaces/mamba2-2.7b",
            "Mamba2ForCausalLM",
            MAMBA2,
            TOKENS,
            Published("2.7e9"),
        ),
        LargeModel(
            "GPT-2 XL",
            "openai-community/gpt2-xl",
            "GPT2LMHeadModel",
            GPT2_XL,
            {"input_ids": (1, 1024)},
            Published("1,557,611,200"),
            note="it has 1,024 positions",
        ),
        LargeModel(
            "T5-11B",
            "google-t5/t5-11b",
            "T5ForConditionalGeneration",
            T5_11B,
            {"input_ids": (1, 2048), "decoder_input_ids": (1, 2048)},
            Published("11,307,321,344"),
        ),
        LargeModel(
            "Whisper-large-v3",
            "openai/whisper-large-v3",
            "WhisperForConditionalGeneration",
            WHISPER_LARGE_V3,
            {"input_features": (1, 128, 3000), "decoder_input_ids": (1, 448)},
            Published("1,543,490,560"),
            note="30 s of audio, and all 448 positions of the decoder",
        ),
        LargeModel(
            "CLIP ViT-L/14",
            "openai/clip-vit-large-patch14",
            "CLIPModel",
            CLIP_L14,
            {"input_ids": (1, 77), "pixel_values": (1, 3, 224, 224)},
            Published("427,616,513"),
            note="its own image size, 224",
        ),
        LargeModel(
            "SAM ViT-H",
            "facebook/sam-vit-huge",
            "SamModel",
            SAM_VIT_H,
            {"pixel_values": (1, 3, 1024, 1024), "input_points": (1, 1, 1, 2)},
            Published("641,090,608"),
            more_params=256,
            note="transformers makes a parameter of the 256 numbers of the positional embedding, "
            "which are a buffer of the original",
        ),
    )
}
