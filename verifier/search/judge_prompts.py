"""Questions by which a generator judges its own text: which of two descriptions fits, (A) or (B).

A TOML file with the two descriptions and the text around them:

    good = "The answer is kind."
    bad = "The answer is rude."
    text = '''Question: {prompt}
    Answer: {text}
    (A) {A}
    (B) {B}
    It is: ('''
"""

from __future__ import annotations

import pathlib
import tomllib
from collections.abc import Iterable
from typing import NamedTuple

from verifier.errors import ConfigError
from verifier.text.tokenizer import Tokenizer

OWN = ("harmless", "positive", "correct")
_FOLDER = pathlib.Path(__file__).parent / "judges"


class JudgePrompt(NamedTuple):
    """A question about a text."""

    before: str  # what stands before the text, with the place of the prompt
    one: str  # what stands behind it, (A) being good
    swapped: str  # the same, (B) being good

    def root(self, prompt: str, tokenizer: Tokenizer) -> list[int]:
        """The tokens before the text."""
        text = self.before.replace("{prompt}", prompt)
        return [*tokenizer.start_ids, *tokenizer.encode(text)]

    def probes(self, tokenizer: Tokenizer) -> list[list[int]]:
        """The tokens behind the text, in both orders."""
        return [tokenizer.encode(self.one), tokenizer.encode(self.swapped)]

    def lengths(self, prompts: Iterable[str], tokenizer: Tokenizer) -> list[int]:
        """Tokens that are read beside a text, with each of some prompts."""
        probe = max(len(probe) for probe in self.probes(tokenizer))
        return [len(self.root(prompt, tokenizer)) + probe for prompt in prompts]

    def letters(self, tokenizer: Tokenizer) -> tuple[int, int]:
        """The tokens of the answers A and B as they stand behind the question.

        Raises:
            ConfigError: one of them is no single token there.
        """
        found = []
        for letter in "AB":
            asked = tokenizer.encode(self.one)
            answered = tokenizer.encode(self.one + letter)
            if len(answered) != len(asked) + 1 or answered[:-1] != asked:
                raise ConfigError(
                    f"rain.judge: {letter} behind {self.one[-20:]!r} is no single token of this "
                    "tokenizer; expected a question that ends so that A and B are, as with `(`"
                )
            found.append(answered[-1])
        if found[0] == found[1]:
            raise ConfigError(
                f"rain.judge: A and B are one token of this tokenizer, {found[0]}; it cannot tell "
                "the answers apart"
            )
        return found[0], found[1]


def load(judge: str) -> JudgePrompt:
    """A question by its name or file.

    judge: one of `OWN`, or the path of a TOML file.

    Raises:
        ConfigError: no such file, or none as it should be.
    """
    path = _FOLDER / f"{judge}.toml" if judge in OWN else pathlib.Path(judge)
    if not path.is_file():
        raise ConfigError(
            f"rain.judge={judge}: expected verifier, {', '.join(OWN)}, or the path of a TOML file "
            "with such a question"
        )
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"rain.judge={judge} is no TOML file in UTF-8: {error}") from error
    missing = [name for name in ("good", "bad", "text") if not isinstance(fields.get(name), str)]
    if missing:
        raise ConfigError(
            f"rain.judge={judge} lacks {', '.join(missing)}; expected the texts good, bad and text"
        )
    text = fields["text"]
    before, _, behind = text.partition("{text}")
    part_of = {"{prompt}": before, "{text}": text, "{A}": behind, "{B}": behind}
    wrong = [
        place for place, part in part_of.items() if not text.count(place) == part.count(place) == 1
    ]
    if wrong:
        raise ConfigError(
            f"rain.judge={judge}: its text has {', '.join(wrong)} not once where it should; "
            "expected {prompt}, then {text}, then {A} and {B}, each once"
        )
    good, bad = fields["good"], fields["bad"]
    if good == bad:
        raise ConfigError(f"rain.judge={judge}: good and bad are the same text, {good[:40]!r}")
    return JudgePrompt(
        before.lstrip("\n"),
        behind.replace("{A}", good).replace("{B}", bad),
        behind.replace("{A}", bad).replace("{B}", good),
    )
