"""The examples of a student: what counts is the same whatever is learned of it."""

import numpy as np
import pytest

from experiments import tiny_distill
from verifier import config as config_lib
from verifier.data.alignment import Taught
from verifier.recipes import distill as recipe
from verifier.run.context import Context
from verifier.stages import distill, right_solutions
from verifier.stages.right_solutions import RightSolution, RightSolutions
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.problem import make_problem

TEXT = "3*6=<<3*6=18>>18\nThe answer is 18"


class Lossy(ByteTokenizer):
    """Has no bytes for 3."""

    def encode(self, text):
        return super().encode(text.replace("3", ""))

    def encode_with_spans(self, text):
        return super().encode_with_spans(text.replace("3", ""))


def learned(monkeypatch, *more, student_tokenizer=None):
    """The one example of a solution, whose student has the teacher's bytes for tokens."""
    own = config_lib.override(tiny_distill.get_config(), ["distill.mix=[0,1,0,0]", *more])
    tokenizer = ByteTokenizer()
    tokens = np.array([*tokenizer.encode(TEXT), tokenizer.end_id], np.int32)
    told = np.repeat(tokens[:, None], 5, axis=1), np.full((len(tokens), 5), -1, np.float32)
    taught = Taught(tokens, np.full(len(tokens), -1, np.float32), *told)
    problem = make_problem("How many?", None, "18", "fake", "train")
    right = RightSolutions([RightSolution(problem, TEXT, taught)], tokenizer, [problem.problem_id])
    monkeypatch.setattr(Context, "problems", lambda *_: [problem])
    monkeypatch.setattr(Context, "settings", lambda *_: {})
    monkeypatch.setattr(Context, "is_done", lambda *_: False)
    monkeypatch.setattr(right_solutions, "taught", lambda *_: right)
    kept = []
    monkeypatch.setattr(distill, "make_generator", lambda *given: kept.append(given[2]))
    student = next(each for each in recipe.stages(own) if each.name == "finetune")
    distill.finetune(Context(own, "", student, []))
    (example,) = kept[0](None, student_tokenizer or tokenizer).train
    return example


@pytest.mark.parametrize("on_forced", ["true", "false"])
def test_what_a_calculator_writes_counts_where_that_is_asked_for(monkeypatch, on_forced):
    more = f"finetune.loss_on_forced={on_forced}"
    sampled, told, spans = (
        learned(monkeypatch, more, f"finetune.loss={loss}").targets
        for loss in ("match_sample", "match_distribution", "match_spans")
    )
    weight = sampled["lm_weight"]
    np.testing.assert_array_equal(told["lm_weight"], weight)
    np.testing.assert_array_equal(spans["span_weight"] > 0, weight > 0)
    left_out = len("18>>") if on_forced == "false" else 0
    assert weight.sum() == len(TEXT) + 1 - left_out
    for targets in (sampled, told, spans):
        numbers = targets["number_weight"]
        assert numbers.sum() == 10 - len("18") * (on_forced == "false")
        assert set(targets["lm_target"][numbers > 0]) <= set(b"0123456789")


@pytest.mark.parametrize("loss", ["match_distribution", "match_spans"])
def test_a_text_that_the_student_cannot_write_is_learned_by_itself_and_named(
    monkeypatch, capsys, loss
):
    more = f"finetune.loss={loss}", "distill.align=bytes"
    example = learned(monkeypatch, *more, student_tokenizer=Lossy())
    said = capsys.readouterr()
    assert "different texts" in said.out + said.err and "1 of 1 solutions" in said.out + said.err
    assert example.targets["lm_weight"].sum() == len(TEXT.replace("3", "")) + 1
    if loss == "match_distribution":
        assert (example.targets["top_ids"][:, 0] == example.targets["lm_target"]).all()
        assert (example.targets["top_logprobs"][:, 1:] == -np.inf).all()
