"""rollouts: what the steps of stored solutions are worth, by solutions that go on from their ends.

Math-Shepherd (Wang et al. 2023, arXiv 2312.08935). What is stored are counts; labels are derived
from them when the verifier is trained (`data.step_labels`). Each process takes its share of the
problems.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from verifier import config as config_lib
from verifier.decode.annotations import step_ends
from verifier.decode.engine import Counts, Engine, Prompt
from verifier.decode.growing import Growing
from verifier.decode.job import by_falling_length
from verifier.errors import WorkdirError
from verifier.grading import graders
from verifier.run import hosts, model_folder
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.search.rollouts import Prefix, Solution, completions
from verifier.stages import label, search, stored_samples, table_writing
from verifier.system import log, stopping
from verifier.tables.results import STEPS
from verifier.text import split
from verifier.text.problem import Problem
from verifier.text.tokenizer import Tokenizer


def stage(generator: Stage, samples: Stage, problems: Stage, place: str = "") -> Stage:
    """Rollouts from the steps of the training samples."""
    return Stage(
        rollouts,
        makes=STEPS,
        splits=(split.TRAIN,),
        reads={
            "generator": generator.of(),
            "samples": samples.of(),
            "problems": problems.of(noted=False),  # the samples follow from them
        },
        knobs=("seed", "rollouts", "sample", "label", "model.dtype"),
        ignores=search.ignored,
        place=place,
        check=search.check_branches,
    )


def rollouts(context: Context) -> None:
    """Goes on from every end of a step that some sample has."""
    grading = context.config.label
    for of in context.stage.splits:
        settings, title = context.settings(of), context.title(of)
        if context.is_done(settings, of):
            continue
        _refuse_other_generator(context, of)
        table = table_writing.writer(context.folder(of), "steps", settings)
        table.begin()
        generator = search.loaded(context, "generator")
        rows = stored_samples.read(context, "samples", generator.tokenizer, False, of)
        drawn = _counts(rows)
        every = context.problems("problems", of)
        problems = [each for each in every if each.problem_id in drawn]
        own = hosts.share([drawn[each.problem_id] for each in problems])
        asked, present = [problems[index] for index in own], table.present()
        missing = [each for each in asked if each.problem_id not in present]
        samples = Samples(
            rows,
            [each.problem_id for each in missing],
            generator.tokenizer,
            context.config.rollouts,
        )
        del rows
        done = len(asked) - len(missing)
        progress = log.Progress(len(asked), "problem", title, done=done)
        grader = label.grader_of(context.config, of)
        opened = graders.opened(grader, grading.grader_seconds)
        with progress, stopping.saving(), opened as grade:
            if missing:
                found = _rolled_out(context, generator, missing, samples, progress)
                golds = label.right_answers(context, missing)
                rolled = (_rows(each, generator, golds, grade) for each in found)
                table_writing.write(table, rolled)
        table_writing.finish(table, {})


def _refuse_other_generator(context: Context, of: split.Split) -> None:
    """Tokens are gone on from as the generator's own."""
    context.refuse_stale("samples", of)
    drawn = context.manifest("samples", of)["settings"]["generator"]
    generator = context.id_of("generator", of)
    if drawn != generator:
        raise WorkdirError(
            f"the samples of {of} were drawn by generator {drawn}, but it is {generator} that goes "
            f"on from their steps: remove {context.source('samples', of)} and sample anew"
        )


