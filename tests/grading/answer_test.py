"""A conformance table of the graders, and what holds for every text."""

import re
from fractions import Fraction

import hypothesis
import pytest
from hypothesis import strategies as st

from verifier.grading.answer import GRADERS, NUMBERS, comparable, extract, grade, same, vote_key
from verifier.grading.number import parse_number

# solution, gold, then what each grader extracts and whether it is right (+) or wrong (-); None: no
# answer found
TABLE = [
    ("2+2=4\n#### 18", "18", "18+", "18+", "18+", "18+"),
    ("#### 18", "#### 18", "18+", "18+", "18+", "18+"),
    ("#### $18", "18", "18+", None, None, "18+"),
    ("####18", "18", "18+", None, None, "18+"),
    ("####   18", "18", "18+", None, None, "18+"),
    ("#### 18\n", "18", "18+", "18+", "18+", "18+"),
    ("####\n18", "18", "18+", None, None, "18+"),
    ("#### -3", "-3", "-3+", "-3+", "-3+", "-3+"),
    ("#### - 3", "-3", "-3+", None, None, "3-"),
    ("#### −3", "-3", "-3+", None, None, "3-"),
    ("#### -$3", "-3", "-3+", None, None, "-3+"),
    ("#### $-3", "-3", "-3+", None, None, "-3+"),
    ("#### +3", "3", "3+", None, None, "3+"),
    ("#### 1,000.", "1000", "1000+", "1000.-", "1000+", "1000+"),
    ("#### 1,000", "1,000", "1000+", "1000+", "1000+", "1000+"),
    ("#### 1000", "1,000", "1000+", "1000+", "1000+", "1000+"),
    ("#### 1,000,000", "1000000", "1000000+", "1000000+", "1000000+", "1000000+"),
    ("#### 18.00", "18", "18.00+", "18.00-", "18.00-", "18.00-"),
    ("#### 18.", "18", "18+", "18.-", "18+", "18+"),
    ("#### 018", "18", "018+", "018-", "018-", "018-"),
    ("#### .5", "0.5", ".5+", ".5-", ".5-", ".5-"),
    ("#### 3/4", "0.75", "3/4+", "3-", "3-", "4-"),
    ("#### 6/8", "3/4", "6/8+", "6-", "6-", "8-"),
    ("#### 1 3/4", "1.75", "1 3/4+", "1-", "1-", "4-"),
    ("#### 1-3/4.", "1.75", "1 3/4+", "1-", "1-", "4-"),
    ("#### 10%", "10", "10+", "10+", "10+", "10+"),
    ("#### 18 apples", "18", "18+", "18+", "18+", "18+"),
    ("#### 18 apples, not 17", "18", "18+", "18+", "18+", "17-"),
    ("#### The answer is 18.", "18", "18+", None, None, "18+"),
    ("#### 18, 20", "18", "18+", "18+", "18+", "20-"),
    ("#### **18**", "18", "18+", None, None, "18+"),
    ("#### 17\nNo.\n#### 18", "18", "18+", "17-", "17-", "18+"),
    ("#### 18\nNo.\n#### 17", "18", "17-", "18+", "18+", "17-"),
    ("#### 18\n####", "18", "18+", "18+", "18+", "18+"),
    ("#### ,", "18", None, "-", "-", None),
    ("#### none", "18", None, None, None, None),
    ("The answer is 18", "18", "18+", None, None, "18+"),
    ("It costs $18.", "18", None, None, None, "18+"),
    ("#### 18 and then ...", "18", "18+", "18+", "18+", "..-"),
    ("#### 3/0", "18", "3/0-", "3-", "3-", "0-"),
    ("", "18", None, None, None, None),
    ("####", "18", None, None, None, None),
]


def _cell(solution, gold, grader):
    graded = grade(solution, gold, grader)
    assert extract(solution, grader) == graded.answer
    return None if graded.answer is None else graded.answer + "-+"[graded.correct]


@pytest.mark.parametrize("row", TABLE, ids=[repr(row[0]) for row in TABLE])
def test_conformance(row):
    solution, gold, *expected = row
    assert [
        _cell(solution, gold, grader) for grader in ("numeric", "paper", "strict", "flexible")
    ] == expected


def test_no_answer_is_never_right():
    assert not same(None, None)
    assert not same("", "")
    assert not any(
        grade("no mark", gold, grader).correct for grader in GRADERS for gold in ("", "none", "nan")
    )


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("72.00", "72", True),
        ("1,000.", "1000", True),
        ("$5", "5", True),
        ("1/2", "0.5", True),
        ("-0", "0", True),
        ("1/3", "0.3333", False),
        ("red", "red", True),
        ("red", "Red", False),
        ("red", "5", False),
        (None, "5", False),
        ("3/0", "3/0", True),
        ("9" * 5000, "9" * 5000, True),
    ],
)
def test_sameness_and_votes_agree(a, b, equal):
    assert same(a, b) == same(b, a) == equal
    assert (vote_key(a) is not None and vote_key(a) == vote_key(b)) == equal


