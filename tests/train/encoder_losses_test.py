"""Losses of texts behind an encoder: it is given the prompts, whatever the loss is."""

import numpy as np
import pytest

from tests.train import fakes
from verifier.data.batches import Prompts
from verifier.train.losses import distill, lm, two_tasks

HOW = {"dropout": 0.0, "dropout_key": None, "remat": False}
LOSSES = {
    "lm": lm.loss(fakes.VOCAB),
    "match_distribution": distill.match_distribution(fakes.VOCAB, 2),
    "match_spans": distill.match_spans(fakes.VOCAB),
    "two_tasks": two_tasks.loss(fakes.VOCAB, 0.5),
}


class Listening(fakes.Decoder):
    """Notes what stands beside its rows."""

    heard = None

    def hidden(self, *rows, prompts=None, **how):
        type(self).heard = prompts
        return super().hidden(*rows, **how)


@pytest.mark.parametrize("name", LOSSES)
def test_an_encoder_is_given_the_prompts(name):
    batch, loss = fakes.random_batch(3), LOSSES[name]
    shape = batch.tokens_BT.shape
    targets = {
        key: batch.targets.get(key, np.zeros((*shape, *target.shape), target.dtype))
        for key, target in loss.targets.items()
    }
    prompts = Prompts(*np.ones((2, *shape), np.int32))
    loss.terms(Listening(), batch._replace(targets=targets, prompts=prompts), **HOW)
    assert Listening.heard is prompts
