"""Attention of rows of many tokens: packed rows, prompts, long rows of trees in blocks.

The kernel of such rows is chosen here alone. Decoding has one query a row, whose keys lie apart:
`cached_attention`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from verifier.model import precision
from verifier.model.products import in_order, matmul, matmul_nt, matmul_tn, on_one_cpu
from verifier.model.view import BLOCK, View

# They leave out three eighths of the products, where no number of blocks leaves out half.
_MOST_BLOCKS = 4
_SCORES_IN_CACHE = 2**20  # float32: what a core's share of the last cache holds
_KEY_SIZES = 4  # steps in the number of keys of a block, something being compiled for each
MASKED = -1e30  # finite: a row that sees nothing (a padding row) gives an even mean, not NaN


def within_rows(
    query_BTNH: jax.Array,
    key_BKTH: jax.Array,
    value_BKTH: jax.Array,
    see: View,
    bias_1NTT: jax.Array | None = None,
) -> jax.Array:
    """A token sees itself and those before it, or of these what a view lets it see.

    Args:
        query_BTNH: N is a multiple of K.
        key_BKTH: heads stand before positions, as the caches hold them.
        value_BKTH: likewise.
        see: what each token of these rows sees.
        bias_1NTT: float32, added to the scores of all rows; rows of blocks have none.

    Returns:
        mixed_BTNH in the queries' dtype, finite everywhere.
    """
    if see.before_BXS is not None:
        assert bias_1NTT is None
        return _in_blocks(query_BTNH, key_BKTH, value_BKTH, see)
    tokens, seen_BTS = query_BTNH.shape[1], see.seen_BTS
    if bias_1NTT is None and _kernel(query_BTNH, tokens) == "cudnn":
        # cuDNN turns a mask into a bias, which it reads whole, but leaves out what lies above the
        # diagonal when told that it is causal.
        return _cudnn(query_BTNH, key_BKTH, value_BKTH, seen_BTS, True)
    if seen_BTS is None:
        order = jnp.arange(tokens)
        seen_BTS = order[None, :, None] >= order
    return _below_the_diagonal(query_BTNH, key_BKTH, value_BKTH, seen_BTS, bias_1NTT)


def _in_blocks(
    query_BTNH: jax.Array, key_BKTH: jax.Array, value_BKTH: jax.Array, see: View
) -> jax.Array:
    """Long rows as B * X short ones: each block with its own keys and those it sees before it."""
    assert see.before_BXS is not None and see.seen_BTS is not None
    (B, T, N, H), (_, X, S) = query_BTNH.shape, see.before_BXS.shape
    K, C = key_BKTH.shape[1], T // X
    own_BXC = jnp.broadcast_to(jnp.arange(T).reshape(X, C), (B, X, C))
    # What counts for nothing is some token of the row.
    at_BXS = jnp.concatenate([own_BXC, jnp.minimum(see.before_BXS, T - 1)], axis=2)
    query_BCNH = query_BTNH.reshape(B * X, C, N, H)
    if on_one_cpu():
        needed_BX = C + (see.before_BXS < T).sum(axis=2)
        mixed_BCNH = _block_by_block(
            query_BCNH, key_BKTH, value_BKTH, see.seen_BTS, at_BXS, needed_BX.reshape(-1)
        )
        return mixed_BCNH.reshape(B, T, N, H)

    def gathered(whole_BKTH: jax.Array) -> jax.Array:
        of_blocks_BKXSH = jax.vmap(lambda row_KTH, at_XS: row_KTH[:, at_XS])(whole_BKTH, at_BXS)
        return of_blocks_BKXSH.swapaxes(1, 2).reshape(B * X, K, C + S, H)

    rows = query_BCNH, gathered(key_BKTH), gathered(value_BKTH), see.seen_BTS
    cudnn = _kernel(query_BCNH, C + S) == "cudnn"
    return (_cudnn(*rows, False) if cudnn else plain(*rows)).reshape(B, T, N, H)


def _block_by_block(
    query_BCNH: jax.Array,
    key_BKTH: jax.Array,
    value_BKTH: jax.Array,
    seen_BCS: jax.Array,
    at_BXS: jax.Array,
    needed_B: jax.Array,
) -> jax.Array:
    """One block after the other with the first of its keys, as many as it needs, rounded up.

    On a CPU twice as fast as all at once: keys and scores stay in its cache.
    """
    B, K, T, H = key_BKTH.shape
    at_BS = (at_BXS + T * jnp.arange(B)[:, None, None]).reshape(len(query_BCNH), -1)
    key_KTH, value_KTH = (
        part.swapaxes(0, 1).reshape(K, B * T, H) for part in (key_BKTH, value_BKTH)
    )
    least, most = query_BCNH.shape[1], at_BS.shape[1]
    sizes = [least + (most - least) * part // _KEY_SIZES for part in range(_KEY_SIZES + 1)]

    def read(block: tuple[jax.Array, ...]) -> jax.Array:
        query_CNH, seen_CS, at_S, needed = block

        def with_keys(size: int) -> Callable[[], jax.Array]:
            def mixed() -> jax.Array:
                key_KSH, value_KSH = key_KTH[:, at_S[:size]], value_KTH[:, at_S[:size]]
                parts = query_CNH, key_KSH, value_KSH, seen_CS[:, :size]
                return plain(*(part[None] for part in parts))[0]

            return mixed

        return jax.lax.switch(
            jnp.searchsorted(jnp.array(sizes), needed), [with_keys(size) for size in sizes]
        )

    return jax.lax.map(read, (query_BCNH, seen_BCS, at_BS, needed_B))


def choose(
    platform: str, dtype: jax.typing.DTypeLike, head_width: int, tokens: int, keys: int
) -> str:
    """The kernel for rows of a kind: "cudnn" or "plain".

    Args:
        platform: "cuda" for an NVIDIA device with tensor cores for bfloat16; whatever else has no
            kernel of its own here.
        dtype: of queries, keys and values.
        head_width: H.
        tokens: T.
        keys: S.
    """
    # What jax._src.cudnn refuses: float32, heads that are wide or no multiple of 8, odd lengths
    # under a mask when gradients are taken.
    narrow = jnp.dtype(dtype) in (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
    fits = head_width % 8 == 0 and head_width <= 128 and tokens % 2 == 0 and keys % 2 == 0
    return "cudnn" if platform == "cuda" and narrow and fits else "plain"


def kernel(dtype: jax.typing.DTypeLike, head_width: int, tokens: int, keys: int) -> str:
    """The kernel on the default device, looked up while a program is traced."""
    device = jax.local_devices()[0]
    # Flash attention of bfloat16 begins with Ampere, too.
    new_enough = precision.nvidia_capability(device) >= precision.AMPERE
    return choose("cuda" if new_enough else device.platform, dtype, head_width, tokens, keys)


def _kernel(query_BTNH: jax.Array, keys: int) -> str:
    return kernel(query_BTNH.dtype, query_BTNH.shape[-1], query_BTNH.shape[1], keys)


def _cudnn(
    query_BTNH: jax.Array,
    key_BKSH: jax.Array,
    value_BKSH: jax.Array,
    mask_BTS: jax.Array | None,
    causal: bool,
) -> jax.Array:
    """cuDNN's flash attention, which wants heads behind positions.

    XLA folds the transposition into the product that makes the keys.
    """
    batch, tokens, keys = query_BTNH.shape[0], query_BTNH.shape[1], key_BKSH.shape[2]
    mask = None
    if mask_BTS is not None:
        mask = jnp.broadcast_to(mask_BTS[:, None], (batch, 1, tokens, keys))
    key_BSKH = key_BKSH.astype(query_BTNH.dtype).swapaxes(1, 2)
    value_BSKH = value_BKSH.astype(query_BTNH.dtype).swapaxes(1, 2)
    return jax.nn.dot_product_attention(
        query_BTNH, key_BSKH, value_BSKH, mask=mask, is_causal=causal, implementation="cudnn"
    )


def _below_the_diagonal(
    query_BTNH: jax.Array,
    key_BKTH: jax.Array,
    value_BKTH: jax.Array,
    seen_BTS: jax.Array,
    bias_1NTT: jax.Array | None,
) -> jax.Array:
    """`plain`, a block of queries after the other, each with the keys up to its last one.

    Most of what is masked is never computed.
    """
    tokens = query_BTNH.shape[1]
    size = -(-tokens // max(1, min(_MOST_BLOCKS, tokens // BLOCK)))
    mixed = []
    for first in range(0, tokens, size):
        own, upto = slice(first, first + size), slice(first + size)
        mixed.append(
            plain(
                query_BTNH[:, own],
                key_BKTH[:, :, upto],
                value_BKTH[:, :, upto],
                seen_BTS[:, own, upto],
                None if bias_1NTT is None else bias_1NTT[:, :, own, upto],
            )
        )
    return mixed[0] if len(mixed) == 1 else jnp.concatenate(mixed, axis=1)


def plain(
    query_BTNH: jax.Array,
    key_BKSH: jax.Array,
    value_BKSH: jax.Array,
    mask_BTS: jax.Array,
    bias_1NTS: jax.Array | None = None,
) -> jax.Array:
    """Softmax attention in matrix products that XLA has everywhere.

    On a CPU twice as fast as jax.nn.dot_product_attention with gradients.

    Args:
        query_BTNH: N is a multiple of K.
        key_BKSH: heads stand before positions.
        value_BKSH: likewise.
        mask_BTS: bool, True where seen; its first two dimensions may be 1.
        bias_1NTS: float32, added to the scores of all rows.

    Returns:
        mixed_BTNH in the queries' dtype; a token that sees nothing gets the even mean of all
        values.
    """
    B, T, N, H = query_BTNH.shape
    K = key_BKSH.shape[1]
    grouped_BKTGH = (query_BTNH * H**-0.5).reshape(B, T, K, N // K, H).transpose(0, 2, 1, 3, 4)
    bias_1KTGS = None
    if bias_1NTS is not None:
        bias_1KTGS = bias_1NTS.reshape(1, K, N // K, T, -1).swapaxes(2, 3)
    mixed_BKTGH = _softmax_mix(
        grouped_BKTGH,
        in_order(key_BKSH.astype(query_BTNH.dtype)),
        in_order(value_BKSH.astype(query_BTNH.dtype)),
        mask_BTS,
        bias_1KTGS,
    )
    return mixed_BKTGH.transpose(0, 2, 1, 3, 4).reshape(B, T, N, H)


def crossing(
    key_BKSH: jax.Array, value_BKSH: jax.Array, seen_BTS: jax.Array
) -> Callable[[jax.Array], jax.Array]:
    """Attention of queries [B, T, N, H] to another text, of which each sees its part."""
    return lambda query_BTNH: plain(query_BTNH, key_BKSH, value_BKSH, seen_BTS)


@jax.custom_vjp
def _softmax_mix(
    query_BKTGH: jax.Array,
    key_BKSH: jax.Array,
    value_BKSH: jax.Array,
    mask_BTS: jax.Array,
    bias_1KTGS: jax.Array | None,
) -> jax.Array:
    """softmax(query . key + bias) . value of scaled queries, softmax in float32.

    The G query heads of a key head are one matrix.

    On a CPU so few rows at a time that their scores stay in its cache, which halves the time.
    Gradients, for which all scores are kept, gain nothing by it.
    """
    B, K, T, G, _ = query_BKTGH.shape
    fit = max(_SCORES_IN_CACHE // max(K * T * G * key_BKSH.shape[2], 1), 1)
    if fit >= B or not on_one_cpu():
        return _forward(query_BKTGH, key_BKSH, value_BKSH, mask_BTS, bias_1KTGS)[0]
    rows = (query_BKTGH, key_BKSH, value_BKSH, jnp.broadcast_to(mask_BTS, (B, *mask_BTS.shape[1:])))

    def mixed(row: tuple[jax.Array, ...]) -> jax.Array:
        query, key, value, mask = (part[None] for part in row)
        return _forward(query, key, value, mask, bias_1KTGS)[0][0]

    return jax.lax.map(mixed, rows, batch_size=fit)


def _forward(
    query_BKTGH: jax.Array,
    key_BKSH: jax.Array,
    value_BKSH: jax.Array,
    mask_BTS: jax.Array,
    bias_1KTGS: jax.Array | None,
) -> tuple[jax.Array, tuple[Any, ...]]:
    B, K, T, G, H = query_BKTGH.shape
    scores = matmul_nt(query_BKTGH.reshape(B, K, T * G, H), key_BKSH).reshape(B, K, T, G, -1)
    scores = scores if bias_1KTGS is None else scores + bias_1KTGS
    scores = jnp.where(mask_BTS[:, None, :, None, :], scores, MASKED)
    weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True)).reshape(B, K, T * G, -1)
    total = weights.sum(axis=-1, keepdims=True)
    weights = weights.astype(value_BKSH.dtype)
    mixed = (matmul(weights, value_BKSH) / total).astype(query_BKTGH.dtype)
    kept = (query_BKTGH, key_BKSH, value_BKSH, weights, total, mixed, bias_1KTGS)
    return mixed.reshape(query_BKTGH.shape), kept


def _backward(
    kept: tuple[Any, ...], slope_BKTGH: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, None, jax.Array | None]:
    """Slopes of scaled queries, keys, values and bias.

    With w the weights before they are divided by their total: slope of a score = w * (slope .
    value - slope . mixed) / total.

    Written out, because plain differentiation walks more often over [T, S]. The division is done to
    the slope, which is H wide, not S.
    """
    query_BKTGH, key_BKSH, value_BKSH, weights, total, mixed, bias_1KTGS = kept
    slope = slope_BKTGH.reshape(mixed.shape).astype(jnp.float32) / total
    level = (slope * mixed.astype(jnp.float32)).sum(axis=-1, keepdims=True)
    slope = slope.astype(value_BKSH.dtype)
    value_slope = matmul_tn(weights, slope)
    score_slope = weights * (matmul_nt(slope, value_BKSH) - level)
    bias_slope = None
    if bias_1KTGS is not None:
        bias_slope = score_slope.astype(jnp.float32).sum(axis=0).reshape(bias_1KTGS.shape)
    score_slope = score_slope.astype(key_BKSH.dtype)
    query_slope = matmul(score_slope, key_BKSH).reshape(query_BKTGH.shape)
    key_slope = matmul_tn(score_slope, query_BKTGH.reshape(mixed.shape))
    return (
        query_slope.astype(query_BKTGH.dtype),
        key_slope.astype(key_BKSH.dtype),
        value_slope.astype(value_BKSH.dtype),
        None,
        bias_slope,
    )


_softmax_mix.defvjp(_forward, _backward)
