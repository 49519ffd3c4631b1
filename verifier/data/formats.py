"""Which of a teacher's right solutions are learned from, and in which format each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from verifier.errors import DataError
from verifier.text.few_shot import FORMATS


class Planned(NamedTuple):
    """One example to come."""

    row: int  # of the teacher's table
    format: str
    repeat: int  # how often the row has been learned from in this format before


def planned(
    rows: Mapping[str, Sequence[int]], mix: Sequence[float], seed: int
) -> tuple[list[Planned], dict[str, int]]:
    """The examples of an epoch: as many as there are right solutions, shared out to the formats.

    A format with the chain of thought learns from every solution in an order drawn by the seed,
    again and again where its share is larger than their number; one with the answer alone learns
    from the first solution of each problem (Fu et al. 2023: at most one a question), likewise.
    Which share a format has is its part of `mix`, whatever the number of problems: in the paper
    formats have as many examples as there are.

    Args:
        rows: right solutions by problem, as rows of a table.
        mix: of each of `few_shot.FORMATS` its share, in this order, at least 0.
        seed: of the order.

    Returns:
        The examples, by format, and how many each format has.

    Raises:
        DataError: nothing to learn from.
    """
    every = [row for own in rows.values() for row in own]
    if not every:
        raise DataError(
            "none of the teacher's solutions is right, so there is nothing to learn from; look at "
            "what it writes (tables/samples of its place), or take another teacher"
        )
    shares = np.asarray(mix, float) / np.sum(mix)
    # What is rounded is where a format ends, so that all together have as many as there are.
    ends = np.rint(np.cumsum(shares) * len(every)).astype(int)
    counts = dict(zip(FORMATS, np.diff(ends, prepend=0).tolist(), strict=True))
    firsts = [own[0] for own in rows.values() if own]
    examples: list[Planned] = []
    for name, count in counts.items():
        pool = every if FORMATS[name].is_worked else firsts
        order = [pool[index] for index in _order(len(pool), f"{seed}/{name}")]
        examples += [
            Planned(order[number % len(order)], name, number // len(order))
            for number in range(count)
        ]
    return examples, counts


def _order(count: int, key: str) -> list[int]:
    digest = hashlib.sha256(key.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8])).permutation(count).tolist()
