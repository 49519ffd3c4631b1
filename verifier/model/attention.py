"""Attention of rows of many tokens: packed rows, prompts, long rows of trees in blocks.

The kernel of such rows is chosen here alone. Decoding has one query a row, whose keys lie apart:
`cached_attention`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from verifier.model import precision
from verifier.model.products import in_order, matmul, matmul_nt, matmul_tn

_LEAST_BLOCK = 128  # queries of a block: smaller products are slow
# They leave out three eighths of the products, where no number of blocks leaves out half.
_MOST_BLOCKS = 4
_SCORES_IN_CACHE = 2**20  # float32: what a core's share of the last cache holds
_KEY_SIZES = 4  # numbers of keys that something is compiled for
MASKED = -1e30  # finite: a row that sees nothing (a padding row) gives an even mean, not NaN


def within_rows(
    query_BTNH: jax.Array,
    key_BKTH: jax.Array,
    value_BKTH: jax.Array,
    seen_BTS: jax.Array | None,
    before_BXS: jax.Array | None = None,
) -> jax.Array:
    """A token sees itself and those before it, or of these what a mask lets it see.

    Args:
        query_BTNH: N is a multiple of K.
        key_BKTH: heads stand before positions, as the caches hold them.
        value_BKTH: likewise.
        seen_BTS: `view.seen` of the rows; its first dimension may be 1; None: all that is not
            later.
        before_BXS: `view.before`, where the rows are read in blocks; `seen_BTS` is then
            `view.seen_by_blocks`.

    Returns:
        mixed_BTNH in the queries' dtype, finite everywhere.
    """
    if before_BXS is not None:
        assert seen_BTS is not None
        return _in_blocks(query_BTNH, key_BKTH, value_BKTH, seen_BTS, before_BXS)
    if _kernel(query_BTNH, key_BKTH) == "cudnn":
        # cuDNN turns a mask into a bias, which it reads whole, but leaves out what lies above the
        # diagonal when told that it is causal.
        return _cudnn(query_BTNH, key_BKTH, value_BKTH, seen_BTS, True)
    if seen_BTS is None:
        order = jnp.arange(query_BTNH.shape[1])
        seen_BTS = order[None, :, None] >= order
    return _below_the_diagonal(query_BTNH, key_BKTH, value_BKTH, seen_BTS)


def masked(
    query_BTNH: jax.Array, key_BKSH: jax.Array, value_BKSH: jax.Array, mask_BTS: jax.Array
) -> jax.Array:
    """A token sees what the mask says of what stands before the row, and of the row up to itself.

    Args:
        query_BTNH: N is a multiple of K.
        key_BKSH: heads stand before positions; the last T of S are the row's own.
        value_BKSH: likewise.
        mask_BTS: bool, True where seen, which no later token may be; its first dimension may be 1.

    Returns:
        mixed_BTNH in the queries' dtype, finite everywhere.
    """
    if _kernel(query_BTNH, key_BKSH) == "cudnn":
        return _cudnn(query_BTNH, key_BKSH, value_BKSH, mask_BTS, False)
    return _below_the_diagonal(query_BTNH, key_BKSH, value_BKSH, mask_BTS)


def _in_blocks(
    query_BTNH: jax.Array,
    key_BKTH: jax.Array,
    value_BKTH: jax.Array,
    seen_BCS: jax.Array,
    before_BXS: jax.Array,
) -> jax.Array:
    """`masked`, whose rows are the blocks of long rows, behind what each sees before it."""
    B, T, N, H = query_BTNH.shape
    K, X = key_BKTH.shape[1], before_BXS.shape[1]

    def of_blocks(whole_BKTH: jax.Array) -> jax.Array:
        own_BXKCH = whole_BKTH.reshape(B, K, X, -1, H).swapaxes(1, 2)
        # What counts for nothing is some token of the row.
        given_BKXSH = jax.vmap(lambda row_KTH, at_XS: row_KTH.at[:, at_XS].get(mode="clip"))(
            whole_BKTH, before_BXS
        )
        given_BXKSH = given_BKXSH.swapaxes(1, 2)
        return jnp.concatenate([own_BXKCH, given_BXKSH], axis=3).reshape(B * X, K, -1, H)

    mixed_BCNH = masked(
        query_BTNH.reshape(B * X, -1, N, H), of_blocks(key_BKTH), of_blocks(value_BKTH), seen_BCS
    )
    return mixed_BCNH.reshape(B, T, N, H)


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


def _kernel(query_BTNH: jax.Array, key_BKSH: jax.Array) -> str:
    return kernel(query_BTNH.dtype, query_BTNH.shape[-1], query_BTNH.shape[1], key_BKSH.shape[2])


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
    query_BTNH: jax.Array, key_BKSH: jax.Array, value_BKSH: jax.Array, mask_BTS: jax.Array
) -> jax.Array:
    """`plain`, a block of queries after the other, each with the keys up to its last one.

    Most of what is masked is never computed.
    """
    tokens, before = query_BTNH.shape[1], key_BKSH.shape[2] - query_BTNH.shape[1]
    size = -(-tokens // max(1, min(_MOST_BLOCKS, tokens // _LEAST_BLOCK)))
    mixed = []
    for first in range(0, tokens, size):
        own, seen = slice(first, first + size), slice(before + min(first + size, tokens))
        mixed.append(
            plain(
                query_BTNH[:, own],
                key_BKSH[:, :, seen],
                value_BKSH[:, :, seen],
                mask_BTS[:, own, seen],
            )
        )
    return mixed[0] if len(mixed) == 1 else jnp.concatenate(mixed, axis=1)


def plain(
    query_BTNH: jax.Array, key_BKSH: jax.Array, value_BKSH: jax.Array, mask_BTS: jax.Array
) -> jax.Array:
    """Softmax attention in matrix products that XLA has everywhere.

    On a CPU twice as fast as jax.nn.dot_product_attention with gradients.

    Args and result: see `masked`; here the mask may be any, and a token that sees nothing gets the
    even mean of all values.
    """
    B, T, N, H = query_BTNH.shape
    K = key_BKSH.shape[1]
    grouped_BKTGH = (query_BTNH * H**-0.5).reshape(B, T, K, N // K, H).transpose(0, 2, 1, 3, 4)
    mixed_BKTGH = _softmax_mix(
        grouped_BKTGH,
        in_order(key_BKSH.astype(query_BTNH.dtype)),
        in_order(value_BKSH.astype(query_BTNH.dtype)),
        mask_BTS,
    )
    return mixed_BKTGH.transpose(0, 2, 1, 3, 4).reshape(B, T, N, H)


@jax.custom_vjp
def _softmax_mix(
    query_BKTGH: jax.Array, key_BKSH: jax.Array, value_BKSH: jax.Array, mask_BTS: jax.Array
) -> jax.Array:
    """softmax(query . key) . value of scaled queries, softmax in float32.

    The G query heads of a key head are one matrix.

    On a CPU so few rows at a time that their scores stay in its cache, which halves the time.
    Gradients, for which all scores are kept, gain nothing by it.
    """
    B, K, T, G, _ = query_BKTGH.shape
    fit = max(_SCORES_IN_CACHE // max(K * T * G * key_BKSH.shape[2], 1), 1)
    if fit >= B or jax.default_backend() != "cpu" or not jax.sharding.get_abstract_mesh().empty:
        return _forward(query_BKTGH, key_BKSH, value_BKSH, mask_BTS)[0]
    fit = max(size for size in range(1, fit + 1) if B % size == 0)
    rows = (query_BKTGH, key_BKSH, value_BKSH, jnp.broadcast_to(mask_BTS, (B, *mask_BTS.shape[1:])))
    mixed = jax.lax.map(
        lambda few: _leading_keys(*few),
        [part.reshape(B // fit, fit, *part.shape[1:]) for part in rows],
    )
    return mixed.reshape(query_BKTGH.shape)


def _leading_keys(
    query_BKTGH: jax.Array, key_BKSH: jax.Array, value_BKSH: jax.Array, mask_BTS: jax.Array
) -> jax.Array:
    """`_forward` with as many of the first keys as anything sees, rounded up."""
    S = key_BKSH.shape[2]
    sizes = [-(-S * part // _KEY_SIZES) for part in range(1, _KEY_SIZES + 1)]
    needed = jnp.max(jnp.where(mask_BTS.any(axis=(0, 1)), jnp.arange(1, S + 1), 0))

    def of_size(size: int) -> Callable[[], jax.Array]:
        return lambda: _forward(
            query_BKTGH, key_BKSH[:, :, :size], value_BKSH[:, :, :size], mask_BTS[..., :size]
        )[0]

    return jax.lax.switch(
        jnp.searchsorted(jnp.array(sizes), needed), [of_size(size) for size in sizes]
    )


def _forward(
    query_BKTGH: jax.Array, key_BKSH: jax.Array, value_BKSH: jax.Array, mask_BTS: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    B, K, T, G, H = query_BKTGH.shape
    scores = matmul_nt(query_BKTGH.reshape(B, K, T * G, H), key_BKSH).reshape(B, K, T, G, -1)
    scores = jnp.where(mask_BTS[:, None, :, None, :], scores, MASKED)
    weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True)).reshape(B, K, T * G, -1)
    total = weights.sum(axis=-1, keepdims=True)
    weights = weights.astype(value_BKSH.dtype)
    mixed = (matmul(weights, value_BKSH) / total).astype(query_BKTGH.dtype)
    kept = (query_BKTGH, key_BKSH, value_BKSH, weights, total, mixed)
    return mixed.reshape(query_BKTGH.shape), kept


def _backward(
    kept: tuple[jax.Array, ...], slope_BKTGH: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """Slopes of scaled queries, keys and values.

    With w the weights before they are divided by their total: slope of a score = w * (slope .
    value - slope . mixed) / total.

    Written out, because plain differentiation walks more often over [T, S]. The division is done to
    the slope, which is H wide, not S.
    """
    query_BKTGH, key_BKSH, value_BKSH, weights, total, mixed = kept
    slope = slope_BKTGH.reshape(mixed.shape).astype(jnp.float32) / total
    level = (slope * mixed.astype(jnp.float32)).sum(axis=-1, keepdims=True)
    slope = slope.astype(value_BKSH.dtype)
    value_slope = matmul_tn(weights, slope)
    score_slope = (weights * (matmul_nt(slope, value_BKSH) - level)).astype(key_BKSH.dtype)
    query_slope = matmul(score_slope, key_BKSH).reshape(query_BKTGH.shape)
    key_slope = matmul_tn(score_slope, query_BKTGH.reshape(mixed.shape))
    return (
        query_slope.astype(query_BKTGH.dtype),
        key_slope.astype(key_BKSH.dtype),
        value_slope.astype(value_BKSH.dtype),
        None,
    )


_softmax_mix.defvjp(_forward, _backward)
