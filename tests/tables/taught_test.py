"""A teacher's table is read batch by batch; what is not learned from is counted by reason."""

import collections

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.tables.store_test import label, sample
from verifier.errors import StoreError, TablesError, TokenizerError
from verifier.grading import graders
from verifier.tables import lists
from verifier.tables.schemas import variant
from verifier.tables.store import TableWriter
from verifier.tables.taught import (
    CUT_SHORT,
    KEPT,
    NO_ANSWER,
    OTHER_TEXT,
    WRONG,
    TaughtReader,
    solutions,
)
from verifier.tables.verdicts import Labels, Verdicts, graded
from verifier.text.known_pieces import KnownPieces

TOPS = ("top_ids", "top_logprobs")
LETTERS = "0123456789ab+=# \n"


def decode(ids):
    return "".join(LETTERS[token] for token in ids if token < len(LETTERS))


def drawn(problem, sample_id, text, **changes):
    """A sample in the ids of LETTERS, with three likely ids at each token."""
    random = np.random.default_rng(sample_id)
    tokens = [*(LETTERS.index(letter) for letter in text), len(LETTERS)]
    ids_TU = np.stack([random.permutation(len(LETTERS))[:3] for _ in tokens]).astype(np.int32)
    row = sample(
        problem,
        sample_id,
        solution=text,
        tokens=tokens,
        forced=[False] * len(tokens),
        logprobs=random.normal(-2, 1, len(tokens)).astype(np.float32),
        top_ids=ids_TU,
        top_logprobs=np.sort(random.normal(-2, 1, ids_TU.shape))[:, ::-1].astype(np.float32),
    )
    return row | changes


def written(folder, rows, part=3, more=TOPS, less=()):
    """A table in parts of whole problems."""
    table = TableWriter(folder, "samples", {}, schema=variant("samples", more, less))
    problems = list(dict.fromkeys(row["problem_id"] for row in rows))
    for first in range(0, len(problems), part):
        some = problems[first : first + part]
        table.append([row for row in rows if row["problem_id"] in some])
    table.finish({})
    return folder


def everything_right(samples):
    yes = np.ones(len(samples), bool)
    return Verdicts(yes, yes)


ROWS = [drawn(f"p{n}", j, f"{n}+{j}={n + j}\n#### {n + j}") for n in range(8) for j in range(5)]


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_all_rows_come_once_in_their_order_however_many_are_held(tmp_path, rows):
    reader = TaughtReader(written(tmp_path, ROWS), everything_right, decode)
    batches = list(reader.batches(rows))
    assert max(map(len, batches)) <= rows and reader.counts == {KEPT: len(ROWS)}
    found = [each for batch in batches for each in solutions(batch)]
    assert len(found) == len(ROWS)
    for each, row in zip(found, ROWS, strict=True):
        assert (each.problem_id, each.sample_id) == (row["problem_id"], row["sample_id"])
        assert each.text == row["solution"] == decode(each.taught.tokens_S)
        for name, column in (("logprobs_S", "logprobs"), ("top_logprobs_SC", "top_logprobs")):
            np.testing.assert_array_equal(getattr(each.taught, name), row[column])
        np.testing.assert_array_equal(each.taught.top_ids_SC, row["top_ids"])


def test_what_was_forced_is_certain(tmp_path):
    """Behind a stop text the end is written, whatever the teacher would have gone on with."""
    forced = [False, True, False, True]
    row = drawn("p", 0, "1+1", forced=forced)
    reader = TaughtReader(written(tmp_path, [row]), everything_right, decode)
    (each,) = (each.taught for batch in reader.batches() for each in solutions(batch))
    for t, is_forced in enumerate(forced):
        if is_forced:
            assert each.logprobs_S[t] == 0 and each.top_ids_SC[t].tolist() == [row["tokens"][t]] * 3
            assert each.top_logprobs_SC[t].tolist() == [0, -np.inf, -np.inf]
        else:
            assert each.logprobs_S[t] == row["logprobs"][t]
            np.testing.assert_array_equal(each.top_ids_SC[t], row["top_ids"][t])
            np.testing.assert_array_equal(each.top_logprobs_SC[t], row["top_logprobs"][t])


