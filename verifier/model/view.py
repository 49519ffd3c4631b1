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
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


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


def seen_before(
    positions_BT: jax.Array, length_B: jax.Array, keys: int, window: int | None = None
) -> jax.Array:
    """Which tokens of the prompt before its row each token sees: bool [B, T, S].

    Args:
        positions_BT: int32, counted from the prompt's first token on.
        length_B: int32, tokens of each row's prompt.
        keys: S, positions that a prompt is padded to.
        window: as in `seen`.
    """
    order = jnp.arange(keys)
    seen_BTS = jnp.broadcast_to(order < length_B[:, None, None], (*positions_BT.shape, keys))
    if window is None:
        return seen_BTS
    return seen_BTS & (positions_BT[:, :, None] - order < window)
