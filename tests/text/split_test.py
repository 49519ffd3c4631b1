"""A split is known again by its name."""

import pytest

from verifier.text.split import OWN, Split


@pytest.mark.parametrize(
    "split",
    [*OWN, Split("test", "svamp"), Split("test", "svamp", True), Split("train", "asdiv")],
    ids=str,
)
def test_a_name_gives_the_split_back(split):
    assert Split.named(str(split)) == split
    assert split.unlabelled == (str(split) == "train_asdiv")


@pytest.mark.parametrize("name", ["test_", "dev_set", "heldout_easy", "_greedy"])
def test_a_name_that_is_none_of_ours_stays_whole(name):
    found = Split.named(name)
    assert found.of == str(found) == name and not found.set
