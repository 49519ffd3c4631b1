"""Problems have stable ids, and templates say what is wrong with them."""

import pytest

from verifier.errors import ProblemError, UserError
from verifier.text.problem import Template, make_problem, problem_id


def test_the_id_depends_on_the_words_alone():
    assert problem_id("How many  apples\nare left? ") == problem_id(" How many apples are left?")
    assert problem_id("ﬁve ½") == problem_id("five 1⁄2")
    assert problem_id("How many apples are left?") != problem_id("How many pears are left?")


def test_the_id_never_changes():
    assert problem_id("What is 1 + 1?") == "72f8917549de2d6d"


def test_a_problem_keeps_what_it_was_given():
    problem = make_problem("Q?", "1+1=2\n#### 2", " 2\n", "mine", "train")
    assert (problem.question, problem.answer, problem.source, problem.split) == (
        "Q?",
        "2",
        "mine",
        "train",
    )
    assert problem.problem_id == problem_id("Q?")


@pytest.mark.parametrize(
    ("question", "answer", "named"), [("  ", "2", "question"), ("Q?", "", "answer")]
)
def test_empty_fields_are_refused(question, answer, named):
    with pytest.raises(ProblemError, match=f"empty {named}"):
        make_problem(question, None, answer, "mine", "train")


def test_templates_leave_braces_in_problems_alone():
    template = Template("Q: {question}\nA:", " {{{solution}}}")
    assert template.render_prompt("{x} and {0}?") == "Q: {x} and {0}?\nA:"
    assert template.render_target("{y}") == " {{y}}"
    assert Template().render_prompt("Q?") == "Q?\n"


BAD = [
    "",
    "Q",
    "{question}{question}",
    "{question.x}",
    "{question!r}",
    "{question:>9}",
    "{answer}",
    "{}",
    "{question",
]


@pytest.mark.parametrize("prompt", BAD)
def test_bad_templates_are_named(prompt):
    with pytest.raises(ProblemError, match="prompt template"):
        Template(prompt=prompt)


def test_a_bad_target_is_named_too():
    with pytest.raises(ProblemError, match="target template.*solution"):
        Template(target="{question}")
    assert issubclass(ProblemError, UserError)
