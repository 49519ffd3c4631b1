"""What a token of a row sees: one picture for packed examples, samples of one prompt, and trees.

A row holds a forest, each tree in depth-first order: a token is followed by all that goes on from
it. One number a token says where that ends, and one how deep it stands. Two questions, the first
one (a b) with two solutions that part after c, the second (x) with one, and padding:

    index       0 1 2 3 4 5 6 7 8 9
    token       a b c d e f g x y .       a b c d e     a b c f g     x y
    position    0 1 2 3 4 3 4 0 1 0       its depth: the place in its own text
    end         7 7 7 5 5 7 7 9 9 0       0: padding, which nobody sees

    seen by a   1
            b   1 1
            c   1 1 1
            d   1 1 1 1
            e   1 1 1 1 1
            f   1 1 1 0 0 1               token i sees token j if j <= i < end_j:
            g   1 1 1 0 0 1 1             those on the way from its root to itself
            x   0 0 0 0 0 0 0 1
            y   0 0 0 0 0 0 0 1 1
            .   0 0 0 0 0 0 0 0 0 0

A chain of tokens, such as a packed example, is a tree without branches: all its tokens end where it
ends.

Where an encoder reads the prompts, they lie in a row of their own beside that of the texts, and a
token of them has for its end that of the text which it is the prompt of (`crossed`):

    token       s s s t t .       p p q q q .       t sees q q q; a prompt's tokens see each other
    end         3 3 3 5 5 0       3 3 5 5 5 0

A long row is read in blocks of queries, each with the keys that it sees: its own, and those on the
way to its first token. In the row above, blocks of three:

    block       own keys   before it
    a b c       0 1 2      none
    d e f       3 4 5      0 1 2      what f sees of them is on the way to d
    g x y       6 7 8      0 1 2 5
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp

BLOCK = 128  # C, queries of a block: smaller products are slow


class View(NamedTuple):
    """What the tokens of rows see."""

    seen_BTS: jax.Array | None  # bool: `seen`, or of blocks `seen_by_blocks`
    before_BXS: jax.Array | None = None  # int32: `before`; None: the rows are read whole


def views(
    positions_BT: jax.Array,
    ends_BT: jax.Array | None,
    windows: Iterable[int | None],
    depth: int | None = None,
) -> dict[int | None, View]:
    """What the tokens of rows see, by the window of a layer.

    Args:
        positions_BT: as in `seen`.
        ends_BT: likewise.
        windows: of the layers.
        depth: static; most tokens on the way to any one, that included. Rows are then read in
            blocks where the keys gathered for these are fewer than the row's. None: read whole.
    """
    windows, T = dict.fromkeys(windows), positions_BT.shape[1]
    if ends_BT is None or depth is None or T % BLOCK or depth + BLOCK >= T:
        return {window: View(seen(positions_BT, ends_BT, window)) for window in windows}
    before_BXS = before(ends_BT, depth)
    return {
        window: View(seen_by_blocks(positions_BT, ends_BT, before_BXS, window), before_BXS)
        for window in windows
    }


def seen(
    positions_BT: jax.Array, ends_BT: jax.Array | None, window: int | None = None
) -> jax.Array | None:
    """Which tokens of its row each token sees: bool [B, T, T], the first dimension the queries.

    Args:
        positions_BT: int32, depth of each token in its tree.
        ends_BT: int32, one beyond the last token of each token's subtree; 0: padding. None: each
            row is one chain from its first token on.
        window: most tokens that are seen, the token itself among them, counted by depth and not by
            the distance in the row; None: all on the way.

    Returns:
        None where a token sees just itself and all before it.
    """
    if ends_BT is None and window is None:
        return None
    order = jnp.arange(positions_BT.shape[1])
    seen_BTS = order[:, None] >= order
    if ends_BT is not None:
        seen_BTS = seen_BTS & (order[:, None] < ends_BT[:, None, :])
    if window is None:
        return seen_BTS
    return seen_BTS & (positions_BT[:, :, None] - positions_BT[:, None, :] < window)


def crossed(ends_BT: jax.Array, prompt_ends_BS: jax.Array) -> jax.Array:
    """Which tokens of the prompts beside its row each token sees: all of its own text's prompt.

    Args:
        ends_BT: as in `seen`; rows of chains, each of which has an end of its own.
        prompt_ends_BS: int32, the end of the text whose prompt a token is of; 0: padding.

    Returns:
        bool [B, T, S]. With the prompts' own for both: what the tokens of a prompt see of it.
    """
    return (ends_BT[:, :, None] == prompt_ends_BS[:, None]) & (prompt_ends_BS[:, None] > 0)


def before(ends_BT: jax.Array, depth: int) -> jax.Array:
    """What the blocks of a row see of what stands before them.

    Of the tokens before a block, those that any of its tokens sees are on the way to its first one:
    a subtree lies in one piece, so what goes on beyond that token holds it.

    Args:
        ends_BT: int32, T a multiple of BLOCK.
        depth: static; S, of which no token of a block's first way has more before it.

    Returns:
        int32 [B, X, S]: the row's indices of the tokens on the way to each of the X blocks, in
        order; T where there are no more.
    """
    order_T = jnp.arange(ends_BT.shape[1])
    first_X = order_T[::BLOCK, None]
    open_BXT = (order_T < first_X) & (first_X < ends_BT[:, None, :])
    find = jax.vmap(jax.vmap(lambda rank_T: jnp.searchsorted(rank_T, jnp.arange(1, depth + 1))))
    return find(jnp.cumsum(open_BXT, axis=2)).astype(jnp.int32)


def seen_by_blocks(
    positions_BT: jax.Array,
    ends_BT: jax.Array,
    before_BXS: jax.Array,
    window: int | None = None,
) -> jax.Array:
    """`seen` of the blocks of a row, each of which has its own tokens for keys, and behind them
    those on the way to it.

    Args:
        positions_BT: as in `seen`.
        ends_BT: likewise.
        before_BXS: as `before` gives it.
        window: as in `seen`.

    Returns:
        bool [B * X, C, C + S].
    """
    (B, T), (_, X, S) = ends_BT.shape, before_BXS.shape
    order_XC = jnp.arange(T).reshape(X, BLOCK)

    def of_blocks(row_BT: jax.Array) -> tuple[jax.Array, jax.Array]:
        at_BXS, row_B1T = jnp.minimum(before_BXS, T - 1), row_BT[:, None]
        return jnp.take_along_axis(row_B1T, at_BXS, axis=2), row_BT.reshape(B, X, BLOCK)

    (end_BXS, end_BXC), (position_BXS, position_BXC) = of_blocks(ends_BT), of_blocks(positions_BT)
    seen_BXCS = (before_BXS < T)[:, :, None] & (order_XC[..., None] < end_BXS[:, :, None])
    if window is not None:
        seen_BXCS &= position_BXC[..., None] - position_BXS[:, :, None] < window
    own_BCC = seen(
        position_BXC.reshape(-1, BLOCK), (end_BXC - order_XC[:, :1]).reshape(-1, BLOCK), window
    )
    assert own_BCC is not None  # there are ends
    return jnp.concatenate([own_BCC, seen_BXCS.reshape(-1, BLOCK, S)], axis=2)
