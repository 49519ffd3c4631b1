"""A decoder small enough to check by hand, and a stream of random batches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.data.batches import Batch
from verifier.data.examples import Target
from verifier.model import view
from verifier.train.losses.contract import Loss, LossPart, Term

VOCAB = 11  # ids of text; VOCAB itself is the reserved id
WIDTH = 8


class Decoder(nnx.Module):
    """Sees each token and the mean of those that it sees; two arrays of two axes, one bias."""

    def __init__(self, seed: int = 0):
        rngs = nnx.Rngs(seed)
        self.embed = nnx.Param(0.3 * jax.random.normal(rngs.params(), (VOCAB + 1, WIDTH)))
        self.mix = nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)

    def hidden(
        self,
        tokens_BT,
        positions_BT,
        ends_BT,
        *,
        prompts=None,
        dropout=0.0,
        dropout_key=None,
        remat=False,
    ):
        x = self.embed[...][tokens_BT]
        seen = view.seen(positions_BT, ends_BT)
        mean = jnp.einsum("bts,bsd->btd", seen / jnp.maximum(1, seen.sum(-1, keepdims=True)), x)
        y = jnp.tanh(self.mix(jnp.concatenate([x, mean], -1)))
        if dropout_key is not None:
            y = y * jax.random.bernoulli(dropout_key, 1 - dropout, y.shape) / (1 - dropout)
        return x + y

    def output_rows(self):
        return self.embed[...]

    def logits(self, hidden):
        return hidden @ self.embed[...].T


class Judge(nnx.Module):
    """A decoder with a linear value head."""

    def __init__(self, seed: int = 0):
        self.backbone = Decoder(seed)
        self.head = nnx.Linear(WIDTH, 1, rngs=nnx.Rngs(seed))

    def values(self, hidden):
        return self.head(hidden)[..., 0]


class Table(nnx.Module):
    """A value for each id and nothing else: compiles at once."""

    def __init__(self):
        self.value = nnx.Param(jnp.zeros(VOCAB + 1))


def squared(model, batch, *, dropout, dropout_key, remat):
    """Squared error of the table's values; dropout is taken no notice of."""
    weight = jnp.asarray(batch.targets["value_weight"])
    error = (model.value[...][batch.tokens_BT] - batch.targets["value_target"]) ** 2
    return {
        "value": Term((weight * error).sum(), weight.sum()),
        "extra": Term(error.sum(), jnp.float32(error.size)),
    }


def made_loss(terms, watch="loss"):
    """A loss of one term "value" under value weights."""
    targets = {"value_weight": Target(), "value_target": Target()}
    return Loss(targets, {"value": LossPart(1.0, "value_weight")}, watch, terms)


TABLE_LOSS = made_loss(squared)


def random_batch(seed: int, rows: int = 4, length: int = 12, used: int = 10) -> Batch:
    """Two texts a row, then padding: ground truth and a sample, each with its weights."""
    rng = np.random.default_rng(seed)
    half = used // 2
    text = np.repeat(np.minimum(np.arange(length) // half, 2)[None], rows, axis=0)
    positions = np.where(text < 2, np.arange(length) % half, 0).astype(np.int32)
    ends = np.where(text < 2, (text + 1) * half, 0).astype(np.int32)
    inner = positions < half - 1
    answer = positions >= 2
    lm = ((text == 0) & answer & inner) * rng.uniform(0.5, 1.5, (rows, length))
    value = ((text == 1) & answer) * rng.uniform(0.5, 1.5, (rows, length))
    target = (text == 1) * rng.integers(0, 2, (rows, 1))
    tokens = np.where(text < 2, rng.integers(0, VOCAB, (rows, length)), 0).astype(np.int32)
    floats = {"lm_weight": lm, "value_weight": value, "value_target": target}
    targets = {key: array.astype(np.float32) for key, array in floats.items()}
    return Batch(tokens, positions, ends, {**targets, "lm_target": np.roll(tokens, -1, axis=1)})


def with_targets(batch: Batch, **targets) -> Batch:
    """A batch with some of its targets replaced."""
    return batch._replace(targets=batch.targets | targets)


class Stream:
    """`epochs` times `steps` random batches; raises in the middle where it is told to die."""

    def __init__(
        self,
        epochs: int,
        steps: int,
        *,
        die_after: int | None = None,
        rows: int = 4,
        make=random_batch,
    ):
        self.steps_per_epoch = [steps] * epochs
        self.rows, self.make, self.die_after, self.position = rows, make, die_after, 0

    def __len__(self):
        return sum(self.steps_per_epoch)

    def __iter__(self):
        return self

    def __next__(self) -> Batch:
        if self.position == self.die_after:
            raise KeyboardInterrupt
        if self.position >= len(self):
            raise StopIteration
        self.position += 1
        return self.make(self.position, rows=self.rows)

    def state(self):
        return {"position": self.position}

    def restore(self, state):
        self.position = state["position"]
