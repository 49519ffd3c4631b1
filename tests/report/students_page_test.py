"""The chart of students: a line and a name for every method, however many there are."""

import typing

from verifier.config.distill_sections import StudentMethod
from verifier.report import students_page

METHODS = typing.get_args(StudentMethod)


def figures(methods):
    students = [
        {
            "method": method,
            "share": share,
            "accuracy": {"value": 0.1 * n, "ci95": (0.1 * n - 0.05, 0.1 * n + 0.05)},
        }
        for share in (0.5, 1.0)
        for n, method in enumerate(methods, start=1)
    ]
    return {"test": {"problems": 10, "students": students}}


def test_every_method_has_a_line_and_a_name():
    drawn = students_page.charts(figures(METHODS))["test"].render(standalone=True)
    for method in METHODS:
        assert f">{method}</text>" in drawn and f"{method}, 100%" in drawn
    assert not students_page.charts(
        {"test": {"students": figures(METHODS)["test"]["students"][:5]}}
    )
