"""Texts in which a hidden intermediate result helps, beside texts in which nothing does.

    3421=3          the sum of four digits modulo 7
    3421=:023:3     the same with its working between colons: what has been summed so far
    cBAF=g          look-ups in tables: B of c, A of that, F of that
    cBAF=:aeg:g     the same with its working
    hga=hga         a word that is written twice
    gde bbh edac    words that follow from nothing

Some sums and look-ups show their working, as some texts of the world do. The answer of one that
does not is "hard": it takes three steps, each a fact that texts with working teach, and there is no
room to write them down. Where others give the answer, one that does begins with an "opening", so
that what is won on hard answers by no longer expecting a colon is lost there; its "step"s show
whether a model knows the facts at all. What is written twice or follows from nothing is "easy": a
thought has nothing to add.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from verifier.tasks.corpus import Document, Span

HARD, EASY, OPENING, STEP = "hard", "easy", "opening", "step"
MODULUS = 7
STEPS = 3
LETTERS = "abcdefgh"
_TABLE_SEED = "tables"  # the same whatever the seed of the texts


def tables() -> dict[str, dict[str, str]]:
    """What each table has for each letter; a letter may stand in it several times, or never."""
    rng = random.Random(_TABLE_SEED)
    return {name: dict(zip(LETTERS, rng.choices(LETTERS, k=8), strict=True)) for name in "ABCDEFGH"}


def generated_texts(count: int, worked: float, seed: int) -> Iterator[Document]:
    """So many documents of all kinds.

    Args:
        count: of documents.
        worked: the share of sums and look-ups that show their working.
        seed: of all that is drawn.
    """
    rng, known = random.Random(f"texts {seed}"), tables()
    kinds: tuple[Callable[[], Document], ...] = (
        lambda: _sum(rng, rng.random() < worked),
        lambda: _look_up(rng, known, rng.random() < worked),
        lambda: _words(rng),
    )
    for _ in range(count):
        (make,) = rng.choices(kinds, weights=(4, 4, 2))
        yield make()


def _sum(rng: random.Random, worked: bool) -> Document:
    terms = [rng.randrange(MODULUS) for _ in range(STEPS + 1)]
    so_far = [sum(terms[: step + 2]) % MODULUS for step in range(STEPS)]
    return _question("".join(map(str, terms)), "".join(map(str, so_far)), worked)


def _look_up(rng: random.Random, known: dict[str, dict[str, str]], worked: bool) -> Document:
    letter, names, so_far = rng.choice(LETTERS), rng.choices(sorted(known), k=STEPS), ""
    for name in names:
        so_far += known[name][(letter + so_far)[-1]]
    return _question(letter + "".join(names), so_far, worked)


def _question(asked: str, steps: str, worked: bool) -> Document:
    """A question with its answer, the last of its steps."""
    if worked:
        first = len(asked) + len("=:")
        spans = Span(first - 1, first, OPENING), Span(first, first + len(steps), STEP)
        return Document(f"{asked}=:{steps}:{steps[-1]}", spans)
    text = f"{asked}={steps[-1]}"
    return Document(text, (Span(len(text) - 1, len(text), HARD),))


def _words(rng: random.Random) -> Document:
    words = ["".join(rng.choices(LETTERS, k=3)) for _ in range(3)]
    text = f"{words[0]}={words[0]}" if rng.random() < 0.5 else " ".join(words)
    return Document(text, (Span(0, len(text), EASY),))
