"""Which examples the training stages make of the tables."""

from __future__ import annotations

import types

import numpy as np
import pytest

from verifier import config as config_lib
from verifier import training, workdir
from verifier.config import UserError
from verifier.data import store

PROBLEMS = [types.SimpleNamespace(problem_id=name) for name in "abc"]


class Tables:
    """What `_value_examples` asks of a run, over tables with rows in a given order."""

    def __init__(self, folder, order, labels=None, **knobs):
        self.config = config_lib.Config(verify=config_lib.VerifyConfig(**knobs))
        self.dir = workdir.Workdir(folder)
        keys = [(problem.problem_id, j) for problem in PROBLEMS for j in range(4)]
        samples = [
            {
                "problem_id": name, "sample_id": j, "solution": "", "tokens": [ord(name), 10 + j // 2, 2], "forced": [False, j == 1, False],
                "logprobs": [0.0] * 3, "finish": "eos", "generator": "g", "seed": 0, "calculator_errors": 0,
            }
            for name, j in keys
        ]  # fmt: skip
        made = [
            {"problem_id": name, "sample_id": j, "answer": None, "correct": (ord(name) + j) % 3 == 0, "grader": "x"} for name, j in keys
        ]
        self.write("samples", samples, order)
        self.write("labels", made, order if labels is None else labels)

    def write(self, table, rows, order):
        writer = store.TableWriter(self.dir.table(table, "train"), table, {})
        by_problem = [[row for row in rows if row["problem_id"] == "abc"[n]] for n in order]
        for part in by_problem:
            writer.append(part)
        writer.finish({})

    def samples(self, split, reader):
        return store.read_table(self.dir.table("samples", split), "samples")

    def prompt_ids(self, problem, tokenizer):
        return [1, ord(problem.problem_id)]

    def examples(self):
        return training._value_examples(self, "train", PROBLEMS, None, False)


def plain(examples):
    return [(each.name, *(field.tolist() for field in each[:4])) for each in examples]


@pytest.mark.parametrize("knobs", [{}, {"deduplicate": True}, {"samples_per_problem": 3}])
def test_examples_do_not_depend_on_the_order_in_which_problems_were_sampled(tmp_path, knobs):
    first = Tables(tmp_path / "first", [0, 1, 2], **knobs).examples()
    other = Tables(tmp_path / "other", [2, 0, 1], labels=[1, 2, 0], **knobs).examples()
    assert plain(first) == plain(other)
    names = [f"{name}/{j}" for name in "abc" for j in range(4)]
    wanted = {"deduplicate": names[::2], "samples_per_problem": [name for name in names if not name.endswith("3")]}
    assert [each.name for each in first] == wanted.get(next(iter(knobs), ""), names)
    for each in first:
        name, j = each.name.split("/")
        assert each.tokens.tolist() == [1, ord(name), ord(name), 10 + int(j) // 2, 2]
        assert np.unique(each.value_target[2:]).tolist() == [float((ord(name) + int(j)) % 3 == 0)]


def test_labels_of_other_samples_are_refused(tmp_path):
    tables = Tables(tmp_path, [0, 1, 2])
    store.remove_table(tables.dir.table("labels", "train"))
    tables.write("labels", [{"problem_id": "a", "sample_id": 0, "answer": None, "correct": True, "grader": "x"}], [0])
    with pytest.raises(UserError, match="labels of train are not of the samples.*label anew"):
        tables.examples()
