"""Sums with a scratchpad: worked as by hand, in splits that share none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.config import DataConfig
from verifier.errors import DataError
from verifier.grading import answer
from verifier.tasks import generated_sums, sources

SUMMANDS = st.integers(1, 6).flatmap(
    lambda n: st.tuples(*[st.integers(10 ** (n - 1), 10**n - 1)] * 2)
)


@given(SUMMANDS)
def test_every_line_of_a_scratchpad_comes_to_the_sum(pair):
    *lines, last = generated_sums.scratchpad(*pair).splitlines()
    assert last == f"#### {sum(pair)}" and len(lines) == len(str(pair[0])) + 1
    for place, line in enumerate(lines):
        column, _, rest = line.rpartition(";")
        if column:
            added, result = column.split("=")
            assert sum(map(int, added.split("+"))) == int(result)
        left, done = rest.split(",")
        digits, carried = done.split("C")
        assert len(digits) == place
        still = sum(int(part or "0") for part in left.split("+"))
        assert (still + int(carried)) * 10**place + int(digits or "0") == sum(pair)
    assert answer.grade("\n".join([*lines, last]), str(sum(pair)), "numeric").correct


def test_splits_share_no_sum_whichever_way_round_and_lengths_come_in_turn():
    made = {
        split: [
            each for seed in range(3) for each in generated_sums.sums(split, 120, seed, (1, 2, 3))
        ]
        for split in ("train", "test")
    }
    pairs = {
        split: {tuple(sorted(map(int, each.question.split("+")))) for each in sums}
        for split, sums in made.items()
    }
    assert not pairs["train"] & pairs["test"]
    assert [each.source for each in made["train"][:4]] == ["sums/1", "sums/2", "sums/3", "sums/1"]
    for each in made["train"] + made["test"]:
        length = int(each.source.split("/")[1])
        assert {len(part) for part in each.question.split("+")} == {length}
    assert generated_sums.sums("train", 9, 1) == generated_sums.sums("train", 30, 1)[:9]


def test_a_length_with_no_sum_left_is_passed_over_until_none_has_any():
    some = generated_sums.sums("test", 60, 0, (1, 2))
    short = [each for each in some if each.source == "sums/1"]
    assert 0 < len(short) < 30 and len({each.problem_id for each in some}) == 60
    with pytest.raises(DataError, match=rf"101 train sums .* there are {100 - len(short)} of"):
        generated_sums.sums("train", 101, 0, (1,))


def test_a_run_asks_for_them_by_number_and_length():
    config = DataConfig(
        name="sums", lengths=(2,), train_problems=9, heldout_problems=3, test_problems=4
    )
    found = sources.load_problems(config, 0)
    assert {split: len(each) for split, each in found.items()} == {
        "train": 9,
        "heldout": 3,
        "test": 4,
    }
    assert {each.source for split in found.values() for each in split} == {"sums/2"}
    with pytest.raises(DataError, match=r"data\.test_problems is 0"):
        sources.load_problems(DataConfig(name="sums", train_problems=9), 0)
    with pytest.raises(DataError, match="train"):
        generated_sums.sums("dev", 1, 0)
