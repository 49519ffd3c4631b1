"""The least work a job can be done with, in floating-point operations and in bytes read.

Arithmetic alone; knows no device.

What counts as needed, so that a share of the limit means the same for every contender:

- what depends on a prefix alone is worked out once a prefix: texts of one problem are the tree of
  their distinct prefixes, a prompt once a problem, what samples have in common once; every node of
  it goes through every matrix of the blocks once (2 operations a parameter);
- attention: 2 x 2 operations a head channel for each pair of a token and a token it sees (itself
  and all before it), products with the values included; masks, softmax, norms and rotations count
  as nothing;
- logits only where a token is drawn from them or a loss looks at them; the embedding's look-up
  counts as nothing;
- a training step is three times the forward pass (the gradient of a product is two more); the
  optimiser counts as nothing;
- bytes, for sampling: all matrices once a pass, and as many passes as the longest solution has
  tokens, as if all were decoded together; keys and values of a node once a pass in which one that
  sees it is read, those of a prompt once a pass. Activations count as nothing.

Padding, rows that have ended, recomputation and copies are nowhere in it: they are what keeps a
program from its limit.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from verifier.data import trees


class Sizes(NamedTuple):
    """What of a decoder the arithmetic asks for."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    vocab_size: int
    mlp_matrices: int  # 3 with a gate, else 2

    @property
    def block_parameters(self) -> int:
        """Entries of all matrices of all blocks."""
        attention = self.width * self.head_width * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + self.mlp_matrices * self.width * self.mlp_width)

    @property
    def output_parameters(self) -> int:
        """Entries of the output matrix."""
        return self.vocab_size * self.width


class Needed(NamedTuple):
    """Operations, and bytes read from memory (0: not counted for this job, which reads its matrices
    for many tokens at once).
    """

    flops: float
    bytes: float


def sizes_of(model: pathlib.Path) -> Sizes:
    """Reads the config.json of a Llama-like Hugging Face folder."""
    config = json.loads((model / "config.json").read_text())
    heads = config["num_attention_heads"]
    return Sizes(
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or config["hidden_size"] // heads,
        mlp_width=config["intermediate_size"],
        vocab_size=config["vocab_size"],
        mlp_matrices=3,
    )


def pairs(before: int, tokens: int) -> int:
    """How many (token, seen token) pairs there are when `tokens` tokens follow `before` others."""
    return tokens * before + tokens * (tokens + 1) // 2


class Prefixes(NamedTuple):
    """The distinct prefixes of texts that follow a prompt, the empty one left out."""

    nodes: int
    depths: int  # the sum of their lengths
    passes: int  # the sum of the passes in which each is read, where each pass is a token longer

    def pairs(self, before: int) -> int:
        """(token, seen token) pairs, where `before` others precede each text."""
        return self.nodes * before + self.depths


def prefixes(texts: Iterable[Sequence[int]]) -> Prefixes:
    """Of texts as tokens; empty ones count as nothing."""
    _, positions, ends, _ = trees.forest([text for text in texts if text])
    deepest = [positions[node:end].max() for node, end in enumerate(ends)]
    return Prefixes(
        len(positions),
        int(positions.sum()) + len(positions),
        int(sum(deepest) - positions.sum()) + len(positions),
    )


def sampling(
    sizes: Sizes,
    prompts: Sequence[int],
    solutions: Sequence[Sequence[Sequence[int]]],
    entry_bytes: int,
) -> Needed:
    """Drawing solutions.

    Args:
        sizes: of the model.
        prompts: tokens of each prompt.
        solutions: the solutions of each prompt, as tokens; the last token of a solution is drawn,
            but never read.
        entry_bytes: of a parameter and of a cached number: 4 or 2.
    """
    own = [prefixes(text[:-1] for text in each) for each in solutions]
    read = sum(prompts) + sum(each.nodes for each in own)
    drawn = sum(1 + each.nodes for each in own)  # the first tokens from the prompt's own logits
    seen = sum(pairs(0, prompt) for prompt in prompts)
    seen += sum(each.pairs(prompt) for prompt, each in zip(prompts, own, strict=True))
    flops = (
        2 * sizes.block_parameters * read
        + 2 * sizes.output_parameters * drawn
        + _attention(sizes, seen)
    )
    passes = max((len(text) for each in solutions for text in each), default=0)
    cached = 2 * sizes.layers * sizes.kv_heads * sizes.head_width  # entries a token
    shared = sum(prompts) / max(len(prompts), 1) * passes
    entries: float = passes * (sizes.block_parameters + sizes.output_parameters)
    entries += cached * (sum(each.passes for each in own) + shared)
    return Needed(float(flops), float(entries * entry_bytes))


