"""The equation behind a worked solution comes to its answer."""

import pytest

from verifier.tasks import generated
from verifier.text import calculator, solution_equation


@pytest.mark.parametrize(
    ("solution", "answer", "wanted"),
    [
        ("<<48/2=24>>24 then <<48+24=72>>72", "72", "48+(48/2)"),
        ("<<3*4=12>>12 <<12-2=10>>10 <<20-10=10>>10", "10", "20-((3*4)-2)"),
        ("<<1,000+2=1002>>1002", "1002", "1,000+2"),
        ("<<2*3=6>>6 Check: <<6-6=0>>0", "6", "2*3"),
        ("<<0.5*8=4>>4 <<14+4=18>>18", "18", "14+(0.5*8)"),  # not the 4 in 14
        ("no annotation", "7", None),
        ("<<2+2=4>>4", "5", None),
        ("<<1/0=0>>0", "0", None),
    ],
)
def test_results_are_replaced_by_what_they_were_computed_from(solution, answer, wanted):
    assert solution_equation.composed(solution, answer) == wanted


def test_long_solutions_come_to_their_answers():
    """Each step has the result of the last one twice."""
    steps = [f"<<{2**k}+{2**k}={2 ** (k + 1)}>>" for k in range(10)]
    evaluated = calculator.evaluate(solution_equation.composed(" ".join(steps), "1024"))
    assert evaluated.value == 1024


def test_generated_solutions_come_to_their_answers():
    kinds = ("chain", "price", "distance", "share", "backwards")
    for problem in generated.generate("train", 100, 0, kinds):
        composed = solution_equation.composed(problem.solution, problem.answer)
        evaluated = calculator.evaluate(composed)
        assert str(evaluated.value) == problem.answer, problem.solution
