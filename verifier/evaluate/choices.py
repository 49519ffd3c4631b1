"""Which of several checkpoints is taken, and how each does on problems that chose none.

Fu et al. 2023 take the checkpoint that is best on average over problem sets that it has not learned
from. Here a set's problems are shared out, by a hash of their ids: some choose, the others are what
is reported, so that no reported figure is of a problem that chose.
"""

from __future__ import annotations

import hashlib
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


def reported(
    tested: Mapping[Split, Right], split: Split, sets: Sequence[str], share: float
) -> Right:
    """The problems of a split that have chosen nothing, in this set or in another one that has them
    too.
    """
    chose = {
        key for name in sets for key in _of(tested, Split("test", name)) if chooses(key, share)
    }
    return {key: value for key, value in tested[split].items() if key not in chose}


def figures(
    tested: Sequence[Mapping[Split, Right]],
    kept: Mapping[str, int],
    sets: Sequence[str],
    share: float,
    bootstrap: tuple[int, int],
) -> dict[str, Any]:
    """Accuracy of every candidate on every split, with 95% intervals, and paired differences.

    Args:
        tested: as `choose` takes it, but with the candidate 0, before training.
        kept: by criterion, the candidate that it has chosen.
        sets: those whose problems choose, in part.
        share: of these problems that choose.
        bootstrap: resamples and seed.

    Returns:
        By split, the target first, "part", one of PARTS, "problems", "accuracy" (an Estimate of
        each candidate), "minus_before" (of each criterion's candidate, its difference to the
        candidate 0) and "minus_heldout" (of that chosen by other problems, its difference to that
        chosen by held-out ones).
    """
    out = {}
    for split in sorted(tested[0], key=lambda split: (_part(split, sets), str(split))):
        rows = [reported(each, split, sets, share) for each in tested]
        keys = sorted(set.intersection(*(set(row) for row in rows)))
        if split.problems == HELDOUT or not keys:
            continue
        drawn = Bootstrap.draw(len(keys), *bootstrap)
        right_NP = np.array([[row[key] for key in keys] for row in rows], float)
        named = {str(number): right_P for number, right_P in enumerate(right_NP)}
        apart = {name: right_NP[number] - right_NP[0] for name, number in kept.items()}
        if "ood" in kept:
            apart["minus_heldout"] = right_NP[kept["ood"]] - right_NP[kept["heldout"]]
        differences = drawn.differences(apart)
        out[split.set or split.of] = {
            "part": PARTS[_part(split, sets)],
            "problems": len(keys),
            "accuracy": list(drawn.estimates(named).values()),
            "minus_heldout": differences.pop("minus_heldout", None),
            "minus_before": differences,
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
