"""The decoder's layers: norms, projections, attention, MLP, residual dropout (Flax NNX)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.model import products
from verifier.model.arch import Arch
from verifier.model.rotary import rotate
from verifier.model.sharding import first_row, summed

ACTIVATIONS = {
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
}


class RMSNorm(nnx.Module):
    """x / rms(x) * scale, in float32."""

    def __init__(self, width: int, eps: float):
        self.scale = nnx.Param(jnp.ones(width, jnp.float32))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return (wide * self.scale[...]).astype(x.dtype)


class LayerNorm(nnx.Module):
    """(x - mean(x)) / std(x) * scale + bias, in float32."""

    def __init__(self, width: int, eps: float):
        self.scale = nnx.Param(jnp.ones(width, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        wide = x.astype(jnp.float32)
        wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return (wide * self.scale[...] + self.bias[...]).astype(x.dtype)


# Of dropout: static, or traced where it changes from step to step.
DropoutRate = float | jax.Array

NORMS = {"rms": RMSNorm, "layer": LayerNorm}


def residual_dropout(x: jax.Array, rate: DropoutRate, key: jax.Array | None) -> jax.Array:
    """Drops entries of a block's output before it joins the residual stream.

    The rest is scaled up; a static rate of 0, or no key: x itself.
    """
    if key is None or (not isinstance(rate, jax.Array) and rate == 0.0):
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))


class Linear(nnx.Linear):
    """nnx.Linear on [..., D] as one matrix of rows: multiplied in its dtype, summed in float32.

    With more dimensions XLA's CPU compiler copies operands of the kernel's gradient.
    """

    lora_scale = 0.0  # of the adapters `lora_a` and `lora_b` (`model.lora`); 0: it has none
    lora_a: nnx.Param
    lora_b: nnx.Param

    def __call__(self, inputs: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
        """float32 [..., outputs] of inputs [..., D]."""
        flat = inputs.reshape(-1, inputs.shape[-1]).astype(self.dtype)
        out = products.linear(flat, self.kernel[...])
        if self.lora_scale:
            thin = products.linear(flat, self.lora_a[...]).astype(flat.dtype)
            out = out + self.lora_scale * products.linear(thin, self.lora_b[...])
        if self.bias is not None:
            out = out + self.bias[...]
        return out.reshape(*inputs.shape[:-1], out.shape[-1])


class LinearOfParts(Linear):
    """A dense layer whose inputs the devices that share it may have divided among them.

    The bias is added once, to the sum.
    """

    def __call__(self, inputs: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
        part = super().__call__(inputs, *args, **kwargs)
        if self.bias is not None:
            part -= jnp.where(first_row(1) > 0, self.bias[...], 0)
        return summed(part)


def _linear(
    inputs: int,
    outputs: int,
    bias: bool,
    std: float,
    dtype: jax.typing.DTypeLike,
    rngs: nnx.Rngs,
    kind: type[Linear] = Linear,
) -> Linear:
    """A dense layer with float32 parameters and activations of `dtype`."""
    init = nnx.initializers.normal(std)
    return kind(
        inputs,
        outputs,
        use_bias=bias,
        kernel_init=init,
        dtype=dtype,
        param_dtype=jnp.float32,
        rngs=rngs,
    )


class Attention(nnx.Module):
    """The projections before and after attention."""

    def __init__(self, arch: Arch, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike):
        std, out_std = arch.width**-0.5, (arch.heads * arch.head_width * 2 * arch.layers) ** -0.5
        kv_width = arch.kv_heads * arch.head_width
        self.query = _linear(
            arch.width, arch.heads * arch.head_width, arch.qkv_bias, std, dtype, rngs
        )
        self.key = _linear(arch.width, kv_width, arch.qkv_bias, std, dtype, rngs)
        self.value = _linear(arch.width, kv_width, arch.qkv_bias, std, dtype, rngs)
        self.out = _linear(
            arch.heads * arch.head_width,
            arch.width,
            arch.out_bias,
            out_std,
            dtype,
            rngs,
            LinearOfParts,
        )
        if arch.qk_norm:
            self.query_norm = RMSNorm(arch.head_width, arch.norm_eps)
            self.key_norm = RMSNorm(arch.head_width, arch.norm_eps)
        self.head_width, self.qk_norm = arch.head_width, arch.qk_norm
        # Attention divides scores by the root of the head width, whatever the arch wants.
        self.query_factor = (
            arch.head_width / (arch.query_pre_attn_scalar or arch.head_width)
        ) ** 0.5

    def query_of(self, x: jax.Array) -> jax.Array:
        """The query [..., T, N, H] of x [..., T, D], for keys of another text (`keys_of`)."""
        q = self.query(x).reshape(*x.shape[:-1], -1, self.head_width)
        return (q if self.query_factor == 1.0 else q * self.query_factor).astype(self.query.dtype)

    def keys_of(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Key and value [..., K, S, H] of another text's x [..., S, D]."""
        k, v = (
            part(x).reshape(*x.shape[:-1], -1, self.head_width).astype(self.query.dtype)
            for part in (self.key, self.value)
        )
        return k.swapaxes(-3, -2), v.swapaxes(-3, -2)

    def project(
        self, x: jax.Array, cos_sin: tuple[jax.Array, jax.Array] | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Query [..., T, N, H], key and value [..., K, T, H] of x [..., T, D].

        cos_sin None: no rotation.
        """
        q, k, v = (
            part(x).reshape(*x.shape[:-1], -1, self.head_width)
            for part in (self.query, self.key, self.value)
        )
        if self.qk_norm:
            q, k = self.query_norm(q), self.key_norm(k)
        if cos_sin is not None:
            q, k = rotate(q, cos_sin), rotate(k, cos_sin)
        q = q if self.query_factor == 1.0 else q * self.query_factor
        q, k, v = (part.astype(self.query.dtype) for part in (q, k, v))
        return q, k.swapaxes(-3, -2), v.swapaxes(-3, -2)


class MLP(nnx.Module):
    """Gated (Llama) or plain (GPT-2) feed-forward layer."""

    def __init__(self, arch: Arch, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike):
        if arch.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation {arch.activation!r} is not known; it must be one of "
                f"{', '.join(ACTIVATIONS)}"
            )
        std, down_std = arch.width**-0.5, (arch.mlp_width * 2 * arch.layers) ** -0.5
        if arch.gated:
            self.gate = _linear(arch.width, arch.mlp_width, arch.mlp_bias, std, dtype, rngs)
        self.up = _linear(arch.width, arch.mlp_width, arch.mlp_bias, std, dtype, rngs)
        self.down = _linear(
            arch.mlp_width, arch.width, arch.mlp_bias, down_std, dtype, rngs, LinearOfParts
        )
        self.gated, self.activation = arch.gated, arch.activation

    def __call__(self, x: jax.Array) -> jax.Array:
        act = ACTIVATIONS[self.activation]
        return self.down(act(self.gate(x)) * self.up(x) if self.gated else act(self.up(x)))


class Block(nnx.Module):
    """One layer: x + attention(norm(x)), then x + mlp(norm(x)).

    In two halves, so that the caller decides what is attended to.

    With post_norms it is x + norm(attention(norm(x))), and likewise for the MLP. One that crosses
    to another text has x + attention(norm(x), that text) between the two.
    """

    def __init__(
        self,
        arch: Arch,
        *,
        rngs: nnx.Rngs,
        dtype: jax.typing.DTypeLike,
        crosses: bool = False,
    ):
        if arch.norm not in NORMS:
            raise ValueError(
                f"norm {arch.norm!r} is not known; it must be one of {', '.join(NORMS)}"
            )
        self.attention_norm = NORMS[arch.norm](arch.width, arch.norm_eps)
        self.attention = Attention(arch, rngs=rngs, dtype=dtype)
        self.mlp_norm = NORMS[arch.norm](arch.width, arch.norm_eps)
        self.mlp = MLP(arch, rngs=rngs, dtype=dtype)
        self.post_norms = arch.post_norms
        if arch.post_norms:
            self.attention_post_norm = NORMS[arch.norm](arch.width, arch.norm_eps)
            self.mlp_post_norm = NORMS[arch.norm](arch.width, arch.norm_eps)
        if crosses:
            self.cross_norm = NORMS[arch.norm](arch.width, arch.norm_eps)
            self.cross = Attention(arch, rngs=rngs, dtype=dtype)

    def project(
        self, x: jax.Array, cos_sin: tuple[jax.Array, jax.Array] | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """First half: query [..., T, N, H], key and value [..., K, T, H] of x [..., T, D]."""
        return self.attention.project(self.attention_norm(x), cos_sin)

    def join(
        self,
        x: jax.Array,
        mixed: jax.Array,
        dropout: DropoutRate = 0.0,
        dropout_key: jax.Array | None = None,
        crossed: Callable[[jax.Array], jax.Array] | None = None,
    ) -> jax.Array:
        """Second half: the attended values, and then the MLP, join the stream.

        Args:
            x: [..., D].
            mixed: [..., N, H].
            dropout: as `residual_dropout`'s rate.
            dropout_key: None: no dropout.
            crossed: of a layer that crosses to another text, attention of queries [..., N, H] to
                that text.
        """
        attention_key = mlp_key = None
        if dropout_key is not None:
            attention_key, mlp_key = jax.random.split(dropout_key)
        out = self.attention.out(mixed.reshape(*mixed.shape[:-2], -1))
        out = self.attention_post_norm(out) if self.post_norms else out
        x = (x + residual_dropout(out, dropout, attention_key)).astype(x.dtype)
        if crossed is not None:
            cross_key = None if dropout_key is None else jax.random.fold_in(dropout_key, 2)
            mixed = crossed(self.cross.query_of(self.cross_norm(x)))
            out = self.cross.out(mixed.reshape(*mixed.shape[:-2], -1))
            x = (x + residual_dropout(out, dropout, cross_key)).astype(x.dtype)
        out = self.mlp(self.mlp_norm(x))
        out = self.mlp_post_norm(out) if self.post_norms else out
        return (x + residual_dropout(out, dropout, mlp_key)).astype(x.dtype)
