"""Examples of two tasks decode to their templates, and weigh what is written alone."""

import numpy as np

from verifier.data import two_tasks
from verifier.data.two_tasks import Asked, Explained
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.problem import Template, make_problem

TOKENIZER = ByteTokenizer()
ASKED = Asked(
    Template("predict: {question}\n"), Template("explain: {question}\n"), Template("{question}\n")
)
FIRST = make_problem("3 and 4?", None, "7", "s", "train")
SECOND = make_problem("9 less 2?", None, "7", "s", "train")
WHY = Explained(FIRST, "3+4", "They are added.")
BARE = Explained(SECOND, "9-2", None)


def text(example):
    return TOKENIZER.decode(example.tokens[:-1].tolist())


def learned(example, key):
    weight = example.targets[key] > 0
    ids = example.targets["lm_target"][weight].tolist()
    assert ids[-1] == TOKENIZER.end_id
    return TOKENIZER.decode(ids[:-1])


def test_every_task_is_asked_and_answered_by_its_template():
    label, why, bare = two_tasks.two_tasks([WHY, BARE], ASKED, TOKENIZER)
    assert text(label) == "predict: 3 and 4?\n3+4" and learned(label, "predict_weight") == "3+4"
    assert text(why) == "explain: 3 and 4?\nThey are added."
    assert learned(why, "explain_weight") == "They are added."
    assert text(bare) == "predict: 9 less 2?\n9-2"
    assert "explain_weight" not in label.targets and "predict_weight" not in why.targets


def test_one_text_holds_both_and_nothing_of_the_prompt_is_learned():
    (whole, bare) = two_tasks.one_text([WHY, BARE], ASKED, TOKENIZER)
    assert text(whole) == "3 and 4?\nThey are added.\nThe answer is 3+4"
    assert learned(whole, "lm_weight") == "They are added.\nThe answer is 3+4"
    assert learned(bare, "lm_weight") == "The answer is 9-2"
    assert np.isin(whole.targets["lm_weight"], [0, 1]).all()


def test_a_label_alone_stands_behind_the_plain_question():
    both = list(two_tasks.label_alone([WHY, BARE], ASKED, TOKENIZER))
    assert [text(each) for each in both] == ["3 and 4?\n3+4", "9 less 2?\n9-2"]
    assert [learned(each, "lm_weight") for each in both] == ["3+4", "9-2"]
