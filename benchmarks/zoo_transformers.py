"""The architectures of transformers, one small instance of each.

Built from the defaults of its config class: with as few layers as show every kind of layer once, a
small vocabulary and few experts; widths are the architecture's own, so that shapes are the usual
ones. The head model of an architecture is taken where there is one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from zoo_models import Case

from nnprof.example_inputs import NO_SIZES, example_inputs
from nnprof.models import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Elements of the vocabulary that is left.
VOCABULARY = 2048

#: Fields of a config that say how often a block is repeated.
_DEPTHS = frozenset(
    "num_hidden_layers num_layers n_layer n_layers encoder_layers decoder_layers depth layers "
    "num_encoder_layers num_decoder_layers num_blocks encoder_num_hidden_layers "
    "decoder_num_hidden_layers conf_num_hidden_layers speech_encoder_layers t2u_encoder_layers "
    "t2u_decoder_layers num_spatial_layers num_temporal_layers num_auxiliary_layers "
    "pred_num_hidden_layers l_layers x_layers r_layers num_layers_per_stack "
    "num_global_layers folding_trunk_num_hidden_layers num_self_attends_per_block "
    "decoder_num_layers text_encoder_num_layers".split()
)
#: Fields that list a number of blocks for each stage.
_STAGE_DEPTHS = frozenset("depths blocks_per_stage stage_num_blocks num_block_repeats".split())
#: Fields that say which layers are special: by their indices.
_LAYER_INDICES = frozenset(
    "deepstack_visual_indexes fullatt_block_indexes global_attn_indexes out_indices "
    "global_attention_blocks vision_feature_layers".split()
)
_EXPERTS = frozenset(
    "num_experts num_local_experts n_routed_experts moe_num_experts num_routed_experts".split()
)

# Which class stands for an architecture: the first mapping that has one.
_HEADS = (
    "IMAGE_TEXT_TO_TEXT MULTIMODAL_LM CAUSAL_LM SEQ_TO_SEQ_CAUSAL_LM SPEECH_SEQ_2_SEQ CTC "
    "MASKED_LM IMAGE_CLASSIFICATION OBJECT_DETECTION"
).split()

#: Fields without which a config builds no model.
_REQUIRED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("autoformer", "informer", "time_series_transformer"),
        {"prediction_length": 24, "context_length": 48},
    ),
    "esm": {"vocab_size": 33},
    **dict.fromkeys(("wav2vec2-bert", "wav2vec2-conformer"), {"vocab_size": 32}),
    "reformer": {"is_decoder": True},
    "timm_backbone": {"backbone": "resnet18"},
    "hunyuan_v1_dense": {"head_dim": 128},
}
#: Whose layers refer to each other: all of them are built.
_WHOLE = frozenset(
    "gemma3n gemma3n_text gemma4_unified_assistant zamba aya_vision granite4_vision".split()
)


@functools.cache
def _classes() -> dict[str, str]:
    """Model type -> name of its class."""
    import_torchvision()
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    tables = {n: t for n, t in vars(modeling_auto).items() if n.endswith("_MAPPING_NAMES")}
    preferred = [tables[f"MODEL_FOR_{head}_MAPPING_NAMES"] for head in _HEADS]
    others = [table for name, table in tables.items() if name.startswith("MODEL_FOR_")]
    found: dict[str, str] = {}
    for table in (*preferred, *others, tables["MODEL_MAPPING_NAMES"]):
        for model_type, classes in table.items():
            first = classes if isinstance(classes, str) else classes[0]
            if model_type in CONFIG_MAPPING_NAMES:
                found.setdefault(model_type, first)
    return found


def names() -> list[str]:
    """Every model type that has a model."""
    return sorted(_classes())


def case(name: str) -> Case:
    """A small instance, and one usual call of it."""
    model = build(name)
    made = example_inputs(model, NO_SIZES)
    assert made is not None
    return Case(model, *made)


def build(name: str) -> Any:
    import_torchvision()
    import transformers
    from transformers import CONFIG_MAPPING

    transformers.logging.set_verbosity_error()
    config = CONFIG_MAPPING[name](**_REQUIRED.get(name, {}))
    if name not in _WHOLE:
        shrink(config)
    model_class = getattr(transformers, _classes()[name])
    return _constructed(model_class, config).eval()


def _constructed(model_class: Any, config: Any) -> Any:
    from transformers.initialization import no_init_weights

    try:
        with torch.device("meta"), no_init_weights():
            return model_class(config)
    except (RuntimeError, NotImplementedError, ValueError):
        with no_init_weights():
            return model_class(config)


# Small configs ----------------------------------------------------------------------------------


def shrink(config: Any) -> None:
    """Makes `config` and its parts small, in place."""
    parts = list(_parts(config))
    for part in parts:
        _take_few_layers(part)
        _take_few_experts(part)
    _take_small_vocabularies(parts)


def _parts(config: Any) -> Iterable[Any]:
    from transformers import PreTrainedConfig

    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PreTrainedConfig):
            yield from _parts(value)


def _take_few_layers(config: Any) -> None:
    fields = vars(config)
    for name in _DEPTHS & fields.keys():
        before = fields[name]
        if type(before) is int and before > 2:
            after = min(before, _fewest_layers(fields, before))
            fields[name] = after
            _cut_lists(fields, before, after)
    for name in _STAGE_DEPTHS & fields.keys():
        if isinstance(fields[name], (list, tuple)):
            fields[name] = type(fields[name])(min(depth, 2) for depth in fields[name])


def _fewest_layers(fields: dict[str, Any], layers: int) -> int:
    """As many as it takes to have every kind of layer, and every index that is asked for."""
    fewest = 2
    for name, value in fields.items():
        if not isinstance(value, (list, tuple)) or not value:
            continue
        if len(value) == layers and isinstance(value[0], (str, bool, int)):
            firsts = [list(value).index(kind) for kind in set(value)]
            fewest = max(fewest, max(firsts) + 1) if len(firsts) < 6 else fewest
        elif name in (*_LAYER_INDICES, "_out_features"):
            fewest = max(fewest, len(value))
    return min(fewest, layers)


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
