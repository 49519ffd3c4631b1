"""Stored samples as a verifier reads them: in the tokens that were drawn, or as text in its own."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.data import examples
from verifier.errors import UserError, WorkdirError
from verifier.run.context import Context
from verifier.tables import store
from verifier.text.split import Split
from verifier.text.tokenizer import Tokenizer

FOLDS = "folds"  # entry of a manifest: by place, from what and by whom samples were drawn
_KEY = ["problem_id", "sample_id"]


def drawn_by(context: Context, role: str, generator: str | None, split: Split | None = None) -> str:
    """The generator that drew a split's samples, or the one whose folds drew them; another than the
    verifier's is refused, unless that is asked for.

    Args:
        context: of a stage.
        role: in which it reads the samples.
        generator: the one whose samples the verifier is trained on.
        split: that is made.

    Raises:
        WorkdirError: the table is not finished, or its samples are of another generator.
        TablesError: they were drawn for other problems than those that are there.
    """
    made = context.manifest(role, split)
    own = made["settings"].get("generator")
    drawn: str = own or _drawn_in_folds(context, made, generator)
    if drawn != generator and not context.config.verify.other_generator:
        raise WorkdirError(
            f"the samples of {context.input(role, split).split} were drawn by generator {drawn}, "
            f"but the verifier is of {generator}: remove {context.source(role, split)} and sample "
            "anew, or set verify.other_generator=true"
        )
    context.refuse_stale(role, split)
    return drawn


def _generators(manifest: Mapping[str, Any]) -> list[str]:
    """Those that drew a table's samples, as far as its manifest names them: of a pool those of all
    its rows (`stages.pooled_samples`), which share their tokens.
    """
    if pooled := manifest.get("generators"):
        return list(pooled)
    if named := manifest["settings"].get("generator"):
        return [named]
    return [each["generator"] for each in manifest.get(FOLDS, {}).values()]


def _drawn_in_folds(context: Context, samples: Mapping[str, Any], generator: str | None) -> str:
    """The verifier's generator where samples are out of its folds: each was drawn by one that was
    made from the same base, files and settings, a fold of the problems left out. Else those that
    drew them.
    """
    whole, files = context.manifest("generator"), context.input("generator").stage.files
    knobs = {path for path in whole["settings"] if path not in {each.knob for each in files}}

    def made_from(manifest: Mapping[str, Any]) -> list[Any]:
        settings = {path: manifest["settings"].get(path) for path in knobs}
        return [settings, manifest.get("weights"), manifest.get("inputs")]

    alike = all(made_from(each) == made_from(whole) for each in samples[FOLDS].values())
    return whole["id"] if alike and whole["id"] == generator else ", ".join(_generators(samples))


def read(
    context: Context, role: str, reader: Tokenizer, as_text: bool, split: Split | None = None
) -> pa.Table:
    """problem_id, sample_id, tokens and forced of a split's samples, in stored order.

    Args:
        context: of a stage.
        role: in which it reads the samples, whose table is finished.
        reader: the verifier's tokenizer.
        as_text: False: the tokens that were drawn, which must be the reader's; True: the solutions'
            text in the reader's tokens, with its end token where the generator wrote its own.
            `forced` then says which tokens lie in what the calculator wrote.
        split: that is made.

    Raises:
        UserError: a token that the reader does not know, or rows of another generator than the
            table's manifest names.
    """
    folder, manifest = context.source(role, split), context.manifest(role, split)
    settings = manifest["settings"]
    if as_text:
        return _as_text(folder, reader, settings["sample.calculator"])
    rows = store.read_table(folder, "samples", [*_KEY, "tokens", "forced", "generator"])
    named, there = _generators(manifest), pc.unique(rows["generator"]).to_pylist()
    if named and not set(there) <= set(named):
        raise UserError(
            f"{folder} names the generators {', '.join(map(str, there))} in its rows "
            f"and {', '.join(named)} in its manifest, so that nobody knows whose tokens they are; "
            "remove it and sample anew"
        )
    _refuse_unknown_tokens(rows, reader.vocab_size, context.input(role, split).split)
    return rows.drop_columns(["generator"])


class Labelled(NamedTuple):
    """Samples of a split by problem and sample: the order of a table's rows depends on where
    sampling was killed.
    """

    rows: pa.Table  # as `read` gives them
    correct: np.ndarray  # bool, of each


def labelled(context: Context, prefix: str, reader: Tokenizer, as_text: bool) -> Labelled:
    """What a stage reads in the roles `samples` and `labels`, of a finished table; arguments as
    `read`.

    Raises:
        UserError: the labels are of other samples; or as `read`.
    """
    by_name = [("problem_id", "ascending"), ("sample_id", "ascending")]
    for role in ("samples", "labels"):
        context.refuse_stale(f"{prefix}{role}")
    rows = read(context, f"{prefix}samples", reader, as_text).sort_by(by_name)
    names = [*_KEY, "correct"]
    labels = store.read_table(context.source(f"{prefix}labels"), "labels", names).sort_by(by_name)
    if not all(rows[name].equals(labels[name]) for name in _KEY):
        raise UserError(
            f"the labels of {context.input(f'{prefix}labels').split} are not of the samples that "
            "are there; remove the table and label anew"
        )
    return Labelled(rows, labels["correct"].to_numpy())


def _as_text(folder: pathlib.Path, reader: Tokenizer, calculator: bool) -> pa.Table:
    """The samples of a folder in the reader's own tokens."""
    rows = store.read_table(folder, "samples", [*_KEY, "solution", "finish"])
    tokens, forced = [], []
    for text, finish in zip(rows["solution"].to_pylist(), rows["finish"].to_pylist(), strict=True):
        ids, written = examples.encode_solution(text, reader, ended=finish == "eos")
        # An empty text has at least its end to be judged at.
        tokens.append(ids or [reader.end_id])
        forced.append([calculator and each for each in written] or [False])
    columns = {name: store.SCHEMAS["samples"].field(name).type for name in ("tokens", "forced")}
    read = rows.select(_KEY)
    for name, cells in zip(columns, (tokens, forced), strict=True):
        read = read.append_column(name, pa.array(cells, columns[name]))
    return read


def _refuse_unknown_tokens(rows: pa.Table, vocab_size: int, split: Split | None) -> None:
    """Refuses samples with tokens beyond a model's vocabulary, whose embeddings would be those of
    other tokens, or none.

    Raises:
        UserError: with the first of them.
    """
    tokens = rows["tokens"].combine_chunks()
    values = tokens.flatten().to_numpy()
    wrong = np.flatnonzero((values < 0) | (values >= vocab_size))
    if len(wrong):
        row = int(pc.list_parent_indices(tokens)[int(wrong[0])].as_py())
        raise UserError(
            f"the samples of {split}: problem {rows['problem_id'][row]}, sample "
            f"{rows['sample_id'][row]} has the token {values[wrong[0]]}, but the verifier's "
            f"vocabulary is 0 to {vocab_size - 1}; {len(wrong):,} of {len(values):,} tokens "
            "are beyond it. They were drawn with another tokenizer: sample anew"
        )