def test_reasons_add_up_to_all_rows_and_each_is_found(tmp_path):
    random = np.random.default_rng(3)
    rows, labels, expected = [], [], collections.Counter()
    for n in range(9):
        for j in range(6):
            reason = str(random.choice([KEPT, CUT_SHORT, NO_ANSWER, WRONG, OTHER_TEXT]))
            row = drawn(f"p{n}", j, f"{n}=#### {j}")
            row |= {"finish": "length"} if reason == CUT_SHORT else {}
            row |= {"solution": "something else"} if reason == OTHER_TEXT else {}
            right = reason in (KEPT, OTHER_TEXT) or (reason == CUT_SHORT and j % 2 == 0)
            answer = None if reason == NO_ANSWER else "1"
            labels.append(label(f"p{n}", j, answer=answer, correct=right))
            rows.append(row)
            expected[reason] += 1
    random.shuffle(labels)  # of another order than the samples
    table = TableWriter(tmp_path / "labels", "labels")
    table.append(sorted(labels, key=lambda row: row["problem_id"]))
    table.finish({})
    reader = TaughtReader(written(tmp_path / "samples", rows), Labels(tmp_path / "labels"), decode)
    kept = sum(len(batch) for batch in reader.batches(5))
    assert reader.counts == expected and kept == expected[KEPT] and len(expected) == 5
    assert list(reader.batches(50)) and reader.counts == expected  # read again, counted anew
    assert f"{kept:,} of 54 solutions are learned from; left out: " in reader.said()
    for reason in (CUT_SHORT, NO_ANSWER, WRONG, OTHER_TEXT):
        assert f"{expected[reason]} {reason}" in reader.said()


def test_a_grader_judges_as_labels_do(tmp_path):
    texts = ["1+1=2\n#### 2", "1+1=3\n#### 3", "+"]
    rows = [drawn("a", j, text) for j, text in enumerate(texts)]
    folder = written(tmp_path, rows)
    with graders.opened("numeric") as grade:
        reader = TaughtReader(folder, graded(grade, {"a": "2"}))
        assert [row["sample_id"] for batch in reader.batches() for row in batch.to_pylist()] == [0]
        assert reader.counts == {KEPT: 1, WRONG: 1, NO_ANSWER: 1}
        with pytest.raises(TablesError, match="no right answer of problem a"):
            next(TaughtReader(folder, graded(grade, {})).batches())


PIECES = ("pieces", "top_pieces", "top_logprobs")
UNKNOWN = ("tokens", "forced", "seed", "calculator_errors")


def told(problem, sample_id, pieces, tops):
    """A sample as a log of completions becomes one; its alternatives may be few or many."""
    row = sample(problem, sample_id, solution=b"".join(pieces).decode())
    row |= {"pieces": pieces, "logprobs": [-float(n) for n in range(len(pieces))]}
    row |= {"top_pieces": tops, "top_logprobs": [[-1.0 - n for n in range(len(t))] for t in tops]}
    return {name: value for name, value in row.items() if name not in UNKNOWN}


def test_pieces_become_ids_that_spell_them(tmp_path):
    rows = [
        told("a", 0, ["é".encode()[:1], "é".encode()[1:], b" 2", b""], [[b"x"], [b"y", b" 2"]] * 2),
        told("b", 0, [b"#### ", b"2"], [[b"#### ", b"x", b""], [b"2"]]),
    ]
    rows.append(told("c", 0, [b"lost"], [[b"lost"]]) | {"solution": "other"})
    rows.append(told("d", 0, [b"#", b"", b"2"], [[b"#"]] * 3))  # whose bytes a server has lost
    reader = TaughtReader(written(tmp_path, rows, 1, PIECES, UNKNOWN), everything_right)
    assert reader.words == "pieces" and reader.has_tops
    known = reader.known_pieces()
    assert {known.piece_bytes(token) for token in range(known.vocab_size)} == {
        piece
        for row in rows
        for piece in [*row["pieces"], *(each for tops in row["top_pieces"] for each in tops)]
    }
    found = [each.taught for batch in reader.batches() for each in solutions(batch, known)]
    assert reader.counts == {KEPT: 2, OTHER_TEXT: 2}
    for each, row in zip(found, rows, strict=False):
        assert known.decode(each.tokens_S) == row["solution"]
        assert [known.piece_bytes(token) for token in each.tokens_S] == row["pieces"]
        for ids, logprobs, tops in zip(
            each.top_ids_SC, each.top_logprobs_SC, row["top_pieces"], strict=True
        ):
            assert [known.piece_bytes(token) for token in ids[: len(tops)]] == tops
            assert np.isneginf(logprobs[len(tops) :]).all()
            assert np.isfinite(logprobs[: len(tops)]).all()
    assert found[0].tokens_S[-1] == known.end_id
    with pytest.raises(TokenizerError, match="known by their bytes alone"):
        known.encode("2")


