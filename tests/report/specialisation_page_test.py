"""The page of a student holds both choices against each other, where there are two."""

import numpy as np
import pytest

from verifier.evaluate import choices
from verifier.report import specialisation_page
from verifier.text.split import Split

TEST, SVAMP, HELDOUT = (
    Split("test", greedy=True),
    Split("test", "svamp", True),
    Split("heldout", greedy=True),
)


def found(kept):
    rng = np.random.default_rng(0)
    ids = [f"{number:016x}" for number in range(60)]
    tested = [
        {split: {key: bool(rng.random() < 0.5) for key in ids} for split in (TEST, SVAMP, HELDOUT)}
        for _ in range(3)
    ]
    sets = ["svamp"] if "ood" in kept else []
    return {
        "formats": {
            "zero_shot_chain_of_thought": choices.figures(tested, kept, sets, 0.5, (50, 0))
        },
        "steps": [0, 2, 4],
        "selection": {name: {"candidate": each, "value": 0.5} for name, each in kept.items()},
        "learned": {},
        "notes": [],
    }


@pytest.mark.parametrize("kept", [{"ood": 1, "heldout": 2}, {"heldout": 2}])
def test_both_choices_are_held_against_each_other(kept):
    given = found(kept)
    table = specialisation_page.table(given)
    page = specialisation_page.render(given, "run", "today", {})
    for text in (table, page):
        assert (specialisation_page.BETWEEN in text) == ("ood" in kept)
    row = next(line for line in table.splitlines() if line.startswith("test"))
    apart = given["formats"]["zero_shot_chain_of_thought"]["test"]["minus_heldout"]
    assert (apart is None) == ("ood" not in kept)
    if apart is not None:
        assert f"{100 * apart['value']:+.1f}" in row.split("  ")[-1]
