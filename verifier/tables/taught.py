"""A teacher's solutions as a student is to learn from them: the right ones, batch by batch.

A table of samples may be larger than memory: a batch of rows is held at a time. The samples' tokens
are ids of this project's, or bytes that a log told (`pieces`), or unknown.
"""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.data.alignment import Taught
from verifier.errors import TablesError
from verifier.tables.scanning import scan_table
from verifier.tables.verdicts import Judge
from verifier.text.known_pieces import KnownPieces

# Why a solution is not learned from, in the order in which it is asked; then "kept".
CUT_SHORT, NO_ANSWER, WRONG, OTHER_TEXT = "cut short", "no answer", "wrong", "text differs"
KEPT = "kept"
REASONS = (CUT_SHORT, NO_ANSWER, WRONG, OTHER_TEXT)
BATCH = 1024  # rows
_NEEDED = ("problem_id", "sample_id", "solution", "finish")
_FORCED = "forced"
_WORDS = {"ids": ("tokens", "top_ids"), "pieces": ("pieces", "top_pieces")}


class Solution(NamedTuple):
    """A teacher's solution as it is stored. A token that the calculator wrote, or the end behind a
    stop text, is certain: the teacher would have gone on otherwise, but this is no word of the
    text.
    """

    problem_id: str
    sample_id: int
    text: str
    taught: Taught


