"""A tokenizer written so that transformers' AutoTokenizer gives the same ids."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import tokenizers
from tokenizers import processors

from verifier.system import atomic
from verifier.text.huggingface_tokenizer import JSON_FILE
from verifier.text.tokenizer import Tokenizer


def save_for_transformers(
    tokenizer: Tokenizer, folder: pathlib.Path, closing: Sequence[int] = (), pad: int | None = None
) -> None:
    """Writes tokenizer.json and a tokenizer_config.json; `load_tokenizer(folder)` reads them too.

    With transformers, `tokenizer(prompt).input_ids` begins with the start ids, `tokenizer(text,
    add_special_tokens=False).input_ids` has nothing before it. A special token that is spelt out in
    a text is that token there, and nothing but its letters here.

    Args:
        tokenizer: a model's.
        folder: made if need be.
        closing: ids that an encoder reads behind a prompt.
        pad: the id that it is padded with; None: nobody knows one.
    """
    made = tokenizer.build()
    start, close = (
        [(_name(made, token), token) for token in ids] for ids in (tokenizer.start_ids, closing)
    )
    if start or close:
        template = " ".join([*(name for name, _ in start), "$A", *(name for name, _ in close)])
        made.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[*start, *close]
        )
    atomic.write_text(folder / JSON_FILE, made.to_str(pretty=True))
    # A class of its own (LlamaTokenizer, ...) would put the pieces into the family's usual
    # pipeline, whatever tokenizer.json says.
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
    }
    # Else token types too, which no decoder takes.
    config["model_input_names"] = ["input_ids", "attention_mask"]
    config |= {"eos_token": _name(made, tokenizer.end_id)} | (
        {"bos_token": start[0][0]} if start else {}
    )
    config |= {} if pad is None else {"pad_token": _name(made, pad)}
    atomic.write_json(folder / "tokenizer_config.json", config)


def _name(made: tokenizers.Tokenizer, token: int) -> str:
    name = made.id_to_token(token)
    assert name is not None  # of a special token, which `build` names
    return name
