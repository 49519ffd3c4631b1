"""Every grader on the table of cases, a grader that hangs, and how often graders disagree."""

import collections
import importlib.util
import json
import pathlib
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from verifier.errors import MathProcessError
from verifier.grading import graders, math_process
from verifier.grading.answer import NUMBERS
from verifier.grading.math_process import MathVerify

CASES = [
    json.loads(line)
    for line in (pathlib.Path(__file__).parent / "grader_cases.jsonl").read_text().splitlines()
]
FOR_EVER = "#### $9^{9^{9^9}}$"
needs_math_verify = pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None, reason="needs the extra [math]"
)


def test_the_table_is_large_and_sound():
    assert len(CASES) >= 800
    assert len({(case["solution"], case["gold"]) for case in CASES}) == len(CASES)
    for case in CASES:
        assert set(case["right"]) <= set(graders.NAMES) and case["why"], case
    for name in (*NUMBERS, "math_verify"):
        assert 30 < sum(name in case["right"] for case in CASES) < len(CASES) - 30


@pytest.mark.parametrize("name", [*NUMBERS, pytest.param("math_verify", marks=needs_math_verify)])
def test_conformance(name):
    graded = graders.relabel(
        [case["solution"] for case in CASES], [case["gold"] for case in CASES], name
    )
    assert graded.not_graded == 0
    wrong = [
        f"{case['solution'][-60:]!r} for {case['gold'][:40]!r}: read {answer!r}, expected "
        f"{'right' if name in case['right'] else 'wrong'}; {case['why']} "
        f"({case.get('source', 'by definition')})"
        for case, answer, correct in zip(
            CASES, graded.answers, graded.correct.tolist(), strict=True
        )
        if correct != (name in case["right"])
    ]
    assert not wrong, f"{name}:\n" + "\n".join(wrong)


@needs_math_verify
def test_a_solution_that_hangs_is_not_graded_and_the_next_ones_are():
    solutions = ["#### 18", FOR_EVER, "#### \\boxed{9{,}500}", FOR_EVER, "#### 17"]
    graded = graders.relabel(
        solutions, ["18", "18", "9500", "18", "18"], "math_verify", seconds=2.0
    )
    assert graded.answers == ["18", None, "9,500", None, "17"]
    assert graded.correct.tolist() == [True, False, True, False, False]
    assert graded.not_graded == 2


@needs_math_verify
def test_the_process_ends_itself_when_it_has_computed_for_its_seconds():
    command = [
        sys.executable,
        "-P",
        str(pathlib.Path(math_process.__file__).parent / "math_worker.py"),
        "1",
    ]
    questions = (
        json.dumps(["18", "18"]) + "\n" + json.dumps([FOR_EVER.removeprefix("#### "), "18"]) + "\n"
    )
    done = subprocess.run(command, input=questions, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGPROF
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        "ready",
        ["18", True],
        ["18"],
    ]


@needs_math_verify
def test_math_verify_reads_the_line_of_the_mark_and_answers_that_can_be_counted():
    text = "It costs $5 and then $10, so $7^2$ is 49."
    solutions = [text + "\n#### $\\frac{36}{2}$\n3", "so \\boxed{\\frac{1}{2}}", "#### 2*9", "####"]
    graded = graders.relabel(solutions, ["18"] * 4, "math_verify")
    assert graded.answers == ["\\frac{36}{2}", "\\frac{1}{2}", "18", None]
    assert graders.answer_keys([*graded.answers, "18", "0.5"]).tolist() == [0, 1, 0, -1, 0, 1]


FAKE = """
import json, os, sys, time
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    text, gold = json.loads(line)
    if "sleep" in text:
        time.sleep(600)
    if "crash" in text:
        os._exit(3)
    print(json.dumps([text, text == gold]), flush=True)
    if "endless value" in text:
        time.sleep(600)
    if "no value" in text:
        os._exit(3)
    print(json.dumps([None]), flush=True)
"""
COUNTING = """
import json, sys
print(json.dumps("ready"), flush=True)
for count, line in enumerate(sys.stdin):
    print(json.dumps([str(count), True]) + "\\n" + json.dumps([None]), flush=True)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Starts scripts of its own in place of math-verify's process, whether that is installed or
    not.
    """
    monkeypatch.setattr(math_process, "check_installed", lambda: None)

    def start(script, seconds):
        path = tmp_path / "worker.py"
        path.write_text(textwrap.dedent(script))
        return MathVerify(seconds, [sys.executable, str(path)])

    return start


