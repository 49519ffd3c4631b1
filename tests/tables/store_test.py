"""Tables survive crashes, say what is wrong with them, and come back as they were written."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verifier.errors import StoreError, UserError
from verifier.system import atomic, checksums
from verifier.tables.manifests import read_manifest
from verifier.tables.reading import read_external, read_table
from verifier.tables.schemas import SCHEMAS
from verifier.tables.store import TableWriter, remove_table


def sample(problem, sample_id=0, **changes):
    row = {
        "problem_id": problem,
        "sample_id": sample_id,
        "solution": "1+1=2\n#### 2",
        "tokens": [1, 2, 3],
        "forced": [False, True, False],
        "logprobs": [-0.5, -0.25, -1.0],
        "finish": "eos",
        "generator": "g",
        "seed": 2**40,
        "calculator_errors": 0,
    }
    return row | changes


def label(problem, sample_id=0, **changes):
    return {
        "problem_id": problem,
        "sample_id": sample_id,
        "answer": None,
        "correct": True,
        "grader": "numeric",
    } | changes


def finished(folder, parts, table="samples"):
    writer = TableWriter(folder, table, {"seed": 1})
    for rows in parts:
        writer.append(rows)
    writer.finish({"generator": "g"})
    return folder


def part_of(folder, number):
    """The part of that number, whose name ends in its sum."""
    (part,) = folder.glob(f"part-{number:05d}-*.parquet")
    return part


def test_schemas_are_the_published_ones():
    published = {
        "problems": (
            "problem_id string, question string, solution string, answer string, source "
            "string, split string"
        ),
        "samples": (
            "problem_id string, sample_id int32, solution string, tokens list<int32>, forced "
            "list<bool>, logprobs list<float>, finish string, generator string, seed int64, "
            "calculator_errors int32"
        ),
        "labels": "problem_id string, sample_id int32, answer string, correct bool, grader string",
        "scores": (
            "problem_id string, sample_id int32, verifier string, score float, token_scores "
            "list<float>"
        ),
    }
    for table, columns in published.items():
        kinds = [
            f"{field.name} {str(field.type).replace('item: ', '').replace('element: ', '')}"
            for field in SCHEMAS[table]
        ]
        assert ", ".join(kinds) == columns
    nullable = {
        (table, field.name)
        for table, schema in SCHEMAS.items()
        for field in schema
        if field.nullable
    }
    of_text = {("thoughts", name) for name in ("logprob_base", "logprob_talk", "mixing", "thought")}
    expected = {("problems", "solution"), ("labels", "answer"), ("search", "answer")}
    assert nullable == expected | of_text


def test_rows_come_back(tmp_path):
    rows = [
        sample("a", 0),
        sample(
            "a", 1, tokens=np.arange(4), logprobs=np.zeros(4, np.float32), forced=np.zeros(4, bool)
        ),
    ]
    folder = finished(tmp_path / "split=test", [rows, [sample("b")]])
    table = read_table(folder, "samples")
    assert table.schema == SCHEMAS["samples"]
    assert table["problem_id"].to_pylist() == ["a", "a", "b"]
    assert table["tokens"].to_pylist() == [[1, 2, 3], [0, 1, 2, 3], [1, 2, 3]]
    assert table.slice(0, 1).to_pylist() == [rows[0]]
    assert pq.read_table(part_of(folder, 0), partitioning=None).num_rows == 2


def test_some_columns_in_the_order_asked_for(tmp_path):
    folder = finished(tmp_path, [[sample("a")]])
    assert read_table(folder, "samples", ["seed", "problem_id"]).column_names == [
        "seed",
        "problem_id",
    ]


def test_manifest_is_last_and_complete(tmp_path):
    writer = TableWriter(tmp_path, "samples", {"seed": 1})
    writer.append([sample("a"), sample("a", 1)])
    assert read_manifest(tmp_path) is None and json.loads(
        (tmp_path / "unfinished.json").read_text()
    )["settings"] == {"seed": 1}
    with pytest.raises(StoreError, match="not finished .1 parts"):
        read_table(tmp_path, "samples")
    writer.finish({"generator": "g"})
    manifest = read_manifest(tmp_path)
    assert (manifest["rows"], manifest["generator"], manifest["settings"]) == (2, "g", {"seed": 1})
    assert manifest["parts"][0].keys() == {"name", "rows", "bytes", "sha256"}
    assert not (tmp_path / "unfinished.json").exists()
    with pytest.raises(StoreError, match="finished table"):
        TableWriter(tmp_path, "samples", {"seed": 1})
    remove_table(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_table_can_be_finished_and_read(tmp_path):
    folder = finished(tmp_path, [[]])
    assert (
        read_table(folder, "samples").schema == SCHEMAS["samples"]
        and read_table(folder, "samples").num_rows == 0
    )


def test_goes_on_after_a_crash_between_parts(tmp_path):
    TableWriter(tmp_path, "samples", {"t": [1]}).append([sample("a")])
    again = TableWriter(tmp_path, "samples", {"t": (1,)})
    assert again.present() == {"a"}
    again.append([sample("b")])
    assert again.present() == {"a", "b"}
    again.finish({})
    assert read_table(tmp_path, "samples", ["problem_id"])["problem_id"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_goes_on_after_a_crash_within_a_part(tmp_path, monkeypatch, moment):
    class PowerCut(BaseException):
        pass

    def cut(*_):
        raise PowerCut

    writer = TableWriter(tmp_path, "samples")
    writer.append([sample("a")])
    with monkeypatch.context() as patched:
        patched.setattr(os, moment, cut)
        with pytest.raises(PowerCut):
            writer.append([sample("b")])
    assert list(tmp_path.glob(f"*{atomic.ASIDE}"))
    again = TableWriter(tmp_path, "samples")
    assert again.present() == {"a"} and not list(tmp_path.glob(f"*{atomic.ASIDE}"))
    again.append([sample("b")])
    again.finish({})
    assert read_table(tmp_path, "samples").num_rows == 2


def test_a_full_disk_leaves_earlier_parts_whole(tmp_path, monkeypatch):
    writer = TableWriter(tmp_path, "samples")
    writer.append([sample("a")])

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(
            StoreError, match=r"part-00001.*No space left.*make room.*goes on from there"
        ):
            writer.append([sample("b")])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        part_of(tmp_path, 0).name,
        "unfinished.json",
    ]
    assert writer.present() == {"a"}
    writer.append([sample("b")])  # room was made
    writer.finish({})
    assert read_table(tmp_path, "samples").num_rows == 2


def test_parts_of_other_settings_are_refused(tmp_path):
    TableWriter(tmp_path, "samples", {"sample.temperature": 0.7, "seed": 0}).append([sample("a")])
    with pytest.raises(StoreError, match=r"sample\.temperature: 0\.7 there, 1\.0 now") as error:
        TableWriter(tmp_path, "samples", {"sample.temperature": 1.0, "seed": 0})
    assert str(tmp_path) in str(error.value) and "seed" not in str(error.value)
    (tmp_path / "unfinished.json").unlink()
    with pytest.raises(StoreError, match="no unfinished.json"):
        TableWriter(tmp_path, "samples", {})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([sample("a"), sample("a")], r"problem_id 'a', sample_id 0\) stands twice"),
        ([sample("x")], "problem x is in an earlier part"),
        ([{"problem_id": "a"}], "columns missing .*'tokens'"),
        ([sample("a", score=1.0)], r"unknown \['score'\]"),
        ([sample("a", finish=None)], "'finish' has 1 nulls"),
        ([sample("a", seed="one")], "'seed' must be int64"),
        ([sample("a", 2**40)], "'sample_id' must be int32"),
    ],
)
def test_wrong_rows_are_refused_and_nothing_is_written(tmp_path, rows, message):
    writer = TableWriter(tmp_path, "samples")
    writer.append([sample("x", 7)])
    with pytest.raises(StoreError, match=message):
        writer.append(rows)
    assert len(list(tmp_path.glob("*.parquet"))) == 1


def test_splits_are_read_together(tmp_path):
    for split in ("train", "test"):
        finished(tmp_path / "tables" / "labels" / f"split={split}", [[label("a")]], "labels")
    for path in (tmp_path, tmp_path / "tables", tmp_path / "tables" / "labels"):
        table = read_table(path, "labels", ["problem_id", "correct"])
        assert table.to_pydict() == {
            "problem_id": ["a", "a"],
            "correct": [True, True],
            "split": ["test", "train"],
        }
    assert "split" not in read_table(tmp_path / "tables/labels/split=train", "labels").column_names
    assert read_table(tmp_path / "tables/labels/split=train", "labels", ["split"])[
        "split"
    ].to_pylist() == ["train"]
    with pytest.raises(StoreError, match="no table 'scores' .there: labels"):
        read_table(tmp_path, "scores")


def test_a_truncated_part_is_named(tmp_path):
    part = part_of(finished(tmp_path / "t", [[sample("a")]]), 0)
    whole = part.read_bytes()
    part.write_bytes(whole[:-100])
    with pytest.raises(
        StoreError,
        match=rf"{part.name}: truncated: {len(whole) - 100:,} bytes; .*expects {len(whole):,}",
    ):
        read_table(tmp_path / "t", "samples")
    alone = tmp_path / "alone.parquet"
    alone.write_bytes(whole[:-100])
    with pytest.raises(
        StoreError,
        match=r"alone\.parquet: not a whole Parquet file .*expected one that ends in its footer",
    ):
        read_table(alone, "samples")


def test_a_part_that_disagrees_with_the_manifest_is_named(tmp_path):
    folder = finished(tmp_path, [[sample("a")], [sample("b")]])
    part = part_of(folder, 1)
    whole = part.read_bytes()
    part.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(StoreError, match=f"{part.name}: changed since it was written"):
        read_table(folder, "samples", ["problem_id"])
    part.unlink()
    with pytest.raises(StoreError, match=f"{part.name} is missing"):
        read_table(folder, "samples")
    part.write_bytes(whole)
    (folder / "part-00002.parquet").write_bytes(whole)
    with pytest.raises(StoreError, match="part-00002.parquet is not in manifest.json"):
        read_table(folder, "samples")


def test_foreign_files(tmp_path):
    names = pa.array(["a", "a"], pa.large_string())  # as polars writes text
    table = pa.table(
        {"problem_id": names, "sample_id": [0, 1], "solution": ["x", "y"], "score": [0.5, 1]}
    )
    pq.write_table(table, tmp_path / "mine.parquet")
    read = read_table(tmp_path / "mine.parquet", "samples", ["problem_id", "solution", "score"])
    assert read.schema.field("problem_id").type == pa.string() and read["score"].to_pylist() == [
        0.5,
        1.0,
    ]
    with pytest.raises(
        StoreError,
        match=r"mine\.parquet: no column 'tokens'; it has problem_id, sample_id, solution, score",
    ):
        read_table(tmp_path / "mine.parquet", "samples")
    pq.write_table(pa.concat_tables([table, table.slice(1)]), tmp_path / "twice.parquet")
    with pytest.raises(
        StoreError, match=r"twice\.parquet: .problem_id 'a', sample_id 1. stands twice"
    ):
        read_table(tmp_path / "twice.parquet", "samples", ["solution"])
    with pytest.raises(StoreError, match="there is nothing"):
        read_table(tmp_path / "none.parquet", "samples")


def test_jsonl_files(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text(
        '{"problem_id": "a", "sample_id": 0, "answer": 18}\n\n{"problem_id": "a", "sample_id": '
        '1, "answer": "18.0"}\n'
    )
    assert read_table(path, "labels", ["sample_id", "answer"]).to_pydict() == {
        "sample_id": [0, 1],
        "answer": ["18", "18.0"],
    }
    assert read_external(path).column_names == ["problem_id", "sample_id", "answer"]
    path.write_text('{"problem_id": "a"}\n{"problem_id": \n')
    with pytest.raises(StoreError, match=r"labels\.jsonl, line 2: not JSON"):
        read_table(path, "labels")
    path.write_text("[1]\n")
    with pytest.raises(StoreError, match="line 1: .*expected an object"):
        read_table(path, "labels")


def test_a_large_table_is_written_and_read_as_columns(tmp_path):
    problems, samples = 200, 100
    table = pa.table(
        {
            "problem_id": np.repeat([f"{p:016x}" for p in range(problems)], samples),
            "sample_id": np.tile(np.arange(samples, dtype=np.int32), problems),
            "answer": pa.nulls(problems * samples, pa.string()),
            "correct": np.ones(problems * samples, bool),
            "grader": ["numeric"] * (problems * samples),
        }
    ).cast(SCHEMAS["labels"])
    finished(tmp_path, [table], "labels")
    assert read_table(tmp_path, "labels") == table


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sets(st.integers(0, 30), max_size=4), max_size=6), st.integers(0, 6))
def test_any_interruption_gives_the_same_table(tmp_path_factory, groups, crash):
    """Written in one go or by two writers, one after the other: what is there is left out, nothing
    is lost or doubled.
    """
    wanted = sorted(set().union(*groups))
    folder = tmp_path_factory.mktemp("t")
    first = TableWriter(folder, "labels")
    for group in groups[:crash]:
        first.append([label(str(p)) for p in sorted(group) if str(p) not in first.present()])
    second = TableWriter(folder, "labels")
    second.append([label(str(p)) for p in wanted if str(p) not in second.present()])
    second.finish({})
    assert sorted(map(int, read_table(folder, "labels")["problem_id"].to_pylist())) == wanted


def test_the_id_of_a_table_is_that_of_its_rows(tmp_path):
    first, again, other = (
        finished(tmp_path / name, [[sample(key)]])
        for name, key in (("1", "a"), ("2", "a"), ("3", "b"))
    )
    ids = [read_manifest(folder)["id"] for folder in (first, again, other)]
    assert ids[0] == ids[1] != ids[2] and len(ids[0]) == 16


@pytest.mark.parametrize("name", ["part", "unfinished.json", "manifest.json"])
def test_a_changed_byte_is_named_and_the_file_not_used(tmp_path, name):
    if name == "manifest.json":
        finished(tmp_path, [[sample("a")]])
    else:
        TableWriter(tmp_path, "samples", {"seed": 1}).append([sample("a")])
    path = part_of(tmp_path, 0) if name == "part" else tmp_path / name
    whole = path.read_bytes()
    manifest = read_manifest(tmp_path)
    for position in np.random.default_rng(0).choice(len(whole), 100, replace=False):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            if name == "manifest.json":
                assert read_manifest(tmp_path) == manifest
            else:
                assert TableWriter(tmp_path, "samples", {"seed": 1}).present() == {"a"}
            # a blank between entries, for another one
            assert name != "part" and json.loads(path.read_text()) == json.loads(whole)
        except UserError as error:
            assert path.name in str(error) and "remove" in str(error)
    path.write_bytes(whole)


def test_a_table_of_another_schema_version_is_refused_and_one_without_counts_as_the_first(tmp_path):
    folder = finished(tmp_path / "t", [[sample("a")]])
    manifest = read_manifest(folder)
    assert manifest.pop("schema_version") == 1
    checksums.write_sealed(folder / "manifest.json", manifest)
    assert len(read_table(folder, "samples")) == 1
    checksums.write_sealed(folder / "manifest.json", manifest | {"schema_version": 2})
    for read in (lambda: read_table(folder, "samples"), lambda: read_manifest(folder)):
        with pytest.raises(
            StoreError,
            match=(
                r"t holds samples of schema version 2; this program knows version 1: .*make it "
                r"anew"
            ),
        ):
            read()
    begun = TableWriter(tmp_path / "u", "samples", {})
    begun.append([sample("a")])
    note = json.loads((tmp_path / "u" / "unfinished.json").read_text())
    checksums.write_sealed(tmp_path / "u" / "unfinished.json", note | {"schema_version": 2})
    with pytest.raises(StoreError, match="u holds samples of schema version 2"):
        TableWriter(tmp_path / "u", "samples", {})
    # a model's is no table's
    checksums.write_sealed(tmp_path / "model" / "manifest.json", {"id": "a", "schema_version": 7})
    assert read_manifest(tmp_path / "model")["id"] == "a"


def test_of_several_writers_the_first_alone_writes_the_settings(tmp_path):
    TableWriter(tmp_path, "labels", {"seed": 1})
    written = (tmp_path / "unfinished.json").stat().st_mtime_ns
    TableWriter(tmp_path, "labels", {"seed": 1}, process=2, processes=3)
    assert (tmp_path / "unfinished.json").stat().st_mtime_ns == written
    with pytest.raises(StoreError, match="begun with other settings"):
        TableWriter(tmp_path, "labels", {"seed": 2}, process=2, processes=3)
