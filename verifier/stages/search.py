"""search: solutions of test problems, written step by step under the verifier's eye.

Every method has the same generator, verifier, problems, numbers to draw with and candidates a step;
what it spent stands beside what it found. Each process takes its share of the problems.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from verifier import config as config_lib
from verifier.decode import split_model
from verifier.decode.engine import Engine, Planner, Prompt
from verifier.errors import ConfigError, WorkdirError
from verifier.evaluate import budget
from verifier.grading import graders
from verifier.model import sharding
from verifier.report import budgets
from verifier.run import hosts, model_folder
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.search import methods
from verifier.search.driver import Found
from verifier.search.session import Session
from verifier.search.tree import Node, best
from verifier.stages import label, table_writing
from verifier.system import log, stopping
from verifier.tables import provenance, store
from verifier.tables.results import SEARCH
from verifier.text.problem import Problem
from verifier.text.split import TEST, Split
from verifier.text.tokenizer import Tokenizer


def stage(generator: Stage, verifier: Stage, problems: Stage, place: str = "") -> Stage:
    """Searched solutions of the test problems."""
    return Stage(
        search,
        makes=SEARCH,
        splits=(TEST,),
        reads={
            "generator": generator.of(),
            "verifier": verifier.of(),
            "problems": problems.of(),
        },
        knobs=("seed", "search", "sample", "label", "model.dtype"),
        ignores=ignored,
        place=place,
        check=check,
        tell=tell,
    )


def ignored(config: config_lib.Config, split: Split | None) -> Sequence[str]:
    """How many samples others draw is no matter."""
    counts = ("train_problems", "train_samples", "heldout_samples", "test_samples")
    return (*(f"sample.{name}" for name in counts), *label.ignored(config, split))


def check(config: config_lib.Config) -> None:
    """Looks at what hours of work would end at.

    Raises:
        UserError: a grader that is not there, or a mesh of several devices.
    """
    label.check(config)
    if sharding.own_mesh(config.mesh) is not None:
        raise ConfigError(
            f"mesh={dataclasses.asdict(config.mesh)}: search runs on one device of each process; "
            "start a process for each device, or leave the mesh at one"
        )


def search(context: Context) -> None:
    """Searches with every method and budget of the configuration."""
    knobs = context.config.search
    for split in context.stage.splits:
        settings, title = context.settings(split), context.title(split)
        if context.is_done(settings, split):
            continue
        _refuse_other_verifier(context)
        table = table_writing.writer(context.folder(split), "search", settings)
        table.begin()
        problems = context.problems("problems", split)[: knobs.problems or None]
        own = hosts.share([len(each.question) for each in problems])
        asked = [problems[index] for index in own]
        missing = [each for each in asked if each.problem_id not in table.present()]
        each = len(knobs.methods) * len(knobs.budgets)
        done = each * (len(asked) - len(missing))
        progress = log.Progress(each * len(asked), "tree", title, done=done)
        with progress, stopping.saving():
            left_out = _missing(context, missing, table, progress) if missing else []
        table_writing.finish(table, {"left_out": left_out})


def _missing(
    context: Context,
    problems: Sequence[Problem],
    table: store.TableWriter,
    progress: log.Progress,
) -> list[str]:
    """Searches for solutions of problems that have none yet; the ids of those that do not fit."""
    knobs, scorer = context.config.search, methods.scorer_of(context.config.search)
    by_id = {problem.problem_id: problem for problem in problems}
    engine, verifier, prompts = _models(context, problems)
    value_loss = context.manifest("verifier")["settings"]["verify.value_loss"]
    session = Session(engine, verifier, value_loss, prompts, max(knobs.budgets), knobs.step_end)
    for first in range(0, len(prompts), knobs.together):
        part, rows = prompts[first : first + knobs.together], []
        for name in knobs.methods:
            for width in knobs.budgets:
                begun, found = time.monotonic(), []
                for one in session.run(part, methods.method_of(name, knobs, width), scorer):
                    found.append(one)
                    progress.advance(1)
                    table_writing.stop_if_asked(progress)
                seconds = time.monotonic() - begun
                asked = [by_id[part[one.problem].problem_id] for one in found]
                about = {"method": name, "budget": width}
                rows += [
                    {**about, **row}
                    for row in _rows(context, found, asked, engine.writer.tokenizer, seconds)
                ]
        table.append(rows)
    return sorted(by_id.keys() - {prompt.problem_id for prompt in prompts})


def _models(context: Context, problems: Sequence[Problem]) -> tuple[Engine, Any, list[Prompt]]:
    """Generator and verifier, and the prompts that fit both, by falling length.

    Raises:
        ConfigError: no prompt fits.
    """
    config, part, read = context.config, context.input("generator"), context.input("verifier")
    of = part.folder(context.root), part.stage.name, config.model.dtype
    outline = model_folder.outline(*of)
    weights = split_model.outline(outline.model, outline.tokenizer.vocab_size, None)
    prompts = [
        Prompt(each.problem_id, context.prompt_ids(each, outline.tokenizer)) for each in problems
    ]
    fitting, _ = Planner(outline.model.arch, weights, config.sample).split(prompts)
    verifier = model_folder.load(
        read.folder(context.root), read.stage.name, config.model.dtype, None
    )
    room = verifier.model.backbone.arch.context - config.sample.max_new_tokens
    fitting = [prompt for prompt in fitting if len(prompt.tokens) <= room]
    if not fitting:
        raise ConfigError(
            f"{context.title()}: no prompt fits; lower sample.max_new_tokens="
            f"{config.sample.max_new_tokens}"
        )
    for prompt in prompts:
        if prompt not in fitting:
            log.say(
                f"{context.title()}: problem {prompt.problem_id} is left out: its prompt has "
                f"{len(prompt.tokens)} tokens"
            )
    generator = model_folder.load(*of, None)
    engine = Engine(generator.model, generator.tokenizer, config.sample, config.seed)
    fitting.sort(key=lambda prompt: (-len(prompt.tokens), prompt.problem_id))
    return engine, verifier.model, fitting


def _refuse_other_verifier(context: Context) -> None:
    """A verifier reads what its own generator writes, token by token."""
    manifest, generator = context.manifest("verifier"), context.id_of("generator")
    trained_on, as_text = provenance.trained_on(manifest), bool(manifest.get("reads_text"))
    if as_text or trained_on != generator:
        raise WorkdirError(
            f"the verifier was trained on samples of generator {trained_on}, read as "
            f"{'text' if as_text else 'tokens'}; search judges the tokens that generator "
            f"{generator} writes: train a verifier on its own samples (stages sample, label, "
            "verify)"
        )


def _rows(
    context: Context,
    found: Sequence[Found],
    problems: Sequence[Problem],
    tokenizer: Tokenizer,
    seconds: float,
) -> list[dict[str, Any]]:
    """The table's rows but for method and budget."""
    chosen = [best(one.nodes) for one in found]
    texts = [tokenizer.decode(node.written()) for node in chosen]
    judged = graders.relabel(
        texts,
        [problem.answer for problem in problems],
        context.config.label.grader,
        context.config.label.grader_seconds,
    )
    spent = [one.cost.tokens_generated + one.cost.tokens_scored for one in found]
    return [
        {
            "problem_id": problem.problem_id,
            **dataclasses.asdict(one.cost),
            "seconds": seconds * own / sum(spent),
            "solution": text,
            "score": node.score,
            "answer": judged.answers[index],
            "correct": bool(judged.correct[index]),
            **_tree(one.root, tokenizer),
        }
        for index, (one, problem, node, text, own) in enumerate(
            zip(found, problems, chosen, texts, spent, strict=True)
        )
    ]


def _tree(root: Node, tokenizer: Tokenizer) -> dict[str, list[Any]]:
    """A tree's nodes, parents before their children."""
    nodes, number = [root], {root: -1}
    for node in nodes:
        for child in node.children:
            number[child] = len(nodes) - 1
            nodes.append(child)
    nodes = nodes[1:]
    return {
        "parent": [number[node.parent] for node in nodes if node.parent is not None],
        "text": [tokenizer.decode(node.tokens) for node in nodes],
        "value": [node.score for node in nodes],
        "visits": [len(node.samples) for node in nodes],
        "kept": [node.kept for node in nodes],
    }


def tell(context: Context) -> None:
    """Accuracy against what was spent, for whoever started the run."""
    found = budgets.by_split(context.workdir, context.config.report.resamples, context.config.seed)
    for split, methods_found in found.items():
        log.tell(budget.as_text(methods_found, split))
