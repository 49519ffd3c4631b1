"""Token sequences with what a loss is to learn at each position.

`lm_example` and `verifier_example` fill the targets of `train.losses.lm` and `train.losses.value`.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow as pa

from verifier.errors import ConfigError, DataError
from verifier.text import calculator
from verifier.text.problem import Problem, Template, prompt_ids
from verifier.text.tokenizer import Tokenizer


class Target(NamedTuple):
    """The arrays of one key of `targets`: [T, *shape] of an example, [B, T, *shape] of a batch."""

    dtype: type[np.generic] = np.float32
    shape: tuple[int, ...] = ()  # of a position


class Example(NamedTuple):
    """A tree of T tokens, most often one text, and its targets.

    position       0   1   2   3   4
    tokens         q   q   s   s   end
    lm_weight      0   1   1   1   0     position 1 predicts the first solution token; the last
    lm_target      q   s   s  end  .     predicts nothing
    value_weight   0   0   1   1   1     the value is read after each solution
                                       token, the end token's too
    """

    tokens: np.ndarray  # int32 [T]
    # by key, as a loss names them; a key that is missing has 0 at every position
    targets: Mapping[str, np.ndarray]
    name: str = ""  # what a message calls it, such as a problem's id
    # int32 [T], as `trees.Forest` has them; None: the tokens are one text
    positions: np.ndarray | None = None
    ends: np.ndarray | None = None
    prompt: int = 0  # of the first tokens, which an encoder reads where the model has one


def lm_example(
    prompt_ids: Sequence[int],
    target_ids: Sequence[int],
    forced: Sequence[bool],
    *,
    loss_on_question: bool,
    loss_on_forced: bool,
    name: str = "",
) -> Example:
    """A ground-truth solution for the language-model loss (Cobbe et al. 2021, section 4.1).

    The target "lm_weight" weighs the loss of predicting "lm_target" from position t, which is the
    text's next token.

    Args:
        prompt_ids: start ids and the prompt.
        target_ids: the target and the end id; not empty.
        forced: over target_ids, whether the calculator writes the token (False where unknown).
        loss_on_question: whether the prompt's tokens are predicted too (all but the first of the
            sequence, which nothing precedes).
        loss_on_forced: whether tokens that the calculator writes are predicted too.
        name: what messages call the example.

    Raises:
        DataError: an empty target, or `forced` of another length.
    """
    _check_lengths(target_ids, forced, name)
    first = len(prompt_ids)
    tokens = np.asarray([*prompt_ids, *target_ids], np.int32)
    predicted = np.zeros(len(tokens), np.float32)  # whether token t itself is predicted
    predicted[first:] = 1 if loss_on_forced else ~np.asarray(forced, bool)
    if loss_on_question:
        predicted[:first] = 1
    targets = {
        "lm_weight": np.append(predicted[1:], np.float32(0)),
        "lm_target": np.append(tokens[1:], np.int32(0)),
    }
    return Example(tokens, targets, name, prompt=first)


def verifier_example(
    prompt_ids: Sequence[int],
    solution_ids: Sequence[int],
    forced: Sequence[bool],
    label: float | np.ndarray,
    *,
    level: str,
    normalise: str,
    loss_on_forced: bool,
    name: str = "",
) -> Example:
    """A sampled solution for the value loss (Cobbe et al. 2021, section 4.2).

    The target "value_weight" weighs the loss of the value read after token t; "value_target" is the
    label there.

    Args:
        prompt_ids: start ids and the prompt; never in the loss.
        solution_ids: the sample's tokens as they were drawn, the end token where it came; not
            empty.
        forced: over solution_ids, whether the calculator wrote the token.
        label: of the sample, or of each of its tokens; 0 to 1, or NaN for a token that has none.
        level: "token": every solution token counts; "solution": only the last one.
        normalise: "tokens": every counted token weighs 1; "solutions": the weights of a solution
            sum to 1.
        loss_on_forced: whether values after tokens of the calculator count; the last token counts
            always at level "solution".
        name: what messages call the example.

    Raises:
        DataError: an empty solution, or `forced` of another length.
        ConfigError: an unknown level or normalise.
    """
    _check_lengths(solution_ids, forced, name)
    first = len(prompt_ids)
    tokens = np.asarray([*prompt_ids, *solution_ids], np.int32)
    counted = np.ones(len(solution_ids), np.float32)
    if level == "solution":
        counted[:-1] = 0
    elif level != "token":
        raise ConfigError(f"verify.level is {level!r}; expected 'token' or 'solution'")
    elif not loss_on_forced:
        counted[np.asarray(forced, bool)] = 0
    target = np.broadcast_to(np.asarray(label, np.float32), counted.shape)
    counted[np.isnan(target)] = 0
    if normalise == "solutions":
        counted /= max(counted.sum(), 1)
    elif normalise != "tokens":
        raise ConfigError(f"verify.normalise is {normalise!r}; expected 'tokens' or 'solutions'")
    value_weight, value_target = np.zeros((2, len(tokens)), np.float32)
    value_weight[first:] = counted
    value_target[first:] = np.nan_to_num(target)
    targets = {"value_weight": value_weight, "value_target": value_target}
    return Example(tokens, targets, name)


class LazyExamples(Sequence[Example]):
    """Examples that are made when they are asked for: a subclass has their number and makes one."""

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        chosen = range(len(self))[index]
        return self._made(chosen) if isinstance(chosen, int) else [self._made(n) for n in chosen]

    @abc.abstractmethod
    def _made(self, index: int) -> Example:
        """The example of an index from 0 on."""


class LabelledSamples(LazyExamples):
    """The examples of a table of samples, each made when it is asked for.

    Of 750,000 samples the tokens alone are held, 4 bytes each.
    """

    def __init__(
        self,
        samples: pa.Table,
        rows: Sequence[int] | np.ndarray,
        labels: Sequence[Any] | np.ndarray,
        prompts: Mapping[str, Sequence[int]],
        **how: Any,
    ) -> None:
        """Reads the columns.

        Args:
            samples: problem_id, sample_id, tokens, forced.
            rows: of the table that are examples, in their order.
            labels: of each of these, as `verifier_example` takes one.
            prompts: start ids and prompt, by problem.
            how: level, normalise and loss_on_forced of `verifier_example`.
        """
        self._rows = np.asarray(rows, np.int64)
        self._labels = labels
        self._prompts, self._how = prompts, how
        self._problem_ids, self._sample_ids = samples["problem_id"], samples["sample_id"]
        tokens, forced = (samples[name].combine_chunks() for name in ("tokens", "forced"))
        self._starts = tokens.offsets.to_numpy()
        self._tokens = tokens.values.to_numpy()
        self._forced = forced.values.to_numpy(zero_copy_only=False)
        if not np.array_equal(np.diff(self._starts), np.diff(forced.offsets.to_numpy())):
            raise DataError(
                "the samples table has `forced` of another length than `tokens`; expected an "
                "entry a token. Sample anew"
            )
        self._forced_starts = forced.offsets.to_numpy()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def problem_ids(self) -> list[str]:
        """Of each example, its problem's."""
        return self._problem_ids.take(pa.array(self._rows)).to_pylist()

    def _made(self, index: int) -> Example:
        row = int(self._rows[index])
        key = self._problem_ids[row].as_py()
        count = self._starts[row + 1] - self._starts[row]
        tokens = self._tokens[self._starts[row] : self._starts[row + 1]]
        forced = self._forced[self._forced_starts[row] : self._forced_starts[row] + count]
        name = f"{key}/{self._sample_ids[row].as_py()}"
        return verifier_example(
            self._prompts[key], tokens, forced, self._labels[index], **self._how, name=name
        )