def scoring(
    sizes: Sizes, prompts: Sequence[int], solutions: Sequence[Sequence[Sequence[int]]]
) -> Needed:
    """Reading solutions for a value after every token; no logits. Arguments as for `sampling`."""
    own = [prefixes(each) for each in solutions]
    read = sum(prompts) + sum(each.nodes for each in own)
    seen = sum(pairs(0, prompt) for prompt in prompts)
    seen += sum(each.pairs(prompt) for prompt, each in zip(prompts, own, strict=True))
    return Needed(
        float(2 * (sizes.block_parameters + sizes.width) * read + _attention(sizes, seen)), 0.0
    )


def training(sizes: Sizes, examples: Sequence[int], weighed: int) -> Needed:
    """One step.

    Args:
        sizes: of the model.
        examples: tokens of each example.
        weighed: positions that the language-model loss looks at.
    """
    forward = 2 * sizes.block_parameters * sum(examples) + 2 * sizes.output_parameters * weighed
    forward += _attention(sizes, sum(pairs(0, length) for length in examples))
    return Needed(float(3 * forward), 0.0)


class Thoughts(NamedTuple):
    """Of a step that learns to think (Quiet-STaR)."""

    number: int  # P, at each token
    drawn: int  # I, tokens of each between its marks
    ahead: int  # M, tokens of the text that each is judged by


def thoughts_training(sizes: Sizes, rows: int, window: int, thoughts: Thoughts) -> Needed:
    """One step over windows, at every token of which thoughts are drawn, and then learned from.

    Drawing counts once more and without a gradient: what is learned is known when it is done. The
    text that it reads is that of the step itself.
    """
    (number, drawn, ahead), places = thoughts, rows * window
    length = drawn + 2 + ahead - 1
    head = (3 * sizes.width + 1) * sizes.width
    read = 2 * sizes.block_parameters * places * (1 + number * length)
    read += 2 * sizes.output_parameters * places * (1 + number * (drawn + ahead))
    read += 2 * head * places * number * ahead
    seen = pairs(0, window) + number * _behind(window, length)
    read += _attention(sizes, rows * seen)
    draw = 2 * (sizes.block_parameters + sizes.output_parameters) * places * number * drawn
    draw += _attention(sizes, rows * number * _behind(window, drawn))
    return Needed(float(3 * read + draw), 0.0)


def _behind(window: int, length: int) -> int:
    """Pairs of tokens of one thought at every place of a window with those that they see."""
    return length * pairs(0, window) + window * pairs(0, length)


def verifier_training(
    sizes: Sizes, prompt: int, solutions: Sequence[Sequence[int]], truth: Sequence[int]
) -> Needed:
    """Learning from all samples of a problem and its ground truth once: values after the samples'
    tokens, the language-model loss on the ground truth's.
    """
    own = prefixes([*solutions, truth])
    forward = 2 * (sizes.block_parameters + sizes.width) * (prompt + own.nodes)
    forward += 2 * sizes.output_parameters * len(truth)
    forward += _attention(sizes, pairs(0, prompt) + own.pairs(prompt))
    return Needed(float(3 * forward), 0.0)


def seconds_at_limit(needed: Needed, flops_per_second: float, bytes_per_second: float) -> float:
    """The time that the machine needs at the least: whichever of the two binds."""
    return max(needed.flops / flops_per_second, needed.bytes / bytes_per_second)


def _attention(sizes: Sizes, seen: int) -> int:
    """Operations of scores and of the sum of values over all layers."""
    return 4 * sizes.layers * sizes.heads * sizes.head_width * seen
