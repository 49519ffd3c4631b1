"""What every loss must keep, as one table."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes
from tests.train.loss_batch import BATCH, HOW, compiled, hidden_of
from verifier import config as config_lib
from verifier.data import batches
from verifier.data.examples import Example, Target
from verifier.train import loop
from verifier.train.losses import cross_entropy, distill, lm, two_tasks, value
from verifier.train.losses.contract import Loss, LossPart
from verifier.train.losses.terms import weighted


def imitation_terms(model, batch, *, dropout, dropout_key, remat):
    hidden_BTD = model.hidden(
        *(batch.tokens_BT, batch.positions_BT, batch.ends_BT),
        dropout=dropout,
        dropout_key=dropout_key,
        remat=remat,
    )
    logp_BTV = jax.nn.log_softmax(hidden_BTD @ model.output_rows().T)
    ids_BTC, weight_BT = batch.targets["teacher_ids"], batch.targets["teacher_weight"]
    logp_BTC = jnp.take_along_axis(logp_BTV, jnp.asarray(ids_BTC) % logp_BTV.shape[-1], axis=-1)
    each_BT = -(batch.targets["teacher_chances"] * logp_BTC).sum(-1)
    return {"imitation": weighted(each_BT, jnp.asarray(weight_BT))}


# A loss that is not of this project, with C = 2 alternatives of a teacher: all that it takes.
IMITATION = Loss(
    targets={
        "teacher_ids": Target(np.int32, (2,)),
        "teacher_chances": Target(np.float32, (2,)),
        "teacher_weight": Target(),
    },
    parts={"imitation": LossPart(1.0, "teacher_weight")},
    watch="imitation",
    terms=imitation_terms,
)
LOSSES = {
    "lm": (lm.loss(fakes.VOCAB), fakes.Decoder),
    "value": (value.loss(fakes.VOCAB), fakes.Judge),
    "value_bce": (value.loss(fakes.VOCAB, "bce", 0.5), fakes.Judge),
    "value_alone": (value.loss(fakes.VOCAB, lm_weight=0.0), fakes.Judge),
    "imitation": (IMITATION, fakes.Decoder),
    "sample": (distill.match_sample(fakes.VOCAB), fakes.Decoder),
    "distribution": (distill.match_distribution(fakes.VOCAB, 3), fakes.Decoder),
    "spans": (distill.match_spans(fakes.VOCAB, tau=10.0), fakes.Decoder),
    "two_tasks": (two_tasks.loss(fakes.VOCAB, 0.3), fakes.Decoder),
}
every_loss = pytest.mark.parametrize(("loss", "made"), list(LOSSES.values()), ids=list(LOSSES))


class Given(nnx.Module):
    """A decoder whose hidden states are an argument, so that gradients can be taken at them."""

    def __init__(self, hidden):
        self.given, self.inner = nnx.Param(hidden), fakes.Decoder()

    def hidden(self, *_, **__):
        return self.given[...]

    def output_rows(self):
        return self.inner.output_rows()


@every_loss
def test_a_loss_declares_what_it_reads_and_gives(loss, made):
    class Noted(dict):
        def __getitem__(self, key):
            read.add(key)
            return super().__getitem__(key)

    read: set[str] = set()
    terms = loss.terms(made(), BATCH._replace(targets=Noted(BATCH.targets)), **HOW)
    assert read == loss.targets.keys()
    assert loss.parts.keys() <= terms.keys() and loss.watch in {"loss", *terms}
    assert {part.weight for part in loss.parts.values()} <= read
    spec = batches.BatchSpec(*BATCH.tokens_BT.shape, loss.targets)
    for key, array in batches.zeros(spec).targets.items():
        given = BATCH.targets[key]
        assert array.shape == given.shape and array.dtype == given.dtype


def at_hidden(loss, made, hidden):
    """The loss's terms from hidden states that are given."""
    model = Given(hidden)
    if made is fakes.Judge:
        judge = fakes.Judge()
        judge.backbone, model = model, judge
    return loss.terms(model, BATCH, **HOW)


