"""Which examples the verifier's training makes of the tables."""

from __future__ import annotations

import types

import numpy as np
import pytest

from tests.data.labelled_trees_test import same_sums
from tests.shrunk import context
from verifier import config as config_lib
from verifier.data import order
from verifier.data.examples import lm_example
from verifier.errors import UserError
from verifier.run.context import Context
from verifier.stages import stored_samples, verify
from verifier.system import checksums
from verifier.tables import store

PROBLEMS = [types.SimpleNamespace(problem_id=name) for name in "abc"]


class Stage(Context):
    """verify at work, with problems of one letter that are no table."""

    def problems(self, role, split=None):
        return PROBLEMS

    def prompt_ids(self, problem, tokenizer):
        return [1, ord(problem.problem_id)]


class Tables:
    """Samples and labels with rows in a given order, and what is learned from them."""

    def __init__(self, folder, order, labels=None, **knobs):
        config = config_lib.Config(verify=config_lib.VerifyConfig(**knobs))
        at_work = context(config, folder, "verify")
        self.context = Stage(config, folder, at_work.stage, at_work.stages)
        keys = [(problem.problem_id, j) for problem in PROBLEMS for j in range(4)]
        samples = [
            {
                "problem_id": name,
                "sample_id": j,
                "solution": "",
                "tokens": [ord(name), 10 + j // 2, 2],
                "forced": [False, j == 1, False],
                "logprobs": [0.0] * 3,
                "finish": "eos",
                "generator": "g",
                "seed": 0,
                "calculator_errors": 0,
            }
            for name, j in keys
        ]
        made = [
            {
                "problem_id": name,
                "sample_id": j,
                "answer": None,
                "correct": (ord(name) + j) % 3 == 0,
                "grader": "x",
            }
            for name, j in keys
        ]
        self.write("samples", samples, order)
        self.write("labels", made, order if labels is None else labels)

    def write(self, table, rows, order):
        writer = store.TableWriter(self.context.source(table), table, {})
        by_problem = [[row for row in rows if row["problem_id"] == "abc"[n]] for n in order]
        for part in by_problem:
            writer.append(part)
        writer.finish({})

    def examples(self, vocab_size=128):
        reader = types.SimpleNamespace(vocab_size=vocab_size)
        samples = stored_samples.labelled(self.context, verify.TRAINED_ON, reader, False)
        return verify._examples(self.context, verify.TRAINED_ON, samples, reader, False)

    def noted(self, table, **settings):
        """Notes in a table's manifest what it was made from."""
        path = self.context.source(table) / "manifest.json"
        checksums.write_sealed(path, store.read_manifest(path.parent) | {"settings": settings})


def plain(examples):
    return [
        (each.name, each.tokens.tolist(), {key: a.tolist() for key, a in each.targets.items()})
        for each in examples
    ]


@pytest.mark.parametrize(
    "knobs", [{}, {"deduplicate": True}, {"samples_per_problem": 3}, {"problems": 2}]
)
def test_examples_do_not_depend_on_the_order_in_which_problems_were_sampled(tmp_path, knobs):
    first = Tables(tmp_path / "first", [0, 1, 2], **knobs).examples()
    other = Tables(tmp_path / "other", [2, 0, 1], labels=[1, 2, 0], **knobs).examples()
    assert plain(first) == plain(other)
    names = [f"{name}/{j}" for name in "abc" for j in range(4)]
    wanted = {
        "deduplicate": names[::2],
        "samples_per_problem": [name for name in names if not name.endswith("3")],
        "problems": [name for name in names if name[0] in "ab"],
    }
    assert [each.name for each in first] == wanted.get(next(iter(knobs), ""), names)
    for each in first:
        name, j = each.name.split("/")
        assert each.tokens.tolist() == [1, ord(name), ord(name), 10 + int(j) // 2, 2]
        label = float((ord(name) + int(j)) % 3 == 0)
        assert np.unique(each.targets["value_target"][2:]).tolist() == [label]


def test_labels_of_other_samples_are_refused(tmp_path):
    tables = Tables(tmp_path, [0, 1, 2])
    store.remove_table(tables.context.source("labels"))
    tables.write(
        "labels",
        [{"problem_id": "a", "sample_id": 0, "answer": None, "correct": True, "grader": "x"}],
        [0],
    )
    with pytest.raises(UserError, match="labels of train are not of the samples.*label anew"):
        tables.examples()


def test_labels_of_samples_that_were_drawn_anew_are_refused_though_their_names_are_the_same(
    tmp_path,
):
    tables = Tables(tmp_path, [0, 1, 2])
    tables.noted("labels", samples=tables.context.id_of("samples"))
    assert len(tables.examples()) == 12
    tables.noted("labels", samples="0123456789abcdef")
    with pytest.raises(
        UserError,
        match=r"labels/split=train was made from other samples \(0123.*run the stage 'label' again",
    ):
        tables.examples()


def test_tokens_that_the_verifier_does_not_know_and_rows_of_somebody_else_are_refused(tmp_path):
    tables = Tables(tmp_path, [1, 0, 2])
    assert len(tables.examples(vocab_size=100)) == 12
    with pytest.raises(
        UserError,
        match=(
            "samples of train: problem b, sample 0 has the token 98, but .* is 0 to 97; 8 of "
            "36 tokens"
        ),
    ):
        tables.examples(vocab_size=98)
    tables.noted("samples", generator="g")
    assert len(tables.examples()) == 12
    tables.noted("samples", generator="h")
    with pytest.raises(
        UserError, match="split=train names the generators g in its rows and h in its manifest"
    ):
        tables.examples()


def test_a_verifier_that_would_not_be_trained_is_refused():
    config = config_lib.override(config_lib.Config(), ["verify.epochs=0"])
    with pytest.raises(config_lib.ConfigError, match="would not be trained"):
        verify.check(config)
    verify.check(config_lib.override(config, ["verify.steps=1"]))


@pytest.mark.parametrize("steps", [0, 9])
@pytest.mark.parametrize("lm_weight", [0, 1])
def test_groups_change_who_is_read_together_and_nothing_else(
    tmp_path, monkeypatch, steps, lm_weight
):
    """Alone: every sample followed by a worked solution. In groups: the same weights in sum."""
    knobs = {"steps": steps, "lm_weight": lm_weight, "samples_per_problem": 3}
    truth = [
        lm_example(
            [1, ord(name)],
            [9, 2],
            [False] * 2,
            loss_on_question=False,
            loss_on_forced=True,
            name=name,
        )
        for name in "abcdefghijk"
    ]
    monkeypatch.setattr(verify.fitting, "ground_truth", lambda *_: truth)

    def mixed(group):
        tables = Tables(tmp_path / str(group), [0, 1, 2], group=group, **knobs)
        samples = tables.examples()
        return samples, verify._mixed(tables.context, samples, samples, None)

    samples, apart = mixed(1)
    passes = 2 if steps and lm_weight else 1  # until all worked solutions are read
    wanted = order.mix(samples, truth, 0, passes) if lm_weight else samples
    assert plain(apart.train) == plain(wanted)
    assert plain(apart.heldout) == plain([*samples, *(truth if lm_weight else [])])
    for group in (0, 2):
        _, together = mixed(group)
        for one, other in zip(apart, together, strict=True):
            same_sums(one, other)
            assert len(other) < len(one)
