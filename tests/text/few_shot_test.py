"""Prompts with exemplars: the four formats to the letter, and draws that depend on keys alone."""

import collections
import dataclasses
import json
import random
import re

import pytest

from verifier.config import DistillConfig
from verifier.errors import DataError, ProblemError
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.few_shot import (
    FORMATS,
    Exemplar,
    Format,
    Pool,
    formats,
    read_exemplars,
    worked,
)
from verifier.text.problem import make_problem

SOLUTION = "He has 3*6=<<3*6=18>>18 {cards}.\nThen 18+1,000=<<18+1000=1018>>1018.\n#### 1,018"
TOLD = "He has 3*6=18 {cards}.\nThen 18+1,000=1018.\nThe answer is 1,018"
SHOTS = [Exemplar(f"q{n} {{x}}?", f"s{n}.\nThe answer is {n}", str(n)) for n in range(4)]
EXPECTED = {  # prompt and target of each format, for the question "How many?"
    "zero_shot_answer_only": ("Q: How many? A:", " The answer is 1,018"),
    "zero_shot_chain_of_thought": ("Q: How many?\nLet's think step by step\n", TOLD),
    "in_context_answer_only": (
        "Q: q0 {x}?\nA: The answer is 0\n\nQ: q1 {x}?\nA: The answer is 1\n\n"
        "Q: q2 {x}?\nA: The answer is 2\n\nQ: q3 {x}?\nA: The answer is 3\n\nQ: How many?\nA:",
        " The answer is 1,018",
    ),
    "in_context_chain_of_thought": (
        "Q: q0 {x}?\nLet's think step by step\ns0.\nThe answer is 0\n\n"
        "Q: q1 {x}?\nLet's think step by step\ns1.\nThe answer is 1\n\n"
        "Q: q2 {x}?\nLet's think step by step\ns2.\nThe answer is 2\n\n"
        "Q: q3 {x}?\nLet's think step by step\ns3.\nThe answer is 3\n\n"
        "Q: How many?\nLet's think step by step\n",
        TOLD,
    ),
}


