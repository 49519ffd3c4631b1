"""Runs compared on the problems that they share: paired differences and curves.

A difference is that of one problem, averaged over the shared problems; all runs share one
bootstrap, so that what is easy or hard about a problem counts for both sides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from verifier.errors import ComparisonError
from verifier.evaluate import curves, rank
from verifier.evaluate.calibration import are_probabilities
from verifier.evaluate.candidates import Candidates
from verifier.evaluate.intervals import Bootstrap, Estimate

CURVES = ("pass_at_k", "verifier_at_k", "majority_at_k")


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A run as it takes part.

    Attributes:
        name: what the page calls it.
        candidates: its samples of one split.
        k: size of the top-k vote that it chose on its held-out problems; None: it chose none.
        grader: who graded its samples.
        greedy: its one solution a problem at temperature 0; None: there is none.
    """

    name: str
    candidates: Candidates
    k: int | None
    grader: str
    greedy: Candidates | None = None


def compare(runs: Sequence[Contestant], resamples: int, seed: int) -> dict[str, Any]:
    """All figures of a comparison.

    Args:
        runs: at least two, with names that differ.
        resamples: of the bootstrap over the shared problems.
        seed: of the bootstrap and of drawn subsets.

    Returns:
        `shared_problems`; `runs`, for each its `name`, `grader`, `problems`, `samples_per_problem`
        and, on the shared problems, `methods`, `differences` to the first run (None for that one;
        without figures that are the same on all problems) and `curves`: estimates by name, None
        where a run has no scores or no such k.

    Raises:
        ComparisonError: fewer than two runs, a name twice, or no problem in common.
    """
    shared = _shared_problems(runs)
    bootstrap = Bootstrap.draw(len(shared), resamples, seed)
    out: list[dict[str, Any]] = []
    first: dict[str, np.ndarray] = {}
    for run in runs:
        own = _only(run.candidates, shared)
        values = methods(own, run.k, _only(run.greedy, shared) if run.greedy else None)
        first = first or values
        apart = {
            name: values[name] - first[name]
            for name in values
            if name in first and np.any(values[name] != first[name])
        }
        means, by_size = _estimates(values, _curves(own, seed), bootstrap)
        out.append(
            {
                "name": run.name,
                "grader": run.grader,
                "problems": len(run.candidates.count_P),
                "samples_per_problem": {
                    "min": int(own.count_P.min()),
                    "max": int(own.count_P.max()),
                },
                "k": run.k,
                "methods": means,
                "differences": bootstrap.differences(apart) if len(out) else None,
                "curves": by_size,
            }
        )
    return {"shared_problems": len(shared), "runs": out}


def _shared_problems(runs: Sequence[Contestant]) -> set[str]:
    """The ids of the problems that all runs have.

    Raises:
        ComparisonError: as `compare`.
    """
    names = [run.name for run in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise ComparisonError(
            f"runs to compare: {', '.join(names) or 'none'}; expected two or more with "
            "different names"
        )
    shared = set(runs[0].candidates.problem_id_P.tolist()).intersection(
        *(run.candidates.problem_id_P.tolist() for run in runs[1:])
    )
    if not shared:
        raise ComparisonError(
            f"{' and '.join(names)} share no problem; expected runs that were tested on the "
            "same ones"
        )
    return shared


def _estimates(
    values: dict[str, np.ndarray], lines: dict[str, dict[int, np.ndarray]], bootstrap: Bootstrap
) -> tuple[dict[str, Estimate], dict[str, dict[str, Estimate] | None]]:
    """Estimates of methods by name, and of each of CURVES by size, all columns at once."""
    flat = {f"{name}/{k}": column for name, line in lines.items() for k, column in line.items()}
    means = bootstrap.estimates(values | flat)
    by_size = {
        name: {str(k): means[f"{name}/{k}"] for k in lines.get(name, ())} or None for name in CURVES
    }
    return {name: means[name] for name in values}, by_size


def _only(candidates: Candidates, shared: set[str]) -> Candidates:
    """The shared problems of a run, in order of their ids, so in the same order in every run."""
    return candidates.of_problems(np.isin(candidates.problem_id_P, sorted(shared)))


def methods(
    candidates: Candidates, k: int | None, greedy: Candidates | None = None
) -> dict[str, np.ndarray]:
    """[P] what each way of choosing solves.

    Args:
        candidates: the samples.
        k: size of the top-k vote; None: none.
        greedy: solutions at temperature 0; they do not count where they are not of the same
            problems.
    """
    values = {
        "mean_sample_accuracy": candidates.right_P / candidates.count_P,
        "majority": rank.majority(candidates).correct_P,
    }
    if greedy is not None and np.array_equal(greedy.problem_id_P, candidates.problem_id_P):
        values["greedy_accuracy"] = greedy.right_P > 0
    if candidates.score_C is not None:
        values |= {"best_of_n": rank.best_of_n(candidates).correct_P}
        values |= (
            {"weighted_vote": rank.weighted_vote(candidates).correct_P}
            if are_probabilities(candidates)
            else {}
        )
        values |= {"top_k_vote_chosen": rank.top_k_vote(candidates, k).correct_P} if k else {}
    values["oracle_pass_at_n"] = candidates.right_P > 0
    return {name: np.asarray(column, np.float64) for name, column in values.items()}


def _curves(candidates: Candidates, seed: int) -> dict[str, dict[int, np.ndarray]]:
    """[P] values of each of CURVES by size, without those that need scores where there are none."""
    sizes = curves.grid(candidates.smallest)
    lines = {
        "pass_at_k": {k: curves.pass_at_k(candidates, k) for k in sizes},
        "majority_at_k": curves.majority_at_k(candidates, sizes, seed),
    }
    if candidates.score_C is not None:
        lines["verifier_at_k"] = {k: curves.verifier_at_k(candidates, k) for k in sizes}
    return lines
