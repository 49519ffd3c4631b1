"""Variants on the same test problems: their figures, and the paired differences to the first.

Figures of several seeds are means over the seeds of a problem's value, then over problems: a
problem that every seed tests on counts once. The intervals are over problems; how far the seeds lie
apart stands beside them.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from verifier.evaluate import comparison, curves
from verifier.evaluate.candidates import Candidates
from verifier.evaluate.caveats import too_few
from verifier.evaluate.intervals import FEWEST, Bootstrap
from verifier.evaluate.results_table import EXACT, ROWS, cell, counted
from verifier.evaluate.subsets import vote_shares
from verifier.report import contestants
from verifier.tables.manifests import read_manifest
from verifier.tables.results import GENERATOR, VERIFIER
from verifier.text.split import HELDOUT

_NAMES = {key: name for key, name, _ in ROWS}
# Differences that the table shows.
_COMPARED = ("greedy_accuracy", "majority", "best_of_n", "oracle_pass_at_n")
_SUBSETS = 100  # of a problem's samples, over which the votes of fewer samples are taken
# Prefixes of figures that are points of a curve: over N, and over N and k.
_CURVE, _VOTES = "verifier_at_k/", "votes/"


class _Values(NamedTuple):
    """One run on one split: its problems, and for every figure a value of each."""

    problem_id_P: np.ndarray
    figures: dict[str, np.ndarray]
    samples: int
    seed: int


def compare(
    roots: Mapping[str, Mapping[int, pathlib.Path]],
    ks: Sequence[int],
    resamples: int,
    seed: int,
    tested: bool = True,
) -> dict[str, Any]:
    """Figures of every variant and its differences to the first one.

    Args:
        roots: workdirs by variant and seed; all variants have the seeds of the first.
        ks: sizes of top-k votes among some of the samples.
        resamples: of the bootstrap over problems.
        seed: of the bootstrap and of drawn subsets.
        tested: whether the workdirs' own tables are of what is compared; else there are no splits.

    Returns:
        What comparison.json holds: `base`, `seeds`, `steps` (optimiser steps by variant, seed and
        training job, of the models that are there), and under `splits` for every split that the
        first variant was tested on, by variant: `n_problems`, `n_samples`, `figures` (each with its
        mean of every seed, `by_seed`), `differences` (on the problems that both were tested on;
        none of a figure that is the same on all of them, as the first's own are and those of shared
        samples), `peak`, the number of samples at which best-of-n is highest (None where nothing
        was scored), and `votes`, by number of samples and k.

    Raises:
        UserError: a workdir without a finished report or tables.
    """
    values = {
        name: {which: _read(root, name, which, ks) for which, root in of_seed.items()}
        for name, of_seed in roots.items()
        if tested
    }
    base, *_ = roots
    splits: dict[str, Any] = {}
    for split in values[base][min(values[base])] if tested else ():
        runs = {
            name: [of_seed[which][split] for which in sorted(of_seed) if split in of_seed[which]]
            for name, of_seed in values.items()
        }
        splits[split] = {
            name: _summary(own, runs[base], resamples, seed) for name, own in runs.items() if own
        }
    steps = {
        name: {str(which): _steps(root) for which, root in sorted(of_seed.items())}
        for name, of_seed in roots.items()
    }
    return {"base": base, "seeds": sorted(roots[base]), "steps": steps, "splits": splits}


def table(compared: Mapping[str, Any]) -> str:
    """The comparison as plain text for a terminal.

    Args:
        compared: what `compare` gave.
    """
    lines = _steps_table(compared["steps"])
    seeds, base = ", ".join(map(str, compared["seeds"])), compared["base"]
    for split, variants in compared["splits"].items():
        width = max(map(len, variants)) + 2
        lines += _figures_table(split, variants, seeds, base, width)
        lines += _differences_table(split, variants, base, width)
        lines += _peaks_table(split, variants, width)
    lines += ["", EXACT] if any("*" in line for line in lines) else []
    return "\n".join(line.rstrip() for line in lines)


def _figures_table(
    split: str, variants: Mapping[str, Mapping[str, Any]], seeds: str, base: str, width: int
) -> list[str]:
    """What every variant solves, a column a method."""
    lines = [
        "",
        f"{split}: {counted(variants[base]['n_problems'], 'problem')}, seeds {seeds}; % solved, "
        "best-of-n of every seed in brackets",
    ]
    few = too_few(min([one["n_problems"] for one in variants.values()]))
    lines += [f"warning: {few}"] if few else []
    keys = [key for key in _NAMES if any(key in one["figures"] for one in variants.values())]
    lines.append(" " * width + "".join(f"{_NAMES[key]:>{len(_NAMES[key]) + 2}}" for key in keys))
    for name, one in variants.items():
        cells = [f"{_percent(one['figures'].get(key)):>{len(_NAMES[key]) + 2}}" for key in keys]
        best = one["figures"].get("best_of_n")
        by_seed = (
            f"  [{' '.join(f'{100 * value:.1f}' for value in best['by_seed'].values())}]"
            if best
            else ""
        )
        lines.append(f"{name:<{width}}" + "".join(cells) + by_seed)
    return lines


def _differences_table(
    split: str, variants: Mapping[str, Mapping[str, Any]], base: str, width: int
) -> list[str]:
    """What every variant solves more than the base; nothing where no figure differs."""
    keys = [key for key in _COMPARED if any(key in one["differences"] for one in variants.values())]
    if not keys:
        return []
    lines = [
        "",
        f"{split}: difference to {base} in points, paired, 95% bootstrap over problems",
        " " * width + "".join(f"{_NAMES[key]:<25}" for key in keys),
    ]
    for name, one in variants.items():
        if name != base:
            cells = [cell(one["differences"].get(key), signed=True) or "-" for key in keys]
            lines.append(f"{name:<{width}}" + "".join(f"{words:<25}" for words in cells))
    return lines


def _peaks_table(split: str, variants: Mapping[str, Mapping[str, Any]], width: int) -> list[str]:
    """How many samples, and votes of how many, do best; nothing where nothing was scored."""
    peaks = {name: one["peak"] for name, one in variants.items() if one["peak"]}
    if not peaks:
        return []
    lines = ["", f"{split}: number of samples at which best-of-n is highest"]
    lines += [
        f"{name:<{width}}{one['samples']} [{one['ci95'][0]}, {one['ci95'][1]}]"
        for name, one in peaks.items()
    ]
    lines += ["", f"{split}: the k of the best top-k vote among N samples, as N:k"]
    for name, one in variants.items():
        best_k = {
            size: max(by_k, key=lambda k: by_k[k]["value"]) for size, by_k in one["votes"].items()
        }
        lines.append(f"{name:<{width}}" + "  ".join(f"{size}:{k}" for size, k in best_k.items()))
    return lines


def _steps(root: pathlib.Path) -> dict[str, int]:
    """The optimiser steps of each training job, as the models' manifests say."""
    manifests = [read_manifest(model.folder(root)) or {} for model in (GENERATOR, VERIFIER)]
    return {
        name: facts["steps"]
        for manifest in manifests
        for name, facts in manifest.items()
        if isinstance(facts, dict) and isinstance(facts.get("steps"), int)
    }


