"""Generated problems solved by computing forward: chains of changes, prices, distances, shares."""

from __future__ import annotations

import random
from collections.abc import Callable

from verifier.tasks.generated_words import CONTAINERS, THINGS, Draft, annotate, people

# (name, sentence, line of the solution); {n} is the number drawn, {v} what there was before, {calc}
# the annotated computation.
_Change = tuple[str, str, str]
_ADD: tuple[_Change, ...] = (
    ("finds", "Then {name} finds {n} more.", "After finding {n} there are {calc}."),
    ("gets", "{friend} gives {name} another {n}.", "With the gift there are {calc}."),
    ("buys", "{name} buys {n} more at the market.", "Buying makes it {calc}."),
)
_SUB: tuple[_Change, ...] = (
    ("loses", "Then {name} loses {n} of them.", "After the loss there are {calc}."),
    ("gives", "{name} gives {n} of them to {friend}.", "Giving leaves {calc}."),
    ("sells", "{name} sells {n} of them.", "The sale leaves {calc}."),
)
_MUL: tuple[_Change, ...] = (
    (
        "grows",
        "Over a year the collection grows to {n} times its size.",
        "Growing makes it {calc}.",
    ),
    ("copies", "A cousin brings so many that there are {n} times as many.", "That is {calc}."),
)
_DIV: tuple[_Change, ...] = (
    (
        "splits",
        "They are split equally among {n} people, and {name} keeps one part.",
        "One part is {calc}.",
    ),
    ("keeps", "{name} keeps only one in every {n}.", "Keeping one in {n} leaves {calc}."),
)


