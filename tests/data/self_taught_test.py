"""What a model learns of its own solutions: right ones, and no hint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.data import self_taught
from verifier.data.self_taught import Hint, Own
from verifier.errors import ConfigError

HINT = Hint("{question} (The answer is {answer}.)")
TEXTS = ("3 + 4 = 7", "7 (The answer is 7.)", "seven", "so 7 so 7 so 7")
SOLUTIONS = st.lists(
    st.builds(Own, st.sampled_from("abc"), st.sampled_from(TEXTS), st.booleans(), st.booleans())
)


@given(SOLUTIONS, SOLUTIONS, st.booleans(), st.integers(0, 6))
def test_what_is_kept_is_right_and_long_enough_and_shows_no_hint(own, hinted, deduplicate, words):
    found, left_out = self_taught.kept(own, hinted, HINT, deduplicate, words)
    solved = {each.problem_id for each in own if each.correct}
    for each in found:
        assert Own(each.problem_id, each.solution, True, True) in (hinted if each.hinted else own)
        assert "(The answer is" not in each.solution and len({*each.solution.split()}) >= words
        assert not (each.hinted and each.problem_id in solved)
    right = sum(each.correct for each in (*own, *hinted))
    assert len(found) + sum(left_out.values()) == right
    if deduplicate:
        assert len({each[:2] for each in found}) == len(found)


def test_a_hint_takes_a_question_with_braces_and_is_told_by_its_words():
    put = HINT.put("What is {x}?", "7")
    assert put == "What is {x}? (The answer is 7.)" and HINT.is_in(put)
    assert not HINT.is_in("The answer is 7.")


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{question}", "the fields"),
        ("{question} so {answer} {answer}", "the fields"),
        ("{question} {answer}.", "no words"),
        ("{question} so {answer", "cannot be read"),
    ],
)
def test_a_hint_that_cannot_be_told_is_refused(template, told):
    with pytest.raises(ConfigError, match=told):
        Hint(template)


def _by_a_learner(known, problems, reach):
    """Solutions of a learner that solves what it knows, and so much beyond."""
    return [Own(f"{n}", f"solved {n}", True, n <= known + reach) for n in range(problems)]


@pytest.mark.parametrize("hints", [False, True])
def test_of_a_learner_that_reaches_one_further_no_fewer_problems_are_used_in_any_loop(hints):
    known, used = 2, []
    for _ in range(9):
        own = _by_a_learner(known, 12, 1)
        helped = _by_a_learner(known, 12, 3)
        failed = self_taught.unsolved(own)
        hinted = [each for each in helped if each.problem_id in failed] if hints else []
        found, _ = self_taught.kept(own, hinted, HINT, True)
        used.append(len({each.problem_id for each in found}))
        known = max(int(each.problem_id) for each in found)
    assert used == sorted(used) and used[-1] == 12
    assert used[0] == (6 if hints else 4)
