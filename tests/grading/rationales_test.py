"""A teacher's text is taken apart as the released code does it, or has a reason why not."""

import hypothesis
import pytest
from hypothesis import strategies as st

from verifier.grading.rationales import STYLES, Rationale, Unparsed, parse, parse_all, told

READ = [
    ("esnli", "A dog is an animal.\nAnswer: entailment\n\nPremise: x", "A dog is an animal."),
    ("esnli", "A dog.\nAnswer: entailment. Answer: neutral", "A dog."),
    ("anli", "It says so. So the answer is entailment.\n\nPremise: It", "It says so."),
    ("anli", " It says so.\nSo the answer is entailment", "It says so."),
    ("cqa", "Ink. So the answer is (e) a b.\n\nQ: What? So the answer is (a) c.", "Ink."),
    ("cqa", "So the answer is  (e) a b", ""),
    ("svamp", "He ate 3. The answer is ( ( 8.0 - 3.0 ) + 1 ).\n\nQ: And?", "He ate 3."),
    ("svamp", "He ate 3. The answer is: ( ( 8.0 - 3.0 ) + 1 ) apples (red).", "He ate 3."),
    ("asdiv", "He ate 3. The answer is ( ( 8.0 - 3.0 ) + 1 ).", "He ate 3."),
]
LABELS = {
    "esnli": "entailment",
    "anli": "entailment",
    "cqa": "a b",
    "svamp": "( ( 8.0 - 3.0 ) + 1 )",
    "asdiv": "( ( 8.0 - 3.0 ) + 1 )",
}
UNREAD = [
    ("esnli", "A dog is an animal.", "lacks 'Answer:'"),
    ("esnli", "A dog. Answer: \n\nPremise: x", "no label follows"),
    ("anli", "So the answer is yes. So the answer is no.", "more than once"),
    ("anli", "Premise: a. So the answer is yes.", "lacks 'So the answer is'"),
    ("anli", "It is. So the answer is .", "no label follows"),
    ("cqa", "So the answer is a b.", "no label follows"),
    ("cqa", "So the answer is (b).", "no label follows"),
    ("cqa", "so the answer is (b) c.", "lacks"),
    ("svamp", "The answer is 5.", "no label follows"),
    ("svamp", "The answer is ( 8 - 3.", "no label follows"),
    ("svamp", "The answer is 8 - 3 ).", "no label follows"),
    ("svamp", "Five. Q: The answer is ( 8 - 3 ).", "lacks"),
    ("asdiv", "", "lacks"),
]


@pytest.mark.parametrize("row", READ, ids=[repr(row[:2]) for row in READ])
def test_what_is_read(row):
    style, text, rationale = row
    assert parse(text, style) == Rationale(rationale, LABELS[style])
    assert parse(text, style, [LABELS[style]]) == parse(text, style)
    refused = parse(text, style, ["another"])
    assert isinstance(refused, Unparsed) and "none of those" in refused.reason


@pytest.mark.parametrize("row", UNREAD, ids=[repr(row[:2]) for row in UNREAD])
def test_what_is_not_read_has_a_reason(row):
    style, text, reason = row
    refused = parse(text, style)
    assert isinstance(refused, Unparsed) and reason in refused.reason


def test_reasons_are_counted():
    texts = [text for style, text, _ in READ + UNREAD if style == "cqa"]
    parsed, reasons = parse_all([*texts, ""], "cqa")
    assert len(parsed) == len(texts) + 1
    assert reasons == {
        "no label follows 'So the answer is'": 2,
        "it lacks 'So the answer is'": 2,
    }
    assert list(reasons.values()) == sorted(reasons.values(), reverse=True)
    assert parse_all([], "cqa") == ([], {})
    with pytest.raises(ValueError, match="no style 'csqa'.*'cqa'"):
        parse("x", "csqa")


TEXT = st.text(alphabet="abc .,()8-3\n")


@hypothesis.given(TEXT, TEXT)
def test_what_is_told_is_taken_apart_again(rationale, label):
    rationale, label = rationale.strip(), label.strip().removesuffix(".").rstrip()
    hypothesis.assume(label and not label.endswith("."))
    assert parse(told(rationale, label), "anli") == Rationale(rationale, label)


@hypothesis.given(
    st.lists(
        st.sampled_from(
            ["Answer: ", "Premise:", "So the answer is", "The answer is", "Q:", "(a)", "(", ")"]
            + [".", " x ", "\n"]
        )
    ),
    st.sampled_from(list(STYLES)),
)
def test_nothing_raises_and_no_label_is_empty(pieces, style):
    parsed = parse("".join(pieces), style)
    assert parsed.reason if isinstance(parsed, Unparsed) else parsed.label
