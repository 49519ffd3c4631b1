"""The engine with models that follow a script: what the calculator writes, what the mask and the
log-probabilities say of it.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tests.decode import fakes
from verifier.config import SampleConfig
from verifier.decode import engine as engine_lib
from verifier.decode import memory
from verifier.model import cache
from verifier.text import calculator

CONFIG = SampleConfig(temperature=0.7, max_new_tokens=40, rows=6)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows are flushed and the pool of pages grows and shrinks on the way in every test."""
    monkeypatch.setattr(cache, "WINDOW", 8)
    monkeypatch.setattr(memory, "FEWEST_PAGES", 12)


def scripted(texts: list[str], **knobs) -> list[engine_lib.Completion]:
    """What is made of a model that wants to write these texts, `~` being the end token."""
    tokenizer = fakes.Pieces()
    texts = texts + ["~"] * (3 - len(texts))  # always three, so that little is compiled
    scripts = [
        [
            tokenizer.end_id if piece == "~" else tokenizer.pieces.index(piece)
            for piece in split(text)
        ]
        for text in texts
    ]
    model = fakes.Scripted(scripts, tokenizer.vocab_size)
    config = dataclasses.replace(CONFIG, temperature=0.0, **knobs)
    prompts = [engine_lib.Prompt(f"p{n}", (n,) * (n + 1)) for n in range(3)]
    found = {
        c.problem_id: c
        for problem in engine_lib.Engine(model, tokenizer, config, 0).run(prompts, 1)
        for c in problem
    }
    return [found[f"p{n}"] for n in range(3)]


def split(text: str) -> list[str]:
    """Letters, but the whole piece between two bars: `a|=1|b` is a, =1, b."""
    return [
        piece for n, part in enumerate(text.split("|")) for piece in ([part] if n % 2 else part)
    ]


def test_the_calculator_writes_the_result_and_the_mask_says_so() -> None:
    found, *_ = scripted(["<<3*4=????ok~"])
    assert found.text == "<<3*4=12>>ok"
    assert "".join("cm"[not forced] for forced in found.forced) == "mmmmmmccccmmm"
    assert (found.finish, found.calculator_errors) == ("eos", 0)
    assert found.tokens[-1] == fakes.Pieces().end_id and len(found.tokens) == len(
        found.forced
    ) == len(found.logprobs)


def test_logprobs_are_the_models_own_also_of_forced_tokens() -> None:
    found, *_ = scripted(["<<3*4=1?>>~"])
    most = -math.log(1 + (fakes.Pieces().vocab_size - 1) * math.exp(fakes.MISS))
    # the script wants `1?>>`, the calculator `12>>`
    expected = [most] * 7 + [most + fakes.MISS] + [most] * 3
    np.testing.assert_allclose(found.logprobs, expected, rtol=1e-5)


def test_what_cannot_be_evaluated_is_counted_and_left_to_the_model() -> None:
    found = scripted(["<<5/0=7>> <<x=1>>~", "<<2+2=?>>~", "3+4=8 <<1+1~"])
    assert [c.text for c in found] == ["<<5/0=7>> <<x=1>>", "<<2+2=4>>", "3+4=8 <<1+1"]
    assert [c.calculator_errors for c in found] == [2, 0, 0]
    assert [any(c.forced) for c in found] == [False, True, False]


def test_integers_are_written_as_integers_and_a_wrong_digit_before_the_sign_stays() -> None:
    found = scripted(["<<48/2=????~", "48/3=<<48/2=????~"])
    assert [c.text for c in found[:2]] == ["<<48/2=24>>", "48/3=<<48/2=24>>"]


@pytest.mark.parametrize(
    ("text", "expected", "mask"),
    [
        # replaced: = 7 > >, in place of =1 and three more
        ("<<3+4|=1|????~", "<<3+4=7>>?", "mmmmmccccmm"),
        # =- 1 > >: the piece itself comes back, but as the calculator's
        ("<<3-4|=-|????~", "<<3-4=-1>>?", "mmmmmccccmm"),
        ("<<3+4|=<<|???~", "<<3+4=7>>", "mmmmmccccm"),
        # nothing follows the sign: the piece stays the model's
        ("<<(3+4|)=|???~", "<<(3+4)=7>>", "mmmmmmmcccm"),
        ("<<3+4| =|???~", None, None),
        ("<<3+4==?????~", "<<3+4=7>>???", "mmmmmmcccmmmm"),
        # the first sign stands outside
        ("$4+$4|=<<|4+4=???~", "$4+$4=<<4+4=8>>", "mmmmmmmmmmcccm"),
    ],
)
def test_an_equals_sign_merged_with_its_neighbours_triggers_too(
    text: str, expected: str | None, mask: str | None
) -> None:
    found, *_ = scripted([text])
    if expected is None:  # whether a space may stand before the sign is the calculator's own rule
        refused = isinstance(calculator.evaluate("3+4 "), calculator.Refused)
        assert found.text == (
            "<<3+4 =???" if refused else "<<3+4 =7>>"
        ) and found.calculator_errors == int(refused)
        return
    assert found.text == expected
    assert "".join("mc"[forced] for forced in found.forced) == mask


def test_a_replaced_token_carries_its_own_logprob() -> None:
    found, *_ = scripted(["<<3+4|=1|????~"])
    most = -math.log(1 + (fakes.Pieces().vocab_size - 1) * math.exp(fakes.MISS))
    np.testing.assert_allclose(
        found.logprobs[4:7], [most, most + fakes.MISS, most + fakes.MISS], rtol=1e-5
    )


def test_forced_tokens_count_towards_the_limit() -> None:
    found, *_ = scripted(["<<12*12=??????~"], max_new_tokens=10)
    assert (found.text, found.finish) == ("<<12*12=14", "length")
    assert found.forced == [False] * 8 + [True] * 2


def test_the_end_token_at_the_limit_counts_as_an_end() -> None:
    found = scripted(["abc~", "abcd~"], max_new_tokens=4)
    assert [(c.text, c.finish, len(c.tokens)) for c in found[:2]] == [
        ("abc", "eos", 4),
        ("abcd", "length", 4),
    ]


def test_the_calculator_can_be_switched_off() -> None:
    found, *_ = scripted(["<<3*4=99>>~"], calculator=False)
    assert found.text == "<<3*4=99>>" and not any(found.forced)
