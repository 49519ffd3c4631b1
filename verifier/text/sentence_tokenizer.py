"""Whole texts to the ids that an encoder reads: what its tokenizer.json puts around them, and no
more than it has positions for.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import tokenizers

from verifier.errors import TokenizerError
from verifier.system import text_files
from verifier.text.huggingface_tokenizer import JSON_FILE, Reading


class SentenceTokenizer:
    """A tokenizer.json as sentence-transformers uses it.

    Its post-processor is at work ([CLS] and [SEP] of BERT); its own padding and cutting are not.
    Nothing is made of ids again, so that texts need not come back.
    """

    def __init__(self, folder: pathlib.Path, most_tokens: int, lower: bool = False):
        """Reads the file.

        Args:
            folder: with the tokenizer.json.
            most_tokens: of a text, with those around it; the end of a longer one is cut off.
            lower: capital letters become small ones first, whatever the file says.

        Raises:
            TokenizerError: no such file, one that cannot be read, or one that puts nothing around a
                text.
        """
        path = folder / JSON_FILE
        if not path.is_file():
            text_files.refuse_dead_links(folder, TokenizerError)
            old = (
                "; vocab.txt is not read: save it once as tokenizer.json, where transformers is "
                "installed, by AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
                if (folder / "vocab.txt").is_file()
                else "; take it from where the weights come from"
            )
            raise TokenizerError(f"there is no {JSON_FILE} in {folder}{old}")
        source = text_files.read_text(path, TokenizerError)
        with Reading(str(path)):
            self._tokenizer = tokenizers.Tokenizer.from_str(source)
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(most_tokens)
        self._lower = lower
        if not self.encode([""])[0]:
            raise TokenizerError(
                f"{path} puts nothing around a text, expected such as [CLS] and [SEP]; take the "
                "tokenizer of these weights"
            )
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size: int = max(vocabulary.values()) + 1

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, with those around it, cut."""
        return [self._tokenizer.encode(text.lower() if self._lower else text).ids for text in texts]
