"""rain: answers of a chat model to some prompts, written by RAIN and, beside it, as they come.

The model judges itself (Li et al. 2023). There is no verifier, and nothing is learned.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from verifier import config as config_lib
from verifier.decode.engine import Counts, Prompt
from verifier.decode.job import by_falling_length
from verifier.errors import ConfigError, DataError
from verifier.evaluate import rain_table
from verifier.hf import files as hf_files
from verifier.model import sharding
from verifier.run import hosts, inputs
from verifier.run.context import Context
from verifier.run.stage import Files, Stage
from verifier.search import judge_prompts, methods, searcher
from verifier.search.driver import SearchResult
from verifier.search.searcher import Models, Searcher
from verifier.stages import base_model, search, table_writing
from verifier.system import log, paths, stopping, text_files
from verifier.tables import store
from verifier.tables.results import RAIN
from verifier.text.chat import ChatTemplate
from verifier.text.problem import problem_id
from verifier.text.split import TEST
from verifier.text.tokenizer import Tokenizer

_DRAWN = ("sample.max_new_tokens", "sample.calculator")


class _Loaded(NamedTuple):
    """A searcher, and what it is asked."""

    searcher: Searcher
    tokenizer: Tokenizer
    prompts: list[Prompt]
    texts: Mapping[str, str]  # of prompts as they were written, by id


def stage(place: str = "") -> Stage:
    """Answers to the prompts of `rain.prompts`."""
    return Stage(
        rain,
        makes=RAIN,
        splits=(TEST,),
        reads={
            "weights": Files("model.weights"),
            "tokenizer": Files("tokenizer.path"),
            "prompts": Files("rain.prompts", watched=True),
            "pairs": Files("rain.pairs", watched=True),
            **search.rain_files(),
        },
        knobs=("seed", "rain", "model", "tokenizer", *_DRAWN),
        place=place,
        check=check,
        tell=tell,
    )


def check(config: config_lib.Config) -> None:
    """Looks at what would be missed later.

    Raises:
        UserError: no prompts, weights or question; several devices.
    """
    if not config.rain.prompts:
        raise ConfigError(
            'rain.prompts is empty; expected the path of a file of JSON lines, each with a "prompt"'
        )
    if not config.model.weights:
        raise ConfigError("model.weights is empty; expected a model that answers prompts")
    if not methods.judges_itself(config):
        raise ConfigError(
            "rain.judge=verifier, but the stage rain has none: set one of "
            f"{', '.join(judge_prompts.OWN)} or the path of a question; with a verifier set "
            "search.methods=[sample,rain] in a run that trains one"
        )
    search.refuse_meshes(config, "RAIN")
    searcher.check_rain(config)
    prompts = read_prompts(config)
    if config.rain.pairs:
        _read_pairs(config)
    tokenizer = base_model.tokenizer_of(config, [])
    judge_prompts.load(config.rain.judge).letters(tokenizer)
    if config.rain.chat:
        ChatTemplate.load(hf_files.resolve_weights(config.model.weights)).ids(prompts[0], tokenizer)


def read_prompts(config: config_lib.Config) -> list[str]:
    """The distinct prompts of a file, in its order.

    Raises:
        DataError: a line without one.
    """
    path, prompts = paths.local(config.rain.prompts), dict[str, None]()
    for row, where in text_files.jsonl_rows(path):
        prompt = text_files.text_field(row, "prompt", where)
        if not prompt.strip():
            raise DataError(f'{where}: its "prompt" is empty; remove the line')
        prompts[prompt] = None
    return list(prompts)[: config.rain.max_prompts or None]


def _read_pairs(config: config_lib.Config) -> list[tuple[str, str, bool]]:
    """Prompts, texts, and whether these are good."""
    texts = []
    for row, where in text_files.jsonl_rows(paths.local(config.rain.pairs)):
        prompt = text_files.text_field(row, "prompt", where)
        for name in ("good", "bad"):
            text = text_files.text_field(row, name, where)
            if not text.strip():
                raise DataError(f'{where}: its "{name}" is empty; remove the line')
            texts.append((prompt, text, name == "good"))
    return texts


def rain(context: Context) -> None:
    """Answers every prompt, greedily and by RAIN; says how good the judge is on labelled texts."""
    config = context.config
    for split in context.stage.splits:
        settings = context.settings(split)
        if context.is_done(settings, split):
            continue
        loaded = _loaded(context)
        sums = inputs.sums(config, context.stage.named(config))
        table = table_writing.writer(context.folder(split), "rain", settings, sums)
        table.begin()
        own = hosts.share([len(each.tokens) for each in loaded.prompts])
        mine = [loaded.prompts[index] for index in own]
        missing = [prompt for prompt in mine if prompt.problem_id not in table.present()]
        done = 2 * (len(mine) - len(missing))
        title = context.title(split)
        progress = log.Progress(2 * len(mine), "answer", title, done=done)
        with progress, stopping.saving():
            for first in range(0, len(missing), config.search.part_problems):
                part = missing[first : first + config.search.part_problems]
                table.append(_answered(loaded, part, progress))
        facts: dict[str, Any] = {"inputs": sums}
        if config.rain.pairs:
            facts["judge"] = _accuracy(config, loaded)
        table_writing.finish(table, facts)


def _loaded(context: Context) -> _Loaded:
    """The model, and its prompts that leave room for an answer."""
    config = context.config
    tokenizer = base_model.tokenizer_of(config, [])
    template = None
    if config.rain.chat:
        template = ChatTemplate.load(hf_files.resolve_weights(config.model.weights))
    texts = {problem_id(prompt): prompt for prompt in read_prompts(config)}
    prompts = []
    for name, prompt in texts.items():
        own = [*tokenizer.start_ids, *tokenizer.encode(prompt)]
        if template is not None:  # which writes the start itself
            own = template.ids(prompt, tokenizer)
        prompts.append(Prompt(name, own))
    # each process has prompts of its own
    here = sharding.make_mesh(config_lib.MeshConfig(1, 1, 1), jax.local_devices()[:1])
    model = base_model.base_model(config, tokenizer, here, [])
    _refuse_long(config, tokenizer, prompts, texts, model.arch.context)
    prompts = by_falling_length(prompts)
    ready = Searcher(config, Models(model, tokenizer), prompts, texts)
    return _Loaded(ready, tokenizer, prompts, texts)


def _refuse_long(
    config: config_lib.Config,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    texts: Mapping[str, str],
    context: int,
) -> None:
    """Prompts, and what they and labelled texts are judged behind, leave the context room."""
    question, most = judge_prompts.load(config.rain.judge), config.sample.max_new_tokens
    own = [texts[prompt.problem_id] for prompt in prompts]
    lengths = question.lengths(own, tokenizer)
    for prompt, text, judged in zip(prompts, own, lengths, strict=True):
        if max(len(prompt.tokens), judged) + most > context:
            raise ConfigError(
                f"the prompt {text[:40]!r} has {len(prompt.tokens)} tokens, {judged} where it is "
                f"judged; with sample.max_new_tokens={most} expected at most {context} in all, "
                "the context: shorten it, lower that, or raise model.context"
            )
    pairs = _read_pairs(config) if config.rain.pairs else []
    lengths = question.lengths((prompt for prompt, *_ in pairs), tokenizer)
    for (_, answer, _), length in zip(pairs, lengths, strict=True):
        judged = length + len(tokenizer.encode(answer))
        if judged > context:
            raise ConfigError(
                f"the labelled text {answer[:40]!r} has {judged} tokens where it is judged; "
                f"expected at most {context}, the context: shorten it, or raise model.context"
            )


def _answered(
    loaded: _Loaded, part: Sequence[Prompt], progress: log.Progress
) -> list[dict[str, Any]]:
    """The table's rows of some prompts."""

    def watch(_: Counts) -> None:
        table_writing.stop_if_asked(progress)

    rows = []
    for name in (methods.GREEDY, methods.RAIN):
        begun, results = time.monotonic(), list[SearchResult]()
        for result in loaded.searcher.run(name, 1, part, watch):
            results.append(result)
            progress.advance(1)
        seconds = search.shared_seconds(results, time.monotonic() - begun)
        for result, own in zip(results, seconds, strict=True):
            prompt, (end,) = part[result.problem].problem_id, result.nodes
            rows.append(
                {
                    "problem_id": prompt,
                    "method": name,
                    "prompt": loaded.texts[prompt],
                    "seconds": own,
                    **search.spent_and_found(result, end, loaded.tokenizer),
                }
            )
    return rows


