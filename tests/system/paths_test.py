"""Tables, logs and files behind s3:// come out as in a folder."""

import json
import pathlib

import pytest

from tests.stores import copy
from tests.tables.store_test import sample
from verifier import errors
from verifier.errors import UserError
from verifier.system import atomic, checksums, metric_log, paths
from verifier.tables import store
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.tokenizer import load_tokenizer


def test_what_a_text_names():
    assert paths.to_path("runs/a") == pathlib.Path("runs/a") and not paths.is_remote(
        pathlib.Path("/a:/b")
    )
    with pytest.raises(
        UserError, match=r"ftp://a/b: files can lie .* gs:// or s3://, not behind ftp://"
    ):
        paths.to_path("ftp://a/b")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(paths._PACKAGES, "gs", "no_such_package")
    with pytest.raises(UserError, match=r"gs://b: .*pip install no_such_package"):
        paths.to_path("gs://b")


def test_a_table_is_written_gone_on_with_and_read(bucket):
    folder = bucket / "tables/samples/split=test"
    store.TableWriter(folder, "samples", {"seed": 1}).append([sample("a")])
    writer = store.TableWriter(folder, "samples", {"seed": 1})
    assert writer.present() == {"a"}
    writer.append([sample("b")])
    writer.finish({})
    for path in (bucket, folder):
        assert store.read_table(path, "samples")["problem_id"].to_pylist() == ["a", "b"]
    assert sorted(path.name.partition("-")[0] for path in folder.iterdir()) == [
        "manifest.json",
        "part",
        "part",
    ]
    part = store.parts_of(folder)[0]
    content = part.read_bytes()
    part.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with pytest.raises(errors.StoreError, match=f"{part}: changed since it was written"):
        store.read_table(folder, "samples")


def test_a_file_whose_writer_fails_is_not_there(bucket):
    path = bucket / "a.txt"
    with pytest.raises(KeyError), atomic.whole_file(path) as file:
        file.write(b"half")
        raise KeyError
    assert not path.exists()
    atomic.write_text(path, "whole")
    assert path.read_text() == "whole"


def test_a_log_keeps_the_lines_before_the_step_it_goes_on_from(bucket):
    for first, last in ((0, 5), (4, 6)):
        with metric_log.MetricLog(bucket / "logs", "job", first) as metrics:
            for step in range(first, last):
                metrics.write(step, {"loss": float("nan") if step == 1 else step + first})
    lines = [json.loads(line) for line in (bucket / "logs/job.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": step, "loss": None if step == 1 else step + (4 if step > 3 else 0)}
        for step in range(6)
    ]


def test_sums_and_tokenizers(bucket, tmp_path):
    ByteTokenizer().save(bucket / "t")
    ByteTokenizer().save(tmp_path / "t")
    (tmp_path / "t/deeper").mkdir()
    (tmp_path / "t/deeper/file").write_bytes(b"1")
    copy(tmp_path / "t", bucket / "u")
    assert checksums.of_folder(bucket / "u") == checksums.of_folder(tmp_path / "t")
    assert load_tokenizer(bucket / "t").encode("a") == ByteTokenizer().encode("a")


@pytest.mark.parametrize("text", ["~nobody-of-this-name/file", "x" * 5000, "x" * 300, "", " "])
def test_a_text_that_no_path_can_be_is_named(text):
    with pytest.raises(UserError, match="path"):
        paths.to_path(text)


def test_names_are_sorted_as_people_count():
    names = ["rs10", "rs2", "rs2.b", "a", "10", "9", "block_2/w", "block_10/w", "x²", ""]
    assert sorted(names, key=paths.natural_order) == [
        *("", "9", "10", "a", "block_2/w", "block_10/w", "rs2", "rs2.b", "rs10", "x²")
    ]
