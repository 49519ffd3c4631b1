"""direct: how likely right answers are to a model, and what it answers, without a worked solution
and without exemplars (Quiet-STaR, Zelikman et al. 2024, section 5.1).

Each process takes its share of the problems, on its own devices.
A model that has learned to think does so, as `think.every` says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from verifier import config as config_lib
from verifier.decode import answering, memory
from verifier.decode.engine import Prompt
from verifier.decode.job import by_falling_length
from verifier.errors import ConfigError
from verifier.evaluate import direct
from verifier.grading.number import parse_number
from verifier.model import sharding
from verifier.run import hosts
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import label, table_writing
from verifier.stages.generators import THINK, Generator
from verifier.system import log, stopping
from verifier.tables import store
from verifier.tables.results import DIRECT
from verifier.text.problem import Problem, check_template
from verifier.text.split import Split


def stage(generator: Stage, problems: Stage, splits: Sequence[Split], place: str = "") -> Stage:
    """Direct answers to the problems of some splits."""
    return Stage(
        answer,
        makes=DIRECT,
        splits=tuple(splits),
        reads={"generator": generator.of(), "problems": problems.of()},
        knobs=("seed", "direct", "model.dtype", "label.fix_labels", "report.resamples", THINK),
        place=place,
        check=check,
        tell=tell,
    )


def check(config: config_lib.Config) -> None:
    """Raises ProblemError for templates that are none."""
    check_template("direct.prompt", config.direct.prompt, "question")
    check_template("direct.target", config.direct.target, "answer")


def tell(context: Context) -> None:
    """Says both accuracies of every split."""
    for split in context.stage.splits:
        if not (manifest := store.read_manifest(context.folder(split))):
            continue
        title, found = context.title(split), manifest["figures"]
        log.say(f"{title}: {_as_text(found)}")
        if (value := found["exact_match"]["value"]) in (0.0, 1.0):
            log.say(
                f"warning: {title}: {value:.0%} of the answers are exactly right: look at some, "
                "and whether direct.prompt and direct.target are what the model knows"
            )


def answer(context: Context) -> None:
    """Answers the problems of every split."""
    generator = Generator(context, sharding.own_mesh(context.config.mesh))
    for split in context.stage.splits:
        settings = context.settings(split)
        if context.problems("problems", split) and not context.is_done(settings, split):
            _answer(context, generator, split, settings)


class _Asked(NamedTuple):
    """A problem, as it is put and as it should be answered."""

    prompt: Prompt
    target: list[int]
    gold: str


def _answer(context: Context, generator: Generator, split: Split, settings: dict[str, Any]) -> None:
    knobs, title = context.config.direct, context.title(split)
    asked, left_out = _asked(context, generator, split)
    config = _drawing(context.config, asked)
    sizes = generator.planner(config).plan(
        [each.prompt for each in asked], _samples(generator, knobs)
    )
    table = table_writing.writer(context.folder(split), "direct", settings)
    table.begin()
    own = [asked[index] for index in hosts.share([len(each.prompt.tokens) for each in asked])]
    missing = [each for each in own if each.prompt.problem_id not in table.present()]
    done = len(own) - len(missing)
    progress = log.Progress(len(own), "problem", title, done=done)
    with progress, stopping.saving():
        for first in range(0, len(missing), knobs.part_problems):
            part = missing[first : first + knobs.part_problems]
            table.append(list(_rows(context, generator, part, config, sizes)))
            progress.advance(len(part))
            if first + len(part) < len(missing):
                table_writing.stop_if_asked(progress)
    hosts.wait(f"{table.folder} answered")
    table_writing.finish(table, {"left_out": left_out, "figures": _figures(context, table)})


def _samples(generator: Generator, knobs: config_lib.DirectConfig) -> int:
    """How often an answer is read: nothing but thoughts differs."""
    return knobs.thoughts if generator.thinking else 1


def _drawing(config: config_lib.Config, asked: Sequence[_Asked]) -> config_lib.SampleConfig:
    """How answers are written: the most likely one, up to the end of its line."""
    most = max([config.direct.max_new_tokens, *(len(each.target) for each in asked)])
    return dataclasses.replace(
        config_lib.SampleConfig(temperature=0.0, max_new_tokens=most, calculator=False, stop="\n"),
        rows=config.sample.rows,
        memory_gib=config.sample.memory_gib,
    )


def _asked(context: Context, generator: Generator, split: Split) -> tuple[list[_Asked], list[str]]:
    """The problems by falling length of their prompts, and the ids of those without room.

    Raises:
        ConfigError: none has room, or an answer has nothing of the alphabet.
    """
    knobs, tokenizer = context.config.direct, generator.outline.tokenizer
    problems = context.problems("problems", split)[: knobs.test_problems or None]
    gold = label.right_answers(context, problems)
    every = {each.problem_id: _put(context, each, gold, generator) for each in problems}
    planner = generator.planner(_drawing(context.config, list(every.values())))
    fitting, too_long = planner.split([each.prompt for each in every.values()])
    left_out = [prompt.problem_id for prompt in too_long]
    if left_out:
        log.say(
            f"{context.title(split)}: {len(left_out)} problems are left out, whose prompts have "
            f"more than {planner.room} tokens: {', '.join(left_out[:5])}"
        )
    if not fitting:
        raise ConfigError(
            f"{context.title(split)}: no prompt fits; lower direct.max_new_tokens or raise "
            "model.context"
        )
    among = set(answering.ids_of(knobs.alphabet, tokenizer))
    for each in every.values():
        if not any(token in among and tokenizer.token_text(token).strip() for token in each.target):
            raise ConfigError(
                f"{context.title(split)}: the answer {each.gold!r} of problem "
                f"{each.prompt.problem_id} has nothing of direct.alphabet={knobs.alphabet}; set "
                "the other one, or take problems whose answers are made of it"
            )
    return [every[prompt.problem_id] for prompt in by_falling_length(fitting)], left_out


def _put(context: Context, problem: Problem, gold: dict[str, str], generator: Generator) -> _Asked:
    knobs, tokenizer = context.config.direct, generator.outline.tokenizer
    right = gold[problem.problem_id]
    text = knobs.prompt.format(question=problem.question)
    prompt = Prompt(problem.problem_id, [*tokenizer.start_ids, *tokenizer.encode(text)])
    return _Asked(prompt, tokenizer.encode(knobs.target.format(answer=right)), right)


def _rows(
    context: Context,
    generator: Generator,
    asked: Sequence[_Asked],
    config: config_lib.SampleConfig,
    sizes: memory.JobSizes,
) -> Iterator[dict[str, Any]]:
    """What some problems come to."""
    knobs, samples = context.config.direct, _samples(generator, context.config.direct)
    engine = generator.engine(config, context.config.seed)
    among = answering.ids_of(knobs.alphabet, generator.outline.tokenizer)
    given = [(each.prompt, each.target) for each in asked]
    soft = {
        (asked[each.prompt].prompt.problem_id, each.sample): each.logprobs
        for each in answering.read(engine.writer, sizes, given, among, samples)
    }
    gold = {each.prompt.problem_id: each.gold for each in asked}
    for group in engine.run([each.prompt for each in asked], samples, sizes):
        for one in group:
            logprobs, answered = soft[one.problem_id, one.sample_id], first_line(one.text)
            yield {
                "problem_id": one.problem_id,
                "sample_id": one.sample_id,
                "logprobs": logprobs,
                "soft": direct.soft_accuracy(logprobs),
                "answer": answered,
                "correct": same(answered, gold[one.problem_id]),
                "generator": generator.id,
            }


def first_line(text: str) -> str:
    """What stands before the end of the first line."""
    return text.partition("\n")[0].strip()


def same(answered: str, gold: str) -> bool:
    """Whether an answer is the right one and nothing else: the same number, or the same text."""
    number = parse_number(gold)
    return answered == gold.strip() if number is None else parse_number(answered) == number


def _figures(context: Context, table: store.TableWriter) -> dict[str, Any]:
    rows = table.stored(["problem_id", "soft", "correct"])
    problem_id, soft, correct = (
        rows[name].to_pylist() for name in ("problem_id", "soft", "correct")
    )
    resamples, seed = context.config.report.resamples, context.config.seed
    return dict(direct.figures(problem_id, soft, correct, resamples, seed))


def _as_text(figures: dict[str, Any]) -> str:
    soft, exact = (direct.line(figures[name]) for name in ("soft_accuracy", "exact_match"))
    return f"soft accuracy {soft}, exact match {exact}"
