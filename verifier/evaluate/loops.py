"""Loops of a model that learns from itself: what each has brought, and when they are over."""

from __future__ import annotations

import collections
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from verifier.errors import ComparisonError, DataError
from verifier.evaluate.choices import Right
from verifier.evaluate.intervals import Bootstrap
from verifier.evaluate.results_table import EXACT, cell


class Written(NamedTuple):
    """How long solutions are: loops that pay for short ones, or for bare answers, show here."""

    tokens: float  # a solution
    cut_off: float  # share of solutions that had not ended where there was no more room


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
    written: Sequence[Mapping[str, Written]],
    sources: Mapping[str, str],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Figures of the base (loop 0) and of each loop.

    Args:
        train: by loop, which training problems its model solves.
        tests: by test set, the same of its problems.
        learned: by loop but the base, what it learned from: "own" and "hinted" solutions, shares of
            training problems "used" and "used_without_hints", the first also "used_by_kind", and
            "steps".
        written: by loop and set, how long its model's solutions are.
        sources: by problem, where it is from: kinds of problems are told apart by it.
        resamples: of the bootstrap over problems.
        seed: of the bootstrap.

    Returns:
        "loops": of each its number, accuracies of "train" and of every test set with differences to
        the base ("minus_base"), the same "by_kind" where a set has several, what it "learned",
        "first_solved" by kind, and by set what is "written"; "unsolved" by kind.
    """
    first = first_solved(train)
    kinds = kinds_of(train[0], sources)
    sets = {"train": train, **tests}
    estimated = {name: _estimated(rights, resamples, seed) for name, rights in sets.items()}
    by_kind = {name: _by_kind(rights, sources, resamples, seed) for name, rights in sets.items()}
    made = []
    for loop in range(len(train)):
        new = collections.Counter(sources[key] for key, at in first.items() if at == loop)
        made.append(
            {
                "loop": loop,
                "sets": {name: each[loop] for name, each in estimated.items()},
                "by_kind": {
                    name: {kind: own[loop] for kind, own in each.items()}
                    for name, each in by_kind.items()
                    if len(each) > 1
                },
                "learned": dict(learned[loop - 1]) if loop else {},
                "first_solved": {kind: new[kind] for kind in kinds},
                "written": {name: each._asdict() for name, each in written[loop].items()},
            }
        )
    left = collections.Counter(sources[key] for key in train[0] if key not in first)
    problems = {name: len(_asked(rights)) for name, rights in sets.items()}
    unsolved = {kind: left[kind] for kind in kinds}
    return {"problems": problems, "kinds": kinds, "loops": made, "unsolved": unsolved}


def kinds_of(problem_ids: Iterable[str], sources: Mapping[str, str]) -> dict[str, int]:
    """How many problems there are of each source, those that differ by a number in its order."""
    counts = collections.Counter(sources[key] for key in problem_ids)
    ordered = sorted(counts, key=lambda kind: (kind.rstrip(string.digits), len(kind), kind))
    return {kind: counts[kind] for kind in ordered}


def _by_kind(
    rights: Sequence[Right], sources: Mapping[str, str], resamples: int, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """By kind, the estimates of each loop on the problems of that kind."""
    return {
        kind: _estimated(
            [{key: own for key, own in each.items() if sources[key] == kind} for each in rights],
            resamples,
            seed,
        )
        for kind in kinds_of(_asked(rights), sources)
    }


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


def beside(runs: Mapping[str, Sequence[Right]], resamples: int, seed: int) -> dict[str, Any]:
    """Accuracy of runs loop by loop, on the problems that every loop of all of them was asked.

    Args:
        runs: by name, for the base and each loop which problems its model solves.
        resamples: of the bootstrap over problems.
        seed: of the bootstrap.

    Returns:
        "shared_problems", and of "runs" their "name" and by loop "accuracy" and "minus_first": its
        paired difference to the same loop of the first run; None where that has no such loop.

    Raises:
        ComparisonError: there is no such problem.
    """
    keys = _asked([right for loops in runs.values() for right in loops])
    if not keys:
        raise ComparisonError(
            f"the runs {', '.join(runs)} share no problem that all their loops were asked; compare "
            "runs of the same data and seed"
        )
    solved = {
        name: [np.array([right[key] for key in keys], float) for right in loops]
        for name, loops in runs.items()
    }
    drawn, (first, *_) = Bootstrap.draw(len(keys), resamples, seed), solved.values()
    compared = []
    for name, loops in solved.items():
        numbers = {str(loop): right_P for loop, right_P in enumerate(loops)}
        apart = drawn.differences(
            {
                loop: right_P - first[int(loop)]
                for loop, right_P in list(numbers.items())[: len(first)]
            }
            if loops is not first
            else {}
        )
        accuracy = drawn.estimates(numbers)
        own = [{"accuracy": accuracy[n], "minus_first": apart.get(n)} for n in numbers]
        compared.append({"name": name, "loops": own})
    return {"shared_problems": len(keys), "runs": compared}


def as_text(figures: Mapping[str, Any]) -> str:
    """The figures as plain text, a row a loop."""
    sets = list(figures["problems"])
    head = [f"{'loop (%)':<10}", *(f"{name:<20}" for name in sets), f"{'- base':<22}"]
    lines = ["".join([*head, "learned  by hint  of train  first solved  tokens  cut off"])]
    for each in figures["loops"]:
        own, told = each["sets"], each["learned"]
        row = [f"{each['loop'] or 'base':<10}"]
        row += [f"{cell(own[name]['accuracy']):<20}" for name in sets]
        row.append(f"{cell(own[sets[-1]]['minus_base'], signed=True):<22}")
        if told:
            row += [f"{told['own']:>7,}  {told['hinted']:>7,}  {100 * told['used']:>8.1f}"]
        else:
            row += [" " * 26]
        row.append(f"  {sum(each['first_solved'].values()):>12,}")
        written = each["written"][sets[-1]]
        row.append(f"  {written['tokens']:>6.0f}  {100 * written['cut_off']:>7.1f}")
        lines.append("".join(row))
    told = ", ".join(f"{name} {count:,}" for name, count in figures["problems"].items())
    lines.append(f"problems: {told}; never solved: {sum(figures['unsolved'].values()):,} of train")
    lines.append(
        f"95% bootstrap; differences paired, tokens a solution and those cut off, of {sets[-1]}"
    )
    lines += [EXACT] if any("*" in line for line in lines) else []
    return "\n".join([*lines, *_kinds_as_text(figures["loops"], sets[-1])])


def _kinds_as_text(loops: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Accuracy on a set, a row a kind and a column a loop; nothing where it is of one kind."""
    kinds = loops[0]["by_kind"].get(name, {})
    if not kinds:
        return []
    width = max(map(len, kinds)) + 2
    head = "".join(f"{each['loop'] or 'base':>7}" for each in loops)
    rows = [
        f"{kind:<{width}}"
        + "".join(
            f"{100 * each['by_kind'][name][kind]['accuracy']['value']:>7.1f}" for each in loops
        )
        for kind in kinds
    ]
    return ["", f"{name + ' (%)':<{width}}{head}", *rows]
