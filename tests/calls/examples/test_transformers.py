"""Inputs made from transformers models: the real model runs on them, and counts as many FLOPs.

The oracle is the eager model on the CPU with random weights, and FlopCounterMode around it: it
raises where an input does not fit (placeholders, grids, ids out of the vocabulary).
"""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.calls.examples import NO_SIZES, Sizes, example_inputs
from nnprof.calls.inputs import make_inputs
from nnprof.errors import InputError
from nnprof.tracing.run import bare_output

pytest.importorskip("transformers")
if importlib.util.find_spec("torchvision") is not None:
    import_torchvision()  # transformers would import it, and fail where this one does not

import transformers

pytestmark = pytest.mark.filterwarnings("ignore")

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ENCODER = {name: value for name, value in TEXT.items() if name != "num_key_value_heads"}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
CONVOLUTIONS = {"conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (80, 4)}

#: Name -> class of the model, and the fields of its config.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "decoder": ("LlamaForCausalLM", TEXT),
    "mixture of experts": (
        "MixtralForCausalLM",
        TEXT | {"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "encoder": ("BertForMaskedLM", ENCODER),
    "encoder with few positions": ("RobertaModel", ENCODER | {"max_position_embeddings": 40}),
    "seq2seq": (
        "T5ForConditionalGeneration",
        {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 300},
    ),
    "state space": (
        "MambaForCausalLM",
        {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "vocab_size": 300},
    ),
    "layout": ("LayoutLMForMaskedLM", ENCODER),
    "image": ("ViTForImageClassification", VISION),
    "detection": (
        "YolosForObjectDetection",
        VISION | {"image_size": [32, 48], "num_detection_tokens": 5},
    ),
    "video": ("TimesformerModel", VISION | {"num_frames": 4}),
    "masked video": (
        "VideoMAEForPreTraining",
        VISION
        | {"num_frames": 4, "decoder_hidden_size": 32, "decoder_num_hidden_layers": 1}
        | {"decoder_num_attention_heads": 4, "decoder_intermediate_size": 64},
    ),
    "waveform": ("Wav2Vec2ForCTC", ENCODER | CONVOLUTIONS | {"num_feat_extract_layers": 2}),
    "speech": (
        "WhisperForConditionalGeneration",
        {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4}
        | {"decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
        | {"vocab_size": 300, "max_source_positions": 100, "max_target_positions": 50}
        | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3},
    ),
    "image and text": (
        "CLIPModel",
        {"text_config": ENCODER | {"max_position_embeddings": 77}, "vision_config": VISION},
    ),
    "image in text": (
        "LlavaForConditionalGeneration",
        {
            "text_config": TEXT | {"model_type": "llama"},
            "vision_config": VISION | {"model_type": "clip_vision_model"},
            "image_token_index": 299,
        },
    ),
    "image grid in text": (
        "Qwen2VLForConditionalGeneration",
        {
            "text_config": TEXT | {"rope_parameters": ROPE},
            "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4},
            "image_token_id": 299,
            "video_token_id": 298,
            "vision_start_token_id": 297,
            "vision_end_token_id": 296,
        },
    ),
    "time series": (
        "TimeSeriesTransformerModel",
        {"prediction_length": 6, "context_length": 12, "num_time_features": 2, "d_model": 16},
    ),
    "promptable segmentation": (
        "SamModel",
        {
            "vision_config": VISION
            | {"image_size": 64, "output_channels": 32, "global_attn_indexes": [1]}
            | {"num_pos_feats": 16, "window_size": 2, "mlp_dim": 64},
            "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 8},
            "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32},
        },
    ),
}


def build(name: str) -> Any:
    """A small model with random weights, whose attention FlopCounterMode knows."""
    class_name, fields = MODELS[name]
    model_class = getattr(transformers, class_name)
    config = model_class.config_class(**fields)
    torch.manual_seed(0)
    model = model_class._from_config(config, attn_implementation="eager")
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    return model.eval().requires_grad_(False)


def made(model: Any, sizes: Sizes = NO_SIZES) -> dict[str, Any]:
    found = example_inputs(model, sizes, bare_output)
    assert found is not None
    args, kwargs = found
    assert args == ()
    return kwargs


def real(value: Tensor) -> Tensor:
    return torch.randn(value.shape, dtype=value.dtype) if value.is_meta else value


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return build(request.param)


def test_the_real_model_runs_on_them_and_counts_the_same(model: Any) -> None:
    inputs = {name: real(value) for name, value in made(model).items()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    with torch.no_grad():
        profile = nnprof.measure(model)
    assert 2 * profile.macs == counter.get_total_flops() > 0


def test_floats_have_no_data_and_integers_do(model: Any) -> None:
    for name, value in made(model).items():
        if name != "past_observed_mask":  # floats, but a mask
            assert value.is_meta == value.is_floating_point()


def test_floats_are_of_the_models_dtype(model: Any) -> None:
    inputs = made(model.to(torch.float64))
    model.to(torch.float32)
    assert {v.dtype for v in inputs.values() if v.is_floating_point()} <= {torch.float64}


@pytest.mark.parametrize(
    "name", ["seq2seq", "speech", "image in text", "image grid in text", "time series", "layout"]
)
def test_the_real_model_runs_on_a_batch(name: str) -> None:
    model = build(name)
    inputs = {name: real(value) for name, value in made(model, Sizes(batch=2)).items()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    with torch.no_grad():
        assert 2 * nnprof.measure(model, batch=2).macs == counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "argument"),
    [("decoder", "input_ids"), ("seq2seq", "decoder_input_ids"), ("layout", "bbox")],
)
def test_sequence_is_the_number_of_tokens(name: str, argument: str) -> None:
    model = build(name)
    assert made(model, Sizes(sequence=24))[argument].shape[1] == 24


def test_a_text_has_no_more_tokens_than_positions() -> None:
    assert made(build("encoder with few positions"))["input_ids"].shape[1] <= 40
    assert made(build("image and text"))["input_ids"].shape == (1, 77)
    assert made(build("decoder"))["input_ids"].shape == (1, 128)


def test_placeholders_come_on_top_of_the_sequence() -> None:
    inputs = made(build("image in text"), Sizes(sequence=10))
    placeholders = int((inputs["input_ids"] == 299).sum())
    assert placeholders == (32 // 8) ** 2
    assert inputs["input_ids"].shape == (1, 10 + placeholders)


def test_whisper_gets_the_30_seconds_that_it_demands() -> None:
    assert made(build("speech"))["input_features"].shape == (1, 80, 2 * 100)


def test_a_model_without_text_takes_no_sequence() -> None:
    with pytest.raises(InputError, match="ViTForImageClassification takes no sequence"):
        nnprof.measure(build("image"), sequence=10)


@pytest.mark.parametrize("sizes", [{"batch": 0}, {"sequence": -1}, {"batch": 1.5}])
def test_sizes_are_whole_numbers_of_at_least_one(sizes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(sizes))}= must be a whole number"):
        nnprof.measure(build("decoder"), **sizes)


def test_what_cannot_be_known_says_what_forward_takes() -> None:
    class Unknown(transformers.PreTrainedModel):  # type: ignore[misc]
        config_class = transformers.BertConfig

        def forward(self, spectrum: Any, phase: Any) -> Any:
            return spectrum

    with pytest.raises(InputError, match="it takes spectrum, phase; pass shape="):
        nnprof.measure(Unknown(transformers.BertConfig()))


# Arguments that the user gives beside.


IDS = torch.ones(2, 7, dtype=torch.int64)
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 2}
LLAMA = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, **HEADS}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("model", "given", "made"),
    [
        ("LlamaForCausalLM", {"input_ids": IDS}, {}),
        ("LlamaForCausalLM", {"attention_mask": IDS}, {"input_ids": (2, 7)}),
        ("LlamaForCausalLM", {"inputs_embeds": torch.ones(2, 7, 32)}, {}),
        ("LlamaForCausalLM", {"use_cache": False}, {"input_ids": (1, 128)}),
        ("T5ForConditionalGeneration", {"input_ids": IDS}, {"decoder_input_ids": (2, 7)}),
        (
            "T5ForConditionalGeneration",
            {"input_ids": IDS, "decoder_input_ids": IDS[:, :3]},
            {},
        ),
    ],
)
def test_what_is_given_is_not_made(model: str, given: Any, made: Any) -> None:
    t5 = model.startswith("T5")
    config = transformers.T5Config(**T5) if t5 else transformers.LlamaConfig(**LLAMA)
    net = getattr(transformers, model)(config).eval()
    args, keywords = make_inputs(net, kwargs=given, run=bare_output)
    assert args == ()
    assert {n: tuple(keywords[n].shape) for n in keywords if n not in given} == made
    assert all(keywords[name] is value for name, value in given.items())
    with torch.no_grad():
        net(**keywords)  # they fit together