def test_texts_without_words_are_read_as_they_are(tmp_path):
    less = (*UNKNOWN, "logprobs")
    rows = [
        {name: value for name, value in sample("a", j).items() if name not in less}
        for j in range(3)
    ]
    reader = TaughtReader(written(tmp_path, rows, 1, (), less), everything_right)
    assert reader.words == "" and not reader.has_tops
    assert sum(map(len, reader.batches())) == 3


def test_what_is_wrong_is_named(tmp_path):
    rows = [drawn("a", 0, "1"), drawn("a", 1, "12", logprobs=[-1.0])]
    uneven = TaughtReader(written(tmp_path / "uneven", rows), everything_right)
    with pytest.raises(TablesError, match=r"row 2: 1 logprobs beside 3 tokens"):
        list(uneven.batches())
    table = TableWriter(tmp_path / "labels", "labels")
    table.append([label("a", 0)])
    table.finish({})
    folder = written(tmp_path / "more", [drawn("a", j, "1") for j in range(2)])
    with pytest.raises(TablesError, match=r"labels: no label of problem a, sample 1"):
        list(TaughtReader(folder, Labels(tmp_path / "labels")).batches())
    with pytest.raises(StoreError, match="there is nothing"):
        TaughtReader(tmp_path / "nowhere", everything_right)


def test_a_large_vocabulary_takes_at_most_60_bytes_a_token(tmp_path):
    """Of five ids each, drawn from as many as Qwen has: nothing repeats, nothing is packed well."""
    random = np.random.default_rng(0)
    rows = []
    for n in range(100):
        ids_TU = random.integers(0, 151_936, (200, 5)).astype(np.int32)
        logprobs_TU = -np.sort(random.exponential(3, ids_TU.shape)).astype(np.float32)
        words = {"tokens": ids_TU[:, 0], "logprobs": logprobs_TU[:, 0], "forced": [False] * 200}
        rows.append(sample(f"p{n}", **words, top_ids=ids_TU, top_logprobs=logprobs_TU))
    folder = written(tmp_path, rows, 100)
    size = sum(part.stat().st_size for part in folder.glob("part-*.parquet"))
    assert size / (100 * 200) <= 60
    assert pq.ParquetFile(next(folder.glob("part-*"))).metadata.num_rows == 100


def test_matrices_become_the_lists_that_lists_in_lists_do():
    kind = variant("samples", TOPS).field("top_ids").type
    matrices = [np.arange(6).reshape(2, 3), np.zeros((0, 3), int), np.arange(3).reshape(1, 3)]
    made = lists.array([each.astype(np.int32) for each in matrices], kind)
    assert made.type == kind and made.to_pylist() == [each.tolist() for each in matrices]
    assert lists.array([each.tolist() for each in matrices], kind).to_pylist() == made.to_pylist()


def test_ids_of_pieces_do_not_depend_on_their_order():
    one, other = KnownPieces([b"b", b"", b"a"]), KnownPieces([b"a", b"b", b"a"])
    assert [one.piece_bytes(n) for n in range(3)] == [other.piece_bytes(n) for n in range(3)]
    assert one.end_id == 2 and one.piece_bytes(2) == b""
