"""search: solutions of test problems, written step by step under the verifier's eye.

Every method has the same generator, verifier, problems, numbers to draw with and candidates a step;
what it spent stands beside what it found. Each process takes its share of the problems.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from verifier import config as config_lib
from verifier.decode.engine import Counts, Prompt
from verifier.decode.job import by_falling_length
from verifier.errors import ConfigError
from verifier.evaluate.budget import as_text
from verifier.grading import graders
from verifier.model import sharding
from verifier.report import budgets
from verifier.run import hosts, inputs, model_folder
from verifier.run.context import Context
from verifier.run.stage import Files, Stage
from verifier.search import judge_prompts, methods, rain, searcher
from verifier.search.driver import SearchResult
from verifier.search.judge import refuse_other_generator
from verifier.search.searcher import Models, Searcher
from verifier.search.tree import Node, best, numbered
from verifier.stages import label, table_writing
from verifier.system import log, stopping
from verifier.tables import store
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
            **rain_files(),
        },
        knobs=("seed", "search", "rain", "sample", "label", "model.dtype"),
        ignores=ignored,
        place=place,
        check=check,
        tell=tell,
    )


def rain_files() -> dict[str, Files]:
    """What RAIN reads of others, by role."""
    return {
        "judge": Files("rain.judge", names=("verifier", *judge_prompts.OWN), watched=True),
        "embeddings": Files("rain.embeddings", names=(rain.HIDDEN,), watched=True),
    }


def ignored(config: config_lib.Config, split: Split | None) -> Sequence[str]:
    """How many samples others draw and what of them is kept is no matter, nor RAIN where it is not
    tried.
    """
    unused = "folds train_problems train_samples heldout_samples test_samples top_logprobs".split()
    of_rain: tuple[str, ...] = ("prompts", "max_prompts", "chat", "pairs")  # of the stage rain
    if methods.RAIN not in config.search.methods:
        of_rain = ("",)
    return (
        *(f"sample.{name}" for name in unused),
        *(f"rain.{name}" for name in of_rain),
        *label.ignored(config, split),
    )


def check(config: config_lib.Config) -> None:
    """Looks at what hours of work would end at.

    Raises:
        UserError: as `check_branches`, or steps that end in what the calculator writes.
    """
    check_branches(config)
    if methods.RAIN in config.search.methods:
        searcher.check_rain(config)
    searcher.check_step_end(config)


def check_branches(config: config_lib.Config) -> None:
    """Looks at what a stage needs that writes branches and judges them.

    Raises:
        UserError: a grader that is not there, or a mesh of several devices.
    """
    label.check(config)
    refuse_meshes(config, "search")


def refuse_meshes(config: config_lib.Config, what: str) -> None:
    """Refuses several devices of a process.

    Raises:
        ConfigError: there are some.
    """
    if sharding.own_mesh(config.mesh) is not None:
        raise ConfigError(
            f"mesh={dataclasses.asdict(config.mesh)}: {what} runs on one device of each process; "
            "start a process for each device, or leave the mesh at one"
        )


def search(context: Context) -> None:
    """Searches with every method and budget of the configuration."""
    knobs = context.config.search
    for split in context.stage.splits:
        settings, title = context.settings(split), context.title(split)
        if context.is_done(settings, split):
            continue
        refuse_other_generator(context.manifest("verifier"), context.id_of("generator"))
        problems = context.problems("problems", split)[: knobs.test_problems or None]
        prompts, left_out = _fitting(context, problems)
        sums = inputs.sums(context.config, context.stage.named(context.config))
        table = table_writing.writer(context.folder(split), "search", settings, sums)
        table.begin()
        own = [prompts[index] for index in hosts.share([len(each.tokens) for each in prompts])]
        missing = [prompt for prompt in own if prompt.problem_id not in table.present()]
        each = sum(len(methods.setup(name, context.config).budgets) for name in knobs.methods)
        done = each * (len(own) - len(missing))
        progress = log.Progress(each * len(own), "tree", title, done=done)
        with progress, stopping.saving():
            if missing:
                by_id = {problem.problem_id: problem for problem in problems}
                _search(context, by_id, missing, table, progress)
        lengths = [len(prompt.tokens) for prompt in prompts]
        mean = sum(lengths) / len(lengths)
        facts = {"left_out": left_out, "prompt_tokens": mean, "inputs": sums}
        table_writing.finish(table, facts)


def _fitting(context: Context, problems: Sequence[Problem]) -> tuple[list[Prompt], list[str]]:
    """The prompts that leave both models room for a solution, by falling length, and the ids of the
    problems whose prompts do not.

    Raises:
        ConfigError: none does.
    """
    outlines = {}
    for role in ("generator", "verifier"):
        part = context.input(role)
        folder, dtype = part.folder(context.root), context.config.model.dtype
        outlines[role] = model_folder.outline(folder, part.stage.name, dtype)
    tokenizer = outlines["generator"].tokenizer
    arch = outlines["generator"].model.arch, outlines["verifier"].model.backbone.arch
    most = context.config.sample.max_new_tokens
    room = min(each.context for each in arch) - most
    prompts = [Prompt(each.problem_id, context.prompt_ids(each, tokenizer)) for each in problems]
    judged = _judged(context.config, problems, tokenizer)
    fitting = [
        prompt
        for prompt in prompts
        if max(len(prompt.tokens), judged.get(prompt.problem_id, 0)) <= room
    ]
    if not fitting:
        raise ConfigError(
            f"{context.title()}: no prompt has at most {room} tokens, which the models' context "
            f"leaves beside sample.max_new_tokens={most}; lower that, or raise model.context"
        )
    left_out = sorted({prompt.problem_id for prompt in prompts} - {p.problem_id for p in fitting})
    if left_out:
        log.say(
            f"{context.title()}: {len(left_out)} problems are left out, whose prompts have more "
            f"than {room} tokens: {', '.join(left_out[:5])}"
        )
    return by_falling_length(fitting), left_out


def _judged(
    config: config_lib.Config, problems: Sequence[Problem], tokenizer: Tokenizer
) -> dict[str, int]:
    """By problem, tokens beside a solution that a generator reads which judges itself.

    Raises:
        ConfigError: answers to the question that are no single tokens.
    """
    if methods.RAIN not in config.search.methods or not methods.judges_itself(config):
        return {}
    question = judge_prompts.load(config.rain.judge)
    question.letters(tokenizer)
    lengths = question.lengths((each.question for each in problems), tokenizer)
    return {each.problem_id: length for each, length in zip(problems, lengths, strict=True)}


def _search(
    context: Context,
    problems: Mapping[str, Problem],
    prompts: Sequence[Prompt],
    table: store.TableWriter,
    progress: log.Progress,
) -> None:
    """Searches part by part, each with every method and budget."""
    config, knobs = context.config, context.config.search
    generator, verifier = (loaded(context, role) for role in ("generator", "verifier"))
    value_loss = context.manifest("verifier")["settings"]["verify.value_loss"]
    models = Models(generator.model, generator.tokenizer, verifier.model, value_loss)
    texts = {name: problem.question for name, problem in problems.items()}
    ready = Searcher(config, models, prompts, texts)

    def watch(_: Counts) -> None:
        table_writing.stop_if_asked(progress)

    for first in range(0, len(prompts), knobs.part_problems):
        part, rows = prompts[first : first + knobs.part_problems], []
        for name in knobs.methods:
            for budget in methods.setup(name, config).budgets:
                begun, results = time.monotonic(), []
                for result in ready.run(name, budget, part, watch):
                    results.append(result)
                    progress.advance(1)
                of = [problems[part[result.problem].problem_id] for result in results]
                own = _rows(context, results, of, generator.tokenizer, begun)
                rows += [{"method": name, "budget": budget, **row} for row in own]
        table.append(rows)


def loaded(context: Context, role: str) -> model_folder.Saved:
    """The model that is read in a role, on the default device.

    Raises:
        ConfigError: it has an encoder.
    """
    part = context.input(role)
    folder, dtype = part.folder(context.root), context.config.model.dtype
    saved = model_folder.load(folder, part.stage.name, dtype, None)
    if role == "generator":
        searcher.refuse_encoder(saved.model.arch)
    return saved


def _rows(
    context: Context,
    results: Sequence[SearchResult],
    problems: Sequence[Problem],
    tokenizer: Tokenizer,
    begun: float,
) -> list[dict[str, Any]]:
    """The table's rows but for method and budget, of searches that began together."""
    seconds, knobs = shared_seconds(results, time.monotonic() - begun), context.config.label
    rows = [spent_and_found(result, best(result.nodes), tokenizer) for result in results]
    right = label.right_answers(context, problems)
    golds = [right[problem.problem_id] for problem in problems]
    grader = label.grader_of(context.config, TEST)
    graded = graders.relabel([row["solution"] for row in rows], golds, grader, knobs.grader_seconds)
    return [
        {
            "problem_id": problem.problem_id,
            "seconds": seconds[index],
            "answer": graded.answers[index],
            "correct": bool(graded.correct[index]),
            **rows[index],
        }
        for index, problem in enumerate(problems)
    ]


