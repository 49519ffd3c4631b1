"""The figures of metrics.json: accuracies with intervals, differences, the choice on `heldout`.

Every accuracy is a mean over problems of one number a problem (each problem weighs the same,
however many samples it has). All figures of a split share one bootstrap over problems, so
differences between two methods are paired. Whatever is chosen is chosen on the split `heldout`
alone.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from verifier.evaluate import curves, nested, rank
from verifier.evaluate.calibration import are_probabilities, calibration
from verifier.evaluate.candidates import Candidates
from verifier.evaluate.intervals import FEWEST, RARE, Bootstrap, Estimate
from verifier.text.split import HELDOUT, Split

_DIFFERENCES = (
    ("best_of_n", "mean_sample_accuracy"),
    ("best_of_n", "greedy_accuracy"),
    ("majority", "mean_sample_accuracy"),
    ("best_of_n", "majority"),
    ("top_k_vote_chosen", "majority"),
    ("weighted_vote", "majority"),
    ("top_k_vote_chosen", "best_of_n"),
    ("weighted_vote", "best_of_n"),
    ("weighted_vote", "top_k_vote_chosen"),
    ("likeliest", "majority"),
    ("likeliest_own", "majority"),
    ("best_of_n", "likeliest"),
    ("best_of_n", "likeliest_own"),
    ("top_k_vote_chosen", "likeliest"),
    ("top_k_vote_chosen", "likeliest_own"),
    ("weighted_vote", "likeliest"),
    ("weighted_vote", "likeliest_own"),
)
_GAPS = ("best_of_n", "top_k_vote_chosen", "weighted_vote")
_VOTES: dict[str, nested.Curve] = {
    "majority_at_k": curves.majority_at_k,
    "weighted_vote_at_k": curves.weighted_vote_at_k,
}


class _Beside(NamedTuple):
    """What figures are taken of beside a split's ranked samples.

    Attributes:
        greedy: samples at temperature 0; None: of no use here, or not drawn.
        ranks: by figure, other numbers that its rows are ranked by.
        weighs: whether scores are summed: of negative ones the rarest answer would win.
    """

    greedy: Candidates | None
    ranks: Mapping[str, np.ndarray]
    weighs: bool


def summarise(
    candidates: Mapping[Split, Candidates],
    ks: Sequence[int],
    resamples: int,
    seed: int,
    ranks: Mapping[Split, Mapping[str, np.ndarray]] = types.MappingProxyType({}),
) -> dict[str, Any]:
    """Figures of every split, as under `splits` in metrics.json.

    Args:
        candidates: samples by split. A greedy one only gives `greedy_accuracy` of the split whose
            problems it has, where that is there; `heldout` only serves choices and is reported as
            such.
        ks: sizes of the top-k votes that are tried.
        resamples: of the bootstrap.
        seed: of the bootstrap and of drawn subsets.
        ranks: by split and figure, "likeliest" or "likeliest_own", [rows] the generator's own
            likelihood of the rows that `Candidates.row_C` leads to; as far as it is known.

    Returns:
        By name, for every split that is not the greedy one of another its figures; verifier's parts
        are None where there are no scores.
    """
    splits = reported(candidates)
    weighs = all(
        are_probabilities(split) for split in candidates.values() if split.score_C is not None
    )
    chosen = (
        _choose(candidates[HELDOUT], ks, weighs)
        if HELDOUT in splits and candidates[HELDOUT].score_C is not None
        else None
    )
    out = {}
    for split in splits:
        own, greedy = candidates[split], candidates.get(dataclasses.replace(split, greedy=True))
        greedy = None if split.greedy else greedy
        bootstrap = Bootstrap.draw(len(own.count_P), resamples, seed)
        name, choice = str(split), None if split == HELDOUT else chosen
        beside = _Beside(greedy, ranks.get(split, {}), weighs)
        out[name] = _split(own, ks, bootstrap, seed, choice, beside)
        if greedy is not None and not out[name]["greedy_accuracy"]:  # of other problems
            out[name]["greedy_accuracy"] = Bootstrap.draw(
                len(greedy.count_P), resamples, seed
            ).estimates({"": _mean_accuracy(greedy)})[""]
    return out


def figure_of(method: str) -> str:
    """The figure of a method that held-out problems have chosen (`best_method_on_heldout`)."""
    return "top_k_vote_chosen" if method == "top_k_vote" else method


def reported(splits: Iterable[Split]) -> list[Split]:
    """The splits that have figures of their own: all but the greedy ones of others."""
    there = list(splits)
    return [split for split in there if not (split.greedy and split.problems in there)]


def _split(
    candidates: Candidates,
    ks: Sequence[int],
    bootstrap: Bootstrap,
    seed: int,
    chosen: dict[str, Any] | None,
    beside: _Beside,
) -> dict[str, Any]:
    """All figures of one split.

    First one number a problem and figure, then all means and intervals at once.
    """
    scored = candidates.score_C is not None
    votes = {
        name: curve
        for name, curve in _VOTES.items()
        if (scored and beside.weighs) or name == "majority_at_k"
    }
    values = _of_problems(candidates, ks, beside)
    sizes = _sizes(candidates, ks)
    for name, curve in votes.items():
        values |= {f"{name}/{k}": column for k, column in curve(candidates, sizes, seed).items()}
    if chosen and scored:
        values["top_k_vote_chosen"] = rank.top_k_vote(candidates, chosen["k"]).correct_P
    values = {name: np.asarray(column, np.float64) for name, column in values.items()}
    pairs = {
        f"differences/{a}-{b}": values[a] - values[b]
        for a, b in _DIFFERENCES
        if a in values and b in values
    }
    means = bootstrap.estimates(values) | bootstrap.differences(pairs)
    same_problems = nested.intervals(
        candidates, {name: float(column.mean()) for name, column in values.items()}, votes, seed
    )
    more = {"oracle_gap_closed": _gaps(values, bootstrap), "ci95_same_problems": same_problems}
    return {**_nested(candidates, means, chosen if scored else None), **more}


def _sizes(candidates: Candidates, ks: Sequence[int]) -> list[int]:
    """The sizes at which curves over the number of samples are drawn, those in `ks` among them."""
    return sorted({*curves.grid(candidates.smallest), *(k for k in ks if k <= candidates.smallest)})


def _of_problems(
    candidates: Candidates, ks: Sequence[int], beside: _Beside
) -> dict[str, np.ndarray]:
    """[P] one number a problem of every figure that draws no subsets, by its name in `means`."""
    sizes = _sizes(candidates, ks)
    values: dict[str, np.ndarray] = {
        "mean_sample_accuracy": _mean_accuracy(candidates),
        "majority": rank.majority(candidates).correct_P,
        "oracle_pass_at_n": candidates.right_P > 0,
    }
    greedy = beside.greedy
    if greedy is not None and np.array_equal(greedy.problem_id_P, candidates.problem_id_P):
        values["greedy_accuracy"] = _mean_accuracy(greedy)
    by_rank = {figure: candidates.reranked(rank_R) for figure, rank_R in beside.ranks.items()}
    values |= {figure: rank.best_of_n(ranked).correct_P for figure, ranked in by_rank.items()}
    if own := by_rank.get("likeliest"):
        values |= {f"likeliest_at_k/{k}": curves.verifier_at_k(own, k) for k in sizes}
    values |= {f"pass_at_k/{k}": curves.pass_at_k(candidates, k) for k in sizes}
    if candidates.score_C is not None:
        values |= {
            f"top_k_vote/{k}": rank.top_k_vote(candidates, k).correct_P
            for k in _votes(candidates, ks)
        }
        values |= {"best_of_n": rank.best_of_n(candidates).correct_P}
        if beside.weighs:
            values["weighted_vote"] = rank.weighted_vote(candidates).correct_P
        values |= {f"verifier_at_k/{k}": curves.verifier_at_k(candidates, k) for k in sizes}
    return values


def _gaps(values: Mapping[str, np.ndarray], bootstrap: Bootstrap) -> dict[str, Estimate | None]:
    """How much of the way from majority to oracle each of _GAPS goes.

    None where too few problems lie between the two: a ratio has no exact interval.
    """
    gap_P = values["oracle_pass_at_n"] - values["majority"]
    enough = len(gap_P) >= FEWEST and gap_P.sum() >= RARE
    return {
        name: bootstrap.ratio(values[name] - values["majority"], gap_P)
        if name in values and enough
        else None
        for name in _GAPS
    }


def _mean_accuracy(candidates: Candidates) -> np.ndarray:
    return candidates.right_P / candidates.count_P


def _nested(
    candidates: Candidates, means: dict[str, Estimate], chosen: dict[str, Any] | None
) -> dict[str, Any]:
    """The flat figures in the order and the nesting of metrics.json."""

    def family(name: str) -> dict[str, Estimate] | None:
        return {
            key.partition("/")[2]: value
            for key, value in means.items()
            if key.startswith(f"{name}/")
        } or None

    best = None
    if chosen:
        method = figure_of(chosen["method"])
        best = {
            **chosen,
            **means[method],
            "difference_to_majority": means[f"differences/{method}-majority"],
        }
    return {
        "n_problems": len(candidates.count_P),
        "n_samples": int(candidates.count_P.sum()),
        "samples_per_problem": {
            "min": int(candidates.count_P.min()),
            "max": int(candidates.count_P.max()),
        },
        "mean_sample_accuracy": means["mean_sample_accuracy"],
        "greedy_accuracy": means.get("greedy_accuracy"),
        "majority": means["majority"],
        "likeliest": means.get("likeliest"),
        "likeliest_own": means.get("likeliest_own"),
        "best_of_n": means.get("best_of_n"),
        "top_k_vote": family("top_k_vote"),
        "top_k_vote_chosen": {"k": chosen["k"], **means["top_k_vote_chosen"]} if chosen else None,
        "weighted_vote": means.get("weighted_vote"),
        "oracle_pass_at_n": means["oracle_pass_at_n"],
        "best_method_on_heldout": best,
        "differences": {f"{a}-{b}": means.get(f"differences/{a}-{b}") for a, b in _DIFFERENCES},
        "pass_at_k": family("pass_at_k"),
        "verifier_at_k": family("verifier_at_k"),
        "majority_at_k": family("majority_at_k"),
        "likeliest_at_k": family("likeliest_at_k"),
        "weighted_vote_at_k": family("weighted_vote_at_k"),
        "verifier": calibration(candidates) if candidates.score_C is not None else None,
        "samples_without_answer": int(np.sum(candidates.answer_C < 0)),
        "mixed_answer_groups": candidates.mixed_groups(),
    }


def _choose(heldout: Candidates, ks: Sequence[int], weighs: bool) -> dict[str, Any]:
    """The k, and the method, that are best on held-out problems.

    A tie goes to the smaller k and the simpler method.
    """
    votes = {k: float(rank.top_k_vote(heldout, k).correct_P.mean()) for k in _votes(heldout, ks)}
    k = max(votes, key=lambda size: votes[size])
    methods = {
        "best_of_n": float(rank.best_of_n(heldout).correct_P.mean()),
        "top_k_vote": votes[k],
        **(
            {"weighted_vote": float(rank.weighted_vote(heldout).correct_P.mean())} if weighs else {}
        ),
    }
    method = max(methods, key=lambda name: methods[name])
    return {"method": method, "k": k, "heldout_accuracy": methods[method]}


def _votes(candidates: Candidates, ks: Sequence[int]) -> list[int]:
    """Sizes of votes that make sense: a vote among more than all samples is the majority."""
    most = int(candidates.count_P.max())
    return sorted({min(k, most) for k in ks})
