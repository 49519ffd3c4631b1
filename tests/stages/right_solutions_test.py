"""A teacher's right solutions, of a table that is read piece by piece."""

import collections
import tracemalloc
import types

import numpy as np
import pyarrow as pa
import pytest

from experiments import tiny_distill
from verifier import config as config_lib
from verifier.data.alignment import Taught
from verifier.grading import corrections
from verifier.stages import right_solutions
from verifier.tables import schemas, store, taught
from verifier.tables.verdicts import Labels
from verifier.text.problem import make_problem

ROWS, TOKENS, TOLD = 4_000, 150, 5
PROBLEMS = [make_problem(f"How many are {n}?", None, "7", "made", "train") for n in range(40)]
EACH = ROWS // len(PROBLEMS)


def lists(flat, count):
    """Flat values as that many lists of one length."""
    ends = np.arange(0, len(flat) + 1, len(flat) // count, dtype=np.int32)
    return pa.ListArray.from_arrays(ends, flat)


def samples():
    rng = np.random.default_rng(0)
    tokens = ROWS * TOKENS
    logprobs = -rng.random((tokens, TOLD), np.float32)
    tops = rng.integers(0, 50, tokens * TOLD, np.int32)
    texts = [f"{number}\n#### {number % 9}" for number in range(ROWS)]
    columns = {
        "problem_id": [PROBLEMS[n // EACH].problem_id for n in range(ROWS)],
        "sample_id": np.arange(ROWS) % EACH,
        "solution": texts,
        "tokens": lists(pa.array(rng.integers(0, 50, tokens, np.int32)), ROWS),
        "forced": lists(pa.array(rng.random(tokens) < 0.1), ROWS),
        "logprobs": lists(pa.array(logprobs[:, 0]), ROWS),
        "finish": np.where(rng.random(ROWS) < 0.9, "eos", "length"),
        "generator": ["g"] * ROWS,
        "seed": np.zeros(ROWS, np.int64),
        "calculator_errors": np.zeros(ROWS, np.int32),
        "top_ids": lists(lists(pa.array(tops), tokens), ROWS),
        "top_logprobs": lists(lists(pa.array(logprobs.reshape(-1)), tokens), ROWS),
    }
    fields = [schemas.types_of("samples").field(name) for name in columns]
    return pa.table(columns).cast(pa.schema(fields))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The samples of a teacher, of which every third is wrong, and their labels."""
    root, rows = tmp_path_factory.mktemp("taught"), samples()
    labels = {name: rows[name] for name in ("problem_id", "sample_id")}
    labels |= {"answer": ["7"] * ROWS, "correct": np.arange(ROWS) % 3 > 0, "grader": ["g"] * ROWS}
    fields = pa.schema([schemas.types_of("labels").field(name) for name in labels])
    for table, made in (("samples", rows), ("labels", pa.table(labels).cast(fields))):
        writer = store.TableWriter(root / table, table, {}, schema=made.schema)
        for first in range(0, ROWS, 500):
            writer.append(made.slice(first, 500))
        writer.finish({})
    return root


def context_of(root, *assignments):
    """As far as a stage's context is asked for here; samples come out of a log of ids."""
    stage = types.SimpleNamespace(reads={})
    return types.SimpleNamespace(
        config=config_lib.override(tiny_distill.get_config(), list(assignments)),
        source=lambda role: root / role,
        input=lambda role: types.SimpleNamespace(stage=stage),
        folder=lambda: root / "student",
        title=lambda: "finetune",
    )


def right_in_order(root):
    """All of them at once, in stored order."""
    reader = taught.TaughtReader(root / "samples", Labels(root / "labels"))
    return [each for batch in reader.batches() for each in taught.solutions(batch)]


@pytest.mark.parametrize("most", [0, 7])
def test_solutions_are_those_of_the_table_in_its_order(stored, most):
    context = context_of(stored, f"distill.samples_per_problem={most}")
    found = right_solutions.taught(context, PROBLEMS, "", TOLD)
    wanted, seen = [], collections.Counter()
    for each in right_in_order(stored):
        seen[each.problem_id] += 1
        if not most or seen[each.problem_id] <= most:
            wanted.append(each)
    assert len(found.solutions) == len(wanted) == len(found.problem_ids)
    assert found.problem_ids == [each.problem_id for each in wanted]
    for one, other in zip(found.solutions, wanted, strict=True):
        assert one.text == other.text and one.problem.problem_id == other.problem_id
    for row in np.random.default_rng(1).permutation(len(wanted))[:200].tolist():
        for one, other in zip(found.solutions[row].taught, wanted[row].taught, strict=True):
            assert one.dtype == other.dtype and np.array_equal(one, other)


def test_what_is_held_is_a_small_part_of_the_table(stored):
    tracemalloc.start()
    found = right_solutions.taught(context_of(stored), PROBLEMS, "", TOLD)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    whole = len(found.solutions) * TOKENS * (8 + 8 * TOLD)
    assert held < 0.1 * whole and peak < 0.7 * whole  # the peak: a batch of rows


def test_a_token_stays_among_fewer_alternatives_of_it():
    """A log tells the likeliest ones, and behind them the token itself where it is none of them."""
    ids = np.array([[7, 8, 9, 5], [7, 5, 8, 9]], np.int32)
    logprobs = np.array([[-0.1, -3, -4, -9], [-0.1, -3, -4, -5]], np.float32)
    told = Taught(np.array([5, 5], np.int32), np.array([-9, -3], np.float32), ids, logprobs)
    fewer = right_solutions._of_width(told, 3)
    assert fewer.top_ids_SC.tolist() == [[7, 8, 5], [7, 5, 8]]
    np.testing.assert_array_equal(
        fewer.top_logprobs_SC, np.array([[-0.1, -3, -9], [-0.1, -3, -4]], np.float32)
    )


def test_answers_that_are_learned_are_those_that_solutions_were_judged_by(stored, monkeypatch):
    own = PROBLEMS[0]
    wrong = [{"problem_id": own.problem_id, "old": own.answer, "new": "8", "reason": "x"}]
    monkeypatch.setattr(corrections, "known", lambda: wrong)
    for more, answer in (("true", "8"), ("false", own.answer)):
        context = context_of(stored, f"label.fix_labels={more}")
        found = right_solutions.taught(context, PROBLEMS, "", TOLD)
        row = found.problem_ids.index(own.problem_id)
        assert found.solutions[row].problem.answer == answer