class TaughtReader:
    """Reads a split's samples, as often as it is asked to.

    Attributes:
        words: "ids", "pieces", or "" where only texts are stored.
        has_tops: whether the likely alternatives of each token are stored.
        counts: of the last reading, how many solutions were kept, and how many not, by reason.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        judge: Judge,
        decode: Callable[[Sequence[int]], str] | None = None,
    ) -> None:
        """Looks at what is there.

        Args:
            folder: of the split, `tables/samples/split=train`, or one file.
            judge: says which samples are right.
            decode: of the teacher's tokenizer, for tokens that are ids: samples whose tokens spell
                another text are left out. None: this is not looked at.

        Raises:
            StoreError: nothing there, unfinished or damaged.
        """
        self._scan, self._judge, self._decode = scan_table(folder, "samples"), judge, decode
        names = self._scan.names
        there = (kind for kind, (own, _) in _WORDS.items() if own in names and "logprobs" in names)
        self.words = next(there, "")
        tops = _WORDS[self.words][1] if self.words else ""
        self.has_tops = tops in names and "top_logprobs" in names
        own = (_WORDS[self.words][0], "logprobs") if self.words else ()
        forced = (_FORCED,) if self.words == "ids" and _FORCED in names else ()
        self._columns = [
            *(*_NEEDED, *own, *forced),
            *((tops, "top_logprobs") if self.has_tops else ()),
        ]
        self.counts: collections.Counter[str] = collections.Counter()

    def batches(self, rows: int = BATCH) -> Iterator[pa.Table]:
        """The solutions that are right, whole and spelled by their tokens, in stored order.

        Args:
            rows: that are held at a time, before some are left out.

        Raises:
            StoreError: a file is damaged.
            TablesError: of a sample nobody knows whether it is right, or it has lists of different
                lengths.
        """
        counts: collections.Counter[str] = collections.Counter()
        self.counts = counts
        for batch, first in self._scan.one_by_one(self._columns, rows):
            reason_R = self._reasons(batch, first)
            counts.update(reason_R.tolist())
            kept = np.flatnonzero(reason_R == KEPT)
            if len(kept):
                yield batch.take(kept)

    def known_pieces(self) -> KnownPieces:
        """All pieces that there are, which takes a reading."""
        distinct: set[bytes] = set()
        for batch, _ in self._scan.one_by_one(self._columns, BATCH):
            for name in _WORDS["pieces"]:
                if name in self._columns:
                    distinct.update(pc.unique(_flat(batch[name])).to_pylist())
        return KnownPieces(distinct)

    def said(self) -> str:
        """What the last reading has found."""
        total = sum(self.counts.values())
        left = [f"{self.counts[each]:,} {each}" for each in REASONS if self.counts[each]]
        return f"{self.counts[KEPT]:,} of {total:,} solutions are learned from" + (
            f"; left out: {', '.join(left)}" if left else ""
        )

    def _reasons(self, batch: pa.Table, first: int) -> np.ndarray:
        """Why each row is left out, or that it is kept."""
        _refuse_uneven(batch, self._scan.named, first)
        verdicts = self._judge(batch)
        ended_R = np.asarray(pc.equal(batch["finish"], "eos"))
        reason_R = np.select(
            [~ended_R, ~verdicts.answered & ~verdicts.right, ~verdicts.right],
            [CUT_SHORT, NO_ANSWER, WRONG],
            KEPT,
        ).astype(object)
        kept = np.flatnonzero(reason_R == KEPT)
        reason_R[kept[~self._spelled(batch.take(kept))]] = OTHER_TEXT
        return reason_R

    def _spelled(self, rows: pa.Table) -> np.ndarray:
        """Whether the tokens of each row spell its text."""
        solution = rows["solution"]
        if self.words == "pieces":
            joined = pc.binary_join(rows["pieces"], pa.scalar(b"", pa.binary()))
            # only the end token is known to have no bytes
            empty = np.asarray(pc.equal(pc.binary_length(_flat(rows["pieces"])), 0), bool)
            before = np.concatenate([[0], np.cumsum(empty)])
            ends = _ends(rows["pieces"])
            inside_R = before[np.maximum(ends[1:] - 1, ends[:-1])] > before[ends[:-1]]
            return np.asarray(pc.equal(joined, solution.cast(pa.binary())), bool) & ~inside_R
        if self.words == "ids" and self._decode is not None:
            both = zip(rows["tokens"], solution.to_pylist(), strict=True)
            return np.array([self._decode(ids.as_py()) == text for ids, text in both], bool)
        return np.ones(len(rows), bool)


def solutions(batch: pa.Table, pieces: KnownPieces | None = None) -> Iterator[Solution]:
    """The rows of a batch, each with its arrays.

    Args:
        batch: as `TaughtReader.batches` gives it, with tokens.
        pieces: gives ids to tokens that are known by their bytes, and knows them all.
    """
    own, top = _WORDS["pieces" if pieces else "ids"]

    def ids_of(column: pa.ChunkedArray) -> np.ndarray:
        flat = _flat(column)
        return pieces.ids(flat) if pieces else np.asarray(flat, np.int32)

    ids, logprobs = ids_of(batch[own]), np.asarray(_flat(batch["logprobs"]), np.float32)
    is_forced = np.zeros(len(ids), bool)
    if _FORCED in batch.column_names:
        is_forced = np.asarray(_flat(batch[_FORCED]), bool)
    logprobs = np.where(is_forced, np.float32(0), logprobs)
    ends = _ends(batch[own])
    tops: tuple[np.ndarray, np.ndarray] | None = None
    if top in batch.column_names:
        counts = np.asarray(pc.list_value_length(_flat(batch[top], depth=1)))
        flat = ids_of(batch[top]), np.asarray(_flat(batch["top_logprobs"]), np.float32)
        tops = _padded(*flat, counts, ids)
        tops[0][is_forced] = ids[is_forced, None]
        tops[1][is_forced] = np.where(np.arange(tops[1].shape[1]) == 0, 0, -np.inf)
    columns = (batch[name].to_pylist() for name in _NEEDED[:3])
    for row, (problem, sample, text) in enumerate(zip(*columns, strict=True)):
        own_S = slice(int(ends[row]), int(ends[row + 1]))
        told = (each[own_S] for each in (ids, logprobs, *(tops or ())))
        yield Solution(problem, sample, text, Taught(*told))


def _padded(
    ids: np.ndarray, logprobs: np.ndarray, counts: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lists as rows of one width; where there are fewer, the token itself, with no probability."""
    width = int(counts.max(initial=0))
    there = np.arange(width) < counts[:, None]
    ids_SC = np.repeat(own[:, None], width, axis=1).astype(np.int32)
    logprobs_SC = np.full(there.shape, -np.inf, np.float32)
    ids_SC[there], logprobs_SC[there] = ids, logprobs
    return ids_SC, logprobs_SC


def _flat(column: pa.ChunkedArray | pa.Array, depth: int = 2) -> pa.Array:
    """The values in lists, or in lists in lists."""
    for _ in range(depth):
        if pa.types.is_list(column.type):
            column = pc.list_flatten(column)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _ends(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Where lists begin and end in what `_flat` makes of them."""
    return np.concatenate([[0], np.cumsum(np.asarray(pc.list_value_length(column), np.int64))])


def _refuse_uneven(batch: pa.Table, named: Callable[[np.ndarray], str], first: int) -> None:
    """Refuses rows whose lists are not of one length."""
    lists = [name for name in batch.column_names if pa.types.is_list(batch[name].type)]
    length = {name: np.asarray(pc.list_value_length(batch[name])) for name in lists}
    for name in lists[1:]:
        bad = np.flatnonzero(length[name] != length[lists[0]])
        if len(bad):
            raise TablesError(
                f"row {named(bad + first)}: {length[name][bad[0]]} {name} beside "
                f"{length[lists[0]][bad[0]]} {lists[0]}; expected as many: sample anew"
            )
