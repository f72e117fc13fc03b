"""Models that ask for numbers which they compute: what the error proposes gives the real count.

Each runs really, small, with FlopCounterMode; what it reads there is what the trace is told, line
by line as the errors ask for it.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from nnprof.base.packages import import_torchvision
from tests.helpers.asked import measured_as_told, real_run

if TYPE_CHECKING:
    from collections.abc import Iterator

with_torchvision = pytest.mark.skipif(
    not find_spec("torchvision"), reason="torchvision is an extra"
)
with_transformers = pytest.mark.skipif(
    not find_spec("transformers"), reason="transformers is an extra"
)


# torchvision --------------------------------------------------------------------------------------


@pytest.fixture
def real_kernels() -> Iterator[None]:
    """Kernels of torchvision's operators, where its own do not load: all boxes stay, as assumed."""
    import_torchvision()
    library = torch.library.Library("torchvision", "IMPL")

    def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
        return scores.argsort(descending=True)

    def roi_align(x: Tensor, rois: Tensor, _: float, height: int, width: int, *__: Any) -> Tensor:
        return x.new_ones(len(rois), x.shape[1], height, width)

    for kernel in (nms, roi_align):
        library.impl(kernel.__name__, kernel, "CPU", allow_override=True)
    yield
    library._destroy()


def detector(name: str, **options: Any) -> nn.Module:
    detection = import_torchvision().models.detection
    backbone = nn.Sequential(nn.Conv2d(3, 16, 3, stride=16, padding=1))
    backbone.out_channels = 16  # type: ignore[assignment]
    anchors = detection.anchor_utils.AnchorGenerator(((16, 32),), ((1.0,),))
    model: nn.Module = getattr(detection, name)(
        backbone,
        min_size=64,
        max_size=64,
        rpn_anchor_generator=anchors,
        rpn_post_nms_top_n_test=20,
        box_detections_per_img=5,
        box_score_thresh=0.0,
        **options,
    )
    return model.eval()


@with_torchvision
@pytest.mark.parametrize(("name", "classes"), [("MaskRCNN", 3), ("KeypointRCNN", 2)])
@pytest.mark.usefixtures("real_kernels")
def test_detectors_that_scale_by_their_boxes(name: str, classes: int) -> None:
    torch.manual_seed(0)
    model, images = detector(name, num_classes=classes), [torch.rand(3, 64, 64)]
    real = real_run(model, images)
    profile, told = measured_as_told(real, model, images)
    assert 2 * profile.macs == real.flops
    assert told
    assert any("as the caller said" in line for line in profile.assumptions)


# transformers -------------------------------------------------------------------------------------


def vits() -> nn.Module:
    from transformers import VitsConfig, VitsModel

    config = VitsConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=9,
        upsample_initial_channel=16,
        upsample_rates=[2, 2],
        upsample_kernel_sizes=[4, 4],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 1]],
        prior_encoder_num_flows=2,
        posterior_encoder_num_wavenet_layers=1,
        prior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=2,
    )
    return VitsModel(config)


def fastspeech2() -> nn.Module:
    from transformers import FastSpeech2ConformerConfig, FastSpeech2ConformerModel

    return FastSpeech2ConformerModel(FastSpeech2ConformerConfig(**SPEECH))


def fastspeech2_with_hifigan() -> nn.Module:
    from transformers import (
        FastSpeech2ConformerConfig,
        FastSpeech2ConformerHifiGanConfig,
        FastSpeech2ConformerWithHifiGan,
        FastSpeech2ConformerWithHifiGanConfig,
    )

    vocoder = FastSpeech2ConformerHifiGanConfig(
        model_in_dim=8,
        upsample_initial_channel=16,
        upsample_rates=[2],
        upsample_kernel_sizes=[4],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
    )
    speech = FastSpeech2ConformerConfig(**SPEECH)
    config = FastSpeech2ConformerWithHifiGanConfig(
        model_config=speech.to_dict(), vocoder_config=vocoder.to_dict()
    )
    return FastSpeech2ConformerWithHifiGan(config)


SPEECH: dict[str, Any] = {
    "hidden_size": 16,
    "vocab_size": 40,
    "num_mel_bins": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_num_attention_heads": 2,
    "decoder_num_attention_heads": 2,
    "encoder_linear_units": 16,
    "decoder_linear_units": 16,
    "speech_decoder_postnet_layers": 1,
    "speech_decoder_postnet_units": 16,
    "duration_predictor_channels": 16,
    "energy_predictor_channels": 16,
    "pitch_predictor_channels": 16,
    "pitch_predictor_layers": 1,
}


@with_transformers
@pytest.mark.parametrize("duration", [0, 3])
@pytest.mark.parametrize("make", [vits, fastspeech2, fastspeech2_with_hifigan])
def test_voices_that_last_as_long_as_they_say(make: Any, duration: int) -> None:
    import_torchvision()
    torch.manual_seed(0)
    model, ids = make().eval(), torch.arange(1, 13)[None]
    for name, module in model.named_modules():
        if name.endswith("duration_predictor.linear"):  # the logarithm of each duration
            nn.init.zeros_(module.weight)
            nn.init.constant_(module.bias, math.log(duration + 1))
    real = real_run(model, input_ids=ids)
    profile, told = measured_as_told(real, model, input_ids=ids)
    assert 2 * profile.macs == real.flops
    assert told


@with_transformers
@pytest.mark.parametrize("confidence", [1e-9, 2.0])
def test_a_matcher_that_stops_early_or_does_not(confidence: float) -> None:
    import_torchvision()
    from transformers import LightGlueConfig, LightGlueForKeypointMatching, SuperPointConfig

    torch.manual_seed(0)
    detector_config = SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 8, 8],
        decoder_hidden_size=16,
        keypoint_decoder_dim=65,
        descriptor_decoder_dim=16,
        keypoint_threshold=-1.0,  # every pixel is one, as the trace assumes
        border_removal_distance=0,
    )
    config = LightGlueConfig(
        keypoint_detector_config=detector_config.to_dict(),
        descriptor_dim=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        attn_implementation="eager",  # on the CPU the oracle counts no fused attention
        depth_confidence=confidence,
        width_confidence=2.0,  # none is left out
    )
    model = LightGlueForKeypointMatching(config).eval()
    images = torch.rand(1, 2, 3, 16, 16)
    real = real_run(model, pixel_values=images)
    profile, told = measured_as_told(real, model, pixel_values=images)
    assert 2 * profile.macs == real.flops
    assert told
