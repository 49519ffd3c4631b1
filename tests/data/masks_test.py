"""What an example is made of: its masks by hand and by brute force, and its tokens."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.batches_test import as_texts
from verifier.data.batches import (
    BatchSpec,
    BatchStream,
    LabelledSamples,
    encode_problem,
    lm_example,
    supervision,
    verifier_example,
)
from verifier.data.examples import Target
from verifier.errors import ConfigError, DataError
from verifier.text.problem import Template, make_problem


class Characters:
    """One token a character, whose id is the code point; the start id is 1, the end id 0."""

    vocab_size, end_id, start_ids, reserved_id = 256, 0, (1,), 256

    def encode(self, text):
        return [ord(letter) for letter in text]

    def encode_with_spans(self, text):
        return self.encode(text), [(start, start + 1) for start in range(len(text))]


@pytest.mark.parametrize(
    ("question", "forced", "expected"),
    [
        (False, True, [0, 1, 1, 1, 1, 0]),
        (True, True, [1, 1, 1, 1, 1, 0]),
        (False, False, [0, 1, 0, 1, 1, 0]),
        (True, False, [1, 1, 0, 1, 1, 0]),
    ],
)
def test_language_model_mask(question, forced, expected):
    example = lm_example(
        [5, 6],
        [7, 8, 9, 2],
        [False, True, False, False],
        loss_on_question=question,
        loss_on_forced=forced,
    )
    assert example.tokens.tolist() == [5, 6, 7, 8, 9, 2] and example.tokens.dtype == np.int32
    assert example.targets.keys() == {"lm_weight", "lm_target"}
    weight, target = (example.targets[key] for key in ("lm_weight", "lm_target"))
    assert weight.tolist() == expected and weight.dtype == np.float32
    assert target.tolist() == [6, 7, 8, 9, 2, 0] and target.dtype == np.int32


@pytest.mark.parametrize(
    ("level", "normalise", "forced", "expected"),
    [
        ("token", "tokens", True, [0, 0, 1, 1, 1, 1]),
        ("token", "tokens", False, [0, 0, 1, 0, 1, 1]),
        ("token", "solutions", True, [0, 0, 0.25, 0.25, 0.25, 0.25]),
        ("solution", "tokens", True, [0, 0, 0, 0, 0, 1]),
        ("solution", "solutions", False, [0, 0, 0, 0, 0, 1]),
    ],
)
def test_value_mask(level, normalise, forced, expected):
    how = {"level": level, "normalise": normalise, "loss_on_forced": forced}
    example = verifier_example([5, 6], [7, 8, 9, 2], [False, True, False, False], True, **how)
    assert {key: target.tolist() for key, target in example.targets.items()} == {
        "value_weight": expected,
        "value_target": [0, 0, 1, 1, 1, 1],
    }
    assert {target.dtype for target in example.targets.values()} == {np.dtype(np.float32)}
    wrong = verifier_example([5], [7], [False], False, **how)
    assert not wrong.targets["value_target"].any()


@given(
    st.integers(0, 5),
    st.lists(st.booleans(), min_size=1, max_size=12),
    st.booleans(),
    st.booleans(),
)
def test_masks_by_brute_force(prompt, forced, question, on_forced):
    total = prompt + len(forced)
    example = lm_example(
        range(prompt),
        range(len(forced)),
        forced,
        loss_on_question=question,
        loss_on_forced=on_forced,
    )
    for t in range(total):
        following = t + 1
        if following == total:
            expected = False
        elif following < prompt:
            expected = question
        else:
            expected = on_forced or not forced[following - prompt]
        assert example.targets["lm_weight"][t] == expected
    how = {"level": "token", "normalise": "solutions", "loss_on_forced": on_forced}
    value = verifier_example(range(prompt), range(len(forced)), forced, True, **how)
    counted = [t >= prompt and (on_forced or not forced[t - prompt]) for t in range(total)]
    np.testing.assert_allclose(
        value.targets["value_weight"], np.array(counted) / max(sum(counted), 1), rtol=1e-6
    )


def test_bad_examples_are_refused():
    common = {"level": "token", "normalise": "tokens", "loss_on_forced": True}
    with pytest.raises(DataError, match="example p1 has no token"):
        verifier_example([1], [], [], True, **common, name="p1")
    with pytest.raises(DataError, match="2 entries for 1 tokens"):
        lm_example([1], [2], [True, False], loss_on_question=False, loss_on_forced=True)
    with pytest.raises(ConfigError, match="verify.level is 'word'"):
        verifier_example([1], [2], [False], True, **(common | {"level": "word"}))
    with pytest.raises(ConfigError, match="verify.normalise is 'rows'"):
        verifier_example([1], [2], [False], True, **(common | {"normalise": "rows"}))


def test_a_problem_becomes_tokens_and_the_calculators_are_marked():
    solution = "a <<1+2=3>>3 b <<x=4>>4\n#### 3"
    problem = make_problem("q?", solution, "3", "s", "train")
    prompt, target, forced = encode_problem(problem, Characters(), Template())
    assert prompt == [1, ord("q"), ord("?"), ord("\n")]
    assert target == [*map(ord, solution), 0] and len(forced) == len(target)
    first = solution.index("3>>")
    # Only what the calculator would write: nothing for `x`, which it cannot evaluate, and neither
    # the digit behind `>>` nor the end.
    assert [index for index, written in enumerate(forced) if written] == [
        first,
        first + 1,
        first + 2,
    ]
    with pytest.raises(DataError, match="has no solution"):
        encode_problem(make_problem("q?", None, "3", "s", "test"), Characters(), Template())


def test_a_token_only_partly_in_a_result_is_the_models_own():
    class Merged(Characters):
        def encode_with_spans(self, text):
            """Pieces that begin before a result, or end behind it."""
            ends = [
                text.index("=3"),
                text.index("=3") + 2,
                text.index("5"),
                text.index(">>6"),
                text.index(">>6") + 3,
                len(text),
            ]
            return list(range(2, 2 + len(ends))), list(zip([0, *ends[:-1]], ends, strict=True))

    solution = "<<1+2=3>>3 <<2+3=5>>5 <<3+3=6>>6\n#### 6"
    ids, spans = Merged().encode_with_spans(solution)
    assert [solution[start:end] for start, end in spans] == [
        "<<1+2",
        "=3",
        ">>3 <<2+3=",
        "5>>5 <<3+3=6",
        ">>6",
        "\n#### 6",
    ]
    _, target, forced = encode_problem(
        make_problem("q?", solution, "6", "s", "train"), Merged(), Template()
    )
    assert target == [*ids, 0] and not any(forced)


def test_share_of_supervised_tokens():
    examples = [
        lm_example([5, 6], [7, 2], [False] * 2, loss_on_question=False, loss_on_forced=True),
        verifier_example(
            [5],
            [7, 8, 2],
            [False] * 3,
            True,
            level="token",
            normalise="solutions",
            loss_on_forced=True,
        ),
    ]
    weights = ("lm_weight", "value_weight")
    targets = dict.fromkeys((*weights, "value_target"), Target()) | {"lm_target": Target(np.int32)}
    batch = next(BatchStream(examples, 0, BatchSpec(2, 10, targets)))
    for counted in (supervision(examples, weights), supervision(batch, weights)):
        assert counted == (8, {"lm_weight": 2, "value_weight": 3})
        assert [counted.share(key) for key in (*weights, "other")] == [0.25, 0.375, 0]


@pytest.mark.parametrize("level", ["token", "solution"])
def test_samples_of_a_table_are_the_examples_made_one_by_one(level):
    rows = {
        "problem_id": ["a", "b", "a", "a"],
        "sample_id": [0, 0, 1, 2],
        "tokens": [[5, 6, 2], [7, 2], [8], [9, 9, 9, 2]],
        "forced": [[False, True, False], [False, False], [False], [False, True, True, False]],
    }
    parts = [
        {name: values[part] for name, values in rows.items()} for part in (slice(0, 1), slice(1, 4))
    ]
    # chunks, as parts of a folder give them
    table = pa.concat_tables([pa.table(part) for part in parts]).slice(0)
    prompts = {"a": [1, 3], "b": [1]}
    how = {"level": level, "normalise": "solutions", "loss_on_forced": False}
    chosen, correct = [3, 0, 1], [True, False, True]
    samples = LabelledSamples(table, chosen, correct, prompts, **how)
    wanted = [
        verifier_example(
            prompts[rows["problem_id"][n]],
            rows["tokens"][n],
            rows["forced"][n],
            label,
            **how,
            name=f"{rows['problem_id'][n]}/{rows['sample_id'][n]}",
        )
        for n, label in zip(chosen, correct, strict=True)
    ]
    assert as_texts(samples) == as_texts(wanted) and [each.name for each in samples] == [
        "a/2",
        "a/0",
        "b/0",
    ]
    assert as_texts(samples[1:]) == as_texts(wanted[1:]) and as_texts([samples[-1]]) == as_texts(
        wanted[-1:]
    )
    # offsets that begin behind 0
    sliced = LabelledSamples(table.slice(2), [1], [True], prompts, **how)
    assert as_texts(sliced) == as_texts(wanted[:1])
    with pytest.raises(DataError, match="`forced` of another length"):
        LabelledSamples(
            table.set_column(3, "forced", pa.array([[True]] * 4)), chosen, correct, prompts, **how
        )
