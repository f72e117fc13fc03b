"""What neither the parameters of forward nor the config tell: by model type, or by class."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch

from nnprof.calls.examples.transformers import audio, series, text, vision

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.calls.examples.transformers.call import Call

__all__ = ["ARGUMENTS", "CLASSES", "SEQUENCES"]

#: Arguments whose length `sequence=` sets.
SEQUENCES = frozenset({"input_ids", "decoder_input_ids", "qformer_input_ids", "inputs"})

#: An argument and what makes it; None leaves it out though forward has it.
Arguments = dict[str, "Callable[[Call], Any] | None"]


# Images.


def _tiles(call: Call) -> torch.Tensor:
    """(batch, tiles, channels, height, width): as many as an image of the usual size is cut in."""
    module = sys.modules[type(call.model).__module__]
    size = vision.side(call)
    tiles = module.image_size_to_num_patches(size, call.config.image_grid_pinpoints, size[0])
    return call.floats(call.batch, tiles, vision.channels(call), *size)


def _mllama_tiles(call: Call) -> torch.Tensor:
    """(batch, images, tiles, channels, height, width)."""
    tiles = call.config.vision_config.max_num_tiles
    return call.floats(call.batch, 1, tiles, vision.channels(call), *vision.side(call))


def _half_images(call: Call) -> torch.Tensor:
    """An image; the model sees it above or below its prompt, as one of twice the height."""
    height, width = vision.side(call)
    return call.floats(call.batch, vision.channels(call), height // 2, width)


def _masked_patches(call: Call) -> torch.Tensor:
    """(batch, patches) bool: three quarters are masked."""
    config = call.config
    patches = (config.image_size // config.patch_size) ** 2
    patches *= config.num_frames // config.tubelet_size
    return (torch.arange(patches, device="cpu") % 4 > 0).expand(call.batch, patches).contiguous()


def _flattened_patches(call: Call) -> torch.Tensor:
    """(batch, patches, row, column and pixels of each): the first two are whole numbers."""
    part = vision.vision(call)
    pixels = int(getattr(part, "patch_embed_hidden_size", 0) or part.hidden_size)
    sizes = (call.batch, getattr(part, "seq_len", 4096), 2 + pixels)
    return call.floats(*sizes)


def _rows_by_image(call: Call) -> torch.Tensor:
    """(batch, patches, elements of a patch)."""
    rows = vision.patch_rows(call)
    return call.floats(call.batch, rows.shape[0] // call.batch, rows.shape[1])


def _position_patches(call: Call) -> torch.Tensor:
    """(batch, patches, elements of a patch): 15 by 15 of them."""
    return call.floats(call.batch, 225, vision.padded_patches(call).shape[-1])


def _patch_positions(call: Call) -> torch.Tensor:
    """(batch, patches, 2): column and row of each of 15 by 15 patches."""
    line = torch.arange(15, device="cpu")
    return torch.cartesian_prod(line, line).expand(call.batch, 225, 2).contiguous()


def _one_sound(call: Call) -> torch.Tensor:
    """A text with one token for a sound, which the model makes as many as it takes."""
    ids = call.ids(call.batch, call.tokens)
    ids[:, 1] = call.config.audio_token_index
    return ids


def _colours(call: Call) -> torch.Tensor:
    """(pixels of all patches, channels)."""
    pixels = vision.patch_rows(call).numel()
    return call.floats(pixels // vision.channels(call), vision.channels(call))


def _double_patches(call: Call) -> torch.Tensor:
    """(patches, elements of a patch), each of two frames."""
    rows, elements = vision.patch_rows(call).shape
    return call.floats(rows, 2 * elements)


def _looked_at_crops(call: Call) -> torch.Tensor:
    """Tiles of real values: the model leaves out those which are all zeros."""
    return torch.ones(vision.crops(call).shape, dtype=call.dtype, device="cpu")


_DOUBLE_PATCHES: Arguments = {"pixel_values": _double_patches}
_LOOKED_AT: Arguments = {"pixel_values": _looked_at_crops}
_TILED: Arguments = {"pixel_values": _tiles, "image_sizes": vision.image_sizes}
_SIZED: Arguments = {"image_sizes": vision.image_sizes}
_PADDED: Arguments = {
    "pixel_values": vision.padded_patches,
    "pixel_attention_mask": vision.patches_mask,
    "spatial_shapes": vision.spatial_shapes,
}

# Text with more than ids.


def _image_positions(call: Call) -> torch.Tensor:
    """(batch, tokens): 1 where an image's features go, behind the first token."""
    mask = call.zeros(call.batch, call.tokens + call.config.latent_query_num)
    mask[:, 1 : 1 + call.config.latent_query_num] = 1
    return mask


