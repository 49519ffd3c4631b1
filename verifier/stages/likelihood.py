"""likelihood: how likely a generator holds stored samples; and their scores by a preference
verifier, which is a generator, too.

Each process takes its share of the problems, on its own devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from verifier.errors import UserError
from verifier.model import sharding
from verifier.run import hosts, model_folder
from verifier.run.context import Context
from verifier.run.stage import Input, Job, Stage
from verifier.stages import stored_samples, table_writing
from verifier.system import log, stopping
from verifier.tables import store
from verifier.tables.results import SCORES, Table
from verifier.text.split import TRAIN, Split
from verifier.text.tokenizer import Tokenizer
from verifier.train import likelihood
from verifier.train.likelihood import Read, Texts

# Rows as of scores: in nats, the sum over a solution's counted tokens and the sums up to each.
LIKELIHOODS = Table("likelihoods", "likelihood")
_MODEL = "verifier"  # the role of the model that reads, as of all who score
_REFERENCE = "reference"


def stage(model: Stage, samples: Stage, problems: Stage, place: str = "") -> Stage:
    """Log-likelihoods of stored samples, but greedy ones."""
    splits = [split for split in samples.splits if not split.greedy]
    return _stage(LIKELIHOODS, splits, _reads(model, samples, problems), place)


def scores(
    model: Stage, samples: Stage, problems: Stage, reference: Stage | None, place: str
) -> Stage:
    """Scores of samples by a preference verifier: its log-likelihoods, less those of the reference.

    Args:
        model: the verifier.
        samples: that are scored; neither greedy ones nor those to train on.
        problems: of the run.
        reference: log-likelihoods of the same samples under what it started from; None: nothing is
            taken off.
        place: where they are kept.
    """
    splits = [split for split in samples.splits if split.of != TRAIN.of and not split.greedy]
    reads = _reads(model, samples, problems)
    if reference is not None:
        reads[_REFERENCE] = reference.of()
    return _stage(SCORES, splits, reads, place)


def _reads(model: Stage, samples: Stage, problems: Stage) -> dict[str, Input]:
    # The samples follow from the problems.
    return {_MODEL: model.of(), "samples": samples.of(), "problems": problems.of(noted=False)}


def _stage(makes: Table, splits: Sequence[Split], reads: dict[str, Input], place: str) -> Stage:
    return Stage(
        score,
        makes=makes,
        splits=tuple(splits),
        reads=reads,
        knobs=("model.dtype", "dpo.loss_on_forced"),
        place=place,
        jobs=(Job(makes.stage, "read"),),
    )


def score(context: Context) -> None:
    """Reads the samples of every split that the stage makes something of."""
    part, dtype = context.input(_MODEL), context.config.model.dtype
    mesh = sharding.own_mesh(context.config.mesh)
    saved: model_folder.Saved | None = None  # not read where all tables are done
    for split in context.stage.splits:
        context.refuse_stale("samples", split)
        settings, title = context.settings(split), context.title(split)
        if context.is_done(settings, split):
            continue
        table = table_writing.writer(context.folder(split), "scores", settings)
        folder = part.folder(context.root)
        saved = saved or model_folder.load(folder, part.stage.name, dtype, mesh)
        table.begin()
        asked = _texts(context, split, saved.tokenizer)
        asked, too_long = _readable(asked, saved.model.arch.context, title)
        own_share = hosts.share([sum(map(len, each.tokens)) for each in asked])
        asked = [asked[index] for index in own_share]
        present, reference = table.present(), _reference(context, split)
        done = sum(len(each.tokens) for each in asked if each.problem_id in present)
        total = sum(len(each.tokens) for each in asked)
        progress = log.Progress(total, "solution", title, done=done)
        with progress, stopping.saving():
            rows = context.config.score.rows
            read = likelihood.read(
                saved.model, saved.tokenizer.vocab_size, asked, rows, mesh, present
            )
            table_writing.write(table, _rows(read, saved.id, reference, progress))
        table_writing.finish(table, {"too_long": too_long})


def _texts(context: Context, split: Split, tokenizer: Tokenizer) -> list[Texts]:
    """The stored samples of a split, problem by problem."""
    prompts = context.prompts("problems", tokenizer, split)
    rows = stored_samples.read(context, "samples", tokenizer, False, split)
    counts_forced = context.config.dpo.loss_on_forced
    grouped: dict[str, list[tuple[int, np.ndarray, np.ndarray]]] = {}
    for row in rows.to_pylist():
        tokens, counted = as_counted(row["tokens"], row["forced"], counts_forced)
        grouped.setdefault(row["problem_id"], []).append((row["sample_id"], tokens, counted))
    return [Texts(key, prompts[key], *zip(*own, strict=True)) for key, own in grouped.items()]


def as_counted(
    tokens: Sequence[int], forced: Sequence[bool], counts_forced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A solution's tokens, and which of them its likelihood is of: what the calculator writes is
    none of the model's doing, and counts only where that is asked for.
    """
    counted = np.ones(len(tokens), bool) if counts_forced else ~np.asarray(forced, bool)
    return np.asarray(tokens, np.int32), counted