def _accuracy(config: config_lib.Config, loaded: _Loaded) -> dict[str, int]:
    """How often the judge says of labelled texts what their labels do."""
    pairs = _read_pairs(config)
    names = [f"{index} {prompt}" for index, (prompt, _, _) in enumerate(pairs)]
    texts = [loaded.tokenizer.encode(text) for _, text, _ in pairs]
    behind = {name: prompt for name, (prompt, _, _) in zip(names, pairs, strict=True)}
    scores = loaded.searcher.judged(behind, dict(zip(names, texts, strict=True)))
    right = sum(
        (score > 0.5) if good else (score < 0.5)
        for score, (*_, good) in zip(scores, pairs, strict=True)
    )
    return {"texts": len(pairs), "right": right, "undecided": scores.count(0.5)}


def tell(context: Context) -> None:
    """What RAIN came to for what it took, for whoever started the run."""
    for split in context.stage.splits:
        folder: pathlib.Path = context.folder(split)
        manifest = store.read_manifest(folder)
        if manifest is not None:
            rows = store.read_table(folder, "rain", rain_table.COLUMNS).to_pylist()
            figures = rain_table.by_method(
                rows, context.config.report.resamples, context.config.seed
            )
            log.tell(rain_table.as_text(figures, manifest.get("judge")))
