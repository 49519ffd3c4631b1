"""Loops of a model that learns from itself: what each has brought, and when they are over."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verifier.errors import DataError
from verifier.evaluate.choices import Right
from verifier.evaluate.intervals import Bootstrap
from verifier.evaluate.results_table import EXACT, cell


def over_after(accuracies: Sequence[float], plateau: int) -> int | None:
    """The loop after which nothing is done any more; None: there is no such loop yet.

    Args:
        accuracies: on the training problems, of the base and of each loop so far.
        plateau: loops in a row that do not exceed the best before them; 0: never.
    """
    best, without = -1.0, 0
    for loop, accuracy in enumerate(accuracies):
        without = 0 if accuracy > best else without + 1
        best = max(best, accuracy)
        if plateau and without >= plateau:
            return loop
    return None


def accuracy_of(right: Right) -> float:
    """Share of problems that are solved.

    Raises:
        DataError: there is none.
    """
    if not right:
        raise DataError("no training problem was sampled from; raise data.train_problems")
    return sum(map(float, right.values())) / len(right)


def first_solved(train: Sequence[Right]) -> dict[str, int]:
    """By problem, the first loop whose model solves it; those that none solves are left out."""
    first: dict[str, int] = {}
    for loop, right in enumerate(train):
        for problem_id, solved in right.items():
            if solved:
                first.setdefault(problem_id, loop)
    return first


def figures(
    train: Sequence[Right],
    tests: Mapping[str, Sequence[Right]],
    learned: Sequence[Mapping[str, Any]],
    sources: Mapping[str, str],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Figures of the base (loop 0) and of each loop.

    Args:
        train: by loop, which training problems its model solves.
        tests: by test set, the same of its problems.
        learned: by loop but the base, what it learned from: "own" and "hinted" solutions, shares of
            training problems "used" and "used_without_hints", and "steps".
        sources: by training problem, where it is from: kinds of problems are told apart by it.
        resamples: of the bootstrap over problems.
        seed: of the bootstrap.

    Returns:
        "loops": of each its number, accuracies of "train" and of every test set with differences to
        the base ("minus_base"), what it "learned", and "first_solved" by kind; "unsolved" by kind.
    """
    first = first_solved(train)
    kinds = collections.Counter(sources[key] for key in train[0])
    sets = {"train": train, **tests}
    estimated = {name: _estimated(rights, resamples, seed) for name, rights in sets.items()}
    made = []
    for loop in range(len(train)):
        new = collections.Counter(sources[key] for key, at in first.items() if at == loop)
        made.append(
            {
                "loop": loop,
                "sets": {name: each[loop] for name, each in estimated.items()},
                "learned": dict(learned[loop - 1]) if loop else {},
                "first_solved": {kind: new[kind] for kind in kinds},
            }
        )
    left = collections.Counter(sources[key] for key in train[0] if key not in first)
    problems = {name: len(_asked(rights)) for name, rights in sets.items()}
    unsolved = {kind: left[kind] for kind in kinds}
    return {"problems": problems, "kinds": dict(kinds), "loops": made, "unsolved": unsolved}


def _asked(rights: Sequence[Right]) -> list[str]:
    """The problems that every loop was asked."""
    return sorted(set.intersection(*(set(each) for each in rights)))


def _estimated(rights: Sequence[Right], resamples: int, seed: int) -> list[dict[str, Any]]:
    keys = _asked(rights)
    if not keys:
        raise DataError(
            "there is no problem that all loops were asked; raise model.context, or lower "
            "sample.max_new_tokens"
        )
    values = {str(n): np.array([own[key] for key in keys], float) for n, own in enumerate(rights)}
    drawn = Bootstrap.draw(len(keys), resamples, seed)
    accuracy = drawn.estimates(values)
    apart = drawn.differences({n: each - values["0"] for n, each in values.items() if n != "0"})
    return [{"accuracy": accuracy[n], "minus_base": apart.get(n)} for n in values]


def as_text(figures: Mapping[str, Any]) -> str:
    """The figures as plain text, a row a loop."""
    sets = list(figures["problems"])
    head = [f"{'loop (%)':<10}", *(f"{name:<20}" for name in sets), f"{'- base':<22}"]
    lines = ["".join([*head, "learned  by hint  of train  first solved"])]
    for each in figures["loops"]:
        own, told = each["sets"], each["learned"]
        row = [f"{each['loop'] or 'base':<10}"]
        row += [f"{cell(own[name]['accuracy']):<20}" for name in sets]
        row.append(f"{cell(own[sets[-1]]['minus_base'], signed=True):<22}")
        if told:
            row += [f"{told['own']:>7,}  {told['hinted']:>7,}  {100 * told['used']:>8.1f}"]
        else:
            row += [" " * 26]
        lines.append("".join([*row, f"  {sum(each['first_solved'].values()):>12,}"]).rstrip())
    told = ", ".join(f"{name} {count:,}" for name, count in figures["problems"].items())
    lines.append(f"problems: {told}; never solved: {sum(figures['unsolved'].values()):,} of train")
    lines.append(f"95% bootstrap; differences paired, of {sets[-1]}")
    lines += [EXACT] if any("*" in line for line in lines) else []
    return "\n".join(lines)
