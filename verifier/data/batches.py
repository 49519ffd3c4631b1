"""Packed batches in an order that any host can work out alone, resumable between any two of them.

Numpy only; knows no model.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from verifier.data.examples import (
    Example,
    LabelledSamples,
    LazyExamples,
    encode_problem,
    lm_example,
    verifier_example,
)
from verifier.data.packing import fitting, pack_lengths
from verifier.errors import ConfigError, DataError

__all__ = [
    "Batch",
    "BatchStream",
    "Example",
    "LabelledSamples",
    "Mixed",
    "Supervision",
    "encode_problem",
    "lm_example",
    "mix",
    "pack",
    "supervision",
    "verifier_example",
]


class Batch(NamedTuple):
    """B packed rows of T tokens; padding has segment 0 and weight 0.

    tokens        a a a b b . .
    segment_ids   1 1 1 2 2 0 0
    positions     0 1 2 0 1 0 0
    """

    tokens_BT: np.ndarray  # int32
    segment_ids_BT: np.ndarray  # int32
    positions_BT: np.ndarray  # int32
    lm_weight_BT: np.ndarray  # float32, see Example
    value_weight_BT: np.ndarray  # float32
    value_target_BT: np.ndarray  # float32


class Supervision(NamedTuple):
    """How many tokens there are and how many of them a loss looks at: a share near 1 or 0 betrays a
    wrong mask.
    """

    tokens: int
    lm_tokens: int
    value_tokens: int
    lm_share: float
    value_share: float


def supervision(examples: Sequence[Example] | Batch) -> Supervision:
    """Counts supervised tokens of examples or of a batch (padding left out)."""
    if isinstance(examples, Batch):
        tokens = int((examples.segment_ids_BT > 0).sum())
        lm_tokens, value_tokens = (
            int((examples.lm_weight_BT > 0).sum()),
            int((examples.value_weight_BT > 0).sum()),
        )
    else:
        counts = [
            (
                len(example.tokens),
                np.count_nonzero(example.lm_weight),
                np.count_nonzero(example.value_weight),
            )
            for example in examples
        ]
        tokens, lm_tokens, value_tokens = (
            int(column.sum()) for column in np.asarray(counts, np.int64).reshape(-1, 3).T
        )
    return Supervision(
        tokens, lm_tokens, value_tokens, lm_tokens / max(tokens, 1), value_tokens / max(tokens, 1)
    )


def pack(examples: Sequence[Example], row_tokens: int) -> list[list[Example]]:
    """Rows of examples: first fit in the given order; examples longer than a row are left out,
    counted and named in a warning.

    Raises:
        DataError: no example fits.
    """
    kept = fitting(
        [len(example.tokens) for example in examples],
        [example.name for example in examples],
        row_tokens,
    )
    rows = pack_lengths([len(examples[place].tokens) for place in kept], row_tokens)
    return [[examples[kept[place]] for place in row] for row in rows]


class Mixed(LazyExamples):
    """Every sample, `partners` by turns, followed by one ground-truth example; holds no example
    that its two parts do not hold.
    """

    def __init__(
        self, samples: Sequence[Example], ground_truth: Sequence[Example], partners: np.ndarray
    ) -> None:
        self._samples, self._ground_truth, self._partners = samples, ground_truth, partners

    def __len__(self) -> int:
        return 2 * len(self._partners)

    def _made(self, place: int) -> Example:
        pair, second = divmod(place, 2)
        return (
            self._ground_truth[int(self._partners[pair])]
            if second
            else self._samples[pair % len(self._samples)]
        )


def mix(
    samples: Sequence[Example], ground_truth: Sequence[Example], seed: int, passes: int = 1
) -> Sequence[Example]:
    """Every sample followed by one ground-truth example (Cobbe et al. 2021, section 4.2: an equal
    mix, ground truth upsampled).

    Ground truth is used evenly: all of it in a seeded order, then all of it again in another, until
    every sample has its partner, in each of the passes over the samples.

    Raises:
        DataError: there are samples, but no ground truth.
    """
    if samples and not ground_truth:
        raise DataError(
            f"{len(samples):,} samples, but no ground truth to mix them with; give some or set "
            "verify.lm_weight=0"
        )
    pairs = passes * len(samples)
    partners = [
        shuffled(len(ground_truth), seed, turn)
        for turn in range(-(-pairs // max(len(ground_truth), 1)))
    ]
    return Mixed(
        samples,
        ground_truth,
        np.concatenate(partners)[:pairs] if partners else np.zeros(0, np.int64),
    )


def shuffled(count: int, seed: int, turn: int) -> np.ndarray:
    """A permutation that depends on (count, seed, turn) alone; from raw Philox words, which no
    version of numpy changes.
    """
    words = np.random.Philox(key=np.array([seed % 2**64, turn], np.uint64)).random_raw(count)
    return np.argsort(words, kind="stable")


class BatchStream:
    """An iterator over the batches of a training job; its position fits into a checkpoint."""

    def __init__(
        self,
        examples: Sequence[Example],
        seed: int,
        batch_rows: int,
        row_tokens: int,
        epochs: float = 1.0,
        steps: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        """Packs every epoch once, to know the number of steps.

        Batches run on over the end of an epoch: the last rows of one and the first of the next
        share a batch, so every batch but the very last is full.

        Args:
            examples: all of them, the same on every host.
            seed: with the number of the epoch it gives the order; each epoch is packed anew in its
                order.
            batch_rows: rows of a batch over all hosts. The last batch of all is filled up with
                empty rows.
            row_tokens: tokens of a row; longer examples are left out with a warning.
            epochs: may be a fraction: 0.5 gives half of the first epoch's rows (rounded up).
            steps: so many full batches, from as many epochs as they take, whatever `epochs` says;
                0: by `epochs`.
            process_index: this host, which gets its slice of the rows of every batch.
            process_count: how many hosts there are.

        Raises:
            DataError: no examples, or none that fits.
            ConfigError: batch_rows that the hosts cannot share evenly, or negative epochs.
        """
        self.process_index, self.process_count = process_index, process_count
        if not examples:
            raise DataError("there are no examples to train on; expected at least one")
        if batch_rows < 1 or batch_rows % self.process_count:
            raise ConfigError(
                f"batch_rows={batch_rows} cannot be shared by {self.process_count} processes; "
                "set a multiple of that"
            )
        if epochs < 0:
            raise ConfigError(f"epochs={epochs} is negative; expected 0 or more")
        # each made once
        lengths, names = zip(
            *((len(example.tokens), example.name) for example in examples), strict=True
        )
        self._kept = np.asarray(fitting(lengths, names, row_tokens))
        self._lengths = np.asarray(lengths)[self._kept]
        self._examples, self._seed = examples, seed
        self.batch_rows, self.row_tokens = batch_rows, row_tokens
        self._packed: tuple[int, list[list[int]]] = (-1, [])
        # the rows from the very start to the end of each epoch
        self._ends = self._count_rows(epochs, steps)
        behind = [-(-end // batch_rows) for end in self._ends]
        # the step of an epoch's last row ends it
        self.steps_per_epoch = [end - start for start, end in itertools.pairwise([0, *behind])]
        self._done = 0

    def __len__(self) -> int:
        """Batches from the very start to the end."""
        return sum(self.steps_per_epoch)

    def __iter__(self) -> Iterator[Batch]:
        """Goes on from the position; a stream is read once, like a file."""
        return self

    def __next__(self) -> Batch:
        if self._done >= len(self):
            raise StopIteration
        share = self.batch_rows // self.process_count
        first = self._done * self.batch_rows + self.process_index * share
        rows = [self._row(number) for number in range(first, min(first + share, self._ends[-1]))]
        self._done += 1
        return self._batch(rows, share)

    def state(self) -> dict[str, int]:
        """The position after the last batch given out; JSON-able, the same on every host."""
        return {"batches": self._done, **self._identity()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `state` was taken.

        Raises:
            DataError: the state is of other examples, another seed or another batch size.
        """
        for name, mine in self._identity().items():
            if state.get(name) != mine:
                raise DataError(
                    f"the saved position has {name}={state.get(name)}, here it is {mine}; use "
                    "the old settings or start anew"
                )
        self._done = int(state["batches"])

    def _identity(self) -> dict[str, int]:
        return {
            "seed": self._seed,
            "batch_rows": self.batch_rows,
            "row_tokens": self.row_tokens,
            "examples": len(self._examples),
            "tokens": int(self._lengths.sum()),
        }

    def _count_rows(self, epochs: float, steps: int) -> list[int]:
        """The number of rows up to the end of each epoch, of the last one up to where the job
        ends.
        """
        whole = math.floor(epochs)
        shares = (
            itertools.repeat(1.0)
            if steps
            else [1.0] * whole + ([epochs - whole] if epochs > whole else [])
        )
        ends = [0]
        for epoch, share in enumerate(shares):
            # The small number keeps 0.1 of 30 rows at 3, where floating point says
            # 3.0000000000000004.
            ends.append(ends[-1] + math.ceil(share * len(self._rows_of(epoch)) - 1e-9))
            if steps and ends[-1] >= steps * self.batch_rows:
                ends[-1] = steps * self.batch_rows
                break
        return ends[1:]

    def _row(self, number: int) -> list[int]:
        """The examples of a row, counted from the very start."""
        epoch = bisect.bisect_right(self._ends, number)
        return self._rows_of(epoch)[number - (self._ends[epoch - 1] if epoch else 0)]

    def _rows_of(self, epoch: int) -> list[list[int]]:
        """The examples of each row of an epoch; the last epoch asked for is kept."""
        if self._packed[0] != epoch:
            order = shuffled(len(self._kept), self._seed, epoch)
            places = self._kept[order].tolist()
            rows = pack_lengths(self._lengths[order].tolist(), self.row_tokens)
            self._packed = (epoch, [[places[place] for place in row] for row in rows])
        return self._packed[1]

    def _batch(self, rows: Sequence[Sequence[int]], count: int) -> Batch:
        shape = (count, self.row_tokens)
        batch = Batch(*np.zeros((3, *shape), np.int32), *np.zeros((3, *shape), np.float32))
        for row, places in enumerate(rows):
            start = 0
            for segment, place in enumerate(places, start=1):
                example = self._examples[place]
                here = slice(start, start + len(example.tokens))
                batch.tokens_BT[row, here] = example.tokens
                batch.segment_ids_BT[row, here] = segment
                batch.positions_BT[row, here] = np.arange(len(example.tokens))
                batch.lm_weight_BT[row, here] = example.lm_weight
                batch.value_weight_BT[row, here] = example.value_weight
                batch.value_target_BT[row, here] = example.value_target
                start = here.stop
        return batch