def _steps_table(steps: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[str]:
    """One line a variant, so that a training longer or shorter than the base's is seen."""
    taken_by = [one for of_seed in steps.values() for one in of_seed.values()]
    jobs = list(dict.fromkeys(job for one in taken_by for job in one))
    if not jobs:
        return []
    width = max(map(len, steps)) + 2
    lines = [
        "",
        "optimiser steps, by seed where they differ",
        " " * width + "".join(f"{job:<16}" for job in jobs),
    ]
    for name, of_seed in steps.items():
        taken = [[str(one.get(job, "-")) for one in of_seed.values()] for job in jobs]
        lines.append(
            f"{name:<{width}}"
            + "".join(f"{'/'.join(each if len(set(each)) > 1 else each[:1]):<16}" for each in taken)
        )
    return lines


def _read(root: pathlib.Path, name: str, seed: int, ks: Sequence[int]) -> dict[str, _Values]:
    """The tested splits of a workdir whose report is written."""
    tested = {}
    for split, run in contestants.read(root, name).items():
        if split == HELDOUT:
            continue
        columns = comparison.methods(run.candidates, run.k, run.greedy)
        if run.candidates.score_C is not None:
            columns |= _curves(run.candidates, ks, seed)
        tested[str(split)] = _Values(
            run.candidates.problem_id_P, columns, int(run.candidates.count_P.sum()), seed
        )
    return tested


def _curves(candidates: Candidates, ks: Sequence[int], seed: int) -> dict[str, np.ndarray]:
    """[P] values of each point of the curves over the number of samples."""
    sizes = curves.grid(candidates.smallest)
    figures = {f"{_CURVE}{size}": curves.verifier_at_k(candidates, size) for size in sizes}
    voted = [size for size in sizes if str(size)[0] in "13" or size == sizes[-1]]
    shares = vote_shares(
        candidates, [(size, k) for size in voted for k in ks if k <= size], seed, _SUBSETS
    )
    figures |= {f"{_VOTES}{size}/{k}": column for (size, k), column in shares.items()}
    return figures


def _summary(
    runs: Sequence[_Values], base: Sequence[_Values], resamples: int, seed: int
) -> dict[str, Any]:
    """One variant on one split."""
    names = [name for name in runs[0].figures if all(name in one.figures for one in runs)]
    whole = _over_seeds(runs, names)
    bootstrap = Bootstrap.draw(len(next(iter(whole.values()))), resamples, seed)
    figures: dict[str, Any] = {
        name: {
            **estimate,
            "by_seed": {str(one.seed): round(float(one.figures[name].mean()), 10) for one in runs},
        }
        for name, estimate in bootstrap.estimates(
            {name: whole[name] for name in names if "/" not in name}
        ).items()
    }
    pairs = [_paired(one, other) for one in runs for other in base if one.seed == other.seed]
    shared = [
        name
        for name in pairs[0].figures
        if all(name in one.figures for one in pairs) and "/" not in name
    ]
    apart = _over_seeds(pairs, shared)
    common = len(next(iter(apart.values()), ()))
    # Figures of shared samples are one figure, not two to compare.
    told = {name: column for name, column in apart.items() if column.any()}
    return {
        "n_problems": len(bootstrap.lot_P),
        "n_samples": sum(one.samples for one in runs),
        "figures": figures,
        "n_shared_problems": common,
        "differences": Bootstrap.draw(common, resamples, seed).differences(told) if told else {},
        "peak": _peak(
            bootstrap,
            {
                int(name.removeprefix(_CURVE)): whole[name]
                for name in names
                if name.startswith(_CURVE)
            },
        ),
        "votes": _votes(
            bootstrap, {name: whole[name] for name in names if name.startswith(_VOTES)}
        ),
    }


def _paired(one: _Values, other: _Values) -> _Values:
    """What a run solves more than another, problem by problem, on the problems that both have."""
    ids, mine, theirs = np.intersect1d(
        one.problem_id_P, other.problem_id_P, assume_unique=True, return_indices=True
    )
    common = [name for name in one.figures if name in other.figures]
    return _Values(
        ids,
        {name: one.figures[name][mine] - other.figures[name][theirs] for name in common},
        0,
        one.seed,
    )


def _over_seeds(runs: Sequence[_Values], names: Sequence[str]) -> dict[str, np.ndarray]:
    """One value a problem and figure: the mean over the seeds that were tested on it."""
    ids, index = np.unique(np.concatenate([one.problem_id_P for one in runs]), return_inverse=True)
    times = np.bincount(index, minlength=len(ids))
    return {
        name: np.bincount(index, np.concatenate([one.figures[name] for one in runs]), len(ids))
        / times
        for name in names
    }


def _peak(bootstrap: Bootstrap, curve: Mapping[int, np.ndarray]) -> dict[str, Any] | None:
    """Where best-of-n is highest on its curve, and where in 95% of the resamples.

    None without a curve or with too few problems.
    """
    if not curve or len(bootstrap.lot_P) < FEWEST:
        return None
    sizes = np.array(sorted(curve))
    best_R = sizes[bootstrap.sums({str(size): curve[size] for size in sizes}).argmax(axis=1)]
    low, high = np.percentile(best_R, [2.5, 97.5], method="nearest")
    return {
        "samples": int(max(sizes, key=lambda size: curve[size].mean())),
        "ci95": [int(low), int(high)],
    }


def _votes(bootstrap: Bootstrap, points: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Top-k votes by number of samples and k."""
    votes: dict[str, dict[str, Any]] = {}
    for name, estimate in bootstrap.estimates(dict(points)).items():
        size, k = name.removeprefix(_VOTES).split("/")
        votes.setdefault(size, {})[k] = estimate
    return votes


def _percent(estimate: Mapping[str, Any] | None) -> str:
    return f"{100 * estimate['value']:.1f}" if estimate else "-"
