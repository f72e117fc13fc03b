"""Prefill and decode against the real thing: small models that really read and really generate."""

from __future__ import annotations

import inspect
import io
import json
import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.cli import main
from nnprof.errors import InputError
from nnprof.report import TableOptions
from nnprof.report import memory as memory_report

if TYPE_CHECKING:
    from pathlib import Path

transformers = pytest.importorskip("transformers")

BATCH, CONTEXT = 3, 20

TINY = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
HEADS = {"head_dim": 8}
#: Shorter than the context.
WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 16,
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
}
SCAN = {"mamba_d_state": 4, "mamba_d_conv": 3, "mamba_expand": 2}
ENCODER_DECODER = {
    "d_model": 32,
    "d_ff": 48,
    "d_kv": 8,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 99,
}


@dataclass(frozen=True)
class Tiny:
    """A small model of an architecture; `options` of its config besides `TINY`."""

    type: str
    options: dict[str, Any] = field(default_factory=dict)
    tiny: bool = True

    def build(self, attention: str | None = "eager", device: str = "cpu") -> nn.Module:
        import_torchvision()
        values = (TINY if self.tiny else {}) | self.options
        config = transformers.AutoConfig.for_model(self.type, **values)
        for part in (config, getattr(config, "text_config", config)):
            part._experts_implementation = "eager"
        pair = config.is_encoder_decoder
        auto = transformers.AutoModelForSeq2SeqLM if pair else transformers.AutoModelForCausalLM
        torch.manual_seed(0)
        with torch.device(device):
            model = auto.from_config(config, attn_implementation=attention)
        return model.eval()


