"""Given answers, and the chance that a model gives them token by token.

prompt  Q: how many are left?\nA:      answer  _ 1 8 \\n      among  0 .. 9 \\n
the chance of each token of the answer that is one of these, where nothing else has any:
                                         -  p  p  p
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from verifier.decode import memory
from verifier.decode.engine import Prompt
from verifier.decode.growing import Growing
from verifier.decode.job import Writer
from verifier.errors import ConfigError
from verifier.text.tokenizer import Tokenizer

ALPHABETS = {"digits": "0123456789", "letters": "ABCDE"}


class Read(NamedTuple):
    """What became of one answer."""

    prompt: int  # its number
    sample: int
    logprobs: np.ndarray  # float32, of its tokens that are among the ids


def ids_of(alphabet: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids that an answer is made of: of characters of the alphabet alone, a space before them
    or none, and the end of a line.

    Raises:
        ConfigError: the vocabulary has none of the characters, or no end of a line.
    """
    allowed = set(ALPHABETS[alphabet])
    texts = [tokenizer.token_text(token) for token in range(tokenizer.vocab_size)]
    shown = [text.removeprefix(" ") for text in texts]
    own = [token for token, text in enumerate(shown) if text and allowed.issuperset(text)]
    ends = [token for token, text in enumerate(texts) if text == "\n"]
    if not own or not ends:
        raise ConfigError(
            f"the vocabulary has {len(own)} tokens of direct.alphabet={alphabet} and {len(ends)} "
            "of a line's end; answers need some of both"
        )
    return (*own, *ends)


def read(
    writer: Writer,
    sizes: memory.JobSizes,
    asked: Sequence[tuple[Prompt, Sequence[int]]],
    among: tuple[int, ...],
    samples: int,
) -> Iterator[Read]:
    """Has a model write given answers, and gives out how likely they were.

    Args:
        writer: of the engine, whose settings leave room for the longest answer.
        sizes: of the job.
        asked: prompts by falling length, each with the tokens of its answer.
        among: ids that have any chance; the answer's others are written and do not count.
        samples: how often each is read; only thoughts differ.
    """
    static = dataclasses.replace(writer.static, among=among)
    growing = Growing(
        dataclasses.replace(writer, static=static), sizes, [prompt for prompt, _ in asked]
    )
    for index, (_, tokens) in enumerate(asked):
        for sample in range(samples):
            growing.follow(growing.root(index), sample, tokens, [False] * len(tokens))
    left = [samples] * len(asked)
    for ended in growing.run():
        answer = asked[ended.problem][1]
        counts = np.isin(answer, among)
        logprob_T = np.asarray(ended.logprobs, np.float32)[counts]
        for sample in ended.samples:
            yield Read(ended.problem, sample, logprob_T)
        if ended.branch is not None:
            growing.drop(ended.branch)
        left[ended.problem] -= len(ended.samples)
        if not left[ended.problem]:
            growing.close(ended.problem)
