"""sample: solutions of every split's problems, drawn by the generator (section 4.2).

Each process takes its share of the problems, on its own devices.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from verifier import config as config_lib
from verifier.data import trees
from verifier.decode import memory
from verifier.decode.engine import Counts, Prompt
from verifier.decode.job import NOTHING_STORED, Stored
from verifier.errors import ConfigError
from verifier.model import sharding
from verifier.run import hosts, inputs
from verifier.run.context import Context
from verifier.run.stage import Job, Stage
from verifier.stages import sampling_sizes, table_writing
from verifier.stages.generators import THINK, Generator
from verifier.stages.prompting import PLAIN, Prompting
from verifier.system import log, stopping
from verifier.tables import schemas, store
from verifier.tables.results import SAMPLES
from verifier.text.problem import Problem
from verifier.text.split import OWN, TEST, TRAIN, Split

OF_RUN = "problems_of_run"  # the role of all training problems, where a stage has some of them
_TOPS = ("top_ids", "top_logprobs")
LOOKED_EVERY = 16  # steps between two looks at a job in which no solution ended
# What the most likely tokens do not depend on, and they are drawn once.
_GREEDY_IGNORES = (
    "sample.temperature",
    "sample.top_k",
    "sample.top_p",
)


def stage(
    generator: Stage,
    problems: Stage,
    splits: Sequence[Split],
    place: str = "",
    prompting: Prompting = PLAIN,
    thinks: bool = False,
) -> Stage:
    """Samples of some splits' problems, drawn by a generator.

    Args:
        generator: that draws.
        problems: of the run.
        splits: whose problems.
        place: where they are kept.
        prompting: how a problem is put to the generator.
        thinks: whether a generator that has learned to think does so, as `think.every` says.
    """
    # As whoever made the generator taught it.
    thoughts = next((job.thoughts for job in generator.jobs if thinks and job.thoughts), None)
    train, others = float(TRAIN in splits), set(splits) != {TRAIN}
    job = Job("sample", "draw", train_share=train, others=others, thoughts=thoughts)
    return Stage(
        functools.partial(sample, prompting=prompting),
        makes=SAMPLES,
        splits=tuple(splits),
        reads={"generator": generator.of(), "problems": problems.of(), **prompting.reads(problems)},
        knobs=("seed", "sample", "model.dtype", *prompting.knobs, *([THINK] if thinks else [])),
        ignores=ignored,
        wants=wanted,
        place=place,
        jobs=(job,),
        check=functools.partial(_check, prompting=prompting, of_train=TRAIN in splits),
    )


def _check(config: config_lib.Config, prompting: Prompting, of_train: bool) -> None:
    """Raises UserError for folds of which the recipe knows nothing, or as the prompting's check."""
    if of_train and config.sample.folds > 1:
        raise ConfigError(
            f"sample.folds={config.sample.folds}, but in this recipe one generator draws all "
            "samples of training problems; leave it at 0"
        )
    if prompting.check is not None:
        prompting.check(config)


def with_greedy(splits: Sequence[Split]) -> tuple[Split, ...]:
    """Splits, and beside them one greedy solution of each test problem."""
    tests = [split for split in splits if split.of == TEST.of]
    return (*splits, *(dataclasses.replace(split, greedy=True) for split in tests))


def wanted(config: config_lib.Config, split: Split | None) -> bool:
    """Whether a split is drawn where it is not there: greedy ones only where that is asked for."""
    return split is None or not split.greedy or config.sample.greedy


def refuse_no_greedy(config: config_lib.Config) -> None:
    """Raises ConfigError where none is drawn, for a recipe that tests by greedy solutions."""
    if not config.sample.greedy:
        raise ConfigError(
            "sample.greedy=false, but the models of this recipe are tested by their most likely "
            "solutions; set sample.greedy=true"
        )