MODELS = {
    "llama": Tiny("llama"),
    "qwen3": Tiny("qwen3", HEADS),
    "gpt2": Tiny(
        "gpt2",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99}
        | {"bos_token_id": 1, "eos_token_id": 2},
        tiny=False,
    ),
    "gemma2": Tiny("gemma2", HEADS | WINDOW),
    "gemma3": Tiny("gemma3_text", HEADS | WINDOW),
    "mistral": Tiny("mistral", HEADS | {"sliding_window": 8}),
    "mixtral": Tiny("mixtral", EXPERTS),
    "gpt_oss": Tiny("gpt_oss", HEADS | WINDOW | EXPERTS),
    "deepseek_v3": Tiny("deepseek_v3", LATENT),
    "mamba": Tiny("mamba", {"state_size": 4, "conv_kernel": 3, "time_step_rank": 2}),
    "mamba2": Tiny("mamba2", {"state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 1}),
    "jamba": Tiny(
        "jamba",
        SCAN
        | {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_dt_rank": 2},
    ),
    "falcon_h1": Tiny(
        "falcon_h1",
        SCAN
        | HEADS
        | {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_ssm": 64, "mamba_n_groups": 1},
    ),
    "rwkv": Tiny("rwkv", {"attention_hidden_size": 32}),
    "t5": Tiny("t5", ENCODER_DECODER, tiny=False),
    "bart": Tiny(
        "bart",
        {"d_model": 32, "vocab_size": 99, "encoder_layers": 2, "decoder_layers": 2}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
        | {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48},
        tiny=False,
    ),
}
#: Bytes of the cache by hand, float32: those where a formula is plain to see.
BY_HAND = {
    "llama": 2 * (2 * BATCH * CONTEXT * 2 * 8) * 4,
    # One layer of the two keeps what the window leaves for the next token to see: 7 of 8.
    "gemma2": 2 * (BATCH * (CONTEXT + 7) * 2 * 8) * 4,
    # Keys and values of self-attention and, of as many tokens, of cross-attention.
    "t5": 2 * 2 * (2 * BATCH * CONTEXT * 4 * 8) * 4,
    # Five states of (batch, hidden, layers).
    "rwkv": 5 * BATCH * 32 * 2 * 4,
}


# The real thing.


def tokens(count: int) -> Tensor:
    return torch.randint(5, 99, (BATCH, count))


def prompt(model: Any, count: int = CONTEXT) -> dict[str, Tensor]:
    """What a prefill of `count` tokens is called with."""
    if model.config.is_encoder_decoder:
        return {"input_ids": tokens(count), "decoder_input_ids": tokens(1)}
    return {"input_ids": tokens(count)}


#: What releases of transformers call it; the newest first, for it warns of the older names.
CACHES = ("cache", "past_key_values", "cache_params", "state")


def step(model: Any, count: int = CONTEXT) -> dict[str, Any]:
    """What a decode step is called with, after a real prefill of `count` tokens."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            encoded = model.get_encoder()(input_ids=tokens(count), return_dict=True)
            ids = tokens(count)
            output = model(encoder_outputs=encoded, decoder_input_ids=ids, use_cache=True)
            given = {"encoder_outputs": encoded, "decoder_input_ids": tokens(1)}
        else:
            output = model(input_ids=tokens(count), use_cache=True)
            given = {"input_ids": tokens(1)}
    name = next(n for n in CACHES if n in output)
    return {**given, name: output[name], "use_cache": True}


def cache_in(output: Any) -> Any:
    return next(output[n] for n in CACHES if n in output)


class _Tensors(pickle.Pickler):
    """Finds all tensors that an object holds, however it holds them."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.found: list[Tensor] = []

    def persistent_id(self, value: Any) -> str | None:
        if not isinstance(value, Tensor):
            return None
        self.found.append(value)
        return "tensor"


def real_bytes(cache: Any) -> int:
    """Of all tensors in a cache. 0-dim ones are not states: the window's length is one."""
    pickler = _Tensors()
    pickler.dump(cache)
    return sum(tensor.nbytes for tensor in pickler.found if tensor.dim())


def counted(model: nn.Module, keywords: dict[str, Any]) -> dict[str, int]:
    """FLOPs of a real call by module path; "" is the model."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(**keywords)
    root = type(model).__name__
    by_module = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    totals = {
        name.removeprefix(root + "."): n for name, n in by_module.items() if root + "." in name
    }
    return {"": int(counter.get_total_flops())} | totals


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_decode_step_costs_what_a_real_one_costs(name: str) -> None:
    model = MODELS[name].build()
    profile = nnprof.measure(model, phase="decode", context=CONTEXT, batch=BATCH)
    for path, flops in counted(model, step(model)).items():
        assert 2 * (profile[path].macs if path else profile.macs) == flops, path


def test_a_prefill_costs_what_a_real_one_costs(name: str) -> None:
    model = MODELS[name].build()
    profile = nnprof.measure(model, phase="prefill", sequence=CONTEXT, batch=BATCH)
    keywords = {**prompt(model), "use_cache": True}
    for path, flops in counted(model, keywords).items():
        assert 2 * (profile[path].macs if path else profile.macs) == flops, path


def test_the_cache_is_as_large_as_a_real_one(name: str) -> None:
    model = MODELS[name].build()
    given = step(model)
    decode = nnprof.measure(model, phase="decode", context=CONTEXT, batch=BATCH)
    assert decode.memory.kv_cache == real_bytes(cache_in(given))
    assert decode.memory.kv_cache == BY_HAND.get(name, decode.memory.kv_cache)
    prefill = nnprof.measure(model, phase="prefill", context=CONTEXT, batch=BATCH)
    with torch.no_grad():
        left = cache_in(model(**prompt(model), use_cache=True))
    assert prefill.memory.kv_cache == real_bytes(left)


def test_every_call_is_that_of_a_step_with_a_real_cache(name: str) -> None:
    """Positions, masks and seen tokens too: a cache without data must lead the same way."""
    model = MODELS[name].build(None)
    made = nnprof.measure(model, phase="decode", context=CONTEXT, batch=BATCH)
    real = nnprof.measure(model, inputs=step(model))
    columns = ("op", "scope", "macs", "flops", "bytes_read", "bytes_written", "input_shapes")
    assert [made.ops[c].tolist() for c in columns] == [real.ops[c].tolist() for c in columns]


def test_the_model_really_works_afterwards(name: str) -> None:
    model = MODELS[name].build()
    given = prompt(model)
    with torch.no_grad():
        before = model(**given).logits
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for phase in ("prefill", "decode"):
        nnprof.measure(model, phase=phase, context=CONTEXT, batch=BATCH)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(model(**given).logits, before)


def test_the_cache_is_read_once_and_copied_once() -> None:
    """`DynamicCache` joins the new token by a copy, and attention reads what it made."""
    model = MODELS["llama"].build(None)
    ops = nnprof.measure(model, phase="decode", context=CONTEXT, batch=BATCH).ops
    half = BATCH * CONTEXT * 2 * 8 * 4  # keys or values of one layer
    token = BATCH * 2 * 8 * 4
    copies = [i for i, op in enumerate(ops["op"]) if op == "aten::cat" and ops["dtype"][i]]
    copies = [i for i in copies if ops["input_shapes"][i][0][-2:] == [CONTEXT, 8]]
    assert len(copies) == 4
    assert all(ops["bytes_read"][i] == half + token for i in copies)
    assert all(ops["bytes_written"][i] == half + token for i in copies)
    attention = [i for i, op in enumerate(ops["op"]) if "scaled_dot_product" in op]
    query = BATCH * 4 * 8 * 4
    assert len(attention) == 2
    assert all(ops["bytes_read"][i] == 2 * (half + token) + query for i in attention)


def llama_8b() -> nn.Module:
    """Llama-3.1 8B as published, without weights."""
    published = {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "dtype": "bfloat16",
    }
    return Tiny("llama", published, tiny=False).build(None, "meta")


def test_llama_8b_decodes() -> None:
    profile = nnprof.measure(llama_8b(), phase="decode", context=8192, batch=32)
    assert profile.memory.kv_cache == 2 * 32 * 8192 * 32 * 8 * 128 * 2 == 34_359_738_368
    assert profile.memory.kv_cache_by_layer == (1_073_741_824,) * 32
    assert profile.tokens == 32
    assert profile.memory.parameters == 2 * 8_030_261_248
    # A layer's keys are copied at a time. What the prefill took, its logits above all, is gone.
    assert profile.memory.peak < profile.memory.parameters + 1.05 * profile.memory.kv_cache
    # What is held of it at the peak: all layers, some of them a token longer, one of them twice.
    held = profile.memory.at_peak["kv_cache"]
    layer, token = 2 * 8192 * 32 * 8 * 128 * 2, 2 * 32 * 8 * 128 * 2
    assert 32 * layer < held <= 33 * layer + 33 * token
    assert profile.memory.activations < layer
    weights = 8_030_261_248 - 128256 * 4096 - 65 * 4096  # all but the embedding and the norms
    attention = 32 * 2 * 32 * 128 * 8193  # layers, products, heads, channels, tokens seen
    assert profile.macs == 32 * (weights + attention)


def test_the_cache_is_a_kind_of_its_own() -> None:
    """A prefill leaves it: at the peak, at the logits of all tokens, all of it is held."""
    profile = nnprof.measure(llama_8b(), phase="prefill", sequence=8192)
    memory = profile.memory
    assert memory.peak_module == "lm_head" or memory.peak_module == ""
    assert memory.at_peak["kv_cache"] == memory.kv_cache == 2 * 32 * 8192 * 8 * 128 * 2
    assert memory.after("forward")["kv_cache"] == memory.kv_cache
    assert sum(memory.at_peak.values()) == memory.peak
    assert sum(held["kv_cache"] for held in memory.by_module.values()) == memory.kv_cache
    assert "1.074 GB KV cache" in str(profile)
    assert "KV cache" in memory_report.render(profile, TableOptions())
    alone = nnprof.measure(llama_8b(), {"input_ids": (1, 64)}, kwargs={"use_cache": False})
    assert alone.memory.at_peak["kv_cache"] == alone.memory.kv_cache == 0


def test_a_long_context_takes_little_memory() -> None:
    """126 layers at 131,072 tokens: a mask of them would be 16 GB, their keys 270 GB."""
    import resource

    options = {"num_hidden_layers": 126, "hidden_size": 16384, "intermediate_size": 53248}
    heads = {"num_attention_heads": 128, "num_key_value_heads": 8, "vocab_size": 128256}
    model = Tiny("llama", options | heads | {"max_position_embeddings": 131072}).build(None, "meta")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    profile = nnprof.measure(model, phase="decode", context=131072)
    assert profile.memory.kv_cache == 2 * 126 * 131072 * 8 * 128 * 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("architecture", ["mamba", "rwkv", "jamba", "falcon_h1"])
def test_a_long_context_of_a_recurrent_model(architecture: str) -> None:
    """Only a model without attention may take a shorter way to its state."""
    model = MODELS[architecture].build()
    profile = nnprof.measure(model, phase="decode", context=200, batch=BATCH)
    given = step(model, 200)
    assert profile.memory.kv_cache == real_bytes(cache_in(given))
    assert 2 * profile.macs == counted(model, given)[""]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_autocast_decides_what_the_cache_holds(architecture: str) -> None:
    """That of GPT-2 is in bfloat16; rotary positions make Llama's float32 again."""
    model = MODELS[architecture].build(None)
    profile = nnprof.measure(
        model, phase="decode", context=CONTEXT, batch=BATCH, autocast="bfloat16"
    )
    with torch.autocast("cpu", torch.bfloat16):
        real = cache_in(step(model))
    assert profile.memory.kv_cache == real_bytes(real)


def test_a_prompt_is_read_as_a_plain_call_reads_it() -> None:
    model = MODELS["llama"].build(None)
    prefill = nnprof.measure(model, phase="prefill", context=CONTEXT, batch=BATCH)
    plain = nnprof.measure(model, {"input_ids": (BATCH, CONTEXT)})
    assert (prefill.macs, prefill.flops, prefill.bytes) == (plain.macs, plain.flops, plain.bytes)
    assert (prefill.tokens, plain.tokens) == (BATCH * CONTEXT, None)
    assert plain.memory.kv_cache == 0


def test_more_keyword_arguments_are_passed_on() -> None:
    model = MODELS["llama"].build(None)
    last = nnprof.measure(model, phase="prefill", context=CONTEXT, kwargs={"logits_to_keep": 1})
    every = nnprof.measure(model, phase="prefill", context=CONTEXT)
    assert every["lm_head"].macs == CONTEXT * last["lm_head"].macs
    name = next(n for n in CACHES if n in inspect.signature(model.forward).parameters)
    for phase in ("prefill", "decode"):
        cache = transformers.DynamicCache()
        with pytest.raises(InputError, match=r"makes (cache|past_key_values): "):
            nnprof.measure(model, phase=phase, context=4, kwargs={name: cache})


def test_an_encoder_reads_as_many_tokens_as_the_sequence_has() -> None:
    model = MODELS["t5"].build()
    given: dict[str, Any] = {"phase": "decode", "context": CONTEXT, "batch": BATCH}
    short, long = (nnprof.measure(model, **given, sequence=n) for n in (10, 30))
    states = 2 * 2 * BATCH * 4 * 8 * 4  # layers, keys and values, batch, heads, channels, bytes
    assert long.memory.kv_cache - short.memory.kv_cache == 20 * states
    assert "encoder.block" in short.facts.never_called


def test_a_saved_profile_knows_its_cache(tmp_path: Path) -> None:
    profile = nnprof.measure(MODELS["gemma2"].build(), phase="decode", context=CONTEXT, batch=BATCH)
    profile.save(tmp_path / "gemma.json")
    loaded = nnprof.Profile.load(tmp_path / "gemma.json")
    assert loaded.memory.kv_cache_by_layer == profile.memory.kv_cache_by_layer != ()
    assert loaded.tokens == BATCH
    assert str(loaded) == str(profile)
    assert "10,368 bytes (10.37 kB): layers 1 x 2.688 kB, 1 x 7.680 kB" in str(profile)
    assert "3 (decode)" in str(profile)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"phase": "decoding", "context": 4}, "no phase 'decoding': pass 'prefill' or 'decode'"),
        ({"phase": "decode"}, "pass context=8192"),
        ({"phase": "prefill"}, "pass sequence=2048"),
        ({"phase": "prefill", "sequence": 4, "context": 4}, "one length, not two"),
        ({"phase": "decode", "context": 4, "sequence": 4}, "leave out sequence="),
        ({"phase": "decode", "context": 0}, "context= must be a whole number of at least 1, not 0"),
        ({"phase": "decode", "context": 4, "batch": 1.5}, "batch= must be a whole number"),
        ({"context": 4}, "pass phase='decode' too"),
        ({"phase": "decode", "context": 4, "shape": (1, 4)}, "leave out shape/inputs"),
        ({"phase": "decode", "context": 4, "inputs": torch.ones(1)}, "leave out shape/inputs"),
    ],
)
def test_wrong_arguments_are_explained(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        nnprof.measure(MODELS["llama"].build(None, "meta"), **arguments)


def test_other_models_have_no_phase() -> None:
    with pytest.raises(InputError, match="language models of transformers, which Linear is not"):
        nnprof.measure(nn.Linear(2, 2), phase="prefill", context=4)
    import_torchvision()
    with torch.device("meta"):
        picture = transformers.ViTForImageClassification(transformers.ViTConfig())
        encoder = transformers.BertLMHeadModel(transformers.BertConfig())
    with pytest.raises(InputError, match="ViTForImageClassification takes none"):
        nnprof.measure(picture, phase="decode", context=4)
    for phase in ("prefill", "decode"):
        with pytest.raises(InputError, match="BertLMHeadModel left no cache"):
            nnprof.measure(encoder, phase=phase, context=4)


def test_positions_beyond_the_models_own_are_refused() -> None:
    with pytest.raises(nnprof.NnprofError, match="1024"):
        nnprof.measure(MODELS["gpt2"].build(None, "meta"), phase="decode", context=1024)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "llama"} | TINY))
    command = ["measure", f"transformers:{file}", "--context", str(CONTEXT)]
    assert main([*command, "--phase", "decode", "--dtype", "bfloat16"]) == 0
    assert f"{BY_HAND['llama'] // BATCH // 2:,} bytes" in capsys.readouterr().out
    assert main([*command, "--phase", "prefill", "--json", str(tmp_path / "out.json")]) == 0
    assert nnprof.Profile.load(tmp_path / "out.json").tokens == CONTEXT
    assert main([*command, "--phase", "decode", "--shape", "1,8"]) == 1
    assert "leave out shape/inputs" in capsys.readouterr().err
    assert main([*command, "--phase", "encode"]) == 2
    assert "'prefill', 'decode'" in capsys.readouterr().err
