"""Texts in which a hidden intermediate result helps, beside texts in which nothing does.

    3+4+2+5=0              the sum of four digits modulo 7
    3+4+2+5=:020:0         the same with its working between colons: what has been summed so far
    cf bd ac dh ?a=f       two hops: a leads to c, which leads to f
    cf bd ac dh ?a=:c:f    the same with its working
    hgkf=hgkf              letters that are written twice
    qwmb zzk eirt          letters that follow from nothing

Some sums and look-ups show their working, as some texts of the world do. The answer of one that
does not is "hard": it takes several steps, and there is no room to write them down. What is written
twice or follows from nothing is "easy": a thought has nothing to add.
"""

from __future__ import annotations

import itertools
import random
import string
from collections.abc import Callable, Iterator

from verifier.tasks.corpus import Document, Span

HARD, EASY = "hard", "easy"
MODULUS = 7
_TERMS = 4
_LETTERS = string.ascii_lowercase[:12]  # of look-ups
_CHAINS = 2


def generated_texts(count: int, worked: float, seed: int) -> Iterator[Document]:
    """So many documents of all kinds.

    Args:
        count: of documents.
        worked: the share of sums and look-ups that show their working.
        seed: of all that is drawn.
    """
    rng = random.Random(f"texts {seed}")
    kinds: tuple[Callable[[random.Random, bool], Document], ...] = (_sum, _look_up, _noise)
    for _ in range(count):
        (make,) = rng.choices(kinds, weights=(4, 3, 3))
        yield make(rng, rng.random() < worked)


def _sum(rng: random.Random, worked: bool) -> Document:
    terms = [rng.randrange(MODULUS) for _ in range(_TERMS)]
    so_far = [sum(terms[:count]) % MODULUS for count in range(2, _TERMS + 1)]
    return _question("+".join(map(str, terms)), [str(each) for each in so_far], worked)


def _look_up(rng: random.Random, worked: bool) -> Document:
    letters = rng.sample(_LETTERS, 3 * _CHAINS)
    chains = [letters[3 * number : 3 * number + 3] for number in range(_CHAINS)]
    pairs = [first + second for chain in chains for first, second in itertools.pairwise(chain)]
    rng.shuffle(pairs)
    start, middle, end = chains[0]
    return _question(f"{' '.join(pairs)} ?{start}", [middle, ":", end], worked)


def _question(asked: str, steps: list[str], worked: bool) -> Document:
    """A question with its answer, the last of its steps."""
    if worked:
        return Document(f"{asked}=:{''.join(steps)}:{steps[-1]}")
    text = f"{asked}={steps[-1]}"
    return Document(text, (Span(len(text) - 1, len(text), HARD),))


def _noise(rng: random.Random, _: bool) -> Document:
    """Words of letters, which have no working to show."""
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 5))) for _ in range(3)]
    copied = words[0] + words[1]
    text = f"{copied}={copied}" if rng.random() < 0.5 else " ".join(words)
    return Document(text, (Span(0, len(text), EASY),))
