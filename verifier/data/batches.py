"""Packed batches in an order that any host can work out alone, resumable between any two of them.

The module needs numpy alone, no JAX.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from verifier.data.examples import (
    Example,
    LabelledSamples,
    Target,
    encode_problem,
    lm_example,
    verifier_example,
)
from verifier.data.order import Mixed, mix, shuffled
from verifier.data.packing import fitting, pack_lengths
from verifier.data.row_stream import RowStream, Shard, rows_of
from verifier.errors import ConfigError, DataError

__all__ = [
    "Batch",
    "BatchSpec",
    "BatchStream",
    "EncoderIds",
    "Example",
    "LabelledSamples",
    "Mixed",
    "Prompts",
    "Shard",
    "Supervision",
    "encode_problem",
    "lm_example",
    "mix",
    "supervision",
    "verifier_example",
    "zeros",
]


class Prompts(NamedTuple):
    """What an encoder reads beside rows of texts: S tokens a row, the prompts of its texts."""

    tokens_BS: np.ndarray  # int32
    ends_BS: np.ndarray  # int32, the end of the text that a token is the prompt of; 0: padding


class Batch(NamedTuple):
    """B rows of T tokens, each a forest of examples (`model.view`); padding has targets of 0.

    tokens      a a a b b . .
    positions   0 1 2 0 1 0 0
    ends        3 3 3 5 5 0 0     where each token's subtree ends; 0: padding
    """

    tokens_BT: np.ndarray  # int32
    positions_BT: np.ndarray  # int32
    ends_BT: np.ndarray  # int32
    targets: dict[str, np.ndarray]  # [B, T, ...] by key, those that the job's loss reads
    prompts: Prompts | None = None  # of a model with an encoder


class EncoderIds(NamedTuple):
    """What is read beside an example's own tokens where an encoder has its prompt."""

    start: int  # by the decoder, in the place of the prompt's last token
    close: int  # by the encoder, behind the prompt


class BatchSpec(NamedTuple):
    """What arrays a job's batches are made of."""

    batch_rows: int  # over all hosts
    row_tokens: int  # of an encoder's rows, too
    targets: Mapping[str, Target]  # as the loss declares them
    encoder: EncoderIds | None = None  # None: prompts and targets stand in one row


def zeros(spec: BatchSpec) -> Batch:
    """A batch of padding alone; all batches have its shapes and types."""
    shape = (spec.batch_rows, spec.row_tokens)
    targets = {
        key: np.zeros((*shape, *target.shape), target.dtype) for key, target in spec.targets.items()
    }
    tokens, positions, ends = np.zeros((3, *shape), np.int32)
    prompts = None if spec.encoder is None else Prompts(*np.zeros((2, *shape), np.int32))
    return Batch(tokens, positions, ends, targets, prompts)


def behind_encoder(example: Example, ids: EncoderIds) -> tuple[np.ndarray, Example]:
    """An example as a model with an encoder reads it.

    tokens      q q s s end      is read as      q q close   and   start s s end
    lm_weight   0 1 1 1 0                                          1     1 1 0

    Returns:
        The encoder's tokens, int32 [S], and the decoder's example.

    Raises:
        DataError: no prompt, a tree, or something to learn within the prompt.
    """
    name, first = example.name or "(no name)", example.prompt - 1
    if first < 0 or example.ends is not None:
        raise DataError(
            f"example {name} is no text behind a prompt, which a model with an encoder learns "
            "from; take one without an encoder"
        )
    if any(target[:first].any() for key, target in example.targets.items() if "weight" in key):
        raise DataError(
            f"example {name} is to teach its prompt, which an encoder reads and nothing predicts; "
            "set loss_on_question to false"
        )
    tokens = example.tokens[first:].copy()
    tokens[0] = ids.start
    targets = {key: target[first:] for key, target in example.targets.items()}
    prompt = np.append(example.tokens[: example.prompt], np.int32(ids.close))
    return prompt, example._replace(tokens=tokens, targets=targets)


_ALL = Shard()


class Supervision(NamedTuple):
    """How many tokens there are, and how many of them a loss looks at."""

    tokens: int
    weighted: dict[str, int]  # tokens with a weight above 0, by the key of the weights

    def share(self, key: str) -> float:
        """The share of tokens with a weight: one near 1 or 0 betrays a wrong mask."""
        return self.weighted.get(key, 0) / max(self.tokens, 1)


def supervision(examples: Sequence[Example] | Batch, keys: Collection[str]) -> Supervision:
    """Counts supervised tokens of examples or of a batch (padding left out).

    Args:
        examples: what is counted.
        keys: of the targets that are weights.
    """
    if isinstance(examples, Batch):
        tokens = int((examples.ends_BT > 0).sum())
        return Supervision(tokens, {key: int((examples.targets[key] > 0).sum()) for key in keys})
    tokens, weighted = 0, dict.fromkeys(keys, 0)
    for example in examples:  # each made once
        tokens += len(example.tokens)
        for key in weighted.keys() & example.targets.keys():
            weighted[key] += int(np.count_nonzero(example.targets[key]))
    return Supervision(tokens, weighted)


