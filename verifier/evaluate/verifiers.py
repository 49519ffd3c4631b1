"""Several verifiers that rank the same samples: best-of-k by each, beside the majority."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verifier.errors import DataError
from verifier.evaluate import calibration, curves
from verifier.evaluate.candidates import Candidates
from verifier.evaluate.intervals import Bootstrap, Estimate
from verifier.evaluate.results_table import EXACT, cell, counted

MAJORITY, ANY = "majority", "any (oracle)"
_SHOWN = 4  # sizes in the table


def figures(
    ranked: Mapping[str, Candidates], ks: Sequence[int], resamples: int, seed: int
) -> dict[str, Any]:
    """Accuracy of each way to choose one of k samples, with 95% intervals, and paired differences.

    Best-of-k is Verifier@k, over all subsets of k (`curves.verifier_at_k`). Votes that are tied go
    to the answer of the sample that was drawn first, whoever scores.

    Args:
        ranked: the same samples by verifier, each in the order of its scores.
        ks: sizes that are to be among those that are looked at, where there are so many samples.
        resamples: of the bootstrap over problems.
        seed: of the bootstrap and of drawn subsets.

    Returns:
        "n_problems", "n_samples", "ks"; by size "majority_at_k" and "pass_at_k"; "verifiers", of
        each by size "verifier_at_k", "auroc" and "auroc_within_problem"; and "differences" by pair
        and size.

    Raises:
        DataError: they are not the same samples.
    """
    first = next(iter(ranked.values()))
    for name, own in ranked.items():
        _refuse_others(name, own, first)
    sizes = sorted({*curves.grid(first.smallest), *(k for k in ks if k <= first.smallest)})
    plain = first.reranked(np.zeros(int(first.row_C.max()) + 1))
    lines = {
        **{name: {k: curves.verifier_at_k(own, k) for k in sizes} for name, own in ranked.items()},
        MAJORITY: curves.majority_at_k(plain, sizes, seed),
    }
    drawn = Bootstrap.draw(len(first.count_P), resamples, seed)
    oracle = {ANY: {k: curves.pass_at_k(first, k) for k in sizes}}
    means = {name: drawn.estimates(_by_text(line)) for name, line in (lines | oracle).items()}
    pairs = [(name, MAJORITY) for name in ranked]
    pairs += [(two, one) for one, two in itertools.combinations(ranked, 2)]
    apart = {
        f"{a}-{b}": drawn.differences(_by_text({k: lines[a][k] - lines[b][k] for k in sizes[1:]}))
        for a, b in pairs
    }
    return {
        "n_problems": len(first.count_P),
        "n_samples": int(first.count_P.sum()),
        "ks": sizes,
        "majority_at_k": means[MAJORITY],
        "pass_at_k": means[ANY],
        "verifiers": {
            name: {"verifier_at_k": means[name], **_merit(own)} for name, own in ranked.items()
        },
        "differences": apart,
    }


def _by_text(line: Mapping[int, np.ndarray]) -> dict[str, np.ndarray]:
    return {str(k): np.asarray(column, np.float64) for k, column in line.items()}


def _merit(ranked: Candidates) -> dict[str, float | None]:
    found = calibration.calibration(ranked)
    return {name: found[name] for name in ("auroc", "auroc_within_problem")}


def _refuse_others(name: str, own: Candidates, first: Candidates) -> None:
    columns = ("problem_id_P", "count_P", "right_P")
    if not all(np.array_equal(getattr(own, name), getattr(first, name)) for name in columns):
        raise DataError(
            f"{name} has scores of {counted(len(own.row_C), 'sample')} of "
            f"{counted(len(own.count_P), 'problem')}, {own.right_P.sum():,} of them right; others "
            f"of {len(first.row_C):,} of {len(first.count_P):,}, {first.right_P.sum():,} right; "
            "expected the same ones: remove the tables of scores, and "
            "score anew"
        )


def methods(found: Mapping[str, Any]) -> dict[str, Mapping[str, Estimate]]:
    """By way to choose, its accuracy by size."""
    verifiers = {name: own["verifier_at_k"] for name, own in found["verifiers"].items()}
    return {**verifiers, MAJORITY: found["majority_at_k"], ANY: found["pass_at_k"]}


def shown(found: Mapping[str, Any]) -> list[int]:
    """A few of the sizes: the largest, and halves of it."""
    sizes: list[int] = found["ks"]
    wanted = [sizes[-1] / 2**n for n in range(_SHOWN)]
    return sorted({min(sizes, key=lambda k: abs(k - size)) for size in wanted})


def as_text(found: Mapping[str, Any], split: str) -> str:
    """The figures of a split as plain text: a row a way to choose, a column a size."""
    sizes = [str(k) for k in shown(found)]
    lines = [f"{split + ' (%)':<20}" + "".join(f"{f'k = {k}':<22}" for k in sizes)]
    for name, line in methods(found).items():
        lines.append(f"{name:<20}" + "".join(f"{cell(line[k]):<22}" for k in sizes))
    for pair, line in found["differences"].items():
        cells = (cell(line.get(k), signed=True) for k in sizes)
        lines.append(f"{pair.replace('-', ' - '):<20}" + "".join(f"{each:<22}" for each in cells))
    for name, own in found["verifiers"].items():
        merits = (
            f"{key} {'-' if own[key] is None else format(own[key], '.3f')}"
            for key in ("auroc", "auroc_within_problem")
        )
        lines.append(f"{name}: {', '.join(merits)}")
    counts = (counted(found["n_problems"], "problem"), counted(found["n_samples"], "sample"))
    lines.append(f"{', '.join(counts)}; 95% bootstrap, differences paired")
    lines += [EXACT] if any("*" in line for line in lines) else []
    return "\n".join(line.rstrip() for line in lines)
