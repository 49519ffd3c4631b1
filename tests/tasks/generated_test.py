"""Generated problems: right by their own annotations, endless, and never the same in train and
test.
"""

import itertools
import re

import pytest

from verifier import errors
from verifier.grading import answer
from verifier.tasks import generated
from verifier.text import calculator

COUNT = 700


@pytest.fixture(scope="module")
def problems():
    return {split: generated.generate(split, COUNT, seed=3) for split in ("train", "test")}


def all_of(problems):
    return [*problems["train"], *problems["test"]]


def test_solutions_are_in_the_format_of_gsm8k(problems):
    for problem in all_of(problems):
        lines = problem.solution.splitlines()
        assert lines[-1] == f"#### {problem.answer}"
        assert 2 <= len(lines) - 1 <= 8, problem
        assert int(problem.answer) >= 0


def test_every_annotation_gives_its_written_result(problems):
    for problem in all_of(problems):
        annotations = calculator.annotations(problem.solution)
        assert annotations, problem
        for each in annotations:
            result = calculator.evaluate(each.expression)
            assert isinstance(result, calculator.Evaluated) and result.text == each.result, problem
            assert problem.solution[each.end :].startswith(each.result), (
                "the result is written twice, as in GSM8K"
            )


def test_the_numeric_grader_accepts_the_solution_itself(problems):
    assert all(
        answer.grade(problem.solution, problem.answer, "numeric").correct
        for problem in all_of(problems)
    )


def test_a_checking_line_shows_0_and_ends_the_solution_where_the_answer_is_easier_to_check(
    problems,
):
    checked = [
        problem
        for problem in all_of(problems)
        if problem.source.split("/")[1] in ("guess", "rectangle", "backwards")
    ]
    assert len(checked) > COUNT / 2
    for problem in checked:
        line = problem.solution.splitlines()[-2]
        assert line.startswith("Check: off by ") and line.endswith("=0>>0."), problem
        # The demand stands first and is copied from the question, so that a wrong answer shows in
        # the difference.
        demand = re.match(r"\d+", line.removeprefix("Check: off by <<"))[0]
        assert re.search(rf"\b{demand}\b", problem.question)


def test_exactly_one_guess_leaves_nothing_over():
    for problem in generated.generate("train", 40, seed=0, kinds=["guess"]):
        first, second, third, check = (
            each.expression for each in calculator.annotations(problem.solution)
        )
        n, answer = map(int, first.split("-"))
        a, b = int(second.split("*")[1]), int(third.split("*")[1])
        total = int(check.split("-")[0])
        assert (
            [x for x in range(1, n) if x * a + (n - x) * b == total]
            == [answer]
            == [int(problem.answer)]
        )


def test_train_and_test_share_no_question_no_combination_and_no_numbers(problems):
    assert not {p.question for p in problems["train"]} & {p.question for p in problems["test"]}
    drafts = {"train": [], "test": [], "neither": []}
    import random

    rng = random.Random(11)
    for kind in itertools.islice(itertools.cycle(generated.KINDS), 6000):
        draft = generated.KINDS[kind](rng)
        drafts[generated.split_of(draft)].append(draft)
    combination = {split: {draft.combination for draft in kept} for split, kept in drafts.items()}
    numbers = {
        split: {(draft.combination[0], draft.numbers) for draft in kept}
        for split, kept in drafts.items()
    }
    assert drafts["train"] and drafts["test"]
    assert not combination["train"] & combination["test"]
    assert not numbers["train"] & numbers["test"]


def test_other_seeds_keep_the_splits_apart_too():
    train = {p.question for seed in range(3) for p in generated.generate("train", 300, seed)}
    assert not train & {
        p.question for seed in range(3) for p in generated.generate("test", 100, seed)
    }


def test_a_longer_draw_starts_with_a_shorter_one_and_seeds_differ():
    assert generated.generate("train", 50, 1) == generated.generate("train", 80, 1)[:50]
    assert generated.generate("train", 50, 1) != generated.generate("train", 50, 2)


def test_kinds_come_in_turn():
    kinds = [
        p.source.split("/")[1]
        for p in generated.generate("train", 9, 0, ["guess", "guess", "chain"])
    ]
    assert kinds == ["guess", "guess", "chain"] * 3


def test_chains_are_as_long_as_asked_for_and_else_as_they_were():
    made = generated.generate("train", 12, 0, ["chain"], [1, 3, 5])
    assert [each.source for each in made[:4]] == [
        f"generated/chain/{length}" for length in (1, 3, 5, 1)
    ]
    for each in made:
        assert len(each.solution.splitlines()) - 1 == int(each.source.split("/")[2])
    with pytest.raises(errors.DataError, match=r"data\.lengths are of chains"):
        generated.generate("train", 1, 0, ["chain", "guess"], [3])


def test_all_four_operations_and_distractors_occur(problems):
    text = "".join(
        each.expression
        for problem in all_of(problems)
        for each in calculator.annotations(problem.solution)
    )
    assert all(sign in text for sign in "+-*/")
    assert any("degrees outside" in problem.question for problem in all_of(problems))


@pytest.mark.parametrize(
    ("split", "kinds", "message"),
    [("test", ["ges"], "guess"), ("dev", ["guess"], "train"), ("train", [], "empty")],
)
def test_unknown_names_are_refused(split, kinds, message):
    with pytest.raises(errors.DataError, match=message):
        generated.generate(split, 1, 0, kinds)
