"""Solutions on disk come back as they were put, in any order, and hold no memory."""

import tracemalloc

import numpy as np
import pytest

from verifier.data.alignment import Taught
from verifier.errors import WriteError
from verifier.tables.kept_solutions import KeptSolutions

ALTERNATIVES = 5


def made(tokens, seed, tops=True):
    rng = np.random.default_rng(seed)
    ids, logprobs = rng.integers(0, 99, tokens), -rng.random(tokens)
    more = rng.integers(0, 99, (tokens, ALTERNATIVES)), -rng.random((tokens, ALTERNATIVES))
    own = [ids.astype(np.int32), logprobs.astype(np.float32)]
    return Taught(*own, *([more[0].astype(np.int32), more[1].astype(np.float32)] if tops else []))


def equal(one, other):
    if one is None or other is None:
        return one is other
    pairs = zip(one, other, strict=True)
    return all(a is b is None or (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in pairs)


@pytest.mark.parametrize("tops", [True, False])
def test_solutions_come_back_in_any_order(tmp_path, tops):
    put = [
        ("one", "3+4=7\n#### 7", made(6, 0, tops)),
        ("two", "\u20ac and half a character \ud83d", made(3, 1, tops)),
        ("one", "", made(0, 2, tops)),
        ("three", "nobody has said anything", None),
        ("one", "behind it", made(9, 3, tops)),
    ]
    kept = KeptSolutions(tmp_path / "new", ALTERNATIVES if tops else None)
    for each in put[:4]:
        kept.put(*each)
    assert kept[0].text == put[0][1]
    kept.put(*put[4])  # more may follow
    for row in (4, 1, 0, 3, 2, -1):
        wanted = put[row]
        assert kept[row][:2] == wanted[:2] and equal(kept[row].taught, wanted[2])
    assert [each.text for each in kept[1:3]] == [each[1] for each in put[1:3]] and len(kept) == 5
    assert [kept.problem_of(row) for row in range(5)] == [each[0] for each in put]
    assert not list((tmp_path / "new").iterdir())  # nothing to tidy up, however a process ends
    with pytest.raises(IndexError):
        kept[5]


def test_memory_does_not_grow_with_the_tokens(tmp_path):
    told, count = made(400, 0), 2_000
    text = "x" * 800
    tracemalloc.start()
    kept = KeptSolutions(tmp_path, ALTERNATIVES)
    for number in range(count):
        kept.put(f"problem {number % 50}", text, told)
    for row in np.random.default_rng(0).permutation(count).tolist():
        assert len(kept[row].taught.tokens_S) == 400
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6 < count * 400 * (8 + 8 * ALTERNATIVES) / 8


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file"):
        KeptSolutions(tmp_path / "file", None)