def test_a_process_that_waits_or_ends_is_replaced(fake):
    with fake(FAKE, 0.1) as grade:
        assert grade("#### 18", "18") == ("18", True)
        assert grade("#### sleep", "18") == (None, False)
        assert grade("#### crash", "18") == (None, False)
        first = grade._process
        assert grade("#### 17", "18") == ("17", False) and grade._process is not first
        process, grade_again = grade._process, grade("#### crash", "18")  # known by now
        assert grade_again == (None, False) and grade._process is process and grade.not_graded == 3
    assert process.poll() is not None and grade._process is None


def test_one_process_grades_call_after_call_and_each_call_counts_its_own(fake, monkeypatch):
    workers = []
    monkeypatch.setattr(
        graders, "MathVerify", lambda seconds: workers.append(fake(FAKE, seconds)) or workers[-1]
    )
    with graders.opened("math_verify", 0.1) as grade:
        first = grade(["#### 18", "#### crash"], ["18", "18"])
        assert first.correct.tolist() == [True, False] and first.not_graded == 1
        again = grade(["#### 17", "#### 18"], ["17", "17"])
        process = workers[0]._process
        assert again.correct.tolist() == [True, False] and again.not_graded == 0
        assert grade(["#### 16"], ["16"]).answers == ["16"] and workers[0]._process is process
    assert len(workers) == 1 and process.poll() is not None


def test_a_verdict_stands_where_the_value_fails_or_never_comes(fake):
    with fake(FAKE, 0.1) as grade:
        for text in ("no value", "endless value"):
            assert grade(f"#### {text}", f"#### {text}") == (text, True)
            assert grade("#### 18", "#### 18") == ("18", True) and grade.not_graded == 0


def test_the_latest_questions_are_known_and_older_ones_are_let_go(fake, monkeypatch):
    monkeypatch.setattr(math_process, "_KNOWN", 3)
    with fake(COUNTING, 1.0) as grade:
        asked = [grade(f"solution {number}", "18")[0] for number in (0, 1, 2, 0, 3, 0, 1)]
    # the number of the question that was put to the process
    assert asked == ["0", "1", "2", "0", "3", "0", "4"]


def test_a_process_that_does_not_start_is_an_error(fake):
    with (
        fake("raise SystemExit(1)", 1.0) as grade,
        pytest.raises(MathProcessError, match=r".*pip install 'math-verify>=0.9'"),
    ):
        grade("#### 18", "18")


def test_without_its_package_math_verify_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MathProcessError, match=r"needs the package math-verify: pip install 'math-verify>=0.9'"
    ):
        graders.check_grader("math_verify")
    graders.check_grader("numeric")


def said(grader, solutions, golds):
    """Findings on solutions, each of a problem of its own."""
    graded = graders.relabel(solutions, golds, grader)
    gold = {f"p{row}": text for row, text in enumerate(golds)}

    def look(rows):
        return [solutions[row] for row in rows], [golds[row] for row in rows]

    return graders.findings(
        "test",
        grader,
        np.array([each is not None for each in graded.answers]),
        not graded.correct.any(),
        gold,
        look,
    )


def test_a_grader_that_reads_the_samples_has_nothing_said_about_it():
    assert (
        said(
            "numeric",
            ["#### 1", "The answer is 2", "A: 4", "hm"],
            ["1", "2 pens", "x\nA: 3", "#### 4"],
        )
        == []
    )
    assert said("strict", ["#### 1", "#### 2"], ["1", "3"]) == []


