"""A teacher's solutions out of a log: what of it is learned, and what is refused."""

import json

import numpy as np
import pytest

from experiments import tiny_distill
from verifier import config as config_lib
from verifier.data.alignment import Aligner
from verifier.errors import ConfigError, TablesError
from verifier.recipes import distill
from verifier.run.context import Context
from verifier.stages import logged, right_solutions
from verifier.tables import store
from verifier.tasks import sources
from verifier.text import tokenizer as tokenizer_lib
from verifier.text.split import HELDOUT, TRAIN

SMALL = """
data.train_problems=12 data.heldout_problems=4 data.test_problems=2 ood.problems=2
distill.teacher= sample.top_logprobs=3 select.checkpoints=1
""".split()


def told(text):
    """A text's tokens as an API tells them: two letters each, and two alternatives."""
    tokens = [text[first : first + 2] for first in range(0, len(text), 2)]

    def one(token, logprob):
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    return [
        {**one(token, -0.25), "top_logprobs": [one(token, -0.25), one("xy", -2.5)]}
        for token in tokens
    ]


def line(question, solution, words=True):
    choice = {"message": {"content": solution}, "finish_reason": "stop"}
    if words:
        choice["logprobs"] = {"content": told(solution)}
    return json.dumps({"question": question, "choices": [choice]})


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A workdir with its problems, whose training problems a log is about."""
    own, root = config_lib.override(tiny_distill.get_config(), SMALL), tmp_path_factory.mktemp("w")
    (problems,) = (each for each in distill.stages(own) if each.name == "problems")
    problems.do(Context(own, root, problems, [problems]))
    table = store.read_table(problems.results(root)[TRAIN], "problems")
    return root, sources.problems_from_table(table)


def read(root, lines, *assignments, name="log"):
    """What a student would learn from: the stages up to it are done."""
    log = root / f"{name}.jsonl"
    log.write_text("\n".join(lines))
    own = config_lib.override(
        tiny_distill.get_config(), [*SMALL, f"distill.log={log}", *assignments]
    )
    place = root / name
    stages = distill.stages(own)
    done = [each for each in stages if each.name == "problems" or each.place == "teacher"]
    for stage in done:
        stage.refuse(own)
        stage.do(Context(own, place, stage, stages))
    (student,) = (each for each in stages if each.place == "student")
    context = Context(own, place, student, stages)
    problems = context.problems("problems")
    return student, right_solutions.taught(context, problems, "", 3)


def test_right_solutions_of_training_problems_are_learned_with_what_was_told(asked):
    root, problems = asked
    right, wrong = problems[:3], problems[3]
    lines = [line(each.question, f"It is so.\n#### {each.answer}") for each in right]
    lines += [line(wrong.question, "It is so.\n#### 123456789"), line("Who?", "#### 1")]
    student, found = read(root, lines)
    assert {one.problem.problem_id for one in found.solutions} == {
        each.problem_id for each in right
    }
    assert not any(role.startswith("heldout_samples") for role in student.reads)
    for one in found.solutions:
        assert one.text == f"It is so.\n#### {one.problem.answer}"
        ids, logprobs = one.taught.top_ids_SC, one.taught.top_logprobs_SC
        assert ids.shape == logprobs.shape == (len(one.taught.tokens_S), 3)
        assert np.isneginf(logprobs[:, 2]).all()  # the log told two
    tokenizer = tokenizer_lib.load_tokenizer(tiny_distill.STUDENT)
    aligned = Aligner(found.tokenizer, tokenizer, "bytes").align(found.solutions[0].taught)
    assert aligned.tokens_T[-1] == tokenizer.end_id  # which no log tells of
    assert tokenizer.decode(aligned.tokens_T[:-1].tolist()) == found.solutions[0].text
    assert aligned.report.all.dropped_bytes == 0


def test_texts_alone_are_learned_by_sample_matching_only(asked):
    root, problems = asked
    lines = [line(each.question, f"#### {each.answer}", words=False) for each in problems[:2]]
    _, found = read(root, lines, "finetune.loss=match_sample", name="texts")
    assert len(found.solutions) == 2 and found.tokenizer is None
    assert all(one.taught is None for one in found.solutions)
    with pytest.raises(TablesError, match="log-probabilities"):
        read(root, lines, name="nothing_told")


def test_a_log_of_other_problems_a_missing_one_and_two_teachers_are_refused(asked):
    root, _ = asked
    with pytest.raises(TablesError, match="none of its 1 solutions"):
        read(root, [line("Who?", "#### 1")], name="others")
    own = tiny_distill.get_config()
    with pytest.raises(ConfigError, match="no such file"):
        logged.check(config_lib.override(own, [*SMALL, "distill.log=nowhere.jsonl"]))
    with pytest.raises(ConfigError, match="both set"):
        logged.check(config_lib.override(own, ["distill.log=nowhere.jsonl"]))
    assert HELDOUT not in logged.stage(distill.stages(own)[0], "teacher").splits


def test_a_log_that_was_mended_is_read_anew(asked):
    root, problems = asked
    with pytest.raises(TablesError, match="none of its 1 solutions"):
        read(root, [line("Who?", "#### 1", words=False)], "finetune.loss=match_sample", name="anew")
    with pytest.raises(TablesError, match="log-probabilities"):  # the same, of which more is wanted
        read(root, [line("Who?", "#### 1", words=False)], name="anew")
    own = problems[0]
    _, found = read(root, [line(own.question, f"#### {own.answer}")], name="anew")
    assert [one.problem.problem_id for one in found.solutions] == [own.problem_id]
    assert not list((root / "anew/teacher/tables/samples").glob("*.read"))
