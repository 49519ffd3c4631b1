"""A Hugging Face folder on disk, or on the hub: resolved, checked, opened and written."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from verifier.errors import WeightsError
from verifier.hf import other_formats
from verifier.hf.safetensors_files import (
    NewTensor,
    StoredTensor,
    byte_count,
    read_header,
    write_tensors,
)
from verifier.system import atomic, checksums, paths, text_files

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_DOWNLOADED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
# a name alone: an index leads nowhere but to its own folder
_SHARD = re.compile(r"[\w-][\w.-]{0,200}\.safetensors")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
# the same weights again, in other layouts
_NOT_DOWNLOADED = ["consolidated*", "original/*", "onnx/*"]


def resolve_weights(weights: str) -> pathlib.Path:
    """The local folder that `weights` names.

    Args:
        weights: a folder, or a hub id "organisation/name", which is fetched (or found in the cache:
            HF_HUB_OFFLINE=1) by huggingface_hub.

    Returns:
        a folder with config.json, safetensors and tokenizer files.

    Raises:
        WeightsError: there is no such folder and it cannot be fetched; with the ways to supply it.
        UserError: no file system has such a path.
    """
    folder = paths.local(weights)
    if folder.is_dir():
        return folder
    if folder.exists():
        other_formats.refuse_file(folder, WeightsError)
    if not _HUB_ID.fullmatch(weights):
        raise WeightsError(
            f"there is no folder {weights!r}; give one with config.json and model.safetensors, "
            "or a hub id organisation/name"
        )
    elsewhere = (
        f"on a connected machine run `hf download {weights} --local-dir FOLDER`, copy FOLDER "
        "here and give its path"
    )
    try:
        import huggingface_hub  # in the function: an optional extra
    except ImportError as error:
        raise WeightsError(
            f"there is no folder {weights!r}, and fetching it needs huggingface_hub: pip "
            f"install huggingface-hub; or {elsewhere}"
        ) from error
    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(
                weights, allow_patterns=_DOWNLOADED, ignore_patterns=_NOT_DOWNLOADED
            )
        )
    # the hub's errors of connection, access and naming all derive from these
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"there is no folder {weights!r} and the hub gave none ({type(error).__name__}: "
            f"{error}); {elsewhere}"
        ) from error


def is_hub_id(weights: str, known: Mapping[str, str]) -> bool:
    """Whether `weights` is an id of the hub whose cached files are those that are known.

    Where that cannot be told it is False.

    A name alone does not tell: "models/mine" may have been a folder where the run was started.

    Args:
        weights: as `resolve_weights` was given it.
        known: the sums of the files that it gave then, by name (`sums`).
    """
    if not known or not _HUB_ID.fullmatch(weights):
        return False
    try:
        import huggingface_hub

        folder = pathlib.Path(huggingface_hub.snapshot_download(weights, local_files_only=True))
    except (ImportError, OSError, ValueError):
        return False
    return _cached_sums(folder, list(known)) == dict(known)


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """A JSON object, or a WeightsError that names the file."""
    return text_files.read_object(path, WeightsError)


def stored_tensors(folder: pathlib.Path) -> dict[str, StoredTensor]:
    """Every tensor of a folder's model.safetensors or of all its shards; no tensor is read yet.

    Args:
        folder: local.

    Returns:
        by name as stored.

    Raises:
        WeightsError: no safetensors, a shard is missing, a file is truncated; each named.
        Damaged: a file whose sum is known has another one.
    """
    adapter = other_formats.adapter_problem(folder)
    if adapter:
        raise WeightsError(adapter)
    if (folder / _SINGLE).is_file():
        _check_sums(folder, [_SINGLE])
        return read_header(folder / _SINGLE)
    if not (folder / _INDEX).is_file():
        text_files.refuse_dead_links(folder, WeightsError)
        raise WeightsError(other_formats.problem(folder) or _nothing(folder))
    weight_map = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightsError(f"{folder / _INDEX} has no weight_map; download it again")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise WeightsError(
                f"{folder / _INDEX} looks for {name!r:.200} in {shard!r:.200}, which is no "
                "name of a safetensors file in the same folder; download it again"
            )
    shards = sorted(set(weight_map.values()))
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise WeightsError(
            f"{folder} lacks {len(missing)} of the {len(shards)} shards in its index: "
            f"{', '.join(missing)}; download them"
        )
    _check_sums(folder, shards)
    tensors: dict[str, StoredTensor] = {}
    for shard in shards:
        for name, tensor in read_header(folder / shard).items():
            if name in tensors:
                raise WeightsError(
                    f"{name} stands in {tensors[name].path} and in {tensor.path}; which one is "
                    "meant? Download both again"
                )
            tensors[name] = tensor
    return tensors


def _nothing(folder: pathlib.Path) -> str:
    """What to say of a folder without weights under the names that they have."""
    nothing = f"{folder} holds no {_SINGLE} and no {_INDEX}"
    others = sorted(path.name for path in folder.glob("*.safetensors") if path.is_file())
    if any(re.fullmatch(r"model-\d+-of-\d+\.safetensors", name) for name in others):
        return f"{nothing}, but shards ({others[0]}); download the index too"
    if others:
        return (
            f"{nothing}, but {', '.join(others):.200}; if that is the whole model, call it "
            f"{_SINGLE}"
        )
    return f"{nothing}; give a folder with a model's weights in safetensors"


def sums(folder: pathlib.Path) -> dict[str, str]:
    """The SHA-256 of every safetensors file of a folder, by name."""
    return checksums.of_files(folder, [path.name for path in folder.glob("*.safetensors")])


def _check_sums(folder: pathlib.Path, names: Sequence[str]) -> None:
    """Compares files with the sums beside them, or with the names that links of a cache lead to.

    The hub's cache names a file by its sum.
    """
    known = checksums.read_sums(folder)
    expected = {
        name: sha256
        for name, sha256 in (known | _cached_sums(folder, names)).items()
        if name in names
    }
    checksums.check(folder, expected, "download it again")


def _cached_sums(folder: pathlib.Path, names: Sequence[str]) -> dict[str, str]:
    """The sums that links of the hub's cache lead to: its large files have them for names."""
    blobs = {name: (folder / name).resolve().name for name in names}
    return {name: blob for name, blob in blobs.items() if re.fullmatch(r"[0-9a-f]{64}", blob)}


