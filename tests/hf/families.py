"""One tiny member of every family that the transformer covers, with no parameter left at a neutral
start.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.model.arch import Arch
from verifier.model.rotary import RopeScaling
from verifier.model.transformer import Transformer

_SIZES = dict(
    vocab_size=29, layers=2, width=16, heads=4, kv_heads=2, head_width=4, mlp_width=20, context=32
)
FAMILIES = {
    "llama": Arch(**_SIZES),
    "llama3": Arch(
        **_SIZES, tied=False, rope_scaling=RopeScaling("llama3", factor=4.0, original_context=16)
    ),
    "mistral": Arch(**_SIZES, tied=False, sliding_window=3),
    "qwen2": Arch(
        **{**_SIZES, "kv_heads": 1},
        qkv_bias=True,
        rope_scaling=RopeScaling("yarn", factor=2.0, original_context=16),
    ),
    "qwen3": Arch(**{**_SIZES, "head_width": 6}, qk_norm=True),
    "gemma3": Arch(
        **{**_SIZES, "layers": 3, "head_width": 6},
        activation="gelu_tanh",
        rope_theta=100.0,
        rope_scaling=RopeScaling("linear", factor=2.0),
        qk_norm=True,
        sliding_window=3,
        sliding_window_pattern=2,
        local_rope_theta=10.0,
        query_pre_attn_scalar=9,
        post_norms=True,
        scaled_embed=True,
    ),
    "gpt2": Arch(
        **{**_SIZES, "kv_heads": 4},
        norm="layer",
        positions="learned",
        activation="gelu_tanh",
        gated=False,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
    ),
    "gpt2 with a window": Arch(
        **_SIZES,
        norm="layer",
        positions="learned",
        gated=False,
        activation="gelu",
        sliding_window=2,
    ),
}
_RELATIVE = dict(
    **{**_SIZES, "kv_heads": 4, "head_width": 3},
    positions="relative",
    activation="relu",
    gated=False,
    query_pre_attn_scalar=1.0,
    scaled_output=True,
    encoder_layers=1,
    relative_buckets=8,
    relative_distance=6,
)
# what reads prompts by an encoder
ENCODERS = {
    "t5": Arch(**_RELATIVE),
    "t5 1.1": Arch(
        **_RELATIVE
        | dict(
            activation="gelu_tanh", gated=True, tied=False, scaled_output=False, encoder_layers=3
        )
    ),
}


def build(arch: Arch, seed: int = 0, dtype: jax.typing.DTypeLike = jnp.float32) -> Transformer:
    """A transformer whose biases, scales and embeddings all matter: a path that forgets one of them
    gives other numbers.
    """
    graph, shapes = nnx.split(
        nnx.eval_shape(lambda: Transformer(arch, rngs=nnx.Rngs(0), dtype=dtype))
    )
    random = np.random.default_rng(seed)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        around = 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(around + 0.25 * random.normal(size=leaf.shape), leaf.dtype)

    return nnx.merge(graph, jax.tree_util.tree_map_with_path(fill, shapes))


# at these sizes compiling is all the time
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def call(model: Transformer, verb: str, *arguments):
    """model.verb(*arguments), compiled: one operation after the other would compile a hundred small
    programs.
    """
    return _call(*nnx.split(model), verb, arguments)


@functools.partial(quick_jit, static_argnums=(0, 2))
def _call(graph, state, verb, arguments):
    return getattr(nnx.merge(graph, state), verb)(*arguments)


def hidden(model: Transformer, tokens_BT) -> jax.Array:
    """The plain forward pass of rows that are one text each, hidden [B, T, D]."""
    tokens_BT = np.asarray(tokens_BT)
    return call(
        model,
        "hidden",
        tokens_BT,
        np.broadcast_to(np.arange(tokens_BT.shape[1]), tokens_BT.shape),
        None,
    )


def read(model: Transformer, *texts: list[int]) -> list[np.ndarray]:
    """The plain forward pass of each text, hidden [T, D]; all tests share one shape, four rows of
    12 tokens.
    """
    tokens, ends = np.zeros((4, 12), np.int32), np.zeros((4, 12), np.int32)
    for row, text in enumerate(texts):
        tokens[row, : len(text)], ends[row, : len(text)] = text, len(text)
    hidden = call(model, "hidden", tokens, np.broadcast_to(np.arange(12), tokens.shape), ends)
    return [
        np.asarray(hidden[row, : len(text)].astype(jnp.float32)) for row, text in enumerate(texts)
    ]
