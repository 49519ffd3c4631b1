"""score: the verifier reads the stored samples of held-out and test problems.

Each process takes its share of the problems, on its own devices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from verifier.decode.score import score_samples
from verifier.decode.score_rows import Solutions
from verifier.errors import UserError
from verifier.model import sharding
from verifier.run import hosts, model_folder
from verifier.run.context import Context
from verifier.run.stage import Job, Stage
from verifier.stages import stored_samples, table_writing
from verifier.system import log, stopping
from verifier.tables import provenance
from verifier.tables.results import SCORES
from verifier.text.split import TRAIN, Split
from verifier.text.tokenizer import Tokenizer


def stage(verifier: Stage, samples: Stage, problems: Stage, place: str = "") -> Stage:
    """Scores of the samples that a choice or a figure rests on: neither greedy nor to train on."""
    return Stage(
        score,
        makes=SCORES,
        splits=tuple(
            split for split in samples.splits if split.of != TRAIN.of and not split.greedy
        ),
        reads={
            "verifier": verifier.of(),
            "samples": samples.of(),
            "problems": problems.of(noted=False),  # the samples follow from them
        },
        knobs=("model.dtype",),
        place=place,
        jobs=(Job("score", "read", value_head=True),),
    )


def score(context: Context) -> None:
    """Scores the samples of every split that the stage makes scores of."""
    manifest, part = context.manifest("verifier"), context.input("verifier")
    mesh = sharding.own_mesh(context.config.mesh)
    value_loss = manifest["settings"]["verify.value_loss"]
    verifier: model_folder.Saved | None = None  # not read where all tables are done
    for split in context.stage.splits:
        trained_on = provenance.trained_on(manifest)
        drawn_by = stored_samples.drawn_by(context, "samples", trained_on, split)
        settings, title = context.settings(split), context.title(split)
        if context.is_done(settings, split):
            continue
        table = table_writing.writer(context.folder(split), "scores", settings)
        verifier = verifier or model_folder.load(
            part.folder(context.root), part.stage.name, context.config.model.dtype, mesh
        )
        table.begin()
        reads_text = bool(manifest.get("reads_text")) or drawn_by != manifest["generator"]
        asked = _solutions(context, split, verifier.tokenizer, reads_text)
        asked, too_long = _readable(asked, verifier.model.backbone.arch.context, title)
        own_share = hosts.share([sum(map(len, each.tokens)) for each in asked])
        asked = [asked[index] for index in own_share]
        present = table.present()
        done = sum(len(each.tokens) for each in asked if each.problem_id in present)
        total = sum(len(each.tokens) for each in asked)
        progress = log.Progress(total, "solution", title, done=done)
        with progress, stopping.saving():
            config = context.config.score
            scored = score_samples(
                verifier.model, asked, config, verifier.id, value_loss, mesh, present
            )
            table_writing.write(table, _counted(scored, progress))
        table_writing.finish(table, {"reads_text": reads_text, "too_long": too_long})


def _readable(
    problems: Sequence[Solutions], context: int, title: str
) -> tuple[list[Solutions], int]:
    """What a verifier can read: no limit of sampling keeps solutions within the context of one that
    started from weights of its own.

    Returns:
        The problems without the solutions beyond the context, those with none left out; and how
        many such solutions there are.

    Raises:
        UserError: there is nothing but such solutions.
    """
    kept = []
    for each in problems:
        short = [
            sample
            for sample, tokens in enumerate(each.tokens)
            if len(each.prompt) + len(tokens) <= context
        ]
        if len(short) < len(each.tokens):
            ids = [each.sample_ids[sample] for sample in short]
            tokens = [each.tokens[sample] for sample in short]
            each = dataclasses.replace(each, sample_ids=ids, tokens=tokens)
        kept += [each] if short else []
    drawn = sum(len(each.tokens) for each in problems)
    too_long = drawn - sum(len(each.tokens) for each in kept)
    if drawn and not kept:
        raise UserError(
            f"{title}: none of the {drawn:,} solutions fits the verifier's context of "
            f"{context:,} tokens with its prompt; train one with a longer context "
            "(verify.weights, model.context), or sample shorter solutions "
            "(sample.max_new_tokens)"
        )
    if too_long:
        log.say(
            f"{title}: {too_long:,} of {drawn:,} solutions get no score: with their "
            f"prompts they have more than the {context:,} tokens of the verifier's context; "
            "the report leaves them out of all figures and says so"
        )
    return kept, too_long


def _counted(
    groups: Iterable[list[dict[str, Any]]], progress: log.Progress
) -> Iterator[list[dict[str, Any]]]:
    for rows in groups:
        table_writing.stop_if_asked(progress)
        progress.advance(len(rows))
        yield rows


def _solutions(context: Context, split: Split, reader: Tokenizer, as_text: bool) -> list[Solutions]:
    """The stored samples of a split, problem by problem."""
    prompts = context.prompts("problems", reader, split)
    rows = stored_samples.read(context, "samples", reader, as_text, split)
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows.drop_columns(["forced"]).to_pylist():
        grouped.setdefault(row["problem_id"], []).append(row)
    return [
        Solutions(
            key, prompts[key], [row["sample_id"] for row in group], [row["tokens"] for row in group]
        )
        for key, group in grouped.items()
    ]