def write_folder(
    folder: pathlib.Path, config: dict[str, Any], tensors: Sequence[NewTensor], shard_bytes: int
) -> None:
    """Writes config.json and the tensors, each file aside and then renamed.

    Above shard_bytes: several files and an index.
    """
    atomic.make_folder(folder)
    (folder / checksums.SUMS).unlink(missing_ok=True)  # of what is replaced
    shards: list[list[NewTensor]] = [[]]
    room = shard_bytes
    for tensor in tensors:
        if shards[-1] and byte_count(tensor) > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(tensor)
        room -= byte_count(tensor)
    count = len(shards)
    names = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    if count == 1:
        names = [_SINGLE]
    for name, shard in zip(names, shards, strict=True):
        with atomic.whole_file(folder / name) as file:
            write_tensors(file, shard)
    keep = set(names)
    if len(shards) > 1:
        weight_map = {
            tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard
        }
        atomic.write_json(
            folder / _INDEX,
            {"metadata": {"total_size": sum(map(byte_count, tensors))}, "weight_map": weight_map},
        )
        keep.add(_INDEX)
    remove_weights(folder, keep)
    atomic.write_json(folder / "config.json", config)


def remove_weights(folder: pathlib.Path, keep: Container[str]) -> None:
    """Removes an earlier export's files that a later one has not.

    The later one may have another number of files: readers would prefer the earlier ones or
    load both.
    """
    for old in (folder / _SINGLE, folder / _INDEX, *folder.glob("model-*-of-*.safetensors")):
        if old.name not in keep:
            old.unlink(missing_ok=True)
