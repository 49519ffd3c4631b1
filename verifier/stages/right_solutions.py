"""The right solutions that a student learns from: a teacher's, or the problems' own."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa

from verifier.data.alignment import Taught
from verifier.decode.likeliest import Likeliest
from verifier.run.context import Context
from verifier.run.stage import Input
from verifier.stages import label
from verifier.system import log
from verifier.tables import taught as taught_lib
from verifier.tables.kept_solutions import KeptSolution, KeptSolutions
from verifier.tables.taught import TaughtReader
from verifier.tables.verdicts import Labels
from verifier.text import few_shot
from verifier.text import tokenizer as tokenizer_lib
from verifier.text.known_pieces import KnownPieces
from verifier.text.problem import Problem
from verifier.text.tokenizer import Tokenizer


class RightSolution(NamedTuple):
    """A right solution."""

    problem: Problem
    text: str
    taught: Taught | None  # None: nobody has said how likely its tokens are


class RightSolutions(NamedTuple):
    """Those of some problems, in stored order, and whose tokens they are in.

    Attributes:
        solutions: the right ones; a teacher's are read from disk when they are asked for.
        tokenizer: of the teacher; None where texts alone are known.
        problem_ids: of each the problem, without reading it.
    """

    solutions: Sequence[RightSolution]
    tokenizer: Tokenizer | None
    problem_ids: Sequence[str]


class _Kept(Sequence[RightSolution]):
    """Solutions on disk with their problems."""

    def __init__(self, kept: KeptSolutions, by_id: Mapping[str, Problem]) -> None:
        self._kept, self._by_id = kept, by_id

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> RightSolution: ...
    @overload
    def __getitem__(self, index: slice) -> list[RightSolution]: ...
    def __getitem__(self, index: int | slice) -> RightSolution | list[RightSolution]:
        found = self._kept[index]
        return list(map(self._of, found)) if isinstance(found, list) else self._of(found)

    def _of(self, kept: KeptSolution) -> RightSolution:
        return RightSolution(self._by_id[kept.problem_id], kept.text, kept.taught)


def own(context: Context, problems: Sequence[Problem]) -> RightSolutions:
    """The problems' own worked solutions, as the formats write them; says how many there are."""
    worked = [each for each in problems if each.solution]
    log.say(f"{context.title()}: {len(worked):,} of {len(problems):,} problems are worked")
    return RightSolutions(
        [
            RightSolution(each, few_shot.worked(each.solution or "", annotations=True), None)
            for each in worked
        ],
        None,
        [each.problem_id for each in worked],
    )


def taught(
    context: Context, problems: Sequence[Problem], which: str, alternatives: int
) -> RightSolutions:
    """A teacher's right solutions; of the others it is said how many there are, and why.

    Args:
        context: of the stage.
        problems: those that solutions are wanted of.
        which: before the names of the roles `samples` and `labels`.
        alternatives: C, as many as every token gets: further ones are left out, and where fewer
            were told there is none.
    """
    folder, labels = (context.source(f"{which}{role}") for role in ("samples", "labels"))
    tokenizer: Tokenizer | None = _tokenizer_of(context, f"{which}samples")
    reader = TaughtReader(folder, Labels(labels), tokenizer.decode if tokenizer else None)
    pieces = reader.known_pieces() if reader.words == "pieces" else None
    judged_by = label.with_right_answers(context, problems)
    by_id = {each.problem_id: each for each in judged_by}
    most, seen = context.config.distill.samples_per_problem, collections.Counter[str]()
    tops = alternatives if reader.has_tops else None
    kept = KeptSolutions(context.folder(), tops)
    for batch in reader.batches():
        for problem_id, text, told in _rows(batch, pieces) if reader.words else _texts(batch):
            seen[problem_id] += 1
            if not most or seen[problem_id] <= most:
                if told is not None:
                    told = _of_width(_ended(told, pieces), alternatives)
                kept.put(problem_id, text, told)
    log.say(f"{context.title()}: {which}samples: {reader.said()}")
    ids = [kept.problem_of(row) for row in range(len(kept))]
    return RightSolutions(_Kept(kept, by_id), pieces or (tokenizer if reader.words else None), ids)


def _rows(batch: pa.Table, pieces: KnownPieces | None) -> Iterator[tuple[str, str, Taught]]:
    solutions = taught_lib.solutions(batch, pieces)
    return ((each.problem_id, each.text, each.taught) for each in solutions)


def _texts(batch: pa.Table) -> Iterator[tuple[str, str, None]]:
    columns = (batch[name].to_pylist() for name in ("problem_id", "solution"))
    return ((problem, text, None) for problem, text in zip(*columns, strict=True))


def _tokenizer_of(context: Context, role: str) -> Tokenizer | None:
    """That of whoever has drawn the samples; None: they come out of a log."""
    drawn = context.input(role).stage.reads.get("generator")
    if not isinstance(drawn, Input):
        return None
    return tokenizer_lib.load_tokenizer(drawn.folder(context.root))


def _ended(told: Taught, pieces: KnownPieces | None) -> Taught:
    """A solution with its end token; a log, which leaves it out, says of it that it came, and so it
    is certain (one-hot, as in Fu et al. 2023).
    """
    if pieces is None or told.tokens_S[-1:].tolist() == [pieces.end_id]:
        return told
    ids, logprobs = told.top_ids_SC, told.top_logprobs_SC
    if ids is not None and logprobs is not None:
        ids = np.append(ids, np.full((1, ids.shape[1]), pieces.end_id, ids.dtype), axis=0)
        last = np.full((1, ids.shape[1]), -np.inf, logprobs.dtype)
        last[0, 0] = 0
        logprobs = np.append(logprobs, last, axis=0)
    tokens = np.append(told.tokens_S, np.int32(pieces.end_id))
    return Taught(tokens, np.append(told.logprobs_S, np.float32(0)), ids, logprobs)


def _of_width(told: Taught, alternatives: int) -> Taught:
    """A solution whose tokens have so many alternatives each: the likeliest, of which the last
    gives way to the token itself where that is none of them.
    """
    ids, logprobs = told.top_ids_SC, told.top_logprobs_SC
    if ids is None or logprobs is None or ids.shape[1] == alternatives:
        return told
    if ids.shape[1] > alternatives:
        order = np.argsort(-logprobs, axis=1, kind="stable")[:, :alternatives]
        first = (np.take_along_axis(each, order, axis=1) for each in (ids, logprobs))
        kept = Likeliest(*first).with_own(told.tokens_S, told.logprobs_S)
        ids, logprobs = kept.ids, kept.logprobs
    else:
        more = [(0, 0), (0, alternatives - ids.shape[1])]
        ids = np.pad(ids, more, mode="edge")
        logprobs = np.pad(logprobs, more, constant_values=-np.inf)
    return told._replace(top_ids_SC=ids, top_logprobs_SC=logprobs)
