"""The line at the end of a solution that says its answer, in the words that there are for it."""

from __future__ import annotations

MARK = "####"  # as GSM8K ends: `#### 18`
STATES = "The answer is"  # Fu et al. 2023
CONCLUDES = "So the answer is"  # teachers of Hsieh et al. 2023, in some of their styles


def ended(text: str, words: str, answer: str) -> str:
    """A text with its answer behind it, on a line of its own; the text may be empty."""
    return f"{text}\n{words} {answer}".lstrip("\n")
