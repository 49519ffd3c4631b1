"""An endless, seeded source of word problems in GSM8K's format, answers known.

Train and test are disjoint twice over: a combination of templates belongs to one of them, and so
does a tuple of numbers (both by hash, whatever the seed), and a problem is kept only where the two
agree.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from verifier.errors import DataError
from verifier.tasks.generated_check import CHECKED
from verifier.tasks.generated_direct import DIRECT, chain
from verifier.tasks.generated_words import Draft, distract
from verifier.text.problem import Problem, make_problem

KINDS = {**DIRECT, **CHECKED}
TEST_SHARE = 0.2  # of the combinations, and of the tuples of numbers


def generate(
    split: str,
    count: int,
    seed: int,
    kinds: Sequence[str] = tuple(KINDS),
    lengths: Sequence[int] = (),
) -> list[Problem]:
    """The first `count` problems of a split, no question twice.

    Args:
        split: "train" or "test"; every other split is taken from "train" by the caller.
        count: number of problems.
        seed: which problems; splits are disjoint across all seeds.
        kinds: kinds of problems in turn; a name that stands twice comes twice as often.
        lengths: changes of a chain in turn, where that is the one kind; empty: as they come.

    Raises:
        DataError: an unknown split or kind (the known ones are named), lengths of another kind, or
            a source that gives no new problem any more.
    """
    return list(itertools.islice(stream(split, seed, kinds, lengths), count))


def stream(
    split: str, seed: int, kinds: Sequence[str] = tuple(KINDS), lengths: Sequence[int] = ()
) -> Iterator[Problem]:
    """Problems of a split without end; see `generate`."""
    if split not in ("train", "test"):
        raise DataError(f"generated problems have the splits 'train' and 'test', not {split!r}")
    for kind in kinds:
        if kind not in KINDS:
            near = ", ".join(difflib.get_close_matches(kind, KINDS, n=2)) or "none"
            raise DataError(
                f"data.kinds: no kind of generated problem is called {kind!r}; nearest: "
                f"{near}; all: {', '.join(KINDS)}"
            )
    if not kinds:
        raise DataError(f"data.kinds is empty; name at least one of {', '.join(KINDS)}")
    rng = random.Random(f"{split}/{seed}")
    seen: set[str] = set()
    for kind, drafted in itertools.cycle(_drafts(kinds, lengths)):
        for _attempt in range(10_000):
            draft = distract(rng, drafted(rng))
            if split_of(draft) != split:
                continue
            problem = make_problem(
                draft.question,
                draft.solution,
                str(draft.answer),
                source=f"generated/{kind}",
                split=split,
            )
            if problem.problem_id not in seen:
                break
        else:
            raise DataError(
                f"no new {split} problem of kind {kind!r} in 10,000 draws after {len(seen):,} "
                "problems; ask for fewer or more kinds"
            )
        seen.add(problem.problem_id)
        yield problem


def _drafts(
    kinds: Sequence[str], lengths: Sequence[int]
) -> list[tuple[str, Callable[[random.Random], Draft]]]:
    """What problems are of, as their source says it, and what draws one."""
    if not lengths:
        return [(kind, KINDS[kind]) for kind in kinds]
    if set(kinds) != {"chain"}:
        raise DataError(
            f"data.lengths are of chains, but data.kinds is {list(kinds)}; set data.kinds=[chain], "
            "or data.lengths=[]"
        )
    return [(f"chain/{length}", functools.partial(chain, changes=length)) for length in lengths]


def split_of(draft: Draft) -> str:
    """The split that a draft may serve: "train", "test", or "neither".

    Neither where its templates and its numbers disagree.
    """
    sides = {
        _is_test("/".join(draft.combination)),
        _is_test(f"{draft.combination[0]}:{draft.numbers}"),
    }
    if len(sides) == 2:
        return "neither"
    return "test" if sides.pop() else "train"


def _is_test(text: str) -> bool:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) < TEST_SHARE * 2**32
