"""Speech, music and other sound: samples, or the spectrogram that a feature extractor makes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from nnprof.calls.examples.transformers.call import Call

__all__ = ["MAKERS", "REQUIRED_MAKERS"]

_AUDIO_PARTS = (
    "audio_config",
    "audio_encoder_config",
    "encoder_config",
    "asr_config",
    "speech_encoder",
    "encoder",
)
#: Length of a sound in seconds, where the model does not demand one.
_SECONDS = 8
_SAMPLING_RATE = 16_000
#: Frames of a spectrogram in a second, of 10 ms each.
_FRAMES_A_SECOND = 100


def audio(call: Call) -> Any:
    return call.part(*_AUDIO_PARTS)


def _first(call: Call, names: str) -> Any:
    encoder = audio(call)
    for part in (encoder, getattr(encoder, "asr_config", None), call.config):
        for name in names.split():
            value = getattr(part, name, None)
            if value:
                return value
    return None


def mels(call: Call) -> int:
    """Frequencies of a spectrogram."""
    names = (
        "feature_projection_input_dim input_size input_dim num_chroma num_mel_bins mel_bins n_mels "
        "feature_size input_feat_size input_feat_per_channel"
    )
    return int(_first(call, names) or 80)


def frames(call: Call) -> int:
    """Frames of a spectrogram."""
    return _SECONDS * _FRAMES_A_SECOND


def samples(call: Call) -> int:
    rate = int(_first(call, "sampling_rate sample_rate") or _SAMPLING_RATE)
    return _SECONDS * rate


# The layouts.


def frames_last(call: Call) -> torch.Tensor:
    """(batch, frequencies, frames): of Whisper and what has its encoder, 30 s."""
    positions = _first(call, "max_source_positions")
    length = 2 * positions if type(positions) is int else frames(call)
    return call.floats(call.batch, mels(call), length)


def frames_first(call: Call) -> torch.Tensor:
    """(batch, frames, frequencies)."""
    return call.floats(call.batch, frames(call), mels(call))


def frames_mask(call: Call) -> torch.Tensor:
    """(batch, frames), all of them of the sound."""
    features = call.made["input_features"]
    last = features.shape[-1] != mels(call)
    return call.ones(call.batch, features.shape[-1 if last else -2])


def input_features(call: Call) -> torch.Tensor:
    layout = _LAYOUTS.get(call.model_type)
    if layout is not None:
        return layout(call)
    positions = _first(call, "max_source_positions")
    return (frames_last if type(positions) is int else frames_first)(call)


def waveform(call: Call) -> torch.Tensor:
    """(batch, samples)."""
    return call.floats(call.batch, samples(call))


def channel_waveform(call: Call) -> torch.Tensor:
    """(batch, channels, samples); as many samples as codecs take, which cut them into frames."""
    number = int(_first(call, "audio_channels num_channels channels") or 1)
    hop = _first(call, "hop_length frame_size")
    if not isinstance(hop, int):
        ratios = _first(call, "upsampling_ratios downsampling_ratios")
        hop = math.prod(ratios) if isinstance(ratios, (list, tuple)) else 1
    return call.floats(call.batch, number, samples(call) // hop * hop)


def input_values(call: Call) -> torch.Tensor:
    return _WAVES.get(call.model_type, waveform)(call)


def mel_frames(call: Call) -> torch.Tensor:
    """(batch, frames, frequencies), under another name."""
    return frames_first(call)


#: Models that take channels apart from the samples.
_CODECS = (
    "dac",
    "encodec",
    "mimi",
    "mimi_encoder",
    "xcodec",
    "xcodec2",
    "neucodec",
    "wavtokenizer",
    "wavtokenizer_encoder",
    "pocket_tts_audio_tokenizer",
    "pocket_tts_audio_tokenizer_encoder",
    "vibevoice_acoustic_tokenizer",
    "pe_audio",
    "pe_audio_encoder",
    "pe_audio_video",
    "pe_audio_video_encoder",
    "vibevoice",
    "vibevoice_asr",
    "omniasr",
    "omniasr_audio",
    "omniasr_ctc",
)


def fused_mels(call: Call) -> torch.Tensor:
    """(batch, 1, frames, frequencies)."""
    return call.floats(call.batch, 1, 1001, mels(call))


def padded_waveform(call: Call) -> torch.Tensor:
    """(batch, samples), a whole number of the frames that the model cuts them into."""
    return call.floats(call.batch, 64 * 1920)


def samples_mask(call: Call) -> torch.Tensor:
    """(batch, samples), all of them of the sound."""
    return call.ones(call.batch, call.made["input_values"].shape[-1])


def sounding(call: Call) -> torch.Tensor:
    """(batch, frames) bool: False, none of them is padding."""
    return call.zeros(call.batch, frames(call)).bool()


_LAYOUTS: dict[str, Callable[[Call], torch.Tensor]] = {
    "speech_to_text": frames_first,
    "wav2vec2-bert": frames_first,
    "clap": fused_mels,
    "glmasr": frames_last,
    "glmasr_encoder": frames_last,
    "voxtral_realtime": frames_last,
    "voxtral_realtime_encoder": frames_last,
    "clvp": frames_last,
    "qwen3_asr": frames_last,
    "qwen3_asr_encoder": frames_last,
    "fun_asr_nano_encoder": frames_first,
    "seamless_m4t": frames_first,
}
_WAVES: dict[str, Callable[[Call], torch.Tensor]] = {
    "audio-spectrogram-transformer": lambda call: call.floats(
        call.batch, call.config.max_length, call.config.num_mel_bins
    ),
    **dict.fromkeys(_CODECS, channel_waveform),
    **dict.fromkeys(("muse_spark", "muse_spark_audio"), padded_waveform),
}

#: What is passed wherever forward has a parameter of such a name.
MAKERS: dict[str, Callable[[Call], Any]] = {
    "input_features": input_features,
    "input_values": input_values,
    "input_features_mask": frames_mask,
    "feature_attention_mask": frames_mask,
}
#: What is passed where forward demands it.
REQUIRED_MAKERS: dict[str, Callable[[Call], Any]] = {
    "audio_mel": mel_frames,
    "audio_mel_mask": sounding,
    "padding_mask": samples_mask,
}
