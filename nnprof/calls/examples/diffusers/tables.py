"""Which maker makes which argument of diffusers' models: by its name, and by class what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nnprof.calls.examples.diffusers.conditions import (
    added_conditions,
    all_tokens,
    guidance,
    image_ids,
    image_shapes,
    image_text,
    labels,
    one,
    pixart_conditions,
    pooled,
    positions,
    rotary,
    text,
    text_ids,
    text_mask,
    text_of,
    text_of_frames,
    visual_positions,
)
from nnprof.calls.examples.diffusers.latents import (
    PACKED_CLIP,
    PATCHES,
    UNET_FRAMES,
    channels_last,
    channels_of,
    clip,
    condition_pixels,
    frames_first,
    latents,
    packed,
    packed_clip,
    packed_condition,
    pair,
    pixels,
    sides_of,
    unet_clip,
    unet_latents,
    unet_sides,
    video_pixels,
    waveform,
)
from nnprof.calls.examples.tensors import floats

if TYPE_CHECKING:
    from nnprof.calls.examples.diffusers.call import Maker

__all__ = [
    "BY_CLASS",
    "BY_NAME",
    "IF_REQUIRED",
    "TEXTS",
]


#: The arguments that are passed wherever `forward` has them.
BY_NAME: dict[str, Maker] = {
    "hidden_states": latents,
    "sample": unet_latents,
    "timestep": one,
    "encoder_hidden_states": text,
    "encoder_hidden_states_image": image_text,
    "pooled_projections": pooled,
    "guidance": guidance,
    "class_labels": labels,
    "img_ids": image_ids,
    "txt_ids": text_ids,
    "img_shapes": image_shapes,
    "added_cond_kwargs": added_conditions,
}

#: The arguments that are passed where `forward` demands them.
IF_REQUIRED: dict[str, Maker] = {
    "encoder_attention_mask": text_mask,
    "controlnet_cond": condition_pixels,
    "timestep_r": one,
    "r_timestep": one,
    "original_size": lambda call: call.floats(2),
    "target_size": lambda call: call.floats(2),
    "crop_coords": lambda call: call.floats(2),
}

#: Arguments whose length `sequence` is.
TEXTS = frozenset(
    {
        "encoder_hidden_states",
        "encoder_hidden_states_t5",
        "cap_feats",
        "input_ids",
        "source_hidden_states",
        "text_bth",
    }
)

_PACKED: dict[str, Maker] = {"hidden_states": packed, "controlnet_cond": packed}
_IMAGE_AUTOENCODER: dict[str, Maker] = {"sample": pixels}
_VIDEO_AUTOENCODER: dict[str, Maker] = {"sample": video_pixels}
_AUDIO_AUTOENCODER: dict[str, Maker] = {"sample": waveform}
_LTX: dict[str, Maker] = {
    "hidden_states": packed_clip,
    "num_frames": lambda call: PACKED_CLIP[0],
    "height": lambda call: PACKED_CLIP[1],
    "width": lambda call: PACKED_CLIP[2],
}
_HUNYUAN_DIT: dict[str, Maker] = {
    "encoder_hidden_states": lambda call: call.floats(
        call.config("text_len"), call.config("cross_attention_dim")
    ),
    "text_embedding_mask": lambda call: call.ones(call.config("text_len")),
    "encoder_hidden_states_t5": lambda call: call.floats(
        call.tokens(call.config("text_len_t5")), call.config("cross_attention_dim_t5")
    ),
    "text_embedding_mask_t5": lambda call: call.ones(call.tokens(call.config("text_len_t5"))),
    "image_meta_size": lambda call: call.floats(6),
    "style": lambda call: call.zeros(),
    "image_rotary_emb": rotary,
    "controlnet_cond": latents,
}

#: What differs by class, also for the classes that derive from one.
BY_CLASS: dict[str, dict[str, Maker]] = {
    **dict.fromkeys(
        (
            "BriaTransformer2DModel",
            "ChromaTransformer2DModel",
            "Flux2Transformer2DModel",
            "Flux3Transformer2DModel",
            "FluxControlNetModel",
            "FluxTransformer2DModel",
            "LongCatImageTransformer2DModel",
            "NucleusMoEImageTransformer2DModel",
            "OvisImageTransformer2DModel",
            "QwenImageTransformer2DModel",
        ),
        _PACKED,
    ),
    **dict.fromkeys(
        (
            "AsymmetricAutoencoderKL",
            "AutoencoderDC",
            "AutoencoderKL",
            "AutoencoderKLFlux2",
            "AutoencoderKLHunyuanImage",
            "AutoencoderKLKVAE",
            "AutoencoderKLTemporalDecoder",
            "AutoencoderRAE",
            "AutoencoderTiny",
            "ConsistencyDecoderVAE",
            "VQModel",
        ),
        _IMAGE_AUTOENCODER,
    ),
    **dict.fromkeys(
        (
            "AutoencoderKLAllegro",
            "AutoencoderKLCogVideoX",
            "AutoencoderKLCosmos",
            "AutoencoderKLHunyuanImageRefiner",
            "AutoencoderKLHunyuanVideo",
            "AutoencoderKLHunyuanVideo15",
            "AutoencoderKLKVAEVideo",
            "AutoencoderKLLTX2Video",
            "AutoencoderKLLTXVideo",
            "AutoencoderKLMagvit",
            "AutoencoderKLMiniMaxH3",
            "AutoencoderKLQwenImage",
            "AutoencoderKLWan",
            "AutoencoderVidTok",
            "Kandinsky6SRVAE",
        ),
        _VIDEO_AUTOENCODER,
    ),
    **dict.fromkeys(
        (
            "AutoencoderKLKVAEAudio",
            "AutoencoderKLMiniMaxH3Audio",
            "AutoencoderOobleck",
            "AutoencoderSAME",
            "Cosmos3AVAEAudioTokenizer",
            "LongCatAudioDiTVae",
        ),
        _AUDIO_AUTOENCODER,
    ),
    # Red, green, blue and alpha.
    "AutoencoderKLQwenImage21": {"sample": lambda call: call.floats(4, 1, 512, 512)},
    # 6 frames to a latent.
    "AutoencoderKLMochi": {"sample": lambda call: call.floats(3, 19, 256, 256)},
    **dict.fromkeys(("HunyuanDiT2DModel", "HunyuanDiT2DControlNetModel"), _HUNYUAN_DIT),
    "SD3ControlNetModel": {"controlnet_cond": latents},
    "SanaControlNetModel": {"controlnet_cond": latents},
    "CogVideoXTransformer3DModel": {"hidden_states": frames_first},
    "ConsisIDTransformer3DModel": {"hidden_states": frames_first},
    "AnyFlowTransformer3DModel": {
        "hidden_states": frames_first,
        "timestep": lambda call: call.floats(clip(call)[0]),
        "r_timestep": lambda call: call.floats(clip(call)[0]),
    },
    "Kandinsky6Transformer3DModel": {"hidden_states": channels_last},
    "Kandinsky5Transformer3DModel": {
        "hidden_states": channels_last,
        "visual_rope_pos": visual_positions,
        "text_rope_pos": lambda call: positions(call.tokens())[0],
    },
    "Kandinsky6SRTransformer3DModel": {
        "hidden_states": lambda call: call.floats(21, 64, 96, 2 * channels_of(call) + 1),
    },
    "LTXVideoTransformer3DModel": _LTX,
    "LTX2VideoTransformer3DModel": _LTX
    | {
        "audio_hidden_states": lambda call: call.floats(126, call.config("audio_in_channels")),
        "audio_encoder_hidden_states": text,
        "audio_num_frames": lambda call: 126,
    },
    "BriaFiboTransformer2DModel": _PACKED
    | {
        "text_encoder_layers": lambda call: [
            call.floats(call.tokens(), call.config("text_encoder_dim"))
            for _ in range(call.config("num_layers") + call.config("num_single_layers"))
        ],
    },
    "QwenImageControlNetModel": {
        "hidden_states": packed,
        "controlnet_cond": packed_condition,
    },
    "Krea2Transformer2DModel": {
        "hidden_states": packed,
        "encoder_hidden_states": lambda call: call.floats(
            call.tokens(), call.config("num_text_layers"), call.config("text_hidden_dim")
        ),
        "position_ids": lambda call: floats(call.model, call.tokens() + PATCHES**2, 3),
    },
    "ErnieImageTransformer2DModel": {
        "hidden_states": lambda call: call.floats(channels_of(call), PATCHES, PATCHES),
        "text_bth": text,
        "text_lens": lambda call: call.ones() * call.tokens(),
    },
    "ZImageTransformer2DModel": {
        "x": lambda call: [
            floats(call.model, channels_of(call), 1, *sides_of(call)) for _ in range(call.batch)
        ],
        "t": one,
        "cap_feats": lambda call: [
            floats(call.model, call.tokens(), call.config("cap_feat_dim"))
            for _ in range(call.batch)
        ],
    },
    "LuminaNextDiT2DModel": {
        "encoder_mask": text_mask,
        "cross_attention_kwargs": lambda call: {},  # which its default, None, is not taken for
        "image_rotary_emb": lambda call: torch.empty(
            (384, 384, call.config("hidden_size") // call.config("num_attention_heads") // 2),
            dtype=torch.complex64,
            device="meta",
        ),
    },
    "GlmImageTransformer2DModel": {
        "prior_token_id": lambda call: call.zeros(PATCHES * PATCHES),
        "prior_token_drop": lambda call: call.zeros().bool(),
    },
    "HiDreamImageTransformer2DModel": {
        "timesteps": one,
        "encoder_hidden_states_t5": text,
        "encoder_hidden_states_llama3": lambda call: [
            call.floats(call.tokens(), call.config("caption_channels")[1])
            for _ in range(max(call.config("llama_layers")) + 1)
        ],
        "pooled_embeds": lambda call: call.floats(call.config("text_emb_dim")),
        "img_ids": lambda call: None,  # made by the model where images have one size
    },
    "HunyuanVideo15Transformer3DModel": {
        "encoder_hidden_states_2": lambda call: call.floats(256, call.config("text_embed_2_dim")),
        "encoder_attention_mask_2": lambda call: call.ones(256),
        # Zeros mean that no picture is given, and the model asks.
        "image_embeds": lambda call: torch.zeros(
            call.batch, 729, call.config("image_embed_dim"), dtype=call.floats().dtype, device="cpu"
        ),
    },
    "HunyuanVideoFramepackTransformer3DModel": {
        "image_embeds": lambda call: (
            call.floats(729, call.config("image_proj_dim"))
            if call.config("has_image_proj")
            else None
        ),
        "indices_latents": lambda call: torch.arange(float(clip(call)[0]), device="cpu"),
    },
    "CosmosTransformer3DModel": {
        "padding_mask": lambda call: floats(call.model, 1, 1, *clip(call)[1:]),
    },
    "WanVACETransformer3DModel": {
        "control_hidden_states": lambda call: call.floats(
            call.config("vace_in_channels"), *clip(call)
        ),
    },
    "WanAnimateTransformer3DModel": {
        "pose_hidden_states": lambda call: call.floats(
            call.config("latent_channels"), clip(call)[0] - 1, *clip(call)[1:]
        ),
        "face_pixel_values": lambda call: call.floats(
            3, 4 * (clip(call)[0] - 2) + 1, *pair(call.config("motion_encoder_size"))
        ),
    },
    "DiTTransformer2DModel": {"hidden_states": latents},
    "PixArtTransformer2DModel": {"added_cond_kwargs": pixart_conditions},
    "PriorTransformer": {
        "hidden_states": lambda call: call.floats(call.config("embedding_dim")),
        "proj_embedding": lambda call: call.floats(
            call.config("embedding_proj_dim", "embedding_dim")
        ),
        "encoder_hidden_states": text_of("embedding_dim"),
    },
    "StableAudioDiTModel": {
        "hidden_states": lambda call: call.floats(channels_of(call), call.config("sample_size")),
        "global_hidden_states": lambda call: call.floats(1, call.config("global_states_input_dim")),
    },
    "StableAudio3DiTModel": {
        "hidden_states": lambda call: call.floats(channels_of(call), 1024),
        "global_hidden_states": lambda call: call.floats(call.config("global_cond_dim")),
    },
    "AceStepTransformer1DModel": {
        "hidden_states": lambda call: call.floats(1024, call.config("audio_acoustic_hidden_dim")),
        "context_latents": lambda call: call.floats(
            1024, channels_of(call) - call.config("audio_acoustic_hidden_dim")
        ),
        "encoder_hidden_states": text_of("encoder_hidden_size", "hidden_size"),
    },
    "LongCatAudioDiTTransformer": {
        "hidden_states": lambda call: call.floats(1024, call.config("latent_dim")),
        "latent_cond": lambda call: call.floats(1024, call.config("latent_dim")),
    },
    "UNet3DConditionModel": {"sample": unet_clip},
    "UNetMotionModel": {"sample": unet_clip, "encoder_hidden_states": text_of_frames},
    "I2VGenXLUNet": {
        "sample": unet_clip,
        "image_latents": unet_clip,
        "fps": one,
        "image_embeddings": lambda call: call.floats(call.config("cross_attention_dim")),
    },
    "UNetSpatioTemporalConditionModel": {
        "sample": lambda call: call.floats(
            call.config("num_frames"), channels_of(call), *pair(call.config("sample_size") or 64)
        ),
        "encoder_hidden_states": lambda call: call.floats(1, call.config("cross_attention_dim")),
        "added_time_ids": lambda call: call.floats(
            call.config("projection_class_embeddings_input_dim")
            // call.config("addition_time_embed_dim")
        ),
    },
    "UNet1DModel": {
        "sample": lambda call: call.floats(channels_of(call), call.config("sample_size")),
    },
    "UNetControlNetXSModel": {
        "sample": lambda call: call.floats(4, *unet_sides(call)),
        "controlnet_cond": condition_pixels,
    },
    "SparseControlNetModel": {
        "sample": unet_clip,
        "encoder_hidden_states": text_of_frames,
        "controlnet_cond": unet_clip,
        "conditioning_mask": lambda call: call.floats(1, UNET_FRAMES, *unet_sides(call)),
    },
    "StableCascadeUNet": {
        "sample": lambda call: call.floats(channels_of(call), 24, 24),
        "timestep_ratio": one,
        "clip_text_pooled": lambda call: call.floats(
            1, call.config("clip_text_pooled_in_channels")
        ),
    },
    "Kandinsky3UNet": {"encoder_attention_mask": lambda call: call.ones(call.tokens()).bool()},
    "BriaFibo2Transformer2DModel": {
        "encoder_hidden_states": lambda call: call.floats(
            1 + len(call.config("injection_layer_ids")),
            call.tokens(),
            call.config("cap_feat_dim"),
        ),
    },
    "MiniMaxMusic3Transformer1DModel": {
        "hidden_states": lambda call: call.floats(channels_of(call), 1024),
        "encoder_hidden_states": lambda call: call.floats(1024, call.config("condition_dim")),
    },
    "MMAudioVocoder": {"mel": lambda call: call.floats(call.config("num_mels"), 1024)},
    "MMAudioVAE": {"sample": lambda call: call.floats(1 << 16)},
    "LTX2VideoDiffusionDecoderModel": {
        "z": lambda call: call.floats(call.config("latent_channels"), 3, 8, 8),
    },
    "Kandinsky6SRLatentUpscalerBank": {
        "latents": lambda call: call.floats(channels_of(call), 5, 32, 32),
        "scale": lambda call: call.config("scales")[0],
    },
    "T5FilmDecoder": {
        "encodings_and_masks": lambda call: [
            (call.floats(2048, call.config("d_model")), call.ones(2048))
        ],
        "decoder_input_tokens": lambda call: call.floats(
            call.config("targets_length"), call.config("input_dims")
        ),
        "decoder_noise_time": one,
    },
    "AnimaTextConditioner": {
        "source_hidden_states": text_of("source_dim"),
        "target_input_ids": lambda call: call.zeros(call.tokens()),
    },
    "OmniGenTransformer2DModel": {
        "input_ids": lambda call: call.ones(call.tokens()),
        "input_img_latents": lambda call: [],
        "input_image_sizes": lambda call: {},
        "attention_mask": lambda call: call.ones(*(all_tokens(call),) * 2),
        "position_ids": lambda call: positions(all_tokens(call))[0].expand(call.batch, -1),
    },
    "UVit2DModel": {
        "input_ids": lambda call: call.zeros(*sides_of(call)),
        "pooled_text_emb": lambda call: call.floats(call.config("cond_embed_dim")),
        "micro_conds": lambda call: call.floats(5),
    },
    "T2IAdapter": {"x": lambda call: call.floats(channels_of(call), 512, 512)},
}