def chain(rng: random.Random, changes: int = 0) -> Draft:
    """A number of things that changes so many times, by all four operations; 0: two to seven."""
    name, friend = people(rng)
    thing = rng.choice(THINGS)
    value = rng.randint(4, 30)
    numbers, used, sentences, lines = [value], ["chain"], [f"{name} has {value} {thing}."], []
    for _ in range(changes or rng.choice((2, 2, 3, 3, 4, 4, 5, 6, 7))):
        (kind, sentence, line), sign, n = _change(rng, value)
        expression = f"{value}{sign}{n}"
        after = {"+": value + n, "-": value - n, "*": value * n, "/": value // n}[sign]
        words = {"name": name, "friend": friend, "n": n, "calc": annotate(expression)}
        sentences.append(sentence.format(**words))
        lines.append(line.format(**words))
        numbers.append(n)
        used.append(kind)
        value = after
    sentences.append(f"How many {thing} does {name} have in the end?")
    return Draft(tuple(used), tuple(numbers), tuple(sentences), tuple(lines), value)


def _change(rng: random.Random, value: int) -> tuple[_Change, str, int]:
    """A change that keeps the value a whole number between 1 and 200."""
    options: list[tuple[tuple[_Change, ...], str, int]] = [(_ADD, "+", rng.randint(2, 25))]
    if value > 3:
        options.append((_SUB, "-", rng.randint(1, value - 2)))
    if value <= 60:
        options.append((_MUL, "*", rng.randint(2, 3)))
    divisors = [n for n in range(2, 7) if value % n == 0 and value > n]
    if divisors:
        options.append((_DIV, "/", rng.choice(divisors)))
    changes, sign, n = rng.choice(options)
    return rng.choice(changes), sign, n


def price(rng: random.Random) -> Draft:
    """Two or three kinds of goods at a price each; asked for the bill or for what is left."""
    name, _ = people(rng)
    goods = rng.sample(THINGS, rng.choice((2, 2, 3)))
    counts, prices = [rng.randint(2, 12) for _ in goods], [rng.randint(2, 9) for _ in goods]
    opening = rng.choice(("buys", "orders", "picks"))
    sentences = [f"{name} {opening} some things at a shop."]
    lines, total = [], 0
    for thing, count, each in zip(goods, counts, prices, strict=True):
        sentences.append(f"The {count} {thing} cost {each} dollars each.")
        lines.append(f"The {thing} cost {annotate(f'{count}*{each}')} dollars.")
        total += count * each
    parts = "+".join(str(count * each) for count, each in zip(counts, prices, strict=True))
    lines.append(f"Together that is {annotate(parts)} dollars.")
    numbers = [*counts, *prices]
    ending = rng.choice(("bill", "left", "shared"))
    answer = total
    if ending == "left":
        purse = total + rng.randint(3, 60)
        numbers.append(purse)
        answer = purse - total
        sentences.append(f"{name} had {purse} dollars. How many dollars are left?")
        lines.append(f"So {annotate(f'{purse}-{total}')} dollars are left.")
    elif ending == "shared" and any(total % n == 0 for n in range(2, 7)):
        n = rng.choice([n for n in range(2, 7) if total % n == 0])
        numbers.append(n)
        answer = total // n
        sentences.append(f"{n} friends share the bill equally. How many dollars does each pay?")
        lines.append(f"Each pays {annotate(f'{total}/{n}')} dollars.")
    else:
        ending = "bill"
        sentences.append(f"How many dollars does {name} pay?")
    return Draft(
        ("price", opening, str(len(goods)), ending, goods[0], goods[1]),
        tuple(numbers),
        tuple(sentences),
        tuple(lines),
        answer,
    )


def distance(rng: random.Random) -> Draft:
    """Legs of a journey at a speed each.

    The question is for the length, for what remains, or for the difference of two travellers.
    """
    name, friend = people(rng)
    verb, other = rng.sample(("walks", "rides", "sails", "drives", "runs", "skates"), 2)
    speeds, hours = [rng.randint(2, 20), rng.randint(2, 20)], [rng.randint(2, 9), rng.randint(2, 9)]
    ways = [speed * hour for speed, hour in zip(speeds, hours, strict=True)]
    ending = rng.choice(("length", "remains", "further"))
    second = friend if ending == "further" else "Then " + name
    sentences = [
        f"{name} {verb} {speeds[0]} miles an hour for {hours[0]} hours.",
        f"{second} {other} {speeds[1]} miles an hour for {hours[1]} hours.",
    ]
    lines = [
        f"The first way is {annotate(f'{speeds[0]}*{hours[0]}')} miles.",
        f"The second way is {annotate(f'{speeds[1]}*{hours[1]}')} miles.",
    ]
    numbers = [*speeds, *hours]
    if ending == "further":
        long, short = max(ways), min(ways)
        answer = long - short
        sentences.append("How many miles lie between the longer way and the shorter one?")
        lines.append(f"The difference is {annotate(f'{long}-{short}')} miles.")
        return Draft(
            ("distance", ending, verb, other),
            tuple(numbers),
            tuple(sentences),
            tuple(lines),
            answer,
        )
    answer = sum(ways)
    lines.append(f"Together that is {annotate(f'{ways[0]}+{ways[1]}')} miles.")
    if ending == "remains":
        whole = answer + rng.randint(5, 80)
        numbers.append(whole)
        sentences.append(f"The whole way is {whole} miles. How many miles remain?")
        lines.append(f"So {annotate(f'{whole}-{answer}')} miles remain.")
        answer = whole - answer
    else:
        sentences.append(f"How many miles does {name} make?")
    return Draft(
        ("distance", ending, verb, other), tuple(numbers), tuple(sentences), tuple(lines), answer
    )


def share(rng: random.Random) -> Draft:
    """Packed in equal lots, some taken away, the rest divided equally."""
    name, friend = people(rng)
    thing, container = rng.choice(THINGS), rng.choice(CONTAINERS)
    lots, people_count, each = rng.randint(2, 9), rng.randint(2, 6), rng.randint(2, 12)
    size = rng.randint(3, 12)
    total = lots * size
    kept = people_count * each
    taken = total - kept
    while taken < 1:
        size += 1
        total = lots * size
        taken = total - kept
    loss = rng.choice(("break", "eaten", "given"))
    how = {
        "break": f"{taken} of them break.",
        "eaten": f"The dog eats {taken} of them.",
        "given": f"{friend} gets {taken} of them.",
    }[loss]
    sentences = (
        f"{name} has {lots} {container} with {size} {thing} in each.",
        how,
        f"The rest are shared equally by {people_count} children.",
        f"How many {thing} does each child get?",
    )
    lines = (
        f"There are {annotate(f'{lots}*{size}')} {thing}.",
        f"Then {annotate(f'{total}-{taken}')} are left.",
        f"Each child gets {annotate(f'{kept}/{people_count}')} {thing}.",
    )
    return Draft(
        ("share", loss, container, thing), (lots, size, taken, people_count), sentences, lines, each
    )


DIRECT: dict[str, Callable[[random.Random], Draft]] = {
    "chain": chain,
    "price": price,
    "distance": distance,
    "share": share,
}
