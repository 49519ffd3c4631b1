"""Who judges partial solutions: the verifier, or the generator that is asked what it thinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from verifier.decode.job import Prompt
from verifier.errors import WorkdirError
from verifier.model.heads import LinearHead, Verifier
from verifier.model.transformer import Transformer
from verifier.search.judge_prompts import JudgePrompt
from verifier.tables import provenance
from verifier.text.tokenizer import Tokenizer


class Judge(NamedTuple):
    """A model that gives every token a value."""

    model: Verifier
    value_loss: str  # what its values were trained with
    # by problem: tokens before its texts; one without any is judged behind the generator's prompt
    roots: Mapping[str, Sequence[int]] = {}
    probes: Sequence[Sequence[int]] = ()  # tokens that are read at the end of what is judged
    with_hidden: bool = False  # whether its hidden states are asked for, too

    def root(self, prompt: Prompt) -> Sequence[int]:
        """The tokens before a problem's texts."""
        return self.roots.get(prompt.problem_id, prompt.tokens)


def refuse_other_generator(verifier: Mapping[str, Any], generator: str) -> None:
    """A verifier reads what its own generator writes, token by token.

    Args:
        verifier: its manifest.
        generator: id of what writes.

    Raises:
        WorkdirError: it was trained on the samples of another one, or reads them as text.
    """
    trained_on, as_text = provenance.trained_on(verifier), bool(verifier.get("reads_text"))
    if as_text or trained_on != generator:
        raise WorkdirError(
            f"the verifier was trained on samples of generator {trained_on}, read as "
            f"{'text' if as_text else 'tokens'}; search judges the tokens that generator "
            f"{generator} writes: train a verifier on its own samples (stages sample, label, "
            "verify)"
        )


def by_itself(
    generator: Transformer,
    tokenizer: Tokenizer,
    question: JudgePrompt,
    asked: Mapping[str, str],
    with_hidden: bool,
) -> Judge:
    """The generator as its own judge: which of two letters is likelier behind a question.

    The difference of two logits is one linear value, so it is a verifier like any other.

    Args:
        generator: whose weights it shares.
        tokenizer: its tokenizer.
        question: in both orders.
        asked: by problem, its text as the question tells it.
        with_hidden: as in `Judge`.

    Raises:
        ConfigError: a letter that is no single token.
    """
    one, other = question.letters(tokenizer)
    rows = generator.output_rows()
    head = LinearHead(generator.arch.width)
    head.kernel[...] = rows[one].astype(jnp.float32) - rows[other].astype(jnp.float32)
    roots = {name: question.root(text, tokenizer) for name, text in asked.items()}
    probes = question.probes(tokenizer)
    return Judge(Verifier(generator, head), "mse", roots, probes, with_hidden)