def test_answers_that_are_not_found_are_said_with_the_grader_that_finds_them():
    texts = ["so\x1b[2J\nA: 18"] * 5 + ["#### 18"] * 4
    (line,) = said("strict", texts, ["18"] * 9)
    assert line.startswith(
        "test: the grader strict finds no answer in 5 of 9 solutions, such as one for '18' "
        "that ends in 'so\\x1b[2J\\nA: 18'; numeric"
    )
    assert (
        "--grader=numeric" in line
        and line.endswith("holds 5 of the first 5 of these right.")
        and "\x1b" not in line
    )
    assert said("strict", texts[1:], ["18"] * 8) == []  # half of them have one


def test_gold_answers_without_a_number_are_said():
    (line,) = said("numeric", ["#### 1", "#### 1"], ["1", "True"])
    assert (
        "1 of 2 gold answers hold no number that the grader numeric compares, such as 'True' "
        "of problem p1" in line
    )
    assert "give each as one number; words are compared by bbh (--grader=bbh" in line
    findings = said("paper", ["#### 12", "#### 7"], ["12 dollars", "7 dollars"])
    assert (
        "2 of 2 gold answers" in findings[0]
        and "numeric (--grader=numeric of rerank, label.grader=numeric of a run) reads 2"
        in findings[0]
    )
    assert (
        "paper finds none right of 2 solutions, such as one for '12 dollars' that ends in '#### 12'"
        in findings[1]
        and "holds 2" in findings[1]
    )


def test_none_right_is_said():
    (line,) = said("numeric", ["#### 1", "#### 2"], ["3", "4"])
    assert (
        "numeric finds none right of 2 solutions" in line
        and "paper, strict, flexible hold none right either" in line
    )


def naive_pairs(verdicts):
    """Counts of two graders' verdicts, one solution at a time."""
    names = list(verdicts)
    counts = collections.Counter()
    for row in range(len(verdicts[names[0]])):
        for index, a in enumerate(names):
            for b in names[index + 1 :]:
                counts[a, b, "a"] += verdicts[a][row] and not verdicts[b][row]
                counts[a, b, "b"] += verdicts[b][row] and not verdicts[a][row]
    return counts


@pytest.mark.parametrize("given", ["numeric", "math_verify"])
def test_disagreement_counts_every_two_graders(given):
    solutions, golds = [case["solution"] for case in CASES], [case["gold"] for case in CASES]
    names = dict.fromkeys([*NUMBERS, given])
    expected = {name: [name in case["right"] for case in CASES] for name in names}
    stored = graders.Relabelled(
        [None] * len(CASES), np.array([given in case["right"] for case in CASES]), not_graded=2
    )
    keys = [(f"p{row}", row) for row in range(len(CASES))]
    report = graders.disagreement(keys, solutions, golds, (given, stored))
    assert report["judged"] == len(CASES) and report["not_graded"] == 2
    assert report["right"] == {name: sum(column) for name, column in expected.items()}
    differ = [len({column[row] for column in expected.values()}) > 1 for row in range(len(CASES))]
    assert report["share"] == pytest.approx(np.mean(differ)) and sum(
        report["patterns"].values()
    ) == sum(differ)
    counts = naive_pairs(expected)
    assert len(report["pairs"]) == len(expected) * (len(expected) - 1) / 2
    for pair in report["pairs"]:
        a, b = pair["graders"]
        assert pair["only"] == {a: counts[a, b, "a"], b: counts[a, b, "b"]}
        assert pair["differ"] == counts[a, b, "a"] + counts[a, b, "b"] and pair[
            "share"
        ] == pytest.approx(pair["differ"] / len(CASES))
    assert [pair["differ"] for pair in report["pairs"]] == sorted(
        (pair["differ"] for pair in report["pairs"]), reverse=True
    )
    for example in report["examples"]:
        row = example["sample_id"]
        assert example["problem_id"] == f"p{row}" and solutions[row].endswith(example["ending"])
        assert example["correct"] == {name: column[row] for name, column in expected.items()}


def test_graders_that_agree_have_no_pattern():
    graded = graders.relabel(["#### 18", "#### 17"], ["18", "18"], "numeric")
    report = graders.disagreement(
        [("a", 0), ("a", 1)], ["#### 18", "#### 17"], ["18", "18"], ("numeric", graded)
    )
    assert (
        report["share"] == 0
        and not report["patterns"]
        and not report["examples"]
        and all(not pair["differ"] for pair in report["pairs"])
    )