def _with_image_room(call: Call) -> torch.Tensor:
    return call.ids(call.batch, call.tokens + call.config.latent_query_num)


def _ids_by_codebook(call: Call) -> torch.Tensor:
    """(batch x codebooks, tokens): the codebooks of music stand among the samples."""
    decoder = getattr(call.config, "decoder", call.config)
    return call.ids(call.batch * decoder.num_codebooks, call.tokens, vocabulary=decoder.vocab_size)


def _audio_codes(call: Call) -> torch.Tensor:
    """(batch, codebooks, tokens): of a speaker, beside the text."""
    sizes = call.batch, call.config.num_codebooks, call.tokens
    return call.ids(*sizes, vocabulary=call.config.audio_vocab_size)


def _like_ids_with_question(call: Call) -> torch.Tensor:
    ids = call.ids(call.batch, call.tokens)
    ids[:, 1] = call.config.question_token_id
    return ids


_LATENTS: Arguments = {"latents": lambda call: call.floats(call.batch, call.config.hidden_size, 64)}
_FORECASTER: Arguments = {
    "past_values": series.past_values,
    "past_time_features": series.past_time_features,
    "past_observed_mask": series.observed,
    "future_values": series.future_values,
    "future_time_features": series.future_time_features,
}

#: By model type, in the order in which they are made.
ARGUMENTS: dict[str, Arguments] = {
    "llava_next": _TILED,
    "llava_next_video": _TILED,
    "llava_onevision": _TILED,
    "granite4_vision": _TILED,
    "pixtral": _SIZED,
    "mistral3": _SIZED,
    "mistral_large4": _SIZED,
    "lighton_ocr": _SIZED,
    "siglip2": _PADDED,
    "siglip2_vision_model": _PADDED,
    "lfm2_vl": _PADDED,
    "autoformer": _FORECASTER,
    "informer": _FORECASTER,
    "time_series_transformer": _FORECASTER,
    "blip-2": {"decoder_input_ids": None, "attention_mask": text.like_ids},
    "kosmos-2": {
        "input_ids": _with_image_room,
        "image_embeds_position_mask": _image_positions,
    },
    "kosmos-2.5": {
        "flattened_patches": _flattened_patches,
        "input_ids": _with_image_room,
        "image_embeds_position_mask": _image_positions,
    },
    "pix2struct": {
        "flattened_patches": _flattened_patches,
        "attention_mask": lambda call: call.ones(*call.made["flattened_patches"].shape[:2]),
    },
    "pop2piano": {
        "input_features": lambda call: call.floats(call.batch, 200, call.config.d_model),
        "input_ids": None,
    },
    "deepseek_vl_hybrid": {
        "pixel_values": vision.images,
        "high_res_pixel_values": lambda call: call.floats(call.batch, 3, 1024, 1024),
    },
    "moss_transcribe_diarize": {"padding_mask": audio.frames_mask},
    "kyutai_speech_to_text": {
        "input_ids": lambda call: call.ids(
            call.batch,
            call.tokens,
            call.config.num_codebooks + 1,
            vocabulary=call.config.codebook_vocab_size,
        )
    },
    "moshi": {"user_audio_codes": _audio_codes, "moshi_audio_codes": _audio_codes},
    "moshi_depth": {
        "input_ids": lambda call: call.ids(
            call.batch, call.config.num_codebooks, vocabulary=call.config.audio_vocab_size
        ),
        "last_hidden_state": lambda call: call.floats(call.batch, 1, call.config.input_size),
    },
    "musicgen_decoder": {"input_ids": _ids_by_codebook},
    "musicgen_melody_decoder": {"input_ids": _ids_by_codebook},
    "musicgen": {
        "input_values": None,
        "decoder_input_ids": _ids_by_codebook,
    },
    "musicgen_melody": {
        "input_features": lambda call: call.floats(call.batch, 235, call.config.num_chroma),
        "decoder_input_ids": _ids_by_codebook,
    },
    "blip_2_qformer": {
        "query_embeds": lambda call: call.floats(call.batch, 32, call.config.hidden_size),
        "encoder_hidden_states": lambda call: call.floats(
            call.batch, 257, call.config.encoder_hidden_size
        ),
    },
    "gemma4_vision": {
        "pixel_values": _position_patches,
        "pixel_position_ids": _patch_positions,
    },
    "idefics": {
        "pixel_values": vision.crops,
        "image_attention_mask": lambda call: call.ones(call.batch, call.tokens, 1),
    },
    "qwen2_audio": {"input_ids": _one_sound, "attention_mask": text.like_ids},
    "granite_speech": {"input_features_mask": None},
    "granite_speech_plus": {"input_features_mask": None},
    "granite_speech5_ctc": {"input_features": lambda call: call.floats(call.batch, 200, 320)},
    "granite_speech5_encoder": {"input_features": lambda call: call.floats(call.batch, 200, 320)},
    "voxtral_realtime": {
        "input_ids": lambda call: call.ids(call.batch, audio.frames(call) // 8),
    },
    "gemma3n": {"input_features": None},
    "minicpm_ocr_vision": {"target_sizes": vision.spatial_shapes},
    "minicpmv4_7_vision": {"target_sizes": vision.spatial_shapes},
    "nemotron_h_omni": {
        "pixel_values": vision.patch_rows,
        "image_grid_hw": vision.spatial_shapes,
        "pixel_values_videos": None,
    },
    "video_llama_3": {"image_merge_sizes": lambda call: call.ones(call.batch)},
    "colqwen2": {"pixel_values": _rows_by_image, "image_grid_thw": vision.grid},
    "dots3_note": {"input_features": None},
    "musicflamingo": {"input_features": None},
    "inkling_mm_model": {"pixel_values": None},
    "inkling2": {"pixel_values": _colours, "image_grid_thw": vision.grid},
    "inkling2_vision": {"pixel_values": _colours, "image_grid_thw": vision.grid},
    "muse_glimmer": _DOUBLE_PATCHES,
    "muse_glimmer_vision": _DOUBLE_PATCHES,
    "muse_spark": _DOUBLE_PATCHES,
    "muse_spark_vision": _DOUBLE_PATCHES,
    "gemma4_audio": {"input_features": lambda call: call.floats(call.batch, 800, 128)},
    "granite_docling": {
        "pixel_values": vision.crops,
        "pixel_attention_mask": lambda call: call.ones(call.batch, 1, *vision.side(call)).bool(),
    },
    "idefics2": _LOOKED_AT,
    "idefics3": _LOOKED_AT,
    "smolvlm": _LOOKED_AT,
    "modernvbert": _LOOKED_AT,
    "colmodernvbert": _LOOKED_AT,
    "instructblip": {
        "pixel_values": vision.images,
        "qformer_input_ids": lambda call: call.ids(call.batch, call.tokens),
        "decoder_input_ids": None,
        "attention_mask": text.like_ids,
    },
    "instructblipvideo": {
        "pixel_values": vision.clip,
        "qformer_input_ids": lambda call: call.ids(call.batch, call.tokens),
        "decoder_input_ids": None,
        "attention_mask": text.like_ids,
    },
    "neomme": {"pixel_values": None},
    "fuyu": {"pixel_values": None},
    "neucodec": {
        "input_features": lambda call: call.floats(call.batch, 400, 160),
        "input_features_mask": lambda call: call.ones(call.batch, 400),
        "input_values": audio.channel_waveform,
    },
    "xcodec2": {
        "input_features": lambda call: call.floats(call.batch, 400, 160),
        "input_features_mask": lambda call: call.ones(call.batch, 400),
        "input_values": audio.channel_waveform,
    },
    "nemotron3_5_transcribe_word_timestamp": {
        "inputs_embeds": lambda call: call.floats(call.batch, call.tokens, call.config.hidden_size)
    },
    "mimi_decoder": _LATENTS,
    "pocket_tts_audio_tokenizer_decoder": _LATENTS,
    "vibevoice_acoustic_tokenizer_decoder": {
        "hidden_states": lambda call: call.floats(call.batch, call.config.hidden_size, 16)
    },
    "vibevoice_acoustic_tokenizer_encoder": {
        "hidden_states": lambda call: call.floats(call.batch, 1, 16 * 3200)
    },
    "granite_speech_encoder": {"hidden_states": audio.frames_first},
    "granite_speech_plus_encoder": {"hidden_states": audio.frames_first},
    "molmo2_vision": {"pixel_values": vision.patches_of_image},
    "pe_audio_video_encoder": {"pixel_values_videos": vision.clip},
    "pe_audio_video": {"pixel_values_videos": vision.clip},
    "pi0": {
        "pixel_values": vision.crops,
        "pixel_attention_mask": lambda call: call.ones(call.batch, 1).bool(),
        "state": lambda call: call.floats(call.batch, call.config.max_state_dim),
        "noise": lambda call: call.floats(
            call.batch, call.config.chunk_size, call.config.max_action_dim
        ),
        "timestep": lambda call: call.floats(call.batch),
    },
    "speech-encoder-decoder": {"input_features": None},
    "pp_formulanet": {"input_ids": None},
    "csm": {"input_values": None},
    "mllama": {
        "pixel_values": _mllama_tiles,
        "aspect_ratio_ids": lambda call: call.ones(call.batch, 1),
        "aspect_ratio_mask": lambda call: call.ones(
            call.batch, 1, call.config.vision_config.max_num_tiles
        ),
        "cross_attention_mask": lambda call: call.ones(
            call.batch, call.tokens, 1, call.config.vision_config.max_num_tiles
        ),
    },
    "lxmert": {
        "visual_feats": lambda call: call.floats(call.batch, 36, call.config.visual_feat_dim),
        "visual_pos": lambda call: call.floats(call.batch, 36, call.config.visual_pos_dim),
    },
    "visual_bert": {
        "visual_embeds": lambda call: call.floats(call.batch, 36, call.config.visual_embedding_dim),
        "visual_attention_mask": lambda call: call.ones(call.batch, 36),
        "attention_mask": text.like_ids,
    },
    "decision_transformer": {
        "states": lambda call: call.floats(call.batch, 20, call.config.state_dim),
        "actions": lambda call: call.floats(call.batch, 20, call.config.act_dim),
        "rewards": lambda call: call.floats(call.batch, 20, 1),
        "returns_to_go": lambda call: call.floats(call.batch, 20, 1),
        "timesteps": lambda call: torch.arange(20, device="cpu").repeat(call.batch, 1),
        "attention_mask": lambda call: call.ones(call.batch, 20),
    },
    "seggpt": {
        "pixel_values": _half_images,
        "prompt_pixel_values": _half_images,
        "prompt_masks": _half_images,
    },
    "oneformer": {
        "task_inputs": lambda call: call.ids(
            call.batch, call.config.task_seq_len, vocabulary=call.config.text_encoder_vocab_size
        )
    },
    "omdet-turbo": {
        "classes_input_ids": lambda call: call.ids(4 * call.batch, 16),
        "classes_attention_mask": lambda call: call.ones(4 * call.batch, 16),
        "tasks_input_ids": lambda call: call.ids(call.batch, 16),
        "tasks_attention_mask": lambda call: call.ones(call.batch, 16),
        "classes_structure": lambda call: call.integers([4] * call.batch),
    },
    "videomt": {"pixel_values_videos": vision.clip},
    "videoprism_vision_model": {"pixel_values_videos": vision.clip},
    "splinter": {"input_ids": _like_ids_with_question},
    "dia": {
        "decoder_input_ids": lambda call: call.ids(
            call.batch,
            call.tokens,
            call.config.decoder_config.num_channels,
            vocabulary=call.config.decoder_config.vocab_size - 4,
        )
    },
    "udop": {"bbox": lambda call: text.boxes(call) / 1000},
    "univnet": {"input_features": audio.frames_first},
    "jev": {
        "marks": lambda call: call.integers([[2, 4, 6, 8]] * call.batch),
        "num_options": lambda call: call.integers([[4] * 4] * call.batch),
        "question_type_ids": lambda call: call.zeros(call.batch, 4),
    },
    "prompt_depth_anything": {"prompt_depth": lambda call: call.floats(call.batch, 1, 192, 256)},
}

#: By the name of the class, where the models of one type differ.
CLASSES: dict[str, Arguments] = {
    "VideoMAEForPreTraining": {"bool_masked_pos": _masked_patches},
    "FlavaForPreTraining": {"input_ids_masked": lambda call: call.ids(call.batch, call.tokens)},
}