def encode_problem(
    problem: Problem, tokenizer: Tokenizer, template: Template
) -> tuple[list[int], list[int], list[bool]]:
    """A problem with its ground-truth solution as tokens.

    Returns:
        prompt_ids (start ids and the rendered prompt), target_ids (the rendered solution and the
        end id), and over target_ids whether the calculator would write the token: one that lies
        wholly in the result of an annotation, the closing `>>` included.

    Raises:
        DataError: the problem has no solution.
    """
    if problem.solution is None:
        raise DataError(
            f"problem {problem.problem_id} of {problem.source} has no solution to learn from; "
            "only its answer is known"
        )
    target = encode_solution(template.render_target(problem.solution), tokenizer)
    return prompt_ids(problem.question, template, tokenizer), *target


def encode_solution(
    text: str, tokenizer: Tokenizer, ended: bool = True
) -> tuple[list[int], list[bool]]:
    """A solution's text as tokens.

    Args:
        text: of the solution.
        tokenizer: whose tokens they are to be.
        ended: the end token follows.

    Returns:
        The ids, and of each whether a calculator would write it: it lies wholly in the result of an
        annotation, the closing `>>` included.
    """
    ids, spans = tokenizer.encode_with_spans(text)
    written = [
        (annotation.start, annotation.end)
        for annotation in calculator.annotations(text)
        if isinstance(calculator.evaluate(annotation.expression), calculator.Evaluated)
    ]
    forced = [any(first <= start < end <= last for first, last in written) for start, end in spans]
    return ([*ids, tokenizer.end_id], [*forced, False]) if ended else (ids, forced)


def _check_lengths(ids: Sequence[int], forced: Sequence[bool], name: str) -> None:
    if not len(ids):
        raise DataError(
            f"example {name or '(no name)'} has no token to learn from; expected at least the "
            "end token"
        )
    if len(forced) != len(ids):
        raise DataError(
            f"example {name or '(no name)'}: `forced` has {len(forced)} entries for {len(ids)} "
            "tokens; expected one a token"
        )