def ignored(config: config_lib.Config, split: Split | None) -> Sequence[str]:
    """A split does not depend on how many solutions others have: `sample.train_samples`."""
    if split is None:
        return ()
    others = tuple(f"sample.{other.of}_" for other in OWN if other.of != split.of)
    if split != TRAIN or config.sample.folds <= 1:
        others += ("sample.folds",)
    if split.unlabelled:
        others += ("sample.train_problems",)
    return others + ((*_GREEDY_IGNORES, f"sample.{split.of}_samples") if split.greedy else ())


def sample(context: Context, prompting: Prompting = PLAIN) -> None:
    """Draws solutions, and one greedy solution of every test problem where that is asked for."""
    generator = Generator(context, sharding.own_mesh(context.config.mesh))
    # All are planned before the generator is read: what does not fit is said at once, not after
    # hours.
    splits = [_planned(context, generator, split, prompting) for split in context.stage.splits]
    for split in splits:
        if split is not None:
            _draw(context, generator, split)


class _Drawn(NamedTuple):
    """One split to be drawn, or to be gone on with."""

    split: Split
    table: store.TableWriter
    config: config_lib.SampleConfig
    prompts: list[Prompt]  # that fit
    samples: int
    sizes: memory.JobSizes
    as_begun: bool  # whether those are the sizes of the first start
    facts: dict[str, Any]  # for the manifest


def _planned(
    context: Context, generator: Generator, split: Split, prompting: Prompting
) -> _Drawn | None:
    """What is missing of one split's samples; None: nothing."""
    if not wanted(context.config, split):
        return None
    config, title = context.config.sample, context.title(split)
    problems = asked(context, split)
    samples = getattr(config, f"{split.of}_samples")
    if split.greedy:
        config, samples = dataclasses.replace(config, temperature=0.0), 1
    settings = context.settings(split)
    if not problems or context.is_done(settings, split):
        return None
    columns = schema(config)
    sums = inputs.sums(context.config, context.stage.named(context.config))
    table = table_writing.writer(context.folder(split), "samples", settings, sums, columns)
    planner, tokenizer = generator.planner(config), generator.outline.tokenizer
    put = prompting.of(context, tokenizer)
    prompts = [Prompt(each.problem_id, put(each)) for each in problems]
    fitting, too_long = planner.split(prompts)
    for prompt in too_long:
        log.say(
            f"{title}: problem {prompt.problem_id} is left out: its prompt has "
            f"{len(prompt.tokens)} tokens, of {planner.room}"
        )
    if not fitting:
        raise ConfigError(
            f"{title}: no prompt fits; lower sample.max_new_tokens or raise model.context"
        )
    sizes = planner.plan(fitting, samples)
    begun = sampling_sizes.of_the_first_start(title, table, sizes, config, {"inputs": sums})
    facts: dict[str, Any] = {"left_out": [each.problem_id for each in too_long]}
    facts |= {"inputs": sums} if sums else {}
    return _Drawn(split, table, config, fitting, samples, begun or sizes, bool(begun), facts)


def asked(context: Context, split: Split) -> list[Problem]:
    """The problems of a split that are drawn from: of training problems the first
    `sample.train_problems` of the run, as far as the stage has them.
    """
    problems, most = context.problems("problems", split), context.config.sample.train_problems
    if split != TRAIN or not most:
        return problems
    of_run = context.problems(OF_RUN) if OF_RUN in context.stage.reads else problems
    first = {each.problem_id for each in of_run[:most]}
    return [each for each in problems if each.problem_id in first]


def schema(config: config_lib.SampleConfig) -> pa.Schema:
    """The columns of samples."""
    return schemas.variant("samples", _TOPS if config.top_logprobs else ())


