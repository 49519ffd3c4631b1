"""A trained generator draws solutions, and searches for them under a verifier's eye.

Both are what the run's own stages `sample` and `search` would write for the same question, knobs
and seed, but for the last digits of the distributions that they draw from.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from verifier import config as config_lib
from verifier.api.errors import ApiError
from verifier.api.reading import LoadedVerifier, folder_of, template_of
from verifier.config import checks
from verifier.decode.engine import Engine, Prompt
from verifier.decode.job import by_falling_length
from verifier.model import precision
from verifier.run import model_folder, workdir
from verifier.search import judge_prompts, methods, searcher
from verifier.search.driver import SearchResult
from verifier.search.judge import refuse_other_generator
from verifier.search.judge_prompts import JudgePrompt
from verifier.search.searcher import Models, Searcher
from verifier.search.tree import best, numbered
from verifier.system import paths
from verifier.tables.results import GENERATOR
from verifier.text.problem import Template, problem_id, prompt_ids

_SHOWN = 60  # characters of a question in a message


@dataclasses.dataclass(frozen=True)
class Generated:
    """One solution as the generator drew it.

    `tokens`, `logprobs` (natural, at temperature 1) and `forced` (written by the calculator) run
    over its tokens, the end token included where it has `ended`; else it was cut at
    sample.max_new_tokens.
    """

    solution: str
    tokens: list[int]
    logprobs: list[float]
    forced: list[bool]
    ended: bool
    calculator_errors: int


@dataclasses.dataclass(frozen=True)
class TriedStep:
    """What a search wrote in one go: a step, or more of a solution.

    `parent` is the place of the step before it in `Searched.tree`, -1 where there is none; `score`
    is NaN where nobody judged it; `kept` says that it was not given up.
    """

    parent: int
    text: str
    score: float
    kept: bool


@dataclasses.dataclass(frozen=True)
class Searched:
    """The solution that a search ends with, what it tried, and what that took.

    `score` is the one that the method goes by; `tokens_generated` counts those of all candidates,
    `prefixes_generated` what several of them wrote alike once; `tokens_scored` counts those that
    were read to be judged, the prompt's too.
    """

    solution: str
    tokens: list[int]
    score: float
    ended: bool
    tree: list[TriedStep]
    tokens_generated: int
    prefixes_generated: int
    tokens_scored: int
    model_calls: int


class LoadedGenerator:
    """A generator that is ready to write. Make one with `load_generator`."""

    def __init__(
        self, saved: model_folder.Saved, template: Template, config: config_lib.Config
    ) -> None:
        """`config`: what is not said otherwise when something is asked for."""
        self.id, self.tokenizer, self.template = saved.id, saved.tokenizer, template
        self.model, self.config = saved.model, config

    def generate(
        self, questions: Sequence[str], samples: int = 1, *, knobs: Sequence[str] = ()
    ) -> list[list[Generated]]:
        """Draws solutions of every question.

        Sample j of a question depends on the seed, the question and j alone, whatever else is
        asked. Another number of questions, samples or tokens may cost a compilation.

        Args:
            questions: texts, put to the model as in training. The same one twice, but for spaces,
                is answered once, as it stands first.
            samples: solutions of each.
            knobs: as on the shell, such as `sample.temperature=1`, `sample.max_new_tokens=200` and
                `seed=3`; all others as in the run.

        Returns:
            a list a question, in their order, each by the number of the sample.

        Raises:
            ApiError: no questions, an empty one, or one that is too long; less than one sample.
            ConfigError: a knob that there is not, or a value that it cannot take.
        """
        if samples < 1:
            raise ApiError(f"samples={samples}: expected at least 1")
        config = self._with(knobs)
        room = self.model.arch.longest_prompt(config.sample.max_new_tokens)
        prompts = self._prompts(questions, room)
        engine = Engine(self.model, self.tokenizer, config.sample, config.seed)
        drawn = {
            group[0].problem_id: [
                Generated(
                    each.text,
                    each.tokens,
                    each.logprobs,
                    each.forced,
                    each.finish == "eos",
                    each.calculator_errors,
                )
                for each in group
            ]
            for group in engine.run(prompts, samples)
        }
        return [drawn[problem_id(question)] for question in questions]

    def search(
        self,
        questions: Sequence[str],
        verifier: LoadedVerifier | None = None,
        *,
        method: str = "beam",
        budget: int = 16,
        knobs: Sequence[str] = (),
    ) -> list[Searched]:
        """Searches for a solution of every question.

        Args:
            questions: as in `generate`.
            verifier: that was trained on this generator's samples; None where nothing is asked of
                one: search.scorer=logprob or constant, or a judge of RAIN's that is a question to
                the generator (rain.judge).
            method: one of search.methods.
            budget: candidates of a step, a multiple of search.branching; RAIN takes
                rain.candidates.
            knobs: as in `generate`; of the sections search and rain too.

        Returns:
            one a question, in their order.

        Raises:
            ApiError: as `generate`, or no verifier where one is needed.
            ConfigError: as `generate`, an unknown method, or a budget that cannot be shared out.
            WorkdirError: a verifier of another generator's samples.
        """
        asked = [f"search.methods=[{method}]"]
        if method != methods.RAIN:
            asked += [f"search.budgets=[{budget}]"]
        config = self._with([*knobs, *asked])
        models, judge = self._models(config, verifier)
        room = self.model.arch.context
        if models.verifier is not None:
            room = min(room, models.verifier.backbone.arch.context)
        prompts = self._prompts(questions, room - config.sample.max_new_tokens, judge)
        texts = {problem_id(question): question for question in reversed(questions)}
        ready = Searcher(config, models, prompts, texts)
        results = {
            prompts[each.problem].problem_id: self._searched(each)
            for each in ready.run(method, budget, prompts)
        }
        return [results[problem_id(question)] for question in questions]

    def _models(
        self, config: config_lib.Config, verifier: LoadedVerifier | None
    ) -> tuple[Models, JudgePrompt | None]:
        """What a search needs to read and write; the question by which the generator judges itself.

        Raises as `search`.
        """
        (method,) = config.search.methods
        searcher.check_step_end(config)
        judge = None
        if method == methods.RAIN:
            searcher.check_rain(config)
            if methods.judges_itself(config):
                judge = judge_prompts.load(config.rain.judge)
        if verifier is not None:
            refuse_other_generator(verifier.manifest, self.id)
            models = Models(self.model, self.tokenizer, verifier.model, verifier.value_loss)
            return models, judge
        if judge is None and methods.setup(method, config).scorer.reads:
            raise ApiError(
                f"method={method} goes by the values of a verifier: give search(questions, "
                "load(FOLDER))"
            )
        return Models(self.model, self.tokenizer), judge

    def _searched(self, result: SearchResult) -> Searched:
        chosen, decode = best(result.nodes), self.tokenizer.decode
        return Searched(
            solution=decode(chosen.written()),
            tokens=chosen.written(),
            score=chosen.score,
            ended=chosen.finish == "eos",
            tree=[
                TriedStep(parent, decode(node.tokens), node.score, node.kept)
                for parent, node in numbered(result.root)
            ],
            **dataclasses.asdict(result.cost),
        )

    def _with(self, knobs: Sequence[str]) -> config_lib.Config:
        config = config_lib.override(self.config, knobs)
        checks.check(config)
        return config

    def _prompts(
        self, questions: Sequence[str], room: int, judge: JudgePrompt | None = None
    ) -> list[Prompt]:
        """Each question once, by falling length, once it is known that there is room for all.

        judge: the question behind which the generator reads what it has written; None: it does not.
        """
        if isinstance(questions, str) or not len(questions):
            raise ApiError(f"the questions are {questions!r}: give a list of at least one")
        for question in questions:
            if not question.strip():
                raise ApiError(f"question {question!r} is empty: give the problem's text")
        prompts = [
            Prompt(problem_id(question), prompt_ids(question, self.template, self.tokenizer))
            for question in questions
        ]
        lengths = [len(prompt.tokens) for prompt in prompts]
        if judge is not None:
            lengths = list(map(max, lengths, judge.lengths(questions, self.tokenizer)))
        for question, length in zip(questions, lengths, strict=True):
            if length > room:
                raise ApiError(
                    f"question {question[:_SHOWN]!r} is too long: {length} tokens, but the "
                    f"model's context leaves {room} beside sample.max_new_tokens; leave it out, or "
                    "lower that"
                )
        first = {prompt.problem_id: prompt for prompt in reversed(prompts)}
        return by_falling_length(first.values())


def load_generator(
    folder: str | pathlib.Path,
    *,
    dtype: str | None = None,
    template: Template | None = None,
) -> LoadedGenerator:
    """Reads a generator onto the default device.

    Args:
        folder: as a run saved it: runs/NAME, or its runs/NAME/generator. What config.json beside it
            says of the run holds for all that is asked; without one, knobs are at their defaults.
        dtype: of activations, "float32", "bfloat16", or "auto", which is what the device is fast
            in; None: as the run drew (model.dtype), which the folder tells.
        template: how a problem is put to the model; None: as in training, which the folder tells.

    Raises:
        ApiError: the folder holds a verifier, or was made before templates were noted.
        WorkdirError: it is missing or unfinished.
        CheckpointError: its parameters cannot be read.
    """
    folder = folder_of(GENERATOR, paths.to_path(folder))
    dtype = precision.of_this_device().dtype if dtype == "auto" else dtype
    manifest = workdir.manifest_of(folder, GENERATOR.stage)
    if "head" in manifest:
        raise ApiError(
            f"{folder} holds a verifier, which writes nothing: give the folder `generator` "
            "beside it"
        )
    dtype = dtype or model_folder.dtype_of(manifest)
    saved = model_folder.load(folder, GENERATOR.stage, dtype)
    root, settings = folder.parent, {}
    if GENERATOR.folder(root) == folder:
        settings = workdir.saved_settings(root)
    return LoadedGenerator(
        saved, template_of(saved, template, folder), config_lib.from_settings(settings)
    )