class BatchStream(RowStream[Batch]):
    """An iterator over the batches of a training job; its position fits into a checkpoint."""

    def __init__(
        self,
        examples: Sequence[Example],
        seed: int,
        spec: BatchSpec,
        epochs: float = 1.0,
        steps: int = 0,
        shard: Shard = _ALL,
    ) -> None:
        """Packs every epoch once, to know the number of steps.

        Args:
            examples: all of them, the same on every host.
            seed: with the number of the epoch it gives the order; each epoch is packed anew in its
                order.
            spec: of a batch over all hosts. The last batch of all is filled up with empty rows;
                examples longer than a row are left out with a warning.
            epochs: may be a fraction: 0.5 gives half of the first epoch's rows (rounded up).
            steps: so many full batches, from as many epochs as they take, whatever `epochs` says;
                0: by `epochs`.
            shard: of this host, which gets its part of the rows of every batch.

        Raises:
            DataError: no examples, none that fits, or one with a target that `spec` lacks.
            ConfigError: batch_rows that the hosts cannot share evenly, or negative epochs.
        """
        if not examples:
            raise DataError("there are no examples to train on; expected at least one")
        super().__init__(spec.batch_rows, shard)
        if epochs < 0:
            raise ConfigError(f"epochs={epochs} is negative; expected 0 or more")
        self.spec = spec
        self._examples, self._seed = examples, seed
        lengths, names = zip(*(self._read(example) for example in examples), strict=True)
        self._kept = np.asarray(fitting(lengths, names, spec.row_tokens))
        self._lengths = np.asarray(lengths)[self._kept]
        self._packed: tuple[int, list[list[int]]] = (-1, [])
        self._end(self._count_rows(epochs, steps))

    def _read(self, example: Example) -> tuple[int, str]:
        """Tokens of a row that an example takes, and its name.

        Its targets must be among those of the batches.
        """
        if not example.targets.keys() <= self.spec.targets.keys():
            raise DataError(
                f"example {example.name or '(no name)'} has targets {', '.join(example.targets)}; "
                f"the loss reads {', '.join(self.spec.targets)}"
            )
        if self.spec.encoder is None:
            return len(example.tokens), example.name
        prompt, text = behind_encoder(example, self.spec.encoder)
        return max(len(prompt), len(text.tokens)), example.name

    def _identity(self) -> dict[str, int]:
        return {
            "seed": self._seed,
            "batch_rows": self.spec.batch_rows,
            "row_tokens": self.spec.row_tokens,
            "examples": len(self._examples),
            "tokens": int(self._lengths.sum()),
        }

    def _count_rows(self, epochs: float, steps: int) -> list[int]:
        """Rows up to the end of each epoch, of the last one up to where the job ends."""
        whole = math.floor(epochs)
        shares = (
            itertools.repeat(1.0)
            if steps
            else [1.0] * whole + ([epochs - whole] if epochs > whole else [])
        )
        ends = [0]
        for epoch, share in enumerate(shares):
            ends.append(ends[-1] + rows_of(share, len(self._rows_of(epoch))))
            if steps and ends[-1] >= steps * self.spec.batch_rows:
                ends[-1] = steps * self.spec.batch_rows
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
            indices = self._kept[order].tolist()
            rows = pack_lengths(self._lengths[order].tolist(), self.spec.row_tokens)
            self._packed = (epoch, [[indices[n] for n in row] for row in rows])
        return self._packed[1]

    def _batch(self, numbers: range, count: int) -> Batch:
        batch = zeros(self.spec._replace(batch_rows=count))
        for row, indices in enumerate(map(self._row, numbers)):
            start = prompt_start = 0
            for index in indices:
                example = self._examples[index]
                if self.spec.encoder is not None and batch.prompts is not None:
                    prompt, example = behind_encoder(example, self.spec.encoder)
                    own = slice(prompt_start, prompt_start + len(prompt))
                    batch.prompts.tokens_BS[row, own] = prompt
                    batch.prompts.ends_BS[row, own] = start + len(example.tokens)
                    prompt_start = own.stop
                _put(batch, row, start, example)
                start += len(example.tokens)
        return batch


def _put(batch: Batch, row: int, start: int, example: Example) -> None:
    """Writes an example into a row from a place on."""
    here = slice(start, start + len(example.tokens))
    batch.tokens_BT[row, here] = example.tokens
    if example.positions is None or example.ends is None:
        batch.positions_BT[row, here] = np.arange(len(example.tokens))
        batch.ends_BT[row, here] = here.stop
    else:
        batch.positions_BT[row, here] = example.positions
        batch.ends_BT[row, here] = start + example.ends
    for key, target in example.targets.items():
        batch.targets[key][row, here] = target
