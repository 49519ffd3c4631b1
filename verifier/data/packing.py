"""Puts examples of different lengths into rows of one length.

Lengths are all it is given; the same ones give the same rows everywhere.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence

from verifier.errors import DataError

# Rows that may still be filled: few, so that packing is linear in time and moves no example far.
OPEN_ROWS = 64
NAMED = 20  # too long examples that a warning names


def pack_lengths(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """First fit over the last OPEN_ROWS rows.

    Args:
        lengths: tokens of each example, in the order they are to be used; none above row_tokens.
        row_tokens: tokens of a row.

    Returns:
        The indices of the examples of each row; every index stands in exactly one row. Rows are in
        order of their first example.
    """
    rows: list[list[int]] = []
    room: list[int] = []  # of the open rows, oldest first
    opened: list[list[int]] = []
    for index, length in enumerate(lengths):
        for slot, left in enumerate(room):
            if length <= left:
                opened[slot].append(index)
                room[slot] = left - length
                if left == length:  # full
                    del room[slot], opened[slot]
                break
        else:
            row = [index]
            rows.append(row)
            if length < row_tokens:
                room.append(row_tokens - length)
                opened.append(row)
                if len(room) > OPEN_ROWS:
                    del room[0], opened[0]
    return rows


def rooms(first: int) -> Iterator[int]:
    """Lengths that anything is padded to: first, 3/2 of it, twice it, 3 times, 4 times, 6 times...

    The lengths are few, since something is compiled for each.
    """
    return itertools.chain.from_iterable(
        (first << n, first * 3 // 2 << n) for n in itertools.count()
    )


def doubled_room(first: int, length: int) -> int:
    """The first of first, twice it, 4 times, ... that holds `length`.

    Every second one of `rooms`, for where padding costs little.
    """
    return next(room for room in itertools.islice(rooms(first), 0, None, 2) if room >= length)


def fitting(lengths: Sequence[int], names: Sequence[str], row_tokens: int) -> list[int]:
    """The indices of the examples that fit a row.

    Longer examples are dropped whole, counted and named in one warning.

    Raises:
        DataError: none fits.
    """
    kept = [index for index, length in enumerate(lengths) if length <= row_tokens]
    if len(kept) == len(lengths):
        return kept
    longest = max(lengths)
    if not kept:
        raise DataError(
            f"all {len(lengths):,} examples are longer than row_tokens={row_tokens} (they have "
            f"{min(lengths)} to {longest} tokens); set row_tokens (and model.context) higher"
        )
    dropped = [index for index, length in enumerate(lengths) if length > row_tokens]
    long = list(dict.fromkeys(names[index] or f"number {index}" for index in dropped))
    more = f" and {len(long) - NAMED:,} more" if len(long) > NAMED else ""
    logging.getLogger(__name__).warning(
        "%s of %s examples are left out, never cut: they are longer than row_tokens=%d "
        "(longest: %d tokens): %s%s",
        f"{len(dropped):,}",
        f"{len(lengths):,}",
        row_tokens,
        longest,
        ", ".join(long[:NAMED]),
        more,
    )
    return kept
