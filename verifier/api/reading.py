"""A trained verifier reads solutions: their scores, the best of them, what their steps are worth.

The numbers are those of the stage `score` where a solution is given as the stage read it: by the
ids of its tokens or, for a verifier with tokens of its own, by its text and whether it had `ended`.
They agree but for rounding: some 1e-6 in float32, up to .004 in bfloat16.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import warnings
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from verifier.api.errors import ApiError
from verifier.config import ScoreConfig, SearchConfig
from verifier.data import examples
from verifier.decode.annotations import step_ends
from verifier.decode.score import score_samples
from verifier.decode.score_rows import Solutions
from verifier.model import precision
from verifier.run import model_folder, workdir
from verifier.system import paths
from verifier.tables.manifests import MANIFEST
from verifier.tables.results import GENERATOR, VERIFIER, Model
from verifier.text.problem import Template, prompt_ids

_Ended = TypeVar("_Ended")
_SHOWN = 60  # characters of a question in a message


class Scored(NamedTuple):
    """What the verifier says of one solution.

    `tokens` is what was read of it, the end token included; token_values[t] is the value after
    tokens[t], and `score` the last of them (Cobbe et al. 2021, section 4.2): an estimate of the
    label, or the probability of being right for a verifier of value_loss=bce.
    """

    score: float
    token_values: list[float]
    tokens: list[int]


class Best(NamedTuple):
    """The solution of the highest score, the first of equal ones, and its place in the list."""

    solution: str | Sequence[int]
    place: int
    score: float


@dataclasses.dataclass(frozen=True)
class StepValue:
    """What the verifier says of a solution up to the end of a step.

    `text` is the step's own, `end` the index of its last token in the solution; `value` as
    `Scored.token_values` has it there, so that of the last step is the solution's score.
    """

    text: str
    end: int
    value: float


class LoadedVerifier:
    """A verifier that is ready to read. Make one with `load`."""

    def __init__(self, saved: model_folder.Saved, template: Template, rows: int) -> None:
        """`rows`: see `load`."""
        self.id, self.tokenizer, self.template = saved.id, saved.tokenizer, template
        self.model, self.manifest = saved.model, saved.manifest
        self.value_loss = saved.manifest["settings"]["verify.value_loss"]
        self._rows = rows

    def score(
        self,
        question: str,
        solutions: Sequence[str | Sequence[int]],
        *,
        ended: bool | Sequence[bool] = True,
    ) -> list[Scored]:
        """Scores solutions of one problem. For many problems `score_many` takes less time.

        Args:
            question: the problem's text; it is put to the model as in training.
            solutions: as a generator writes them: a text, or the ids of its tokens, which are read
                as they are (column `tokens` of the samples table, for a verifier with the
                generator's tokens). A text that was sampled may have been written in other tokens
                than it is read in here, and then has another score; `Scored.tokens` are those that
                were read.
            ended: whether the solution is complete, of all or of each: the end token is put behind
                such a text. False for one that was cut (`finish` is "length" in the samples table),
                for the stage reads no end token there. Ids are read as they are.

        Returns:
            one Scored a solution, in their order.

        Warns:
            UserWarning: a text that the verifier's tokenizer does not give back; the score is of
            what it gives.

        Raises:
            ApiError: no question, no solutions, an empty one, one with a token that the verifier
                does not know, or one that is too long for its context; or `ended` of another length
                than the solutions.
        """
        return self.score_many(
            [(question, solutions)], ended=ended if isinstance(ended, bool) else [ended]
        )[0]

    def score_many(
        self,
        asked: Sequence[tuple[str, Sequence[str | Sequence[int]]]],
        *,
        ended: bool | Sequence[bool | Sequence[bool]] = True,
    ) -> list[list[Scored]]:
        """Scores solutions of many problems, read together.

        Every new number of rows or length of text costs a compilation.

        Args:
            asked: questions with their solutions, both as in `score`.
            ended: as in `score`, of all problems or of each.

        Returns:
            a list a problem, in their order, as `score` gives it.

        Raises:
            ApiError: as `score`; nothing is read then.
        """
        if not asked:
            raise ApiError("there is nothing to score: give at least one (question, solutions)")
        problems = [
            self._encoded(str(index), *each, of)
            for index, (each, of) in enumerate(zip(asked, _each(ended, asked), strict=True))
        ]
        scored: list[list[Scored]] = [[] for _ in asked]
        for rows in score_samples(
            self.model, problems, ScoreConfig(rows=self._rows), self.id, self.value_loss
        ):
            index = int(rows[0]["problem_id"])
            tokens = problems[index].tokens
            scored[index] = [
                Scored(row["score"], row["token_scores"], list(tokens[row["sample_id"]]))
                for row in rows
            ]
        return scored

    def best(
        self,
        question: str,
        solutions: Sequence[str | Sequence[int]],
        *,
        ended: bool | Sequence[bool] = True,
    ) -> Best:
        """The solution that the verifier scores highest; arguments and errors as `score`."""
        scores = [each.score for each in self.score(question, solutions, ended=ended)]
        # The first of equal ones, as in `evaluate.rank`.
        index = max(range(len(scores)), key=scores.__getitem__)
        return Best(solutions[index], index, scores[index])

    def score_steps(
        self,
        question: str,
        solutions: Sequence[str | Sequence[int]],
        *,
        step_end: str = SearchConfig.step_end,
        ended: bool | Sequence[bool] = True,
    ) -> list[list[StepValue]]:
        """The value at the end of every step.

        A step ends behind the token that completes its end, as in search and rollouts; the last
        one with the solution, its end token included.

        Args:
            question: as in `score`; so `solutions` and `ended`.
            step_end: the text that a step ends with.

        Returns:
            a list a solution, in their order. The texts of its steps make up the solution.

        Raises:
            ApiError: as `score`, or no text that steps end with.
        """
        if not step_end:
            raise ApiError("step_end is empty: give the text that a step ends with")
        return [
            self._steps(each, step_end) for each in self.score(question, solutions, ended=ended)
        ]

    def _steps(self, scored: Scored, step_end: str) -> list[StepValue]:
        ends = step_ends(scored.tokens, self.tokenizer, step_end)
        texts = ["", *(self.tokenizer.decode(scored.tokens[: end + 1]) for end in ends)]
        return [
            StepValue(text[len(before) :], end, scored.token_values[end])
            for end, (before, text) in zip(ends, itertools.pairwise(texts), strict=True)
        ]

    def _encoded(
        self,
        name: str,
        question: str,
        solutions: Sequence[str | Sequence[int]],
        ended: bool | Sequence[bool],
    ) -> Solutions:
        """A problem as it is read, once it is known that it can be."""
        which = f"question {question[:_SHOWN]!r}"
        if not question.strip():
            raise ApiError(f"{which} is empty: give the problem's text")
        if isinstance(solutions, str) or not len(solutions):
            raise ApiError(f"{which} has the solutions {solutions!r}: give a list of at least one")
        prompt = prompt_ids(question, self.template, self.tokenizer)
        tokens = [
            self._tokens(solution, of)
            for solution, of in zip(solutions, _each(ended, solutions), strict=True)
        ]
        context = self.model.backbone.arch.context
        for index, (solution, ids) in enumerate(zip(solutions, tokens, strict=True)):
            if not len(solution):
                raise ApiError(
                    f"{which}: solution {index} is empty, so there is nothing to judge; leave "
                    "it out"
                )
            for token in ids:
                if not 0 <= token < self.tokenizer.vocab_size:
                    known = f"the verifier's tokens are 0 to {self.tokenizer.vocab_size - 1}"
                    raise ApiError(
                        f"{which}: solution {index} has the token {token}, but {known}; give "
                        "its text, or ids of this tokenizer"
                    )
            if len(prompt) + len(ids) > context:
                size = f"{len(prompt)} + {len(ids)} tokens with the question"
                raise ApiError(
                    f"{which}: solution {index} is too long: {size}, but the model's context "
                    f"is {context}; leave it out"
                )
            if isinstance(solution, str) and (read := self.tokenizer.decode(ids)) != solution:
                lost = (
                    f"the verifier's tokenizer reads it as {read[:_SHOWN]!r}, and the score is "
                    "of that; give the ids of its tokens"
                )
                warnings.warn(
                    f"{which}: solution {index} is {solution[:_SHOWN]!r}, but {lost}", stacklevel=3
                )
        return Solutions(name, prompt, range(len(tokens)), tokens)

    def _tokens(self, solution: str | Sequence[int], ended: bool) -> list[int]:
        if not isinstance(solution, str):
            return [int(token) for token in solution]
        return examples.encode_solution(solution, self.tokenizer, ended)[0]


def _each(ended: bool | Sequence[_Ended], what: Sequence[object]) -> Sequence[bool | _Ended]:
    """`ended` of each of several things, where one may stand for all."""
    if isinstance(ended, bool):
        return [ended] * len(what)
    if len(ended) != len(what):
        raise ApiError(
            f"ended has {len(ended)} entries for {len(what)} problems or solutions: give one "
            "each, or one for all"
        )
    return ended


def load(
    folder: str | pathlib.Path,
    *,
    dtype: str | None = None,
    template: Template | None = None,
    rows: int = 16,
) -> LoadedVerifier:
    """Reads a verifier onto the default device.

    Args:
        folder: as a run saved it: runs/NAME, or its runs/NAME/verifier; or as `python -m
            verifier.export` wrote it.
        dtype: of activations, "float32", "bfloat16", or "auto", which is what the device is fast
            in; None: as the run scored (model.dtype), which the folder tells.
        template: how a problem is put to the model; None: as in training, which the folder tells.
        rows: most packed rows read at once (score.rows): memory depends on it, and values only
            within the precision of `dtype`.

    Raises:
        ApiError: the folder holds a generator, or was made before templates were noted.
        WorkdirError: it is missing or unfinished.
        CheckpointError: its parameters cannot be read.
        WeightsError: it was exported by something else, or its files are damaged.
    """
    folder = folder_of(VERIFIER, paths.to_path(folder))
    dtype = precision.of_this_device().dtype if dtype == "auto" else dtype
    if (folder / "config.json").is_file():  # which no model folder of a run has
        saved = model_folder.load_export(folder, dtype)
    else:
        manifest = workdir.manifest_of(folder, VERIFIER.stage)
        if "head" not in manifest:
            raise ApiError(
                f"{folder} holds a generator, which has no value head: give the folder "
                "`verifier` beside it"
            )
        dtype = dtype or model_folder.dtype_of(manifest)
        saved = model_folder.load(folder, VERIFIER.stage, dtype)
    return LoadedVerifier(saved, template_of(saved, template, folder), rows)


def folder_of(model: Model, folder: pathlib.Path) -> pathlib.Path:
    """Where a model lies: in the workdir that is given, or it is the folder itself."""
    inside = (each.folder(folder) / MANIFEST for each in (GENERATOR, VERIFIER))
    return model.folder(folder) if any(path.is_file() for path in inside) else folder


def template_of(
    saved: model_folder.Saved, given: Template | None, folder: pathlib.Path
) -> Template:
    """How problems are put to a model.

    Raises:
        ApiError: its folder does not tell, and none is given.
    """
    template = given or saved.template
    if template is None:
        raise ApiError(
            f"{folder} does not tell how problems were put to the model: give load(..., "
            "template=Template(prompt, target)) of verifier.text.problem, with "
            "data.prompt_template and data.target_template of its run"
        )
    return template
