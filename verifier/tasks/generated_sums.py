"""Sums of two numbers of n digits, with the scratchpad of Nye et al. 2021 that STaR is tried on
(Zelikman et al. 2022, section 4.3).

    624+259,C0           what is left to add, what there is of the sum, and what is carried
    4+9+0=13;62+25,3C1   the last digits and what was carried; what is left then
    2+5+1=08;6+2,83C0
    6+2+0=08;,883C0
    #### 883

The paper's lines lack their first part, which a small model learns to add by. Digits stand side by
side, for a tokenizer of bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence

from verifier.errors import DataError
from verifier.text.problem import Problem, make_problem

LENGTHS = (1, 2, 3, 4, 5)  # digits, where nothing else is asked for; in the paper likewise
TEST_SHARE = 0.2  # of the pairs of numbers
_DRAWS = 10_000


def sums(split: str, count: int, seed: int, lengths: Sequence[int] = ()) -> list[Problem]:
    """The first `count` sums of a split, none twice; a sum and the same turned round are of one
    split, whatever the seed.

    Args:
        split: "train" or "test"; every other split is taken from "train" by the caller.
        count: number of sums.
        seed: which ones.
        lengths: digits of both numbers, in turn; one of which no sum is left is passed over. Empty:
            1 to 5.

    Returns:
        Problems whose source is `sums/` and the number of digits.

    Raises:
        DataError: an unknown split, or there are no more sums.
    """
    if split not in ("train", "test"):
        raise DataError(f"sums have the splits 'train' and 'test', not {split!r}")
    lengths = lengths or LENGTHS
    found = list(itertools.islice(_stream(split, seed, lengths), count))
    if len(found) < count:
        raise DataError(
            f"{count:,} {split} sums asked for, but there are {len(found):,} of {list(lengths)} "
            "digits; ask for fewer, or for longer ones (data.lengths)"
        )
    return found


def scratchpad(a: int, b: int) -> str:
    """The worked sum of two numbers of as many digits, answer and all."""
    left, done, carried = (str(a), str(b)), "", 0
    lines = [f"{a}+{b},C0"]
    while left[0]:
        column = f"{left[0][-1]}+{left[1][-1]}+{carried}"
        carried, digit = divmod(sum(map(int, column.split("+"))), 10)
        left, done = (left[0][:-1], left[1][:-1]), f"{digit}{done}"
        still = "+".join(left) if left[0] else ""
        lines.append(f"{column}={carried}{digit};{still},{done}C{carried}")
    return "\n".join([*lines, f"#### {a + b}"])


def _stream(split: str, seed: int, lengths: Sequence[int]) -> Iterator[Problem]:
    """Sums of a split until there are no more."""
    rng = random.Random(f"sums/{split}/{seed}")
    seen: set[tuple[int, int]] = set()
    left = list(lengths)
    while left:
        for length in list(left):
            pair = _new_pair(rng, split, length, seen)
            if pair is None:
                left.remove(length)
                continue
            seen.add(pair)
            question, answer = f"{pair[0]}+{pair[1]}", str(sum(pair))
            yield make_problem(question, scratchpad(*pair), answer, f"sums/{length}", split)


def _new_pair(
    rng: random.Random, split: str, length: int, seen: set[tuple[int, int]]
) -> tuple[int, int] | None:
    """Two numbers of so many digits that are new; None: there seem to be none."""
    least = 0 if length == 1 else 10 ** (length - 1)
    for _ in range(_DRAWS):
        pair = rng.randrange(least, 10**length), rng.randrange(least, 10**length)
        if pair not in seen and _split_of(pair) == split:
            return pair
    return None


def _split_of(pair: tuple[int, int]) -> str:
    text = "+".join(map(str, sorted(pair)))
    is_test = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) < TEST_SHARE * 2**32
    return "test" if is_test else "train"
