"""Whose samples were scored: a verifier is trained on one generator's samples, and its scores of another's are no like measure."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from verifier.data import store
from verifier.evaluate.joining import TablesError
from verifier.evaluate.tables import SplitRows


def refuse_other_generator(splits: Mapping[str, SplitRows], verifier: pathlib.Path) -> None:
    """Refuses scored samples of another generator than the one whose samples the verifier was trained on, where the tables tell.

    Args:
        splits: rows with the columns `generator` and `verifier`, where known.
        verifier: the verifier's folder, whose manifest names it and its generator; a folder without one tells nothing.

    Raises:
        TablesError: with the split, both generators and the way out.
    """
    manifest = store.read_manifest(verifier) or {}
    trained_on = manifest.get("generator")
    for name, split in splits.items():
        if trained_on is None or split.facts("verifier") != [manifest.get("id")]:
            continue
        others = [generator for generator in split.facts("generator") if generator != trained_on]
        if others:
            raise TablesError(
                f"the {name} samples were drawn by generator {', '.join(others)}, but the verifier in {verifier} was trained on those of "
                f"{trained_on}: its scores of them mean less; give --other_generator to rank them all the same"
            )