def _readable(problems: Sequence[Texts], context: int, title: str) -> tuple[list[Texts], int]:
    """The problems without solutions beyond the context, and how many such there are.

    Exemplars may have been in the way of a solution that was drawn, or none.

    Raises:
        UserError: there is nothing but such solutions.
    """
    kept = []
    for each in problems:
        room = context - len(each.prompt)
        short = [n for n, tokens in enumerate(each.tokens) if len(tokens) <= room]
        if short:
            ids = [each.sample_ids[n] for n in short]
            tokens, counted = ([part[n] for n in short] for part in (each.tokens, each.counted))
            kept.append(Texts(each.problem_id, each.prompt, ids, tokens, counted))
    drawn = sum(len(each.tokens) for each in problems)
    too_long = drawn - sum(len(each.tokens) for each in kept)
    if drawn and not kept:
        raise UserError(
            f"{title}: none of the {drawn:,} solutions fits the context of {context:,} tokens with "
            "its prompt; raise model.context, or lower sample.max_new_tokens"
        )
    if too_long:
        log.say(
            f"{title}: {too_long:,} of {drawn:,} solutions are left out: with their prompts they "
            f"have more than the {context:,} tokens of the context"
        )
    return kept, too_long


def _reference(context: Context, split: Split) -> dict[tuple[str, int], np.ndarray] | None:
    """By problem and sample, the reference's sums up to every token; None: nothing is taken off."""
    if _REFERENCE not in context.stage.reads:
        return None
    context.refuse_stale(_REFERENCE, split)
    context.manifest(_REFERENCE, split)
    names = ["problem_id", "sample_id", "token_scores"]
    rows = store.read_table(context.source(_REFERENCE, split), "scores", names)
    return {
        (row["problem_id"], row["sample_id"]): np.asarray(row["token_scores"], np.float64)
        for row in rows.to_pylist()
    }


def _rows(
    found: Iterator[Read],
    name: str,
    reference: dict[tuple[str, int], np.ndarray] | None,
    progress: log.Progress,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of the scores table, problem by problem."""
    for texts, logprobs in found:
        table_writing.stop_if_asked(progress)
        rows = []
        for sample_id, own in sorted(zip(texts.sample_ids, logprobs, strict=True), key=_first):
            sums = np.cumsum(own)
            if reference is not None:
                sums = sums - reference[texts.problem_id, sample_id]
            rows.append(
                {
                    "problem_id": texts.problem_id,
                    "sample_id": int(sample_id),
                    "verifier": name,
                    "score": float(sums[-1]),
                    "token_scores": sums.tolist(),
                }
            )
        progress.advance(len(rows))
        yield rows


def _first(pair: tuple[int, np.ndarray]) -> int:
    return pair[0]
