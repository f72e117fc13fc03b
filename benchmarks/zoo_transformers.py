"""The architectures of transformers, one small instance of each.

Built from the defaults of its config class: with as few layers as show every kind of layer once, a
small vocabulary and few experts; widths are the architecture's own, so that shapes are the usual
ones. The head model of an architecture is taken where there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

import nnprof
from benchmarks import zoo_oracle
from benchmarks.zoo_models import Case
from nnprof.base.packages import import_torchvision
from nnprof.calls.examples import NO_SIZES, example_inputs
from nnprof.models.transformers_names import CLASSES, DEFAULTS, ON_CPU, TYPES, model_class_of
from nnprof.tracing.run import bare_output

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Elements of the vocabulary that is left.
VOCABULARY = 2048

#: Fields of a config that say how often a block is repeated.
_DEPTHS = frozenset(
    [
        "num_hidden_layers",
        "num_layers",
        "n_layer",
        "n_layers",
        "encoder_layers",
        "decoder_layers",
        "depth",
        "layers",
        "num_encoder_layers",
        "num_decoder_layers",
        "num_blocks",
        "encoder_num_hidden_layers",
        "decoder_num_hidden_layers",
        "conf_num_hidden_layers",
        "speech_encoder_layers",
        "t2u_encoder_layers",
        "t2u_decoder_layers",
        "num_spatial_layers",
        "num_temporal_layers",
        "num_auxiliary_layers",
        "pred_num_hidden_layers",
        "l_layers",
        "x_layers",
        "r_layers",
        "num_layers_per_stack",
        "num_global_layers",
        "folding_trunk_num_hidden_layers",
        "num_self_attends_per_block",
        "decoder_num_layers",
        "text_encoder_num_layers",
    ]
)
#: Fields that list a number of blocks for each stage.
_STAGE_DEPTHS = frozenset(["depths", "blocks_per_stage", "stage_num_blocks", "num_block_repeats"])
#: Fields that say which layers are special: by their indices.
_LAYER_INDICES = frozenset(
    [
        "deepstack_visual_indexes",
        "fullatt_block_indexes",
        "global_attn_indexes",
        "out_indices",
        "backbone_out_indices",
        "global_attention_blocks",
        "vision_feature_layers",
    ]
)
_EXPERTS = frozenset(
    [
        "num_experts",
        "num_local_experts",
        "n_routed_experts",
        "moe_num_experts",
        "num_routed_experts",
    ]
)

#: Layers of an architecture that needs more than two.
_LAYERS = {"vipllava": 12, "zamba": 12, "jamba": 8, "recurrent_gemma": 3, "zamba2": 8}
#: Whose layers refer to each other: all of them are built.
_WHOLE = frozenset(
    [
        "gemma3n",
        "gemma3n_text",
        "gemma4_unified_assistant",
        "chameleon",
        "hrm_text",
        "depth_pro",
        "lw_detr",
        "rf_detr",
        "mllama",
        "uvdoc",
        "seggpt",
        "sam2",
        "sam2_video",
        "sam2_vision_model",
        "sam2_hiera_det_model",
        "edgetam_video",
    ]
)


#: Small as they are here, built on the CPU: a part of them reads buffers.
_SMALL_ON_CPU = frozenset(["apertus1p5"])


def names() -> list[str]:
    """Every model type that has a model."""
    import_torchvision()
    from transformers import CONFIG_MAPPING

    return sorted(CLASSES.keys() & set(CONFIG_MAPPING))


def case(name: str) -> Case:
    """A small instance, and one usual call of it.

    A model that is too big for the oracle's real copy is made narrower, if it can be.
    """
    made = _case(build(name))
    if _parameters(made.model) > zoo_oracle.LARGEST_COPY:
        try:
            narrow = _case(build(name, narrow=True))
            nnprof.measure(narrow.model, inputs=narrow.kwargs)
        except Exception:  # widths that do not fit together fail in any way they like
            return made
        if _parameters(narrow.model) <= zoo_oracle.LARGEST_COPY:
            return narrow
    return made


def _case(model: Any) -> Case:
    made = example_inputs(model, NO_SIZES, bare_output)
    assert made is not None
    return Case(model, *made)


def _parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def build(name: str, *, narrow: bool = False) -> Any:
    import_torchvision()
    import transformers
    from transformers import CONFIG_MAPPING

    transformers.logging.set_verbosity_error()
    config = CONFIG_MAPPING[TYPES.get(name, name)](**DEFAULTS.get(name, {}))
    if narrow:
        _make_narrow(config)
    if name not in _WHOLE:
        shrink(config, _LAYERS.get(name, 2))
    model_class = model_class_of(config)
    return _constructed(model_class, config, on_cpu=name in ON_CPU | _SMALL_ON_CPU).eval()


def _constructed(model_class: Any, config: Any, on_cpu: bool) -> Any:
    from transformers.initialization import no_init_weights

    if on_cpu:
        return model_class(config)
    try:
        with torch.device("meta"), no_init_weights():
            return model_class(config)
    except (RuntimeError, NotImplementedError, ValueError):
        with no_init_weights():
            return model_class(config)


# Narrow configs ---------------------------------------------------------------------------------

#: Widths that meet no others.
_INNER_WIDTHS = frozenset(
    [
        "intermediate_size",
        "ffn_dim",
        "encoder_ffn_dim",
        "decoder_ffn_dim",
        "d_ff",
        "moe_intermediate_size",
        "shared_expert_intermediate_size",
        "mlp_dim",
        "ffn_hidden_size",
    ]
)
#: Numbers of heads, cut along with the width that they share out.
_HEADS_OF_WIDTH = ("num_attention_heads", "num_key_value_heads", "n_head", "num_heads")


def _make_narrow(config: Any) -> None:
    """A quarter of the width and of the heads, in each part that has many of them."""
    for part in _parts(config):
        fields = vars(part)
        for name in _INNER_WIDTHS & fields.keys():
            if type(fields[name]) is int:
                fields[name] = min(fields[name], 512)
        width, heads = fields.get("hidden_size"), fields.get("num_attention_heads")
        if type(width) is int and width >= 2048 and type(heads) is int and heads % 4 == 0:
            fields |= {n: v // 4 for n, v in fields.items() if v == width and type(v) is int}
            for name in _HEADS_OF_WIDTH:
                if type(fields.get(name)) is int:
                    fields[name] = max(1, fields[name] // 4)


# Small configs ----------------------------------------------------------------------------------


def shrink(config: Any, layers: int = 2) -> None:
    """Makes `config` and its parts small, in place: `layers`, or as many as it takes."""
    parts = list(_parts(config))
    for part in parts:
        _take_few_layers(part, layers)
        _take_few_experts(part)
        _agree_on_width(part)
    _take_small_vocabularies(parts)


def _agree_on_width(config: Any) -> None:
    """The defaults of a vision tower's output and of the text that it goes into may differ."""
    vision: Any
    text: Any
    vision, text = (getattr(config, part, None) for part in ("vision_config", "text_config"))
    name = "hidden_size" if config.model_type == "qwen2_vl" else "out_hidden_size"
    if hasattr(vision, name) and hasattr(text, "hidden_size"):
        vars(vision)[name] = text.hidden_size