@pytest.mark.parametrize("chunk_logits", [2**24, 200])
@every_loss
def test_gradient_is_zero_exactly_where_the_weight_is(monkeypatch, loss, made, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    start = jnp.asarray(hidden_of(made(), BATCH))
    for name, part in loss.parts.items():
        slope_of = jax.jit(jax.grad(lambda at, name=name: at_hidden(loss, made, at)[name].sum))
        moved = np.abs(np.asarray(slope_of(start))).max(-1) > 0
        assert (moved == (BATCH.targets[part.weight] > 0)).all()


@pytest.mark.parametrize("chunk_logits", [2**24, 200])
@every_loss
def test_what_has_no_weight_may_be_infinite(monkeypatch, loss, made, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    start = hidden_of(made(), BATCH)
    counts = sum(BATCH.targets[part.weight] for part in loss.parts.values()) > 0
    terms_of = jax.jit(lambda hidden: at_hidden(loss, made, hidden))
    assert terms_of(start) == terms_of(np.where(counts[..., None], start, np.inf))


@pytest.mark.parametrize("chunk_logits", [2**24, 200])
@every_loss
def test_padding_says_nothing(monkeypatch, loss, made, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    padding = BATCH.ends_BT == 0
    weights = {part.weight for part in loss.parts.values()}

    def spoilt(key, array):
        if key in weights:
            return array
        wrong = np.nan if array.dtype == np.float32 else fakes.VOCAB
        return np.where(padding.reshape(*padding.shape, *[1] * (array.ndim - 2)), wrong, array)

    other = BATCH._replace(
        tokens_BT=np.where(padding, fakes.VOCAB, BATCH.tokens_BT),
        positions_BT=np.where(padding, 7, BATCH.positions_BT),
        targets={key: spoilt(key, array) for key, array in BATCH.targets.items()},
    )
    terms_of = compiled(loss, made())
    assert terms_of(BATCH) == terms_of(other)


@every_loss
def test_terms_of_the_micro_batches_add_up_to_those_of_the_batch(loss, made):
    terms_of = compiled(loss, made())
    rows = [jax.tree.map(lambda array, n=n: array[n : n + 1], BATCH) for n in range(4)]
    added = jax.tree.map(lambda *each: sum(each), *map(terms_of, rows))
    by = loss.divisors(BATCH)
    whole = terms_of(BATCH)
    for one, other in zip(jax.tree.leaves(added), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    of_rows = sum(float(loss.total(terms_of(row), by)) for row in rows)
    np.testing.assert_allclose(of_rows, loss.total(whole, by), rtol=1e-5)
    means = {name: float(term.sum / term.weight) for name, term in whole.items()}
    np.testing.assert_allclose(loss.total_of_means(means), loss.total(whole, by), rtol=1e-5)


@every_loss
def test_row_order_and_empty_rows_change_nothing(loss, made):
    terms_of = compiled(loss, made())
    turned = jax.tree.map(lambda array: array[::-1], BATCH)
    padded = jax.tree.map(lambda array: np.concatenate([array, np.zeros_like(array)]), BATCH)
    wanted = loss.total(terms_of(BATCH), loss.divisors(BATCH))
    for other in (turned, padded):
        total = loss.total(terms_of(other), loss.divisors(other))
        np.testing.assert_allclose(total, wanted, rtol=1e-6)


@every_loss
def test_a_batch_without_weights_has_no_loss_and_no_nan(loss, made):
    empty = jax.tree.map(np.zeros_like, BATCH)
    assert loss.total(compiled(loss, made())(empty), loss.divisors(empty)) == 0
    assert loss.total_of_means({}) == 0


def test_a_new_loss_trains_from_its_examples_to_its_log(tmp_path):
    """Streams, steps and the loop take it as it is."""
    rng = np.random.default_rng(0)

    def example(length):
        targets = {
            "teacher_ids": np.full((length, 2), [3, 4], np.int32),
            "teacher_chances": np.full((length, 2), [0.75, 0.25], np.float32),
            "teacher_weight": np.ones(length, np.float32),
        }
        return Example(rng.integers(0, fakes.VOCAB, length).astype(np.int32), targets)

    examples = [example(length) for length in rng.integers(2, 8, 40)]
    spec = batches.BatchSpec(4, 16, IMITATION.targets)
    stream = batches.BatchStream(examples, 0, spec, steps=30)
    heldout = list(batches.BatchStream(examples[:8], 0, spec))
    config = config_lib.TrainConfig(batch_rows=4, learning_rate=0.1, patience=9, accumulate=2)
    job = loop.TrainJob("new", tmp_path / "logs", tmp_path / "checkpoints", heldout=heldout)
    ended = loop.fit(fakes.Decoder(), stream, IMITATION, config, job)
    least = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert least < ended.heldout["imitation"] < least + 0.2
    lines = [json.loads(line) for line in (tmp_path / "logs/new.jsonl").read_text().splitlines()]
    assert lines[0]["imitation"] == pytest.approx(lines[0]["loss"])
    assert "heldout_imitation" in lines[-1]
