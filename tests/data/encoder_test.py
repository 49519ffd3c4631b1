"""Batches for a model with an encoder: prompts in rows of their own, beside their texts."""

import numpy as np
import pytest

from verifier.data.batches import BatchSpec, BatchStream, EncoderIds, lm_example
from verifier.errors import DataError
from verifier.train.losses import lm

IDS = EncoderIds(start=90, close=91)


def examples(lengths, **how):
    """Examples whose tokens tell where they come from: prompts below 0, targets above."""
    return [
        lm_example(
            -np.arange(1, prompt + 1) - 100 * number,
            np.arange(1, target + 1) + 100 * number,
            np.arange(target) % 3 == 1,
            **{"loss_on_question": False, "loss_on_forced": False} | how,
            name=f"e{number}",
        )
        for number, (prompt, target) in enumerate(lengths)
    ]


def stream(made, row_tokens=16):
    return BatchStream(made, 0, BatchSpec(2, row_tokens, lm.TARGETS, IDS))


def test_every_text_lies_beside_its_own_prompt_and_learns_what_it_would_in_one_row():
    random = np.random.default_rng(0)
    made = examples(random.integers(1, 9, (30, 2)).tolist())
    found = {}
    for batch in stream(made):
        for row in range(len(batch.tokens_BT)):
            ends, of = batch.ends_BT[row], batch.prompts.ends_BS[row]
            assert set(of) - {0} == set(ends) - {0}
            for end in set(ends) - {0}:
                text, prompt = ends == end, of == end
                assert (np.diff(np.flatnonzero(text)) == 1).all()
                assert (np.diff(np.flatnonzero(prompt)) == 1).all()
                assert batch.positions_BT[row][text].tolist() == list(range(text.sum()))
                targets = {name: array[row][text] for name, array in batch.targets.items()}
                ids = batch.prompts.tokens_BS[row][prompt], batch.tokens_BT[row][text]
                found[-int(ids[0][0]) // 100] = (*ids, targets)
    assert found.keys() == set(range(len(made)))
    for number, (prompt, text, targets) in found.items():
        example = made[number]
        first = example.prompt
        assert prompt.tolist() == [*example.tokens[:first], IDS.close]
        assert text.tolist() == [IDS.start, *example.tokens[first:]]
        for name, array in targets.items():
            assert array.tolist() == example.targets[name][first - 1 :].tolist()
        # position t predicts what stands at t + 1
        counts = targets["lm_weight"] > 0
        assert (targets["lm_target"][counts] == np.append(text[1:], 0)[counts]).all()


def test_a_prompt_or_a_text_that_is_longer_than_its_row_is_left_out():
    made = examples([(15, 3), (16, 3), (3, 15), (3, 16)])
    ends = np.concatenate([batch.prompts.ends_BS for batch in stream(made)])
    assert sum(len(set(row) - {0}) for row in ends) == 2


def test_what_has_no_prompt_or_is_to_predict_it_is_refused():
    with pytest.raises(DataError, match="loss_on_question to false"):
        stream(examples([(3, 3)], loss_on_question=True))
    with pytest.raises(DataError, match="no text behind a prompt"):
        stream(examples([(0, 3)]))
