"""Which of several checkpoints is taken, and how each does on problems that chose none.

Fu et al. 2023 take the checkpoint that is best on average over problem sets that it has not learned
from. Here a set's problems are shared out, by a hash of their ids: some choose, the others are what
is reported, so that no reported figure is of a problem that chose.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from verifier.errors import DataError
from verifier.evaluate.intervals import Bootstrap
from verifier.text.split import HELDOUT, Split

CRITERIA = ("ood", "heldout")
# What a test set is to a student: its target, problems of the same art that choose, others.
PARTS = ("target", "chooses", "other")
Right = Mapping[str, bool]  # whether a problem's solution is right, by its id


class Choice(NamedTuple):
    """What a candidate is worth by a criterion, and whether it is the best by that."""

    candidate: int
    criterion: str
    value: float
    chosen: bool


def choose(
    tested: Sequence[Mapping[Split, Right]], sets: Sequence[str], share: float
) -> list[Choice]:
    """The value of every candidate by every criterion; of equal ones the first is the best.

    Args:
        tested: of each candidate, by split, which problems it solves. Candidates are numbered from
            1: number 0 is what training starts from.
        sets: further test sets whose mean accuracy is the criterion "ood"; with none there is no
            such criterion. "heldout" is the accuracy on held-out problems.
        share: of a set's problems that choose.

    Raises:
        DataError: no problem of a set is left to choose by.
    """
    values: dict[str, list[float]] = {}
    if sets:
        values["ood"] = [_mean_over_sets(each, sets, share) for each in tested]
    values["heldout"] = [_accuracy(_of(each, HELDOUT)) for each in tested]
    return [
        Choice(number, criterion, value, number == 1 + int(np.argmax(row)))
        for criterion, row in values.items()
        for number, value in enumerate(row, 1)
    ]


def best(choices: Sequence[Choice], criterion: str) -> int:
    """The candidate that a criterion chooses."""
    return next(each.candidate for each in choices if each.criterion == criterion and each.chosen)


def chooses(problem_id: str, share: float) -> bool:
    """Whether a problem of a set is among those that choose."""
    digest = hashlib.sha256(f"select/{problem_id}".encode()).digest()
    return int.from_bytes(digest[:4]) < share * 2**32


def choosing(
    tested: Sequence[Mapping[Split, Right]], sets: Sequence[str], share: float
) -> frozenset[str]:
    """The problems that choose, wherever else they stand: no set reports them."""
    splits = [Split("test", name) for name in sets]
    every = {key for each in tested for split in splits for key in _of(each, split)}
    return frozenset(key for key in every if chooses(key, share))


class Known(NamedTuple):
    """What else is known of tested problems.

    Attributes:
        kinds: of each, by its id: sets of several kinds are broken down by them.
        beside: by the name of a second grader, what candidates solve by its word, as `figures` is
            given them; of the splits that it has read.
    """

    kinds: Mapping[str, str] = types.MappingProxyType({})
    beside: Mapping[str, Sequence[Mapping[Split, Right]]] = types.MappingProxyType({})


class _Reading(NamedTuple):
    """How figures of some problems are taken."""

    kept: Mapping[str, int]  # as `figures` has it
    bootstrap: tuple[int, int]

    def of(self, rows: Sequence[Right], keys: Sequence[str]) -> dict[str, Any]:
        """Of problems with these ids, by who solves them, a row a candidate."""
        drawn = Bootstrap.draw(len(keys), *self.bootstrap)
        right_NP = np.array([[row[key] for key in keys] for row in rows], float)
        named = {str(number): right_P for number, right_P in enumerate(right_NP)}
        apart = {name: right_NP[number] - right_NP[0] for name, number in self.kept.items()}
        if "ood" in self.kept:
            apart["minus_heldout"] = right_NP[self.kept["ood"]] - right_NP[self.kept["heldout"]]
        differences = drawn.differences(apart)
        return {
            "problems": len(keys),
            "accuracy": list(drawn.estimates(named).values()),
            "minus_heldout": differences.pop("minus_heldout", None),
            "minus_before": differences,
        }

    def by_kind(
        self, rows: Sequence[Right], keys: Sequence[str], kinds: Mapping[str, str]
    ) -> dict[str, Any]:
        """Likewise, for each kind of problems; nothing where there is one kind alone."""
        of_kind: dict[str, list[str]] = {}
        for key in keys:
            of_kind.setdefault(kinds.get(key, ""), []).append(key)
        if len(of_kind) < 2:
            return {}
        return {kind: self.of(rows, of_kind[kind]) for kind in sorted(of_kind)}


def figures(
    tested: Sequence[Mapping[Split, Right]],
    kept: Mapping[str, int],
    sets: Sequence[str],
    share: float,
    bootstrap: tuple[int, int],
    known: Known | None = None,
) -> dict[str, Any]:
    """Accuracy of every candidate on every split, with 95% intervals, and paired differences.

    Args:
        tested: as `choose` takes it, but with the candidate 0, before training.
        kept: by criterion, the candidate that it has chosen.
        sets: those whose problems choose, in part.
        share: of these problems that choose.
        bootstrap: resamples and seed.
        known: of the problems.

    Returns:
        By split, the target first, "part", one of PARTS, "problems", "accuracy" (an Estimate of
        each candidate), "minus_before" (of each criterion's candidate, its difference to the
        candidate 0) and "minus_heldout" (of that chosen by other problems, its difference to that
        chosen by held-out ones); "kinds", the same for every kind of a split that has several; and
        "beside", the same by the name of every other grader that has read the split.
    """
    known = known or Known()
    out, chose, reading = {}, choosing(tested, sets, share), _Reading(kept, bootstrap)
    for split in sorted(tested[0], key=lambda split: (_part(split, sets), str(split))):
        rows = [each[split] for each in tested]
        keys = sorted(set.intersection(*(set(row) for row in rows)) - chose)
        if split.problems == HELDOUT or not keys:
            continue
        beside = {
            grader: reading.of([each[split] for each in theirs], keys)
            for grader, theirs in known.beside.items()
            if split in theirs[0]
        }
        out[split.set or split.of] = {
            "part": PARTS[_part(split, sets)],
            **reading.of(rows, keys),
            "kinds": reading.by_kind(rows, keys, known.kinds),
            "beside": beside,
        }
    return out


def _part(split: Split, sets: Sequence[str]) -> int:
    """Which of PARTS a split has."""
    return 0 if not split.set else 1 if split.set in sets else 2


def _of(tested: Mapping[Split, Right], wanted: Split) -> Right:
    """The split of these problems, however it was drawn."""
    return next(right for split, right in tested.items() if split.problems == wanted)


def _mean_over_sets(tested: Mapping[Split, Right], sets: Sequence[str], share: float) -> float:
    means = []
    for name in sets:
        right = _of(tested, Split("test", name))
        among = {key: value for key, value in right.items() if chooses(key, share)}
        if not among:
            raise DataError(
                f"none of the {len(right):,} problems of {name} is left to choose by; raise "
                f"select.share={share} or ood.problems"
            )
        means.append(_accuracy(among))
    return float(np.mean(means))


def _accuracy(right: Right) -> float:
    return float(np.mean(list(right.values()))) if right else 0.0