def shared_seconds(results: Sequence[SearchResult], seconds: float) -> list[float]:
    """What each of some searches that ran together took of the whole, by tokens."""
    spent = [result.cost.tokens_generated + result.cost.tokens_scored for result in results]
    return [seconds * each / sum(spent) for each in spent]


def spent_and_found(result: SearchResult, chosen: Node, tokenizer: Tokenizer) -> dict[str, Any]:
    """What tables have of a search: its cost, its solution and its tree."""
    return {
        **dataclasses.asdict(result.cost),
        "solution": tokenizer.decode(chosen.written()),
        "score": chosen.score,
        **_tree(result.root, tokenizer),
    }


def _tree(root: Node, tokenizer: Tokenizer) -> dict[str, list[Any]]:
    """A tree's nodes as the table has them."""
    nodes = numbered(root)
    return {
        "node": list(range(len(nodes))),
        "parent": [parent for parent, _ in nodes],
        "text": [tokenizer.decode(node.tokens) for _, node in nodes],
        "value": [node.score for _, node in nodes],
        "visits": [
            len(node.samples) if node.visits is None else round(node.visits) for _, node in nodes
        ],
        "kept": [node.kept for _, node in nodes],
    }


def tell(context: Context) -> None:
    """Accuracy against what was spent, for whoever started the run."""
    config = context.config
    scored = budgets.scored(context.workdir, config.report.allow_missing)
    resamples, seed = config.report.resamples, config.seed
    for split, figures in budgets.by_split(context.workdir, scored, resamples, seed).items():
        log.tell(f"{as_text(figures, split)}\n")
