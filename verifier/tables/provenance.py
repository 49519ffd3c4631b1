"""What a result was made from, compared with what is there now, by ids in manifests."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from verifier.errors import TablesError
from verifier.evaluate.metrics import GREEDY
from verifier.tables import store


class Facts(Protocol):
    """Rows that know the distinct values of their columns, such as `split_rows.SplitRows`."""

    def facts(self, column: str) -> Sequence[str]: ...


def refuse_other_sources(
    folder: pathlib.Path, sources: Mapping[str, pathlib.Path], stage: str
) -> None:
    """Compares the ids of what a result was made from with those at hand, where both are noted.

    Args:
        folder: of the result; may be missing.
        sources: what is at hand, tables' splits or models, by the name under which the result's
            manifest notes its id.
        stage: that makes `folder`.

    Raises:
        TablesError: it was made from another one, whose rows may have the same names.
    """
    made = (store.read_manifest(folder) or {}).get("settings", {})
    for name, path in sources.items():
        there = (store.read_manifest(path) or {}).get("id") if name in made else None
        if there is not None and there != made[name]:
            other, those = ("other", "those") if name.endswith("s") else ("another", "that")
            raise TablesError(
                f"{folder} was made from {other} {name} ({made[name]}) than {those} in {path} "
                f"({there}); remove {folder} and run the stage {stage!r} again"
            )


def refuse_stale(
    root: pathlib.Path, split: str, tables: Sequence[str] = ("samples", "labels", "scores")
) -> None:
    """Refuses tables of a workdir's split that were made from others than are there.

    Raises as `refuse_other_sources`.

    Args:
        root: the workdir.
        split: of the samples.
        tables: those that matter, of samples, labels and scores.
    """
    folders = {
        name: root / "tables" / name / f"split={split}" for name in ("samples", "labels", "scores")
    }
    sources = {
        **folders,
        "problems": root / "tables" / "problems" / f"split={split.removesuffix(GREEDY)}",
        "verifier": root / "verifier",
    }
    for name in tables:
        refuse_other_sources(folders[name], sources, name.removesuffix("s"))


def ids(root: pathlib.Path) -> dict[str, str]:
    """The ids of a workdir's tables that a report reads, by folder (`scores/split=test`)."""
    folders = [
        each
        for table in ("samples", "labels", "scores")
        for each in sorted((root / "tables" / table).glob("split=*"))
    ]
    found = {
        f"{each.parent.name}/{each.name}": (store.read_manifest(each) or {}).get("id")
        for each in folders
    }
    return {name: one for name, one in found.items() if one and name.partition("=")[2] != "train"}


def made_anew(root: pathlib.Path, metrics: Mapping[str, Any]) -> list[str]:
    """The tables of a workdir that were made anew since its report, where metrics.json tells."""
    there = ids(root)
    return [
        name
        for name, one in (metrics.get("made_from") or {}).items()
        if there.get(name, one) != one
    ]


def reads_stored_tokens(root: pathlib.Path) -> bool:
    """Whether a workdir's samples are in its generator's tokens, and its scores values after those.

    That is as far as its manifests tell.

    A verifier reads the text of solutions, in tokens of its own, where these are others, or where
    another generator drew the samples.
    """
    tables = root / "tables"
    drawn, scored = (
        [store.read_manifest(each) or {} for each in (tables / name).glob("split=*")]
        for name in ("samples", "scores")
    )
    verifier = store.read_manifest(root / "verifier") or {}
    own = (store.read_manifest(root / "generator") or {}).get("id", verifier.get("generator"))
    others = {each.get("settings", {}).get("generator") for each in drawn} - {own, None}
    return not (own and others) and not any(each.get("reads_text") for each in (verifier, *scored))


def trained_on(verifier: Mapping[str, Any]) -> str | None:
    """The generator whose samples a verifier was trained on; None: not known.

    An older manifest names only that of its workdir.
    """
    return verifier.get("trained_on", verifier.get("generator"))


def refuse_other_generator(splits: Mapping[str, Facts], verifier: pathlib.Path | None) -> None:
    """Refuses scored samples of another generator than the verifier was trained on.

    That is where the tables tell.

    Args:
        splits: rows with the columns `generator`, `verifier` and `trained_on`, the generator whose
            samples the verifier was trained on, where known.
        verifier: the verifier's folder, whose manifest names it and its generator; a folder without
            one tells nothing. None: `trained_on` alone does.

    Raises:
        TablesError: with the split, both generators and the way out.
    """
    manifest = (store.read_manifest(verifier) if verifier else None) or {}
    for name, split in splits.items():
        known = trained_on(manifest)
        own = [known] if known and split.facts("verifier") == [manifest.get("id")] else []
        allowed = own or split.facts("trained_on")
        others = [generator for generator in split.facts("generator") if generator not in allowed]
        if allowed and others:
            which = (
                f"verifier in {verifier}"
                if own
                else f"verifier {', '.join(split.facts('verifier'))}"
            )
            raise TablesError(
                f"the {name} samples were drawn by generator {', '.join(others)}, but the "
                f"{which} was trained on those of {', '.join(allowed)}: its scores of them "
                "mean less; give --other-generator to rank them all the same"
            )
