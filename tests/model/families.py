"""One tiny member of every family that the transformer covers, with no parameter left at a neutral start."""

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.model.rotary import RopeScaling
from verifier.model.transformer import Arch, Transformer

_SIZES = dict(vocab_size=29, layers=2, width=16, heads=4, kv_heads=2, head_width=4, mlp_width=20, context=32)
FAMILIES = {
    "llama": Arch(**_SIZES),
    "llama3": Arch(**_SIZES, tied=False, rope_scaling=RopeScaling("llama3", factor=4.0, original_context=16)),
    "mistral": Arch(**_SIZES, tied=False, sliding_window=3),
    "qwen2": Arch(**{**_SIZES, "kv_heads": 1}, qkv_bias=True, rope_scaling=RopeScaling("yarn", factor=2.0, original_context=16)),
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
    "gpt2 with a window": Arch(**_SIZES, norm="layer", positions="learned", gated=False, activation="gelu", sliding_window=2),
}


def build(arch: Arch, seed: int = 0, dtype: jax.typing.DTypeLike = jnp.float32) -> Transformer:
    """A transformer whose biases, scales and embeddings all matter: a path that forgets one of them gives other numbers."""
    model = Transformer(arch, rngs=nnx.Rngs(seed), dtype=dtype)
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noisy = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return nnx.merge(graph, jax.tree.unflatten(tree, noisy))


def read(model: Transformer, tokens: list[int]) -> jax.Array:
    """The plain forward pass of one text: hidden [T, D]."""
    row = jnp.asarray([tokens], jnp.int32)
    return model.hidden(row, jnp.arange(row.shape[1])[None], jnp.ones_like(row))[0]
