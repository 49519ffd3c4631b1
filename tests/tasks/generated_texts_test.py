"""Generated texts are what they say: answers are right, and what is hard is marked."""

from __future__ import annotations

import collections

from verifier.tasks.generated_texts import (
    EASY,
    HARD,
    MODULUS,
    OPENING,
    STEP,
    generated_texts,
    tables,
)


def worked(asked):
    """The steps to an answer, by reading the question."""
    if asked.isdigit():
        return "".join(str(sum(map(int, asked[:end])) % MODULUS) for end in range(2, 5))
    letter, steps = asked[0], ""
    for name in asked[1:]:
        letter = tables()[name][letter]
        steps += letter
    return steps


def test_answers_and_working_are_right_and_each_is_marked_as_what_it_is():
    seen = collections.Counter()
    for text, spans in generated_texts(400, worked=0.5, seed=0):
        if spans and spans[0].kind == EASY:
            assert spans == ((0, len(text), EASY),)
            first, equals, second = text.partition("=")
            assert not equals or first == second
            seen["twice" if equals else "words"] += 1
            continue
        asked, said = text.split("=")
        steps = worked(asked)
        if ":" in said:
            assert said == f":{steps}:{steps[-1]}"
            marked = {span.kind: text[span.start : span.end] for span in spans}
            assert marked == {OPENING: ":", STEP: steps} and spans[0].start == len(asked) + 1
        else:
            assert said == steps[-1] and spans == ((len(text) - 1, len(text), HARD),)
        seen[asked.isdigit(), ":" in said] += 1
    assert len(seen) == 6 and min(seen.values()) > 20


def test_texts_follow_from_the_seed_and_none_shows_its_working_where_none_is_to():
    assert list(generated_texts(20, 0.3, 1)) == list(generated_texts(20, 0.3, 1))
    assert list(generated_texts(20, 0.3, 1)) != list(generated_texts(20, 0.3, 2))
    assert not any(":" in each.text for each in generated_texts(50, 0.0, 1))
