"""What a row is interrupted for: the calculator writes something, or a step of a solution ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from verifier.decode.steps import BEGINS, BEHIND, HOLD, INSIDE, OUTSIDE, WAIT, Watch
from verifier.text import calculator
from verifier.text import tokenizer as tokenizer_lib


class Verdict(NamedTuple):
    """What follows a token that was looked at."""

    instead: bool  # the queue begins with a token to be written instead of it
    queue: list[int]  # forced tokens, none where the model goes on by itself
    errors: int  # annotations that could not be evaluated
    ends_step: bool = False


class Calculator:
    """Forced tokens: the calculator overrides what follows `=` in an annotation.

    Cobbe et al. 2021, section 4.
    The trigger is the decoded text, never a token id: tokenizers merge `=` with its neighbours
    (`=$`, `=1`, ` =`, `)=`). A wrong digit that was sampled before the `=` stays (the paper's
    rule); what cannot be evaluated is counted and left to the model.

    A step ends with the token that completes a text that ends steps, whatever else that token has;
    behind one that completes the stop text the end token is written.
    """

    def __init__(
        self,
        tokenizer: tokenizer_lib.Tokenizer,
        on: bool = True,
        step_ends: Sequence[str] = (),
        stop: str = "",
        thinks_behind: str = "",
    ) -> None:
        """Looks through the vocabulary once.

        Args:
            tokenizer: of the generator.
            on: False writes nothing.
            step_ends: the texts that a step ends with; none: they are not looked for.
            stop: the text that a solution ends with; empty: it is not looked for.
            thinks_behind: the letter behind which rows think, and at the beginning of a solution;
                empty: that is no matter.
        """
        self._tokenizer, self._on, self._step_ends = tokenizer, on, step_ends
        self._stop, self._first = stop, BEGINS if thinks_behind else OUTSIDE
        texts, looked_for = [], [*step_ends, *([stop] if stop else [])]
        if on or looked_for or thinks_behind:
            texts = [tokenizer.token_text(token) for token in range(tokenizer.vocab_size)]
        self.watch = watch_table(texts if on else [], tokenizer.vocab_size)
        if looked_for:
            lasts = {text[-1] for text in looked_for}
            may_end_V = np.array([not lasts.isdisjoint(text) for text in texts])
            self.watch.event_3V[(self.watch.event_3V == 0) & may_end_V] = WAIT
        if thinks_behind:
            self.watch = with_beginnings(
                self.watch, np.array([thinks_behind in text for text in texts])
            )

    def where(self, tokens: Sequence[int] | np.ndarray) -> int:
        """Where a row is after some tokens: OUTSIDE, INSIDE or BEHIND, or BEGINS more."""
        where = self._first
        for token in tokens:
            where = int(self.watch.where_3V[where, token])
        return where

    def look(self, tokens: Sequence[int]) -> Verdict:
        """Reads a solution so far, the token that is looked at last."""
        before = self._tokenizer.decode(tokens[:-1])
        text = self._tokenizer.decode(tokens)
        newest, errors = text[len(before) :] if self._on else "", 0
        for end in (index + 1 for index, letter in enumerate(newest) if letter == "="):
            opened = calculator.open_annotation(before + newest[:end])
            if opened is None or opened.written:
                continue  # not in an annotation, or not its first `=`
            result = calculator.evaluate(opened.expression)
            if isinstance(result, calculator.Refused):
                errors += 1
                continue
            forced = result.text + ">>"
            if end == len(newest):
                return Verdict(False, self._tokenizer.encode(forced), errors)
            return Verdict(True, self._tokenizer.encode(newest[:end] + forced), errors)
        if self._stop and _completes(before, text, self._stop):
            return Verdict(False, [self._tokenizer.end_id], errors)
        ends_step = any(_completes(before, text, step_end) for step_end in self._step_ends)
        return Verdict(False, [], errors, ends_step)


def step_ends(
    tokens: Sequence[int], tokenizer: tokenizer_lib.Tokenizer, step_end: str
) -> list[int]:
    """Indices of the tokens that steps of a solution end with; the last token is one."""
    ends = []
    for index, token in enumerate(tokens):
        if step_end[-1] in tokenizer.token_text(token):
            before, text = tokenizer.decode(tokens[:index]), tokenizer.decode(tokens[: index + 1])
            if _completes(before, text, step_end):
                ends.append(index)
    return ends if ends and ends[-1] == len(tokens) - 1 else [*ends, len(tokens) - 1]


def _completes(before: str, text: str, step_end: str) -> bool:
    """Whether what `text` has beyond `before` completes the end of a step, which may have begun
    before.
    """
    return step_end in text[max(len(before) - len(step_end) + 1, 0) :]


def watch_table(texts: Sequence[str], vocab_size: int) -> Watch:
    """Which tokens a row must wait at: those with the first `=` of what may be an annotation.

    `<` opens and `>>` closes, so an annotation that is split over tokens is never missed; where it
    only seems to be open, a row waits a step in vain. A token that goes on behind its `=` is held
    back, since the calculator may want another one instead.

    Args:
        texts: of the tokens from id 0 on; tokens without a text are never waited at.
        vocab_size: V, ids that can be written.
    """
    event_3V = np.zeros((3, vocab_size), np.uint8)
    where_3V = np.repeat(np.array([[OUTSIDE], [INSIDE], [BEHIND]], np.uint8), vocab_size, axis=1)
    for token, text in enumerate(texts):
        if not set(text).isdisjoint("<>="):
            for before in (OUTSIDE, INSIDE, BEHIND):
                event_3V[before, token], where_3V[before, token] = _read(text, before)
    return Watch(event_3V, where_3V)


def with_beginnings(watch: Watch, ends_V: np.ndarray) -> Watch:
    """The same table where it matters, too, whether the next token begins a step.

    ends_V: bool, tokens that end one.
    """
    event_6V = np.tile(watch.event_3V, (2, 1))
    where_6V = np.tile(watch.where_3V, (2, 1)) + np.where(ends_V, np.uint8(BEGINS), np.uint8(0))
    return Watch(event_6V, where_6V)


def _read(text: str, where: int) -> tuple[int, int]:
    """What a token's text asks for, and where a row is after it."""
    event = 0
    for index, letter in enumerate(text):
        if letter == "<":
            where = INSIDE
        elif text[index : index + 2] == ">>":
            where = OUTSIDE
        elif letter == "=" and where == INSIDE:
            event = max(event, WAIT if index + 1 == len(text) else HOLD)
            where = BEHIND
    return event, where