def made(count, split="train"):
    return [
        make_problem(f"{split} {n}?", f"{n}=<<{n}={n}>>{n}\n#### {n}", str(n), "fake", split)
        for n in range(count)
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_to_the_letter_after_tokens_and_back(name):
    form, tokenizer = FORMATS[name], ByteTokenizer()
    prompt = form.render_prompt("How many?", SHOTS[: form.shots])
    target = form.render_target(worked(SOLUTION), "1,018")
    assert (prompt, target) == EXPECTED[name]
    assert tokenizer.decode([*tokenizer.encode(prompt), *tokenizer.encode(target)]) == (
        prompt + target
    )
    assert form.is_worked == ("chain" in name)


def test_an_exemplar_is_put_and_answered_as_the_question_is():
    for form in FORMATS.values():
        alone = Format(form.prompt, form.target)
        texts = [alone.render_prompt(q) + alone.render_target(s, a) for q, s, a in SHOTS]
        before = "".join(f"{text}\n\n" for text in texts[: form.shots])
        assert form.render_prompt("Why?", SHOTS[: form.shots]) == before + alone.render_prompt(
            "Why?"
        )


def test_a_wrong_number_of_exemplars_and_a_wrong_template_are_refused():
    with pytest.raises(ProblemError, match="3 exemplars for a format with 4"):
        FORMATS["in_context_answer_only"].render_prompt("q", SHOTS[:3])
    for wrong in ({"target": "{other}"}, {"target": "{answer}{solution}"}, {"prompt": "{"}):
        with pytest.raises(ProblemError, match=r"write \{"):
            Format(**{"prompt": "{question}", "target": "{answer}"} | wrong)


def test_worked_solutions_keep_or_lose_their_annotations():
    assert worked(SOLUTION) == TOLD
    assert worked(SOLUTION, annotations=True) == TOLD.replace("=18 ", "=<<3*6=18>>18 ").replace(
        "=1018.", "=<<18+1000=1018>>1018."
    )
    assert worked("So it is.\nThe answer is 4") == "So it is.\nThe answer is 4"


def test_draws_depend_on_seed_and_problem_alone_and_never_hold_the_problem():
    problems = made(12)
    shuffled = random.Random(1).sample(problems, len(problems))
    pool, other = Pool(problems), Pool(shuffled)
    for problem in problems:
        drawn = pool.draw(problem.problem_id, 4, seed=3)
        assert drawn == other.draw(problem.problem_id, 4, seed=3)
        assert drawn[:2] == pool.draw(problem.problem_id, 2, seed=3)
        assert len({each.question for each in drawn}) == 4
        assert problem.question not in {each.question for each in drawn}
        assert all(each.solution.endswith(f"\nThe answer is {each.answer}") for each in drawn)
        assert "<<" not in drawn[0].solution
        # all others, where as many are asked for as there are
        everyone = pool.draw(problem.problem_id, 11, seed=3)
        assert {each.question for each in everyone} == {
            each.question for each in problems if each is not problem
        }
    by_seed = {tuple(pool.draw(problems[0].problem_id, 4, seed)) for seed in range(20)}
    by_problem = {tuple(pool.draw(each.problem_id, 4, 0)) for each in problems}
    assert len(by_seed) > 15 and len(by_problem) == 12
    assert "<<" in Pool(problems, annotations=True).draw("?", 1, 0)[0].solution


def test_draws_are_uniform_over_ordered_choices():
    pool, turns = Pool(made(4)), 6000
    counts = collections.Counter(
        tuple(each.answer for each in pool.draw(f"query {turn}", 2, 0)) for turn in range(turns)
    )
    assert len(counts) == 12  # ordered pairs of 4
    chi_square = sum((count - turns / 12) ** 2 / (turns / 12) for count in counts.values())
    assert chi_square < 31.3  # 11 degrees of freedom, p = 0.001; the draws are the same each time


def test_too_few_problems_are_said():
    problems = made(4)
    without = [make_problem("unworked?", None, "1", "fake", "train")]
    with pytest.raises(DataError, match="4 exemplars for problem .* of 3 others"):
        Pool([*problems, *without]).draw(problems[0].problem_id, 4, 0)
    assert len(Pool([*problems, *without]).draw("other", 4, 0)) == 4


def test_exemplars_from_a_file(tmp_path):
    path = tmp_path / "exemplars.jsonl"
    rows = [
        {"question": "a?", "solution": "1+1=<<1+1=2>>2\n#### 2"},
        {"question": "b?", "solution": "So.\nThe answer is 3."},
        {"question": "c?", "solution": "So it is.\n", "answer": " yes "},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_exemplars(path) == [
        ("a?", "1+1=2\nThe answer is 2", "2"),
        ("b?", "So.\nThe answer is 3.", "3"),
        ("c?", "So it is.\nThe answer is yes", "yes"),
    ]
    assert read_exemplars(path, annotations=True)[0].solution == "1+1=<<1+1=2>>2\nThe answer is 2"
    path.write_text(json.dumps({"question": "d?", "solution": "so"}))
    with pytest.raises(DataError, match=r"line 1: the solution ends in 'so'; expected a last line"):
        read_exemplars(path)
    path.write_text(json.dumps({"question": "d?"}))
    with pytest.raises(DataError, match="line 1: no field 'solution'"):
        read_exemplars(path)


def test_templates_are_the_configurations_and_each_format_keeps_its_kind():
    own = DistillConfig(
        prompts=("1 {question}", "2 {question}", "3 {question}", "4 {question}"),
        targets=("{answer}", "{solution}!", "={answer}", "{solution}?"),
        between=" | ",
        shots=1,
    )
    made = formats(own)
    assert list(made) == list(FORMATS)
    last = made["in_context_chain_of_thought"]
    assert last.render_prompt("q", SHOTS[:1]) == f"4 {SHOTS[0].question}{SHOTS[0].solution}? | 4 q"
    assert made["zero_shot_answer_only"].render_target("s", "7") == "7"
    for wrong, said in (
        ({"targets": own.targets[::-1]}, "{solution} in those"),
        ({"prompts": own.prompts[:3]}, "has 3 templates"),
        ({"prompts": ("what?", *own.prompts[1:])}, "question"),
    ):
        with pytest.raises(ProblemError, match=re.escape(said)):
            formats(dataclasses.replace(own, **wrong))
