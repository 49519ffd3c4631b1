"""What a result was made from, compared with what is there now, by ids in manifests."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from verifier.errors import TablesError
from verifier.tables import store
from verifier.tables.results import (
    GENERATOR,
    LABELS,
    PROBLEMS,
    RESULTS,
    SAMPLES,
    SCORES,
    VERIFIER,
    Table,
)
from verifier.text.split import TRAIN, Split


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
    root: pathlib.Path, split: Split, tables: Sequence[Table] = (SAMPLES, LABELS, SCORES)
) -> None:
    """Refuses tables of a workdir's split that were made from others than are there.

    Raises as `refuse_other_sources`.

    Args:
        root: the workdir.
        split: of the samples.
        tables: those that matter. Other tables than SCORES that note a verifier mean another model
            than the workdir's.
    """
    sources = {each.name: each.folder(root, split) for each in (SAMPLES, LABELS)}
    sources[PROBLEMS.name] = PROBLEMS.folder(root, split.problems)
    by_verifier = {**sources, VERIFIER.name: VERIFIER.folder(root)}
    for table in tables:
        own = by_verifier if table == SCORES else sources
        refuse_other_sources(table.folder(root, split), own, table.stage)


def lineage(root: pathlib.Path, made: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The manifests of all that a result of a workdir follows from, its own first, those in the
    places of folds among them.

    Args:
        root: the workdir.
        made: the result's manifest, whose settings note ids by role.

    Returns:
        None where one of them is not there any more.
    """
    there: dict[str, dict[str, Any]] = {}
    for place in (root, *sorted(root.glob("fold=*"))):
        for result in (PROBLEMS, *RESULTS):
            for split in result.splits(place) if isinstance(result, Table) else [None]:
                manifest = store.read_manifest(result.folder(place, split)) or {}
                there[manifest.get("id", "")] = manifest
    line = [dict(made)]
    for manifest in line:
        settings = manifest.get("settings", {}).items()
        ids = [value for path, value in settings if "." not in path and path != "seed"]
        if any(each not in there for each in ids):
            return None
        line += [there[each] for each in ids if there[each] not in line]
    return line


def ids(root: pathlib.Path) -> dict[str, str]:
    """The ids of a workdir's tables that a report reads, by folder (`scores/split=test`)."""
    known = {}
    for table in (SAMPLES, LABELS, SCORES):
        for split in table.splits(root):
            folder = table.folder(root, split)
            made = (store.read_manifest(folder) or {}).get("id")
            if made and split != TRAIN:
                known[f"{table.name}/{folder.name}"] = made
    return known


def made_anew(root: pathlib.Path, metrics: Mapping[str, Any]) -> list[str]:
    """The tables of a workdir that were made anew since its report, where metrics.json tells."""
    there = ids(root)
    return [
        name
        for name, one in (metrics.get("made_from") or {}).items()
        if there.get(name, one) != one
    ]


def reads_stored_tokens(root: pathlib.Path, generator: pathlib.Path | None = None) -> bool:
    """Whether samples are in the generator's tokens, and scores values after those, by manifests.

    A verifier reads the text of solutions, in tokens of its own, where these are others, or where
    another generator drew the samples.

    Args:
        root: the workdir.
        generator: the model that drew its samples; None: the one in it.
    """
    drawn, scored = (
        [store.read_manifest(table.folder(root, split)) or {} for split in table.splits(root)]
        for table in (SAMPLES, SCORES)
    )
    verifier = store.read_manifest(VERIFIER.folder(root)) or {}
    drawn_by = store.read_manifest(generator or GENERATOR.folder(root)) or {}
    own = drawn_by.get("id", verifier.get("generator"))
    others = {each.get("settings", {}).get("generator") for each in drawn} - {own, None}
    return not (own and others) and not any(each.get("reads_text") for each in (verifier, *scored))


def trained_on(verifier: Mapping[str, Any]) -> str | None:
    """The generator whose samples, or those of whose folds, a verifier was trained on; None: not
    known.

    An older manifest names only that of its workdir.
    """
    return verifier.get("trained_on", verifier.get("generator"))


def refuse_other_generator(splits: Mapping[Split, Facts], verifier: pathlib.Path | None) -> None:
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