class Samples:
    """The stored samples of some problems; a problem's are looked through when it is asked for."""

    def __init__(
        self,
        rows: pa.Table,
        problem_ids: Sequence[str],
        tokenizer: Tokenizer,
        knobs: config_lib.RolloutsConfig,
    ) -> None:
        """Holds the rows of these problems alone.

        Args:
            rows: problem_id, sample_id, tokens and forced of all, in any order.
            problem_ids: of the problems.
            tokenizer: of the tokens.
            knobs: what a step ends with, and how many samples of a problem are rolled out: those of
                the lowest ids, as the verifier takes them.
        """
        wanted = pa.array(problem_ids, rows["problem_id"].type)
        own = rows.filter(pc.is_in(rows["problem_id"], wanted)).sort_by(
            [("problem_id", "ascending"), ("sample_id", "ascending")]
        )
        self._rows, self._tokenizer, self._knobs = own.combine_chunks(), tokenizer, knobs
        counts = _counts(self._rows)
        firsts = [0, *itertools.accumulate(counts.values())]
        self._rows_of = dict(zip(counts, itertools.pairwise(firsts), strict=True))

    def of(self, problem_id: str) -> dict[int, Solution]:
        """A problem's solutions by sample id, with the ends of their steps but the last."""
        first, end = self._rows_of[problem_id]
        most = self._knobs.samples_per_problem or end - first
        found = {}
        for row in self._rows.slice(first, min(end - first, most)).to_pylist():
            ends = step_ends(row["tokens"], self._tokenizer, self._knobs.step_end)
            found[row["sample_id"]] = Solution(row["tokens"], row["forced"], ends[:-1])
        return found


def _counts(rows: pa.Table) -> dict[str, int]:
    """How many rows each problem has, in the order in which problems come."""
    counted = pc.value_counts(rows["problem_id"]).to_pylist()
    return {each["values"]: each["counts"] for each in counted}


class _Rolled(NamedTuple):
    """A problem that is done."""

    problem_id: str
    solutions: Mapping[int, Solution]  # by sample id
    completions: Mapping[Prefix, Sequence[Sequence[int]]]  # tokens of those from each place


def _rolled_out(
    context: Context,
    generator: model_folder.Saved,
    problems: Sequence[Problem],
    samples: Samples,
    progress: log.Progress,
) -> Iterator[_Rolled]:
    """Problem by problem, as they are done."""
    config, knobs = context.config, context.config.rollouts
    drawn = dataclasses.replace(config.sample, temperature=knobs.temperature)
    engine = Engine(generator.model, generator.tokenizer, drawn, config.seed)
    prompts = by_falling_length(
        Prompt(each.problem_id, context.prompt_ids(each, generator.tokenizer)) for each in problems
    )
    sizes = engine.plan(prompts, knobs.number, processes=1)
    under_way: dict[int, dict[int, Solution]] = {}

    def watch(_: Counts) -> None:
        table_writing.stop_if_asked(progress)

    def begun() -> Iterator[list[Solution]]:
        for index, prompt in enumerate(prompts):
            under_way[index] = samples.of(prompt.problem_id)
            yield list(under_way[index].values())

    growing = Growing(engine.writer, sizes, prompts, watch)
    limit = config.sample.max_new_tokens
    for index, found in completions(growing, begun(), knobs.number, limit, sizes.prompts):
        progress.advance(1)
        yield _Rolled(prompts[index].problem_id, under_way.pop(index), found)


def _rows(
    rolled: _Rolled,
    generator: model_folder.Saved,
    golds: Mapping[str, str],
    grade: Callable[[Iterable[str], Iterable[str]], graders.Relabelled],
) -> list[dict[str, Any]]:
    """The table's rows of a problem."""
    decode, places = generator.tokenizer.decode, rolled.completions
    texts = [decode(tokens) for each in places.values() for tokens in each]
    right = grade(texts, [golds[rolled.problem_id]] * len(texts)).correct
    number = len(texts) // max(len(places), 1)  # of each place
    of_places = right.reshape(len(places), number).sum(axis=1).tolist()
    hits = dict(zip(places, of_places, strict=True))
    return [
        {"problem_id": rolled.problem_id, "sample_id": sample, **row}
        for sample, one in rolled.solutions.items()
        for row in _steps(one, hits, number)
    ]


def _steps(one: Solution, hits: Mapping[Prefix, int], number: int) -> Iterator[dict[str, int]]:
    """What is stored of each step of a solution; there are no rollouts from the end of its last."""
    for step, end in enumerate([*one.ends, len(one.tokens) - 1]):
        is_last = step == len(one.ends)
        yield {
            "step": step,
            "end_token": end,
            "rollouts": 0 if is_last else number,
            "hits": 0 if is_last else hits[tuple(one.tokens[: end + 1])],
        }
