"""A file that is not what was written is found, whatever byte of it has changed."""

import shutil
import subprocess

import pytest

from verifier import errors
from verifier.system import checksums


def folder_of(root):
    (root / "in").mkdir(parents=True)
    (root / "a.bin").write_bytes(bytes(range(256)))
    (root / "in" / "b").write_bytes(b"")
    return root


def test_the_sums_are_those_of_sha256sum(tmp_path):
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum to compare with")
    root = folder_of(tmp_path / "files")
    checksums.write_sums(root)
    assert (
        subprocess.run(
            ["sha256sum", "--check", "--strict", checksums.SUMS], cwd=root, capture_output=True
        ).returncode
        == 0
    )
    assert checksums.read_sums(root) == {
        name: checksums.of_file(root / name) for name in ("a.bin", "in/b")
    }
    (root / checksums.SUMS).write_text(
        subprocess.run(
            ["sha256sum", "-b", "a.bin"], cwd=root, capture_output=True, text=True
        ).stdout
    )
    assert checksums.read_sums(root) == {"a.bin": checksums.of_file(root / "a.bin")}
    (root / checksums.SUMS).unlink()
    assert checksums.read_sums(root) == {}


def test_what_is_missing_or_changed_is_named(tmp_path):
    root = folder_of(tmp_path / "files")
    sums = checksums.of_folder(root)
    assert sorted(sums) == ["a.bin", "in/b"]
    checksums.check(root, sums, "way out")
    (root / "more").touch()  # of somebody else
    checksums.check(root, sums, "way out")
    (root / "a.bin").write_bytes(bytes(range(255)) + b"\0")
    with pytest.raises(errors.Damaged, match=r"a\.bin has changed since .*way out"):
        checksums.check(root, sums, "way out")
    (root / "in" / "b").unlink()
    with pytest.raises(errors.Damaged, match="b is missing; way out"):
        checksums.check(root, sums, "way out")


def test_sealed_json_comes_back_or_is_refused(tmp_path):
    path = tmp_path / "new" / "a.json"
    content = {"rows": 3, "share": 0.1, "name": "é", "none": None, "list": [1, {"x": 2}]}
    checksums.write_sealed(path, content)
    assert checksums.read_sealed(path, "way out") == content
    checksums.write_sealed(path, content | {"sha256": "of an older one"})
    assert checksums.read_sealed(path, "way out") == content
    whole = path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        try:
            assert checksums.read_sealed(path, "way out") == content
            assert whole[index : index + 1].isspace()  # between entries: what it says is the same
        except errors.Damaged as error:
            assert str(path) in str(error) and "way out" in str(error)
    path.write_text('{"rows": 3}')
    with pytest.raises(errors.Damaged, match="sha256"):
        checksums.read_sealed(path, "way out")
