"""What the name of a model type of transformers means: which class, and with which fields."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["CLASSES", "DEFAULTS", "ON_CPU", "TYPES", "model_class_of"]

#: Model type -> name of its class.
CLASSES: dict[str, str] = tomllib.loads(
    Path(__file__).with_name("transformers_classes.toml").read_text(encoding="utf-8")
)
#: Model type -> that of the config whose part it is, where a name means the whole.
TYPES = {"trocr": "vision-encoder-decoder"}

#: Built on the CPU: their forward reads buffers that have no values on meta.
ON_CPU = frozenset(
    [
        "encodec",
        "eomt",
        "eomt_dinov3",
        "mimi",
        "mimi_decoder",
        "mimi_encoder",
        "pocket_tts_audio_tokenizer",
        "pocket_tts_audio_tokenizer_decoder",
        "pocket_tts_audio_tokenizer_encoder",
        "wavtokenizer",
        "wavtokenizer_encoder",
    ]
)

#: For a config of a type that is not in `CLASSES`, the mappings in this order: the whole model with
#: its head comes before a half of it.
_AUTO_CLASSES = (
    "AutoModelForMultimodalLM",
    "AutoModelForImageTextToText",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForSeq2SeqLM",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForObjectDetection",
    "AutoModelForImageClassification",
    "AutoModel",
)


def model_class_of(config: Any) -> Any:
    """The class that a config names, else that of its type; None where there is none."""
    named = getattr(config, "architectures", None) or ()
    for name in (*named, CLASSES.get(config.model_type)):
        found = _class_beside(config, name) if name else None
        if found is not None:
            return found
    import transformers

    for auto_name in _AUTO_CLASSES:
        auto = getattr(transformers, auto_name, None)
        if auto is not None and type(config) in auto._model_mapping:
            found = auto._model_mapping[type(config)]
            return found[0] if isinstance(found, tuple) else found
    return None


def _class_beside(config: Any, name: str) -> Any:
    """Of transformers, or, of a part that it does not export, of the module beside the config's."""
    import transformers

    if hasattr(transformers, name):
        return getattr(transformers, name)
    place = type(config).__module__.replace(".configuration_", ".modeling_")
    try:
        return getattr(importlib.import_module(place), name, None)
    except ModuleNotFoundError:
        return None


_FORECASTER = {"prediction_length": 24, "context_length": 48}
_GLM_ROPE = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "mrope_section": [8, 12, 12],
    }
}
_SIGLIP_896 = {"vision_config": {"model_type": "siglip_vision_model", "image_size": 896}}
_SIDE_512 = {"vision_config": {"model_type": "siglip_vision_model", "image_size": 512}}
_SIDE_384 = {"vision_config": {"model_type": "idefics3_vision", "image_size": 384}}
_SIDE_384_SMOL = {"vision_config": {"model_type": "smolvlm_vision", "image_size": 384}}
#: A token of the text for each code of an image: its digits spelt in letters.
_CHAMELEON_VOCABULARY = {
    "IMGIMG" + "".join(chr(ord("A") + int(digit)) for digit in str(code)) + "Z": 4 + code
    for code in range(8192)
} | {"<image>": 8711}
_QFORMER_1024 = {"projector_config": {"model_type": "blip_2_qformer", "encoder_hidden_size": 1024}}
_QUERY_TOKEN = {"image_token_index": 1999}

#: Fields that a config has no usable default for: parts that do not fit together, or none at all.
#: An id of a token that stands for an image or a sound is any one in the vocabulary.
DEFAULTS: dict[str, dict[str, Any]] = {
    "autoformer": _FORECASTER,
    "informer": _FORECASTER,
    "time_series_transformer": _FORECASTER,
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    "wav2vec2-bert": {"vocab_size": 32},
    "wav2vec2-conformer": {"vocab_size": 32},
    "reformer": {"is_decoder": True},
    "timm_backbone": {"backbone": "resnet18"},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "hunyuan_vl_text": {"head_dim": 128},
    "ministral": {"head_dim": 128},
    "nemotron": {"head_dim": 128, "num_key_value_heads": 8},
    "bamba": {"attn_layer_indices": [1]},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_routed_experts": 16, "n_shared_experts": 1},
    "dots1": {"n_routed_experts": 16, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "num_hidden_layers": 2},
    "glm4v_moe_text": {"head_dim": 128, **_GLM_ROPE},
    "glm4v_moe": {"text_config": {"head_dim": 128, **_GLM_ROPE}},
    "modernvbert": _SIDE_512,
    "colmodernvbert": {"vlm_config": {"model_type": "modernvbert", **_SIDE_512}},
    "idefics3": _SIDE_384,
    "smolvlm": _SIDE_384_SMOL,
    "chameleon": {"vocabulary_map": _CHAMELEON_VOCABULARY},
    "t5gemma2": {"encoder": _SIGLIP_896},
    "llama4": {"vision_config": {"hidden_size": 1408, "vision_output_dim": 4096}},
    "step3p7": {"text_config": {"sliding_window": 64}},
    "glm4v_text": _GLM_ROPE,
    "glm_image_text": _GLM_ROPE,
    "glm4v": {"text_config": _GLM_ROPE},
    "glm46v": {"text_config": {"model_type": "glm4v_text", **_GLM_ROPE}},
    "glmga": {"text_config": {"model_type": "glm4v_text", **_GLM_ROPE}},
    "aria": {
        "vision_config": {"model_type": "idefics3_vision", "image_size": 490, "patch_size": 14}
    },
    "gemma3": _SIGLIP_896,
    "shieldgemma2": _SIGLIP_896,
    "blip-2": _QUERY_TOKEN,
    "instructblip": _QUERY_TOKEN,
    "instructblipvideo": {"video_token_index": 1999},
    "deepseek_vl": {"image_token_id": 1999},
    "janus": {"image_token_id": 1999, "vision_config": {"projection_dim": 4096}},
    "superglue": {"keypoint_detector_config": {"model_type": "superpoint", "max_keypoints": 64}},
    "voxtral": {"audio_token_id": 1999},
    "ultravbert": {"vision_config": {"model_type": "siglip_vision_model", "image_size": 512}},
    "ovis2": {"hidden_size": 4096},
    "granite_speech": _QFORMER_1024,
    "granite_speech_plus": _QFORMER_1024,
    "qwen3_omni_moe_thinker": {"text_config": {"head_dim": 128}},
    "colpali": {"vlm_config": {"model_type": "paligemma", "image_token_index": 1999}},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
    "aya_vision": {"vision_config": {"model_type": "siglip_vision_model"}},
    "llava": {"text_config": {"model_type": "llama", "vocab_size": 32064}},
    "qwen2_vl": {"vision_config": {"hidden_size": 8192}},
    "nemotron_h_omni": {"image_token_id": 1999},
    "moshi": {"audio_vocab_size": 2048},
    # A decoder alone, which reads what an image encoder of this kind makes.
    "trocr": {"encoder": {"model_type": "vit"}, "decoder": {"model_type": "trocr"}},
}
