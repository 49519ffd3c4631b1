"""What a teacher says of the solutions of examples: the targets of `train.losses.distill`.

Both begin with an example of `examples.lm_example`, made from the solution in the student's tokens,
the alignment's `tokens_T`; what it weighs is what counts here.
"""

from __future__ import annotations

import numpy as np

from verifier.data import matching
from verifier.data.alignment import Aligned
from verifier.data.examples import Example
from verifier.data.vocabularies import NONE
from verifier.errors import ConfigError


def with_distributions(example: Example, aligned: Aligned) -> Example:
    """The targets of `match_distribution`.

    "top_ids" and "top_logprobs" at position t are of the token at t + 1, which "lm_target" names;
    those of the prompt's tokens are one-hot.

    Args:
        example: prompt and solution.
        aligned: the solution, with as many alternatives as the loss is made for.
    """
    here, there = _predicted(example, aligned)
    made = one_hot(example, aligned.top_ids_TC.shape[1])
    made.targets["top_ids"][here] = aligned.top_ids_TC[there]
    made.targets["top_logprobs"][here] = aligned.top_logprobs_TC[there]
    return made


def one_hot(example: Example, alternatives: int) -> Example:
    """The targets of `match_distribution` for a text of which nobody has told anything but itself:
    there it is the cross-entropy.

    Args:
        example: prompt and text.
        alternatives: C, as the loss is made for.
    """
    shape = len(example.tokens), alternatives
    top_ids, top_logprobs = np.full(shape, NONE, np.int32), np.full(shape, -np.inf, np.float32)
    top_ids[:, 0], top_logprobs[:, 0] = example.targets["lm_target"], 0
    added = {"top_ids": top_ids, "top_logprobs": top_logprobs}
    return example._replace(targets={**example.targets, **added})


def with_spans(example: Example, aligned: Aligned, normalise: str) -> Example:
    """The targets of `match_spans`; the prompt is in no span.

    A span with a token that has no weight in the example, as those of the calculator may have none,
    is left out as a whole.

    Args:
        example: prompt and solution.
        aligned: the solution.
        normalise: "tokens": a span weighs as many as it has tokens; "spans": 1.

    Raises:
        ConfigError: an unknown normalise.
    """
    if normalise not in ("tokens", "spans"):
        raise ConfigError(f"distill.normalise is {normalise!r}; expected 'tokens' or 'spans'")
    here, there = _predicted(example, aligned)
    is_used_T = np.zeros(len(aligned.tokens_T), bool)
    is_used_T[there] = example.targets["lm_weight"][here] > 0
    is_in_T, span_T = aligned.span_T != matching.NONE, aligned.span_T
    spans = len(aligned.span_logprobs_Z)
    tokens_Z = np.bincount(span_T[is_in_T], minlength=spans)
    is_used_Z = np.bincount(span_T[is_in_T & is_used_T], minlength=spans) == tokens_Z
    weight_Z = is_used_Z / (np.maximum(tokens_Z, 1) if normalise == "spans" else 1)
    # A token in no span takes what is put behind the last one.
    weight_T, logprob_T = (
        np.append(each_Z, 0)[span_T] for each_Z in (weight_Z, aligned.span_logprobs_Z)
    )
    is_start_T = np.diff(span_T, prepend=matching.NONE) > 0
    weight, logprob = np.zeros((2, len(example.tokens)), np.float32)
    start = np.zeros(len(example.tokens), np.int32)
    weight[here], logprob[here], start[here] = weight_T[there], logprob_T[there], is_start_T[there]
    targets = {
        "lm_target": example.targets["lm_target"],
        "span_weight": weight,
        "span_start": start,
        "span_logprob": logprob,
    }
    return example._replace(targets=targets)


def with_numbers(example: Example, digits_V: np.ndarray, learned: Example) -> Example:
    """The same with the target "number_weight": of every token that counts and has a digit its
    weight in the language-model loss.

    Args:
        example: prompt and solution, as `examples.lm_example` makes it.
        digits_V: bool, the ids whose bytes have a digit among them.
        learned: the example with what is learned of it.
    """
    is_number_T = digits_V[example.targets["lm_target"]]
    weight_T = np.where(is_number_T, example.targets["lm_weight"], np.float32(0))
    return learned._replace(targets={**learned.targets, "number_weight": weight_T})


def _predicted(example: Example, aligned: Aligned) -> tuple[slice, slice]:
    """The positions that predict a solution's tokens, and which of its tokens these are.

    Of a solution without a prompt the first token is predicted by nothing.
    """
    prompt = len(example.tokens) - len(aligned.tokens_T)
    first = int(prompt == 0)
    return slice(prompt + first - 1, len(example.tokens) - 1), slice(first, None)
