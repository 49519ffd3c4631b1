"""A file is whole or not there, nothing is left beside it, and what the disk refuses is an error
that the user understands.
"""

from __future__ import annotations

import errno
import os

import pytest

from verifier import errors
from verifier.errors import UserError
from verifier.hf import files as hf_files
from verifier.system import atomic, metric_log
from verifier.text.bytes_tokenizer import ByteTokenizer


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refuse(number):
    def refusal(*_):
        raise OSError(number, os.strerror(number))

    return refusal


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOSPC, "No space left on device.: make room"),
        (errno.EACCES, "Permission denied.: get the right"),
        (errno.EIO, "this disk"),
    ],
)
def test_a_refusal_names_file_reason_and_way_out_and_leaves_the_old_file(
    tmp_path, monkeypatch, number, way_out
):
    path = tmp_path / "new" / "a.json"
    atomic.write_json(path, {"a": 1})
    before = path.read_bytes()
    for moment in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, moment, refuse(number))
            with pytest.raises(
                errors.WriteError, match=rf"new/a\.json cannot be written .*{way_out}"
            ):
                atomic.write_json(path, {"a": 2})
        assert path.read_bytes() == before and names(path.parent) == ["a.json"]
    assert issubclass(errors.WriteError, UserError)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_whatever_stops_the_writer_is_raised_and_nothing_is_left(tmp_path, error):
    with pytest.raises(error), atomic.whole_file(tmp_path / "a") as file:
        file.write(b"half")
        raise error
    assert names(tmp_path) == []


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "out").write_text("mine")
    for folder in (tmp_path / "out", tmp_path / "out" / "deeper"):
        message = (
            rf"{folder} cannot be written .{tmp_path}/out is a file, not a folder.: name "
            r"another folder"
        )
        for write in (
            atomic.make_folder,
            lambda folder: atomic.write_bytes(folder / "a", b""),
            lambda folder: hf_files.write_folder(folder, {}, [], shard_bytes=1),
            lambda folder: metric_log.MetricLog(folder, "finetune"),
            ByteTokenizer().save,
        ):
            with pytest.raises(errors.WriteError, match=message):
                write(folder)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_where_the_file_should_be_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(
        errors.WriteError, match="Is a directory.: a folder of this name is in the way"
    ):
        atomic.write_bytes(tmp_path / "a", b"x")
    assert names(tmp_path) == ["a"]


def test_files_that_belong_together_are_all_written_before_one_takes_its_name(
    tmp_path, monkeypatch
):
    old = {"figures": b"old", "page": b"old", "chart": b"old"}
    atomic.write_all(tmp_path, old)
    (tmp_path / "mine").write_bytes(b"mine")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse(errno.ENOSPC))
        patched.setattr(
            os, "replace", lambda *_: pytest.fail("a name was taken before all were written")
        )
        with pytest.raises(errors.WriteError):
            atomic.write_all(tmp_path, {"figures": b"new", "page": b"new"}, stale=["chart", "page"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old | {"mine": b"mine"}
    names_taken = []
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda aside, path: names_taken.append(path.name) or replace(aside, path)
    )
    atomic.write_all(
        tmp_path, {"figures": b"new", "page": b"new"}, stale=["chart", "page", "never there"]
    )
    assert names_taken == ["page", "figures"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "figures": b"new",
        "page": b"new",
        "mine": b"mine",
    }
