"""Whose samples were scored: a verifier is trained on one generator's samples, and its scores of another's are no like measure."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from verifier.data import store
from verifier.evaluate.joining import TablesError
from verifier.evaluate.tables import SplitRows


def refuse_other_generator(splits: Mapping[str, SplitRows], verifier: pathlib.Path | None) -> None:
    """Refuses scored samples of another generator than the one whose samples the verifier was trained on, where the tables tell.

    Args:
        splits: rows with the columns `generator`, `verifier` and `trained_on`, the generator whose samples the verifier was trained on,
            where known.
        verifier: the verifier's folder, whose manifest names it and its generator; a folder without one tells nothing. None: `trained_on`
            alone does.

    Raises:
        TablesError: with the split, both generators and the way out.
    """
    manifest = (store.read_manifest(verifier) if verifier else None) or {}
    for name, split in splits.items():
        own = [manifest["generator"]] if "generator" in manifest and split.facts("verifier") == [manifest.get("id")] else []
        trained_on = own or split.facts("trained_on")
        others = [generator for generator in split.facts("generator") if generator not in trained_on]
        if trained_on and others:
            which = f"verifier in {verifier}" if own else f"verifier {', '.join(split.facts('verifier'))}"
            raise TablesError(
                f"the {name} samples were drawn by generator {', '.join(others)}, but the {which} was trained on those of "
                f"{', '.join(trained_on)}: its scores of them mean less; give --other-generator to rank them all the same"
            )