@pytest.mark.parametrize("answer", [None, "", " ", "nan", "None", "[invalid]", "...", "-"])
def test_what_is_no_answer_casts_no_vote(answer):
    assert vote_key(answer) is None


NOT_NUMBERS = ["1e", "e5", "1e5.5", "1e301", "inf", "nan", "1" * 101]
NOT_NUMBERS += ["", "x", "1.2.3", "3+4", "1%2", "1 2", "1/2/3", "1/0", "--3", "5$3", "²"]


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_is_no_number(text):
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e5", 100_000),
        ("-1.5E+3", -1500),
        ("25e-2", Fraction(1, 4)),
        ("１，０００", 1000),
        ("٤٢", 42),
        ("2½", Fraction(5, 2)),
        (r"-\frac{1}{2}", Fraction(-1, 2)),
        (r"\$9{,}500", 9500),
        ("1\u202f000\u00a0000", 1_000_000),
    ],
)
def test_other_ways_to_write_a_number(text, number):
    assert parse_number(text) == number


def test_an_unknown_grader_is_named():
    with pytest.raises(ValueError, match="'loose'.*numeric"):
        extract("#### 1", "loose")


@hypothesis.given(
    st.text(alphabet="0123456789.,$%/+- −#e\n½²٣\\{}<>") | st.text(), st.sampled_from(list(GRADERS))
)
def test_never_raises_and_right_answers_are_right(text, grader):
    answer = extract("#### " + text, grader)
    parse_number(text)
    if (
        answer is not None
        and vote_key(answer) is not None
        and (grader == "numeric" or not answer.endswith("."))
    ):
        assert grade("#### " + text, answer, grader).correct


@hypothesis.given(st.integers(-(10**12), 10**12))
def test_every_whole_number_is_found_however_it_is_written(number):
    for text in (
        f"{number}",
        f"{number:,}",
        f"{number:,}.",
        f"{number}.00",
        f"{number}%",
        f"{number:,} eggs",
    ):
        assert grade(f"so\n#### {text}", str(number), "numeric").correct


def _harness(solution, gold, pattern, index):
    """What lm-evaluation-harness does for its task gsm8k, word for word, however slowly."""
    matches = [
        one if isinstance(one, str) else next(filter(None, one))
        for one in re.findall(pattern, solution)
    ]
    texts = [matches[index].strip() if matches else "[invalid]", gold]
    for ignored in (",", r"\$", "(?s).*#### ", r"\.$"):
        texts = [re.sub(ignored, "", text) for text in texts]
    return texts[0].lower() == texts[1].lower()


@hypothesis.given(
    st.lists(
        st.sampled_from(["#### ", "####", "18", "-", "$", ",", ".", " ", "7", "\n", "so"]),
        max_size=12,
    ).map("".join),
    st.sampled_from(["18", "-18", "7", "1,818", "$7", "so\n#### 18", "18."]),
)
def test_strict_and_flexible_are_the_harness_s(solution, gold):
    assert grade(solution, gold, "strict").correct == _harness(
        solution, gold, r"#### (\-?[0-9\.\,]+)", 0
    )
    assert grade(solution, gold, "flexible").correct == _harness(
        solution, gold, r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1
    )


PIECES = [
    "#",
    "#### ",
    "####\n",
    "1",
    "1,",
    "1 ",
    "1/",
    "1 1/",
    "1 000 ",
    "1.000",
    "$",
    "-",
    " ",
    "\n",
    ".",
    "- ",
    "1e",
    "10^",
    "<<",
    "<<1",
]
PIECES += [
    "\\boxed{",
    "\\over ",
    "{1\\over ",
    "\\text{",
    "{",
    "}",
    "The answer is ",
    "Answer\n",
    "the answer is the answer is about ",
    "A: ",
    "**",
]
PIECES += ["**1**", "9 + 9 = ", "1 and ", "(1)/", "#### 1. a", "US$", "x ", "&", "\\ "]


