"""Where a teacher's word on a token lies in an example."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data.pieces import Pieces, taught
from verifier.data import batches
from verifier.data.alignment import Aligner
from verifier.data.teacher_targets import with_distributions, with_spans
from verifier.errors import ConfigError
from verifier.train.losses import distill

TEACHER = Pieces("a", "b", "1", "2", "12", " ")
STUDENT = Pieces(" ", "12", "b", "a", "3", "ab")
PROMPT = [4, 0]  # of the student
ALIGNED = Aligner(TEACHER, STUDENT, "bytes").align(
    taught(TEACHER, [*TEACHER.encode("ab"), 2, 3, *TEACHER.encode(" 12"), TEACHER.end_id])
)  # a b 1 2 _ 12 end, which the student writes as ab 12 _ 12 end


def example(prompt=PROMPT, forced=None, *, question=False, on_forced=True):
    count = len(ALIGNED.tokens_T)
    return batches.lm_example(
        prompt,
        ALIGNED.tokens_T.tolist(),
        forced or [False] * count,
        loss_on_question=question,
        loss_on_forced=on_forced,
    )


def test_a_position_has_the_teachers_word_on_the_next_token():
    made = with_distributions(example(), ALIGNED)
    assert ALIGNED.one_hot_T.tolist() == [True, True, False, False, False]
    for t in range(len(ALIGNED.tokens_T)):
        at = len(PROMPT) - 1 + t
        assert made.targets["lm_target"][at] == ALIGNED.tokens_T[t]
        assert (made.targets["top_ids"][at] == ALIGNED.top_ids_TC[t]).all()
        assert (made.targets["top_logprobs"][at] == ALIGNED.top_logprobs_TC[t]).all()
    assert made.targets["top_ids"][0].tolist() == [PROMPT[1], -1, -1, -1]
    assert made.targets["top_logprobs"][0].tolist() == [0, *[-np.inf] * 3]


@pytest.mark.parametrize(("normalise", "first"), [("spans", 1), ("tokens", 1)])
def test_spans_of_a_student_with_longer_pieces(normalise, first):
    made = with_spans(example(question=True), ALIGNED, normalise)
    assert made.targets["span_weight"].tolist() == [0, *[first] * 5, 0]
    assert made.targets["span_start"].tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert made.targets["span_logprob"][1:-1].tolist() == ALIGNED.span_logprobs_Z.tolist()
    assert "lm_weight" not in made.targets


def split():
    """A solution of which the student writes the first number in two tokens."""
    aligned = Aligner(STUDENT, TEACHER, "bytes").align(
        taught(STUDENT, [*STUDENT.encode("12 12"), STUDENT.end_id]), [2, 3, 5, 4, TEACHER.end_id]
    )
    made = batches.lm_example(
        [0], aligned.tokens_T.tolist(), [False] * 5, loss_on_question=False, loss_on_forced=True
    )
    return aligned, made


def test_the_weights_of_a_span_sum_to_one_or_to_its_tokens():
    aligned, made = split()
    each = with_spans(made, aligned, "spans").targets
    assert each["span_weight"].tolist() == [0.5, 0.5, 1, 1, 1, 0]
    assert each["span_start"].tolist() == [1, 0, 1, 1, 1, 0]
    assert each["span_logprob"][:2].tolist() == [aligned.span_logprobs_Z[0]] * 2
    by_tokens = with_spans(made, aligned, "tokens").targets["span_weight"]
    assert by_tokens.tolist() == [1, 1, 1, 1, 1, 0]


def test_a_span_with_a_token_that_does_not_count_is_left_out():
    aligned, made = split()
    made.targets["lm_weight"][1] = 0  # the second token of the number
    assert with_spans(made, aligned, "spans").targets["span_weight"].tolist() == [0, 0, 1, 1, 1, 0]
    # Nothing predicts the first token of a text without a prompt.
    alone = batches.lm_example(
        [], aligned.tokens_T.tolist(), [False] * 5, loss_on_question=False, loss_on_forced=True
    )
    assert with_spans(alone, aligned, "spans").targets["span_weight"].tolist() == [0, 1, 1, 1, 0]
    told = with_distributions(alone, aligned).targets
    assert (told["top_ids"][:-1] == aligned.top_ids_TC[1:]).all()


def test_a_token_outside_all_spans_counts_in_none():
    aligned = Aligner(TEACHER, STUDENT, "bytes").align(
        taught(TEACHER, TEACHER.encode("ab")), STUDENT.encode("ab") + [STUDENT.end_id]
    )
    made = batches.lm_example(
        [0], aligned.tokens_T.tolist(), [False] * 2, loss_on_question=False, loss_on_forced=True
    )
    found = with_spans(made, aligned, "spans").targets
    assert found["span_weight"].tolist() == [1, 0, 0] and found["span_start"].tolist() == [1, 0, 0]


def test_examples_have_what_the_losses_read():
    alternatives = ALIGNED.top_ids_TC.shape[1]
    told = with_distributions(example(), ALIGNED)
    for made, loss in (
        (told, distill.match_distribution(STUDENT.vocab_size, alternatives)),
        (with_spans(example(), ALIGNED, "spans"), distill.match_spans(STUDENT.vocab_size)),
    ):
        assert made.targets.keys() | {"lm_weight", "number_weight"} == loss.targets.keys()
        (batch,) = batches.BatchStream([made], 0, batches.BatchSpec(1, 9, loss.targets))
        for key, target in made.targets.items():
            assert (batch.targets[key][0, : len(made.tokens)] == target).all()
            assert batch.targets[key].dtype == target.dtype


def test_an_unknown_weight_is_named():
    with pytest.raises(ConfigError, match="'bytes'.*'tokens' or 'spans'"):
        with_spans(example(), ALIGNED, "bytes")
