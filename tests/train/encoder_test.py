"""Losses of a student with an encoder: each text is learned behind its own prompt, however it is
packed.
"""

import collections
import functools

import jax
import numpy as np
import pytest
from flax import nnx

from tests.hf import families
from verifier.data.batches import BatchSpec, BatchStream, EncoderIds, lm_example
from verifier.train.losses import distill, lm, two_tasks

ARCH = families.ENCODERS["t5"]
IDS = EncoderIds(ARCH.start_id, ARCH.close_id)
TEACHER = 2  # ids a token that it tells
TEXT = 3  # tokens of each text
LOSSES = {
    "lm": lm.loss(ARCH.vocab_size),
    "distribution": distill.match_distribution(ARCH.vocab_size, TEACHER),
    "two_tasks": two_tasks.loss(ARCH.vocab_size, 0.5),
}


def examples(kind):
    """Texts behind prompts, with what a loss reads of a teacher."""
    random = np.random.default_rng(4)
    for number in range(5):
        prompt, text = (random.integers(2, 29, size).tolist() for size in (2 + number, TEXT))
        how = {"loss_on_question": False, "loss_on_forced": True}
        made = lm_example(prompt, text, [False] * TEXT, **how)
        targets, length = dict(made.targets), len(made.tokens)
        if kind == "distribution":
            targets["top_ids"] = random.integers(0, 29, (length, TEACHER)).astype(np.int32)
            chances = random.dirichlet(np.ones(TEACHER), length)
            targets["top_logprobs"] = np.log(chances).astype(np.float32)
        if kind == "two_tasks":
            targets[f"{two_tasks.TASKS[number % 2]}_weight"] = targets.pop("lm_weight")
        yield made._replace(targets=targets)


@functools.cache
def model():
    return nnx.split(families.build(ARCH))


@families.quick_jit
def logp_alone(state, text, prompt, length):
    """Log-probabilities of a text's tokens, of one that lies alone beside its padded prompt."""
    own = nnx.merge(model()[0], state)
    place, ends = np.arange(text.shape[1]), np.full(text.shape, text.shape[1])
    of = jax.numpy.where(np.arange(prompt.shape[1]) < length, text.shape[1], 0)[None]
    hidden = own.hidden(text, place[None], ends, prompts=(prompt, of))
    return jax.nn.log_softmax(own.logits(hidden[0]))


def naive(kind):
    """The terms' sums, position by position."""
    sums = collections.Counter()
    for example in examples(kind):
        first, targets = example.prompt, example.targets
        text = np.array([[IDS.start, *example.tokens[first:-1]]])
        prompt = np.zeros((1, 12), np.int32)
        prompt[0, : first + 1] = [*example.tokens[:first], IDS.close]
        logp = np.asarray(logp_alone(model()[1], text, prompt, first + 1), np.float64)
        for t, token in enumerate(example.tokens[first:].tolist()):
            name = next((task for task in two_tasks.TASKS if f"{task}_weight" in targets), "lm")
            sums[name] -= logp[t, token]
            if kind == "distribution":
                told = targets["top_logprobs"][first - 1 + t]
                gap = told - logp[t, targets["top_ids"][first - 1 + t]]
                sums["match_distribution"] += float((np.exp(told) * gap).sum())
    return sums


@pytest.mark.parametrize("kind", list(LOSSES))
def test_a_packed_text_is_learned_as_it_is_alone_behind_its_prompt(kind):
    loss, made = LOSSES[kind], list(examples(kind))

    @families.quick_jit
    def terms(state, batch):
        return loss.terms(
            nnx.merge(model()[0], state), batch, dropout=0.0, dropout_key=None, remat=False
        )

    found = collections.Counter()
    with jax.default_matmul_precision("highest"):
        expected = naive(kind)
        for batch in BatchStream(made, 0, BatchSpec(2, 16, loss.targets, IDS)):
            for name, term in terms(model()[1], batch).items():
                found[name] += float(term.sum)
    assert {name: pytest.approx(found[name], rel=1e-4) for name in expected} == expected
    assert expected.keys() >= loss.parts.keys()
