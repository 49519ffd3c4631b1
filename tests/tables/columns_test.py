"""Solutions as columns: the same answers as one by one; tables read in pieces: the same figures as
rows in a list.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.evaluate.held import by_problem, scan_of
from verifier import errors, rerank
from verifier.config import LabelConfig, ReportConfig
from verifier.evaluate import curves, metrics
from verifier.evaluate.candidates import Candidates, arrange
from verifier.grading import extraction, graders
from verifier.grading.answer import GRADERS, grade, vote_key
from verifier.rerank import Sources
from verifier.tables import assembly, reading, scanning, store, stored_splits
from verifier.tables.parts import parts_of
from verifier.text.split import TEST, Split

CONFIG = ReportConfig(ks=(1, 3), resamples=30)
TEXTS = st.lists(
    st.sampled_from(
        [
            "####",
            "#",
            " ",
            "\n",
            "18",
            "-7.5",
            "$1,000",
            "x",
            ".",
            "3/4",
            "\u00bd",
            "so it is",
            "The answer is ",
            "A: ",
            "**",
            "\\boxed{7}",
        ]
    ),
    max_size=8,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=12))
@example(["#####\n18-7.5"])
def test_answers_of_a_column_are_those_of_its_solutions(texts: list[str]) -> None:
    for grader, mode in GRADERS.items():
        assert extraction.answers(pa.array(texts), grader).to_pylist() == [
            mode.extract(text) for text in texts
        ], grader


def made_rows(seed: int, problems: int = 9) -> list[dict]:
    """Samples of three splits with answers of many kinds, in any order; problems have unequal
    numbers of samples.
    """
    rng = np.random.default_rng(seed)
    endings = [
        "#### {0}",
        "#### {0}.0",
        "#### {1}",
        "#### ${1}",
        "nothing",
        "#### x",
        "#### {0}\n#### {1}",
    ]
    rows = []
    for split in ("test", "heldout", "test_greedy"):
        for p in range(problems):
            for j in range(1 if split == "test_greedy" else int(rng.integers(3, 9))):
                text = f"way {rng.integers(3)}\n" + endings[rng.integers(len(endings))].format(
                    p, p + rng.integers(1, 3)
                )
                score = float(np.float32(rng.integers(0, 12) / 12))  # ties are common
                key = {"problem_id": f"{split[:4]}-{p}", "sample_id": j, "split": split}
                rows.append({**key, "solution": text, "answer": str(p), "score": score})
    return [rows[index] for index in rng.permutation(len(rows))]


def naive(rows: list[dict], grader: str) -> dict[str, Candidates]:
    """Every row graded by itself, all held in lists."""
    out = {}
    for split in ("test", "heldout", "test_greedy"):
        own = [row for row in rows if row["split"] == split]
        graded = [grade(row["solution"], row["answer"], grader) for row in own]
        known: dict = {}
        key = [
            -1
            if vote_key(one.answer) is None
            else known.setdefault(vote_key(one.answer), len(known))
            for one in graded
        ]
        ids, numbers, scores = (
            [row[name] for row in own] for name in ("problem_id", "sample_id", "score")
        )
        out[Split.named(split)] = arrange(
            ids,
            np.array(numbers),
            np.array(key),
            np.array([one.correct for one in graded]),
            np.array(scores),
        )
    return out


def figures(candidates: dict[str, Candidates]) -> dict:
    return metrics.summarise(candidates, CONFIG.ks, CONFIG.resamples, 0)


@pytest.mark.parametrize("grader", ["numeric", "flexible"])
@pytest.mark.parametrize("seed", range(4))
def test_any_row_groups_pieces_and_order_give_the_figures_of_rows_in_a_list(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, grader: str, seed: int
) -> None:
    rows = made_rows(seed)
    monkeypatch.setattr(scanning, "PIECE", 5 + seed)
    path = tmp_path / "made.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=13)
    splits = rerank.read(Sources(path), LabelConfig(grader))
    assert figures({name: split.candidates for name, split in splits.items()}) == figures(
        naive(rows, grader)
    )
    by_key = {
        (Split.named(row["split"]), row["problem_id"], row["sample_id"]): row["solution"]
        for row in rows
    }
    for name, split in splits.items():
        chosen = np.random.default_rng(seed).permutation(len(split.rows))[:6]
        ids, numbers = (
            split.rows[column].take(chosen).to_pylist() for column in ("problem_id", "sample_id")
        )
        assert split.cells(chosen, ["solution"])["solution"] == [
            by_key[name, *key] for key in zip(ids, numbers, strict=True)
        ]


@pytest.mark.parametrize("seed", range(3))
def test_problems_may_lie_in_several_parts_and_scores_in_another_order(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rows = made_rows(seed)
    monkeypatch.setattr(scanning, "PIECE", 7)
    rng = np.random.default_rng(seed)
    gold = {row["problem_id"]: row["answer"] for row in rows}
    problems = pa.table(
        {"problem_id": list(gold), "question": list(gold), "answer": list(gold.values())}
    )
    (tmp_path / "problems").mkdir()
    pq.write_table(problems, tmp_path / "problems" / "part-00000.parquet")
    for split in ("test", "heldout", "test_greedy"):
        own = [row for row in rows if row["split"] == split]
        _parts(
            tmp_path / "samples" / f"split={split}",
            own,
            ["problem_id", "sample_id", "solution"],
            4,
            3,
        )
        shuffled = [own[index] for index in rng.permutation(len(own))]
        _parts(
            tmp_path / "scores" / f"split={split}",
            shuffled,
            ["problem_id", "sample_id", "score"],
            3,
            5,
        )
    splits = rerank.read(Sources(tmp_path / "samples"), LabelConfig())
    assert figures({name: split.candidates for name, split in splits.items()}) == figures(
        naive(rows, "numeric")
    )


def _parts(
    folder: pathlib.Path, rows: list[dict], names: list[str], parts: int, group: int
) -> None:
    """Rows in parts of several row groups each, cut anywhere."""
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist([{name: row[name] for name in names} for row in rows])
    ends = [len(table) * part // parts for part in range(parts + 1)]
    for part, (first, end) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
        pq.write_table(
            table.slice(first, end - first),
            folder / f"part-{part:05d}.parquet",
            row_group_size=group,
        )


def test_rows_come_back_in_the_order_asked_for_and_only_their_row_groups_are_read(
    tmp_path: pathlib.Path,
) -> None:
    table = pa.table({"a": range(100), "b": [str(n) for n in range(100)]})
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=10)
    scan = scan_of(tmp_path / "one.parquet", ["a", "b"])
    rows = np.array([93, 5, 5, 47])
    assert scan.take(rows, ["b", "a"]).to_pydict() == {
        "b": ["93", "5", "5", "47"],
        "a": [93, 5, 5, 47],
    }
    group, cost = scan.groups_of(rows)
    assert group.tolist() == [9, 0, 0, 4] and cost.tolist() == [10] * 10
    seen: list[int] = []
    whole = scan._decoded
    scan._decoded = lambda group, columns: seen.append(group.number) or whole(group, columns)
    scan.take(rows, ["a"])
    assert sorted(seen) == [0, 4, 9]


def test_a_file_behind_an_object_store_is_fetched_once_for_all_its_row_groups(
    bucket: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made_rows(0)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "made.parquet", row_group_size=13)
    there = bucket / "made.parquet"
    there.write_bytes((tmp_path / "made.parquet").read_bytes())
    fetched: list[pathlib.Path] = []
    read_bytes = type(there).read_bytes
    monkeypatch.setattr(
        type(there), "read_bytes", lambda path: fetched.append(path) or read_bytes(path)
    )
    here, elsewhere = (
        rerank.read(Sources(path), LabelConfig()) for path in (tmp_path / "made.parquet", there)
    )
    for name, split in here.items():
        chosen = np.arange(len(split.rows))
        assert elsewhere[name].cells(chosen, ["solution"]) == split.cells(chosen, ["solution"])
    assert figures({name: split.candidates for name, split in elsewhere.items()}) == figures(
        naive(rows, "numeric")
    )
    assert fetched == [there]


def test_a_slow_grader_is_given_one_piece_at_a_time(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"#### {n}" for n in range(100)]
    table = pa.table(
        {
            "problem_id": ["p"] * 100,
            "sample_id": pa.array(range(100), pa.int32()),
            "solution": texts,
        }
    )
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=50)
    monkeypatch.setattr(scanning, "PIECE", 10)
    samples = stored_splits.read_samples(tmp_path / "one.parquet")
    decoded: list[int] = []
    monkeypatch.setattr(reading, "cast", lambda piece, *_: decoded.append(len(piece)) or piece)

    def slow(solutions: Iterator[str], golds: Iterator[str], *_: object) -> graders.Relabelled:
        for number, (solution, _gold) in enumerate(zip(solutions, golds, strict=True)):
            assert solution == f"#### {number}" and sum(decoded) == 10 * (number // 10 + 1)
        return graders.Relabelled(["1"] * 100, np.ones(100, bool))

    monkeypatch.setattr(graders, "relabel", slow)
    split = assembly.assemble(
        samples, pa.table({"problem_id": ["p"], "answer": ["1"]}), "slow", None
    )
    assert split.candidates.correct_C.all() and sum(decoded) == 100


def test_what_is_wrong_with_a_part_is_named(tmp_path: pathlib.Path) -> None:
    rows = [
        {"problem_id": "p", "sample_id": n, "verifier": "v", "score": 0.5, "token_scores": [0.5]}
        for n in range(4)
    ]
    writer = store.TableWriter(tmp_path / "scores" / "split=test", "scores", {})
    writer.append(rows)
    writer.finish({})
    (part,) = parts_of(tmp_path / "scores" / "split=test")
    content = part.read_bytes()
    part.write_bytes(content[:40] + b"\xff" + content[41:])
    with pytest.raises(
        errors.StoreError, match="part-00000-.*.parquet: changed since it was written"
    ):
        stored_splits.read_scores(tmp_path / "scores" / "split=test")
    part.write_bytes(content[:-9])
    with pytest.raises(errors.StoreError, match="part-00000-.*.parquet: truncated"):
        stored_splits.read_scores(tmp_path / "scores" / "split=test")
    part.unlink()
    with pytest.raises(errors.StoreError, match="part-00000-.*.parquet is missing"):
        stored_splits.read_scores(tmp_path / "scores" / "split=test")


def test_votes_of_the_best_k_of_n_by_brute_force() -> None:
    import itertools

    from verifier.evaluate import rank
    from verifier.evaluate.subsets import vote_shares

    rows = naive(made_rows(5, problems=6), "numeric")[TEST]
    most = rows.smallest
    cells = [(size, k) for size in range(1, most + 1) for k in range(1, size + 1)]
    shares = vote_shares(rows, cells, seed=0, subsets=10_000)
    for size, k in cells:
        for index in range(len(rows.count_P)):
            n = int(rows.count_P[index])
            right = []
            for kept in itertools.combinations(range(n), size):
                some = rows.start_P[index] + list(kept)
                one = arrange(
                    ["p"] * size,
                    rows.sample_id_C[some],
                    rows.answer_C[some],
                    _group_verdicts(rows, index)[list(kept)],
                    rows.score_C[some],  # type: ignore[index]
                )
                right.append(bool(rank.top_k_vote(one, k).correct_P[0]))
            assert shares[size, k][index] == pytest.approx(np.mean(right)), (size, k, index)


def _group_verdicts(rows: Candidates, index: int) -> np.ndarray:
    """Every sample's verdict is that of its answer's best-ranked sample."""
    answers, correct = (by_problem(rows, name)[index] for name in ("answer_C", "correct_C"))
    first = {answer: column for column, answer in reversed(list(enumerate(answers.tolist())))}
    return np.array([answer >= 0 and bool(correct[first[answer]]) for answer in answers.tolist()])


def test_drawn_subsets_come_near_the_exact_shares() -> None:
    rng = np.random.default_rng(0)
    n, problems = 12, 60
    own = np.repeat(np.arange(problems), n)
    right = rng.random(len(own)) < 0.4
    key = np.where(right, 0, rng.integers(1, 4, len(own)))
    rows = arrange(
        [f"{p:02d}" for p in own], np.tile(np.arange(n), problems), key, right, rng.random(len(own))
    )
    exact = curves.majority_at_k(rows, [2, 5, 8], 0, subsets=1000)
    drawn = curves.majority_at_k(rows, [2, 5, 8], 0, subsets=60)
    for k, share_P in exact.items():
        assert (
            abs(share_P.mean() - drawn[k].mean()) < 0.03 and np.abs(share_P - drawn[k]).max() < 0.35
        )
