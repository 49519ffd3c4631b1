"""rollouts: what the steps of stored solutions are worth, by solutions that go on from their ends.

Math-Shepherd (Wang et al. 2023, arXiv 2312.08935). What is stored are counts; labels are derived
from them when the verifier is trained (`data.step_labels`). Each process takes its share of the
problems.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
        check=search.check,
    )


def rollouts(context: Context) -> None:
    """Goes on from every end of a step that some sample has."""
    for of in context.stage.splits:
        settings, title = context.settings(of), context.title(of)
        if context.is_done(settings, of):
            continue
        _refuse_other_generator(context, of)
        table = table_writing.writer(context.folder(of), "steps", settings)
        table.begin()
        generator = search.loaded(context, "generator")
        solutions = _solutions(context, of, generator)
        every = context.problems("problems", of)
        problems = [each for each in every if each.problem_id in solutions]
        own = hosts.share([len(solutions[each.problem_id]) for each in problems])
        asked = [problems[index] for index in own]
        missing = [each for each in asked if each.problem_id not in table.present()]
        done = len(asked) - len(missing)
        progress = log.Progress(len(asked), "problem", title, done=done)
        with progress, stopping.saving():
            if missing:
                rows = _rolled_out(context, generator, missing, solutions, progress)
                table_writing.write(table, rows)
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


def _solutions(
    context: Context, of: split.Split, generator: model_folder.Saved
) -> dict[str, dict[int, Solution]]:
    """The stored samples by problem and id, with the ends of their steps."""
    knobs = context.config.rollouts
    found: dict[str, dict[int, Solution]] = {}
    rows = stored_samples.read(context, "samples", generator.tokenizer, False, of)
    for row in rows.to_pylist():
        own = found.setdefault(row["problem_id"], {})
        if knobs.samples_per_problem and len(own) >= knobs.samples_per_problem:
            continue
        ends = step_ends(row["tokens"], generator.tokenizer, knobs.step_end)
        own[row["sample_id"]] = Solution(row["tokens"], row["forced"], ends[:-1])
    return found


def _rolled_out(
    context: Context,
    generator: model_folder.Saved,
    problems: Sequence[Problem],
    solutions: Mapping[str, Mapping[int, Solution]],
    progress: log.Progress,
) -> Iterator[list[dict[str, Any]]]:
    """The table's rows, problem by problem."""
    config, knobs = context.config, context.config.rollouts
    drawn = dataclasses.replace(config.sample, temperature=knobs.temperature)
    engine = Engine(generator.model, generator.tokenizer, drawn, config.seed)
    prompts = by_falling_length(
        Prompt(each.problem_id, context.prompt_ids(each, generator.tokenizer)) for each in problems
    )
    sizes = engine.plan(prompts, knobs.number, processes=1)
    golds = label.right_answers(context, problems)

    def watch(_: Counts) -> None:
        table_writing.stop_if_asked(progress)

    growing = Growing(engine.writer, sizes, prompts, watch)
    of_each = [list(solutions[prompt.problem_id].values()) for prompt in prompts]
    limit = config.sample.max_new_tokens
    for index, found in completions(growing, of_each, knobs.number, limit, sizes.prompts):
        problem_id = prompts[index].problem_id
        texts = {
            prefix: [generator.tokenizer.decode(tokens) for tokens in each]
            for prefix, each in found.items()
        }
        hits = _hits(context, texts, golds[problem_id])
        progress.advance(1)
        yield [
            {"problem_id": problem_id, "sample_id": sample, **row}
            for sample, one in solutions[problem_id].items()
            for row in _steps(one, hits, knobs.number)
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


def _hits(context: Context, texts: Mapping[Prefix, Sequence[str]], gold: str) -> dict[Prefix, int]:
    """How many of the rollouts of each place are right."""
    knobs: config_lib.LabelConfig = context.config.label
    every = [text for each in texts.values() for text in each]
    right = graders.relabel(every, [gold] * len(every), knobs.grader, knobs.grader_seconds).correct
    counts, first = {}, 0
    for prefix, each in texts.items():
        counts[prefix] = int(right[first : first + len(each)].sum())
        first += len(each)
    return counts
