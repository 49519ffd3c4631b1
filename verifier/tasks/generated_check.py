"""Generated problems whose answer is easier to check than to find.

Their solution ends in a checking line.

The checking line takes what the question demands, subtracts what the answer brings, and writes how
far it is off: 0 in every right solution. A solver that guesses wrong still computes honestly, so
the line then shows something else than 0. It never restates a number that the solution has just
computed as the number it should be: a writer trained on right solutions cannot tell those two
apart.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from verifier.tasks.generated_words import THINGS, Draft, annotate, people

# (name, what there are, of one sort, of the other, {a} and {b} are what one of each brings, what is
# brought)
_PAIRS = (
    (
        "farm",
        "animals",
        "rabbits",
        "hens",
        "A rabbit has {a} legs and a hen has {b}.",
        "legs",
        (4, 2),
    ),
    (
        "wheels",
        "toys",
        "cars",
        "bikes",
        "A car has {a} wheels and a bike has {b}.",
        "wheels",
        (4, 2),
    ),
    (
        "stools",
        "seats",
        "chairs",
        "stools",
        "A chair has {a} legs and a stool has {b}.",
        "legs",
        (4, 3),
    ),
    (
        "fruit",
        "fruits",
        "melons",
        "lemons",
        "A melon costs {a} dollars and a lemon costs {b}.",
        "dollars",
        None,
    ),
    (
        "tickets",
        "tickets",
        "adults",
        "children",
        "An adult pays {a} dollars and a child pays {b}.",
        "dollars",
        None,
    ),
    (
        "paper",
        "things",
        "pens",
        "cards",
        "A pen costs {a} dollars and a card costs {b}.",
        "dollars",
        None,
    ),
    (
        "crates",
        "crates",
        "large ones",
        "small ones",
        "A large one holds {a} bottles and a small one holds {b}.",
        "bottles",
        None,
    ),
    (
        "shifts",
        "shifts",
        "long ones",
        "short ones",
        "A long one takes {a} hours and a short one takes {b}.",
        "hours",
        None,
    ),
    (
        "darts",
        "hits",
        "inner ones",
        "outer ones",
        "An inner one gives {a} points and an outer one gives {b}.",
        "points",
        None,
    ),
    (
        "coins",
        "coins",
        "gold ones",
        "tin ones",
        "A gold one is worth {a} cents and a tin one is worth {b}.",
        "cents",
        None,
    ),
)
_OPENINGS = (
    "{name} counts {n} {what}: {first} and {second}.",
    "There are {n} {what} in all, {first} and {second}.",
    "{name} has {n} {what}, some {first} and some {second}.",
)


def guess(rng: random.Random) -> Draft:
    """Two sorts, how many and what they bring together; how many are of the first sort?"""
    name, _ = people(rng)
    scene, what, first, second, rule, unit, fixed = rng.choice(_PAIRS)
    a, b = fixed or _two_values(rng)
    n = rng.randint(4, 12)
    answer = rng.randint(1, n - 1)
    rest = n - answer
    total = answer * a + rest * b
    opening = rng.randrange(len(_OPENINGS))
    demand = rng.choice(("Together they make {t} {unit}.", "That makes {t} {unit} in all."))
    sentences = (
        _OPENINGS[opening].format(name=name, n=n, what=what, first=first, second=second),
        rule.format(a=a, b=b),
        demand.format(t=total, unit=unit),
        f"How many {first} are there?",
    )
    lines = (
        f"Try {answer} {first} and {annotate(f'{n}-{answer}')} {second}.",
        f"They bring {annotate(f'{answer}*{a}')} and {annotate(f'{rest}*{b}')} {unit}.",
        f"Check: off by {annotate(f'{total}-{answer * a}-{rest * b}')}.",
    )
    return Draft(("guess", scene, str(opening), demand), (a, b, n, total), sentences, lines, answer)


def _two_values(rng: random.Random) -> tuple[int, int]:
    high = rng.randint(3, 9)
    return high, rng.randint(1, high - 1)


def rectangle(rng: random.Random) -> Draft:
    """Area and the length of the fence around it; how long is the longer side?"""
    name, _ = people(rng)
    place = rng.choice(("garden", "field", "yard", "meadow", "court", "pond"))
    long = rng.randint(3, 15)
    short = rng.randint(2, long - 1)
    area, fence = long * short, 2 * (long + short)
    asks = rng.choice(("How long is the longer side?", "How many feet is the longer side?"))
    order = rng.choice(("fence first", "area first"))
    facts = [f"The fence around it is {fence} feet long.", f"It covers {area} square feet."]
    if order == "area first":
        facts.reverse()
    sentences = (f"{name} has a {place} with four straight sides.", *facts, asks)
    lines = (
        f"Try {long}, so the other side is {annotate(f'{area}/{long}')}.",
        f"They take {annotate(f'2*{long}')} and {annotate(f'2*{short}')} feet.",
        f"Check: off by {annotate(f'{fence}-{2 * long}-{2 * short}')}.",
    )
    return Draft(("rectangle", place, asks, order), (area, fence), sentences, lines, long)


_BACK = (
    # (name, sentence, sign of the change)
    ("gave", "Then {name} gives away {n}.", "-"),
    ("lost", "Then {name} loses {n}.", "-"),
    ("got", "Then {name} gets {n} more.", "+"),
    ("found", "Then {name} finds {n} more.", "+"),
    ("doubled", "Then the number grows to {n} times as many.", "*"),
    ("times", "Then there are {n} times as many.", "*"),
)


def backwards(rng: random.Random) -> Draft:
    """The end of a chain of two or three changes is known; what was there at first?"""
    name, _ = people(rng)
    thing = rng.choice(THINGS)
    first = rng.randint(3, 20)
    value, forward = first, str(first)
    used, numbers, sentences, undo = ["backwards"], [], [f"{name} has some {thing}."], []
    for kind, sentence, sign in rng.sample(_BACK, rng.choice((2, 2, 3))):
        least, most = {"*": (2, 3), "-": (1, max(1, value - 1)), "+": (1, 20)}[sign]
        n = rng.randint(least, most)
        after = {"+": value + n, "-": value - n, "*": value * n}[sign]
        undo.append((after, {"+": "-", "-": "+", "*": "/"}[sign], n))
        forward = f"({forward})*{n}" if sign == "*" and len(undo) > 1 else f"{forward}{sign}{n}"
        sentences.append(sentence.format(name=name, n=n))
        used.append(kind)
        numbers.append(n)
        value = after
    sentences += [f"Now {name} has {value} {thing}.", f"How many {thing} were there at first?"]
    lines = [
        f"Before that there were {annotate(f'{after}{sign}{n}')}."
        for after, sign, n in reversed(undo)
    ]
    lines.append(f"Check: off by {annotate(f'{value}-({forward})')}.")
    return Draft(tuple(used), (*numbers, value), tuple(sentences), tuple(lines), first)


CHECKED: dict[str, Callable[[random.Random], Draft]] = {
    "guess": guess,
    "rectangle": rectangle,
    "backwards": backwards,
}