def _draw(context: Context, generator: Generator, drawn: _Drawn) -> None:
    """Draws what is missing of one split's samples."""
    table, title, seed = drawn.table, context.title(drawn.split), context.config.seed
    hosts.wait(f"{table.folder} begun")  # the first to come would take all of a small split
    table.begin()
    present, stored, prompts = table.present(), NOTHING_STORED, drawn.prompts
    if drawn.as_begun:
        stored = _stored(table)
    else:
        prompts = [prompt for prompt in prompts if prompt.problem_id not in present]
    if len(present) < len(drawn.prompts):
        log.say(f"{title}: {drawn.sizes}")
        done, total = len(present) * drawn.samples, len(drawn.prompts) * drawn.samples
        progress = log.Progress(total, "solution", title, done=done)
        engine = generator.engine(drawn.config, seed)
        with progress, stopping.saving():
            completions = engine.run(
                prompts,
                drawn.samples,
                drawn.sizes,
                _Watch(progress),
                hosts.claims(f"sample {table.folder}"),
                stored,
            )
            rows = ([_row(one, generator.id, seed) for one in group] for group in completions)
            table_writing.write(table, rows)
    hosts.wait(f"{table.folder} drawn")
    shared = _shared(table, title) if hosts.is_first() else {}
    table_writing.finish(table, {**drawn.facts, **shared})


def _shared(table: store.TableWriter, title: str) -> dict[str, int]:
    """How many tokens the solutions of a table have, and how many distinct prefixes; says it."""
    stored = table.stored(["problem_id", "tokens"])
    tokens: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for key, one in zip(stored["problem_id"].to_pylist(), stored["tokens"], strict=True):
        tokens[key].append(one.values.to_numpy())
    total = sum(len(one) for each in tokens.values() for one in each)
    prefixes = sum(map(trees.distinct, tokens.values()))
    if prefixes < total:
        log.say(f"{title}: distinct prefixes: {prefixes / total:.0%} of {total:,} tokens")
    return {"tokens": total, "prefixes": prefixes}


def _stored(table: store.TableWriter) -> Stored:
    """The solutions that are stored already."""
    rows = table.stored(["problem_id", "sample_id", "tokens", "forced"]).combine_chunks()
    if not len(rows):
        return NOTHING_STORED
    tokens, forced = (rows[name].chunk(0) for name in ("tokens", "forced"))
    ends = itertools.pairwise(tokens.offsets.to_pylist())
    spans: dict[str, dict[int, tuple[int, int]]] = collections.defaultdict(dict)
    columns = (rows[name].to_pylist() for name in ("problem_id", "sample_id"))
    for problem, sample, span in zip(*columns, ends, strict=True):
        spans[problem][sample] = span
    values = tokens.values.to_numpy(), forced.values.to_numpy(zero_copy_only=False)
    return Stored(*values, spans)


def _row(completion: Any, generator: str, seed: int) -> dict[str, Any]:
    # Not dataclasses.asdict, whose deep copy of every token took a third of sampling.
    row = dict(vars(completion))
    row["solution"], likeliest = row.pop("text"), row.pop("likeliest")
    if likeliest.count:
        row |= dict(zip(_TOPS, (likeliest.ids, likeliest.logprobs), strict=True))
    return row | {"generator": generator, "seed": seed}


class _Watch:
    """Says how an engine is getting on, and stops it where that is asked for."""

    def __init__(self, progress: log.Progress) -> None:
        self._progress, self._begun, self._ended = progress, time.monotonic(), 0

    def __call__(self, counts: Counts) -> None:
        table_writing.stop_if_asked(self._progress)
        if counts.steps % LOOKED_EVERY and counts.solutions == self._ended:
            return
        seconds = max(time.monotonic() - self._begun, 1e-9)
        asked = counts.answered + counts.refused
        written = counts.prefixes + counts.read_again
        self._progress.advance(
            counts.solutions - self._ended,
            solutions_per_second=counts.solutions / seconds,
            tokens_per_second=counts.tokens / seconds,
            # None while steps are gone over again.
            slots_used=f"{written / counts.slot_steps:.0%}" if counts.slot_steps else "-",
            prefixes=f"{counts.prefixes / max(counts.tokens, 1):.0%}",
            calculator_answers=f"{counts.answered / asked:.0%}" if asked else "-",
        )
        self._ended = counts.solutions