def _parts(config: Any) -> Iterable[Any]:
    from transformers import PreTrainedConfig

    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PreTrainedConfig):
            yield from _parts(value)


def _take_few_layers(config: Any, layers: int) -> None:
    fields = vars(config)
    for name in _DEPTHS & fields.keys():
        before = fields[name]
        if type(before) is int and before > layers:
            after = _fewest_layers(fields, before, layers)
            fields[name] = after
            _cut_lists(fields, before, after)
    for name in _STAGE_DEPTHS & fields.keys():
        if isinstance(fields[name], (list, tuple)):
            fields[name] = type(fields[name])(min(depth, 2) for depth in fields[name])


def _fewest_layers(fields: dict[str, Any], before: int, fewest: int) -> int:
    """As many as it takes to have every kind of layer, and every index that is asked for."""
    for name, value in fields.items():
        if not isinstance(value, (list, tuple)) or not value:
            continue
        if len(value) == before and isinstance(value[0], (str, bool, int)):
            firsts = [list(value).index(kind) for kind in set(value)]
            fewest = max(fewest, max(firsts) + 1) if len(firsts) < 6 else fewest
        elif name in (*_LAYER_INDICES, "_out_features"):
            fewest = max(fewest, len(value))
    return min(fewest, before)


def _cut_lists(fields: dict[str, Any], before: int, after: int) -> None:
    for name, value in fields.items():
        if not isinstance(value, (list, tuple)) or name.startswith(("conv_", "tdnn_")):
            continue
        if name in _LAYER_INDICES:
            if value and max(value) >= after:
                fields[name] = type(value)(range(after - len(value), after))
        elif len(value) == before:
            fields[name] = type(value)(value[:after])
    _cut_stages(fields, before, after)


def _cut_stages(fields: dict[str, Any], before: int, after: int) -> None:
    """A backbone names each of its layers, and those whose outputs it returns."""
    stages = fields.get("stage_names")
    if not stages or len(stages) != before + 1:
        return
    fields["stage_names"] = stages[: after + 1]
    for name in ("_out_features", "_out_indices"):
        wanted = fields.get(name)
        if wanted:
            last = range(after + 1 - len(wanted), after + 1)
            fields[name] = [stages[i] for i in last] if name == "_out_features" else list(last)


def _take_few_experts(config: Any) -> None:
    fields = vars(config)
    groups = fields.get("n_group") or fields.get("num_expert_group") or 1
    for name in _EXPERTS & fields.keys():
        if type(fields[name]) is int and fields[name] > 8 and type(groups) is int:
            fields[name] = max(16, 2 * groups)


_VOCABULARIES = ("vocab_size", "vocab_size_per_layer_input")


def _take_small_vocabularies(parts: list[Any]) -> None:
    """Cuts vocabularies, and moves the special tokens that were cut off to the end of the rest."""
    moved: dict[int, int] = {}

    def inside(token: Any) -> Any:
        if type(token) is int and token >= VOCABULARY - 64:
            return moved.setdefault(token, VOCABULARY - 1 - len(moved))
        return token

    cut = False
    for part in parts:
        fields = vars(part)
        for name in _VOCABULARIES:
            if type(fields.get(name)) is int and fields[name] > VOCABULARY:
                fields[name] = VOCABULARY
                cut = True
    for part in parts if cut else ():
        for name, value in vars(part).items():
            if name.endswith(("token_id", "token_index", "token_ids", "_code_id")):
                several = isinstance(value, (list, tuple))
                vars(part)[name] = [inside(v) for v in value] if several else inside(value)