@pytest.mark.parametrize("piece", [*PIECES, "½", "1\u202f", "\\frac{", "\\frac{1}{"])
def test_long_texts_do_no_harm(piece):
    text = "#### " + piece * (30_000 // len(piece))  # quadratic work would take long here
    for grader in GRADERS:
        grade(text, "18", grader)
    for start in ("", "The answer is 1 "):
        extract(start + text[5:10_000], "numeric")
    comparable(text[:2_000], "numeric")


@pytest.mark.parametrize(
    ("solution", "gold", "right"),
    [
        ("The answer is -5.", "5", False),  # no sign there
        ("The answer is -5.", "-5", True),
        ("The answer is 2,000.", "1000", False),  # `000` is 0 there, and so is every x,000
        ("The answer is 2,000.", "2000", True),
        ("The answer is 1,500,000", "1500000", True),
        ("The answer is .5", "0.5", True),
        ("The answer is 12.50.", "12.5", True),
        ("The answer is 10%.", "10", True),
        ("The answer is 18 and not 17.", "18", True),  # the last number there
        ("The answer is 18 of 20.", "20", False),
    ],
)
def test_where_the_grader_of_fu_et_al_errs(solution, gold, right):
    """Theirs takes the last match of `\\d*\\.?\\d+` and compares floats."""
    assert grade(f"9+9=18.\n{solution}", gold, "numeric").correct == right


WRAPS = [
    "{}",
    "**{}**",
    "`{}`",
    "${}$",
    "\\({}\\)",
    "\\boxed{{{}}}",
    "\\text{{{}}}",
    "{}.",
    "{} apples",
    "<<{}>>",
    "= {}",
    "The total is {}",
]


@hypothesis.given(
    st.integers(0, 99), st.integers(1, 9), st.integers(1, 20), st.booleans(), st.data()
)
def test_mixed_numbers_have_one_value_however_they_are_written(whole, top, more, negative, data):
    bottom = top + more
    between = data.draw(st.sampled_from([" ", "-", " and ", "\u00a0", "\u202f", "\\ ", "\\,", "_"]))
    slash = data.draw(st.sampled_from(["/", "\u2044", "\u2215", "\uff0f"]))
    ways = [
        f"{whole}{between}{top}{slash}{bottom}",
        f"{whole}\\frac{{{top}}}{{{bottom}}}",
        f"{whole} {{{top} \\over {bottom}}}",
    ]
    sign = (
        data.draw(st.sampled_from("-\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"))
        if negative
        else ""
    )
    value = whole + Fraction(top, bottom)
    text = data.draw(st.sampled_from(WRAPS)).format(sign + data.draw(st.sampled_from(ways)))
    for right, gold in (
        (True, -value if negative else value),
        (False, value if negative else -value),
        (False, Fraction(whole)),
    ):
        assert grade(f"so\n#### {text}", str(gold), "numeric").correct == right, text


@hypothesis.given(
    st.integers(1, 999), st.lists(st.integers(0, 999), min_size=1, max_size=4), st.data()
)
def test_separated_groups_are_one_number(first, groups, data):
    separator = data.draw(
        st.sampled_from(
            [
                ",",
                " ",
                "'",
                "_",
                "{,}",
                "\\,",
                "\\;",
                "\\ ",
                ",\\!",
                "\u00a0",
                "\u066c",
                "\uff0c",
                *"." * (len(groups) > 1),
            ]
        )
    )
    text = data.draw(st.sampled_from(WRAPS)).format(
        separator.join([str(first), *(f"{group:03}" for group in groups)])
    )
    value = int(str(first) + "".join(f"{group:03}" for group in groups))
    assert grade(f"so\n#### {text}", str(value), "numeric").correct, text
    assert not grade(f"so\n#### {text}", str(first), "numeric").correct, text


HEADINGS = [
    "Step 2: Add",
    "4. Check",
    "3) Verify",
    "Explanation",
    "Check with 9 apples",
    "Why 5?",
    "**Step 5**",
    "2.1 Check",
    "The cost of 3 pens:",
]
STYLES = [
    "The answer is {}.",
    "Answer: ${}",
    "**Final Answer:**\n\n**{}**",
    "### Answer\n{}",
    "So \\boxed{{{}}}.",
    "A: {}",
    "It is **{} pens**.",
    "{}",
]
STYLES += ["Final Answer: The final answer is ${}$. I hope it is correct."]


@hypothesis.given(
    st.integers(0, 10**6),
    st.sampled_from(STYLES),
    st.lists(st.sampled_from(HEADINGS)),
    st.integers(0, 10**6),
)
def test_headings_change_nothing_and_marks_go_before_styles(number, style, headings, other):
    after = "".join(f"\n#### {heading}\n" for heading in headings)
    assert grade(f"so\n#### {number}{after}", str(number), "numeric").correct
    assert extract(f"so{after}\n{style.format(number)}", "numeric") == str(number)
    assert extract(f"so\n#### {other}{after}\n{style.format(number)}", "numeric") == str(other)
    assert extract(f"so{after}\nIt costs {number} for them.", "numeric") is None
    for grader in ("paper", "strict"):
        assert extract(style.format(number), grader) is None


@pytest.mark.parametrize(
    ("gold", "able"),
    [
        ("12 apples", "n"),
        ("$12", "nsf"),
        ("3.0", "npsf"),
        ("True", ""),
        ("x\nA: 12", "n"),
        ("x\n#### 1,200", "npsf"),
        ("5 hours 30 minutes", ""),
    ],
)
def test_which_gold_answers_can_be_equalled(gold, able):
    assert "".join(grader[0] for grader in NUMBERS if comparable(gold, grader)) == able


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("#### 3² = 9", "9"),
        ("#### √16 = 4", "4"),
        ("#### sqrt(16)", None),
        ("#### 3 pi", None),
        ("#### f(2) = 5", "5"),
        ("#### (5, 6)", None),
        ("#### (5,6)", None),
        ("#### (5)", "5"),
        ("The answer is 75% of 20 = 15.", "15"),
        ("\\boxed{2a}", None),
        ("[18]", "18"),
        ("<think>The answer is 17</think>\n<answer>\n18\n</answer>", "18"),
        ("The answer is 17. <answer>none of 3 and 4</answer>", None),
    ],
)
def test_what_an_expression_a_list_and_a_tag_state(solution, answer):
    assert extract(solution, "numeric") == answer
