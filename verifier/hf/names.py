"""Names of tensors: Hugging Face's and ours, one table a family, read in both directions."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import NamedTuple


class Row(NamedTuple):
    """One stored tensor and the parameters it holds. `{l}` is the layer.

    Args:
        name: in the checkpoint, without the family's prefix.
        paths: our parameters; several: they lie side by side along the stored tensor's last axis.
        transposed: stored [out, in] (torch's Linear), ours [in, out].
        offset: what ours has more than the stored one. Gemma's norms multiply by 1 + weight; ours
            multiply by their scale.
        gated: whether models whose MLP is gated have this name, or those whose MLP is not; None:
            both.
    """

    name: str
    paths: tuple[str, ...]
    transposed: bool = False
    offset: float = 0.0
    gated: bool | None = None


class Family(NamedTuple):
    """A family's tensors.

    Args:
        rows: the table.
        prefix: before the name of every tensor but `bare` ones; some checkpoints leave it out.
        values: the linear layer of the family's ForTokenClassification, which reads the hidden
            state after the final norm; None: transformers has no such class.
        bare: the name that never has a prefix.
        ignored: buffers without information.
        rowless: ids at the end of the family's tokenizer that no text has, and for which its models
            have no row.
        repeats: names under which the embedding may be stored again.
    """

    rows: tuple[Row, ...]
    prefix: str
    values: str | None = "score"
    bare: str = "lm_head.weight"
    ignored: str = r"$^"
    rowless: int = 0
    repeats: tuple[str, ...] = ()


def _dense(name: str, path: str) -> tuple[Row, Row]:
    """torch's Linear, whole name and path."""
    return Row(f"{name}.weight", (f"{path}.kernel",), transposed=True), Row(
        f"{name}.bias", (f"{path}.bias",)
    )


def _linear(name: str, path: str) -> tuple[Row, Row]:
    return _dense(f"layers.{{l}}.{name}", f"blocks.{{l}}.{path}")


def _conv1d(name: str, *paths: str) -> tuple[Row, Row]:
    """GPT-2's Conv1D is a dense layer stored [in, out]."""
    return Row(
        f"h.{{l}}.{name}.weight", tuple(f"blocks.{{l}}.{path}.kernel" for path in paths)
    ), Row(f"h.{{l}}.{name}.bias", tuple(f"blocks.{{l}}.{path}.bias" for path in paths))


def _layer_norm(name: str, path: str) -> tuple[Row, Row]:
    return Row(f"{name}.weight", (f"{path}.scale",)), Row(f"{name}.bias", (f"{path}.bias",))


def _rms_norm(name: str, path: str, offset: float) -> Row:
    return Row(f"{name}.weight", (f"{path}.scale",), offset=offset)


def _rotary(offset: float, **norms: str) -> tuple[Row, ...]:
    """Llama and its heirs.

    norms: ours of a block, and what the family calls them; offset: of all norms.
    """
    return (
        Row("embed_tokens.weight", ("embed",)),
        *(
            _rms_norm(f"layers.{{l}}.{theirs}", f"blocks.{{l}}.{ours}", offset)
            for ours, theirs in norms.items()
        ),
        *_linear("self_attn.q_proj", "attention.query"),
        *_linear("self_attn.k_proj", "attention.key"),
        *_linear("self_attn.v_proj", "attention.value"),
        *_linear("self_attn.o_proj", "attention.out"),
        # Qwen3 and Gemma 3 have them
        _rms_norm("layers.{l}.self_attn.q_norm", "blocks.{l}.attention.query_norm", offset),
        _rms_norm("layers.{l}.self_attn.k_norm", "blocks.{l}.attention.key_norm", offset),
        *_linear("mlp.gate_proj", "mlp.gate"),
        *_linear("mlp.up_proj", "mlp.up"),
        *_linear("mlp.down_proj", "mlp.down"),
        _rms_norm("norm", "final_norm", offset),
        Row("lm_head.weight", ("unembed",)),
    )


# Biases and norms of heads stand in the table for all; a model that has none has no such parameter,
# and the row is passed over.
_LLAMA = Family(
    rows=_rotary(0.0, attention_norm="input_layernorm", mlp_norm="post_attention_layernorm"),
    prefix="model.",
    ignored=r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",
)
_GEMMA3 = Family(
    rows=_rotary(
        1.0,
        attention_norm="input_layernorm",
        attention_post_norm="post_attention_layernorm",
        mlp_norm="pre_feedforward_layernorm",
        mlp_post_norm="post_feedforward_layernorm",
    ),
    prefix="model.",
    values=None,
    rowless=1,  # <image_soft_token>: huggingface/transformers issue 37011
)
_GPT2 = Family(
    rows=(
        Row("wte.weight", ("embed",)),
        Row("wpe.weight", ("positions",)),
        *_layer_norm("h.{l}.ln_1", "blocks.{l}.attention_norm"),
        *_conv1d("attn.c_attn", "attention.query", "attention.key", "attention.value"),
        *_conv1d("attn.c_proj", "attention.out"),
        *_layer_norm("h.{l}.ln_2", "blocks.{l}.mlp_norm"),
        *_conv1d("mlp.c_fc", "mlp.up"),
        *_conv1d("mlp.c_proj", "mlp.down"),
        *_layer_norm("ln_f", "final_norm"),
        Row("lm_head.weight", ("unembed",)),
    ),
    prefix="transformer.",
    values="classifier",
    ignored=r"h\.\d+\.attn\.(bias|masked_bias)",
)


def _t5_attention(
    block: tuple[str, str], number: int, name: str, path: str, norm: str
) -> tuple[Row, ...]:
    """One of T5's attentions: its place in the block, its name, and ours of it and its norm."""
    own = {"q": "query", "k": "key", "v": "value", "o": "out"}
    theirs, ours = block
    return (
        *(
            Row(
                f"{theirs}.layer.{number}.{name}.{letter}.weight",
                (f"{ours}.{path}.{word}.kernel",),
                transposed=True,
            )
            for letter, word in own.items()
        ),
        _rms_norm(f"{theirs}.layer.{number}.layer_norm", f"{ours}.{norm}", 0.0),
    )


def _t5_stack(stack: str, ours: str, crosses: bool) -> tuple[Row, ...]:
    """T5's encoder or decoder, whose first layer alone holds the relative positions of all."""
    block = f"{stack}.block.{{l}}", f"{ours}blocks.{{l}}"
    last = 2 if crosses else 1
    mlp = {"wi": ("up", False), "wi_0": ("gate", True), "wi_1": ("up", True), "wo": ("down", None)}
    bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return (
        Row(bias, (f"{ours}relative.table",)),
        *_t5_attention(block, 0, "SelfAttention", "attention", "attention_norm"),
        *(_t5_attention(block, 1, "EncDecAttention", "cross", "cross_norm") if crosses else ()),
        *(
            Row(
                f"{block[0]}.layer.{last}.DenseReluDense.{name}.weight",
                (f"{block[1]}.mlp.{path}.kernel",),
                transposed=True,
                gated=gated,
            )
            for name, (path, gated) in mlp.items()
        ),
        _rms_norm(f"{block[0]}.layer.{last}.layer_norm", f"{block[1]}.mlp_norm", 0.0),
        _rms_norm(f"{stack}.final_layer_norm", f"{ours}final_norm", 0.0),
    )


_T5 = Family(
    rows=(
        Row("shared.weight", ("embed",)),
        *_t5_stack("encoder", "encoder.", crosses=False),
        *_t5_stack("decoder", "", crosses=True),
        Row("lm_head.weight", ("unembed",)),
    ),
    prefix="",
    values=None,
    # what the first checkpoints have, though nothing reads it
    ignored=r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    repeats=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
)
_LAYER = "encoder.layer.{l}"
_BERT = Family(
    rows=(
        Row("embeddings.word_embeddings.weight", ("embed",)),
        Row("embeddings.position_embeddings.weight", ("positions",)),
        Row("embeddings.token_type_embeddings.weight", ("types",)),
        *_layer_norm("embeddings.LayerNorm", "embed_norm"),
        *_dense(f"{_LAYER}.attention.self.query", "blocks.{l}.attention.query"),
        *_dense(f"{_LAYER}.attention.self.key", "blocks.{l}.attention.key"),
        *_dense(f"{_LAYER}.attention.self.value", "blocks.{l}.attention.value"),
        *_dense(f"{_LAYER}.attention.output.dense", "blocks.{l}.attention.out"),
        *_layer_norm(f"{_LAYER}.attention.output.LayerNorm", "blocks.{l}.attention_norm"),
        *_dense(f"{_LAYER}.intermediate.dense", "blocks.{l}.mlp.up"),
        *_dense(f"{_LAYER}.output.dense", "blocks.{l}.mlp.down"),
        *_layer_norm(f"{_LAYER}.output.LayerNorm", "blocks.{l}.mlp_norm"),
    ),
    prefix="bert.",
    values=None,
    # what pre-training alone reads, too: pooler and heads
    ignored=r"embeddings\.(position_ids|token_type_ids)|(pooler|cls)\..*",
)
# of what writes
FAMILIES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma3_text": _GEMMA3,
    "gpt2": _GPT2,
    "t5": _T5,
}
# of encoders, which are read alone
ENCODERS = {"bert": _BERT}
_ALL = FAMILIES | ENCODERS


def rows_of(family: str, layers: int, parameters: Container[str]) -> dict[str, Row]:
    """The rows whose parameters a model has, for every layer, by stored name with prefix."""
    table: dict[str, Row] = {}
    for row in _ALL[family].rows:
        for layer in range(layers) if "{l}" in row.name else (0,):
            paths = tuple(path.format(l=layer) for path in row.paths)
            gates = paths[0].rpartition(".mlp.")[0] + ".mlp.gate.kernel"
            if row.gated is not None and row.gated != (gates in parameters):
                continue
            if all(path in parameters for path in paths):
                name = full_name(family, row.name.format(l=layer))
                table[name] = row._replace(name=name, paths=paths)
    return table


def full_name(family: str, stored: str) -> str:
    """A stored name with the family's prefix, whether it had it or not."""
    rules = _ALL[family]
    bare = stored.removeprefix(rules.prefix)
    return bare if bare == rules.bare else rules.prefix + bare


def is_ignored(family: str, stored: str) -> bool:
    """True for buffers that older checkpoints store although they can be computed."""
    return re.fullmatch(_ALL[family].ignored, stored.removeprefix(_ALL[family].prefix)) is not None
