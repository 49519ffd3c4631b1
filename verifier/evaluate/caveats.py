"""What makes figures, or a training, mean little: sentences that are said before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from verifier.evaluate.candidates import Candidates
from verifier.evaluate.intervals import FEWEST

_SAMPLES = 10  # that are all right before it is strange
_MEMORY = 0.2  # share of right samples that training problems have above others before it is said


def too_few(problems: int) -> str | None:
    """Why problems so few in number carry no conclusion; None where they are enough."""
    if problems >= FEWEST:
        return None
    return (
        f"{problems} problem{'s' * (problems != 1)}: too few for a conclusion, which takes "
        f"{FEWEST} or more"
    )


def caveats(candidates: Mapping[str, Candidates]) -> list[str]:
    """Sentences about some splits' samples.

    `graders.findings` has those about verdicts that no grader gives.
    """
    out = []
    for name, ranked in candidates.items():
        few = too_few(len(ranked.count_P))
        out += [f"{name}: {few}."] if few else []
        samples = len(ranked.row_C)
        if samples >= _SAMPLES and ranked.correct_C.all():
            out.append(
                f"{name}: every one of the {samples:,} solutions is graded right. That is "
                "suspicious: look at some of them and at their right answers before believing "
                "it; nothing can be told about choosing among them."
            )
        if _all_equal(ranked):
            out.append(
                f"{name}: the scores of every problem's solutions are equal. They rank by "
                "sample_id alone, so best-of-n is a solution taken blindly, the weighted vote "
                "the majority, and nothing here tells about a verifier."
            )
    return out


def of_accuracy(who: str, values: Iterable[float]) -> str | None:
    """A sentence about whoever solves none of some problems, or all; None: neither.

    Args:
        who: is told of.
        values: shares of problems that are solved, of one model or of several.
    """
    found = set(values)
    if found not in ({0.0}, {1.0}):
        return None
    extreme = "nothing" if found == {0.0} else "everything"
    return f"{who} solves {extreme}; look at what is written before believing it"


def of_labels(split: str, correct: np.ndarray) -> str | None:
    """What is wrong with labels that are all alike, before a verifier is trained on them.

    None where there are labels of both kinds.

    Args:
        split: "train" or "heldout".
        correct: [samples] the verdicts.
    """
    if not len(correct) or correct.min() != correct.max():
        return None
    which = (
        f"{'all' if correct[0] else 'none'} of the {len(correct):,} {split} samples "
        f"{'are' if correct[0] else 'is'} right"
    )
    if split == "train":
        return (
            f"{which}: the verifier can learn nothing but to say so of every solution; look at "
            "the grader, or draw others"
        )
    return (
        f"{which}: the loss on them, by which a step is chosen, does not tell whether the "
        "verifier knows right from wrong"
    )


def of_memory(train: np.ndarray, heldout: np.ndarray) -> str | None:
    """What is wrong with a generator that solves the problems it has learned far more often than
    others, before a verifier is trained on its samples (Cobbe et al. 2021, section 4.2).

    None where it does not.

    Args:
        train: [samples] verdicts on those of training problems.
        heldout: [samples] on those of held-out problems.
    """
    if not len(train) or not len(heldout) or train.mean() - heldout.mean() <= _MEMORY:
        return None
    return (
        f"{train.mean():.0%} of the train samples are right, {heldout.mean():.0%} of the heldout "
        "ones: the generator knows its training problems by heart, and what tells its samples "
        "of these apart may not hold for others; sample them out of fold (sample.folds=4), or "
        "fine-tune for fewer epochs"
    )


def _all_equal(ranked: Candidates) -> bool:
    """Whether no problem has solutions that its scores tell apart, though one has several."""
    by_C = ranked.score_C if ranked.log_C is None else ranked.log_C
    if by_C is None or len(ranked.row_C) == len(ranked.count_P):
        return False
    last_P = ranked.start_P + ranked.count_P - 1
    return bool(np.all(by_C[ranked.start_P] == by_C[last_P]))
