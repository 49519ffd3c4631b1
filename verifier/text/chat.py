"""How a chat model is given a turn of a conversation, by the template in its folder."""

from __future__ import annotations

import json
import pathlib

import jinja2
import jinja2.sandbox

from verifier.errors import TokenizerError
from verifier.system import text_files
from verifier.text.tokenizer import Tokenizer

_PLACE = "\ue000"  # stands for what is asked; no template has it
_CONFIG, _FILE = "tokenizer_config.json", "chat_template.jinja"


class ChatTemplate:
    """A Jinja template of conversations, as Hugging Face folders have it."""

    def __init__(self, source: str, tokens: dict[str, str], name: str) -> None:
        """Reads a template.

        Args:
            source: in Jinja.
            tokens: names of special tokens that it may use, such as bos_token, and their texts.
            name: where it lies, for messages.

        Raises:
            TokenizerError: it cannot be read.
        """
        # what comes with somebody's weights is run, so it must not reach anything
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refused
        self._tokens, self._name = tokens, name
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise TokenizerError(f"the chat template of {name} cannot be read: {error}") from error

    @classmethod
    def load(cls, folder: pathlib.Path) -> ChatTemplate:
        """That of a model folder.

        Raises:
            TokenizerError: there is none, or one that cannot be read.
        """
        config = {}
        if (folder / _CONFIG).is_file():
            config = text_files.read_object(folder / _CONFIG, TokenizerError)
        source = config.get("chat_template")
        if (folder / _FILE).is_file():
            source = text_files.read_text(folder / _FILE, TokenizerError)
        if isinstance(source, list):  # several by name, in older folders
            named = {each.get("name"): each.get("template") for each in source}
            source = named.get("default")
        if not isinstance(source, str) or not source:
            raise TokenizerError(
                f"{folder} has no chat template ({_FILE}, or chat_template in {_CONFIG}): set "
                "rain.chat=false to give the prompts as they are, or name a chat model"
            )
        tokens = {}
        for name in ("bos_token", "eos_token"):
            token = config.get(name)
            text = token.get("content") if isinstance(token, dict) else token
            tokens[name] = text if isinstance(text, str) else ""
        return cls(source, tokens, str(folder))

    def ids(self, prompt: str, tokenizer: Tokenizer) -> list[int]:
        """A conversation of one question in tokens, up to where the answer begins.

        Special tokens are those of the template alone: what a question spells out is nothing but
        letters, so that none can end its turn by itself.

        Raises:
            TokenizerError: the template does not take it, or the vocabulary has no special tokens.
        """
        before, place, after = self.turn(_PLACE).partition(_PLACE)
        if not place:
            raise TokenizerError(f"the chat template of {self._name} leaves out what is asked")
        plain = tokenizer.build()
        one, other = (plain.encode(text, add_special_tokens=False).ids for text in (before, after))
        return [*one, *tokenizer.encode(prompt), *other]

    def turn(self, prompt: str) -> str:
        """The same as text.

        Raises:
            TokenizerError: the template does not take it.
        """
        messages = [{"role": "user", "content": prompt}]
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=True,
                tools=None,
                documents=None,
                **self._tokens,
            )
        except (jinja2.TemplateError, TypeError) as error:
            shown = json.dumps(prompt[:40])
            raise TokenizerError(
                f"the chat template of {self._name} does not take {shown}: {error}"
            ) from error


def _refused(message: str) -> None:
    """What templates call for a conversation that they do not take."""
    raise jinja2.TemplateError(message)
