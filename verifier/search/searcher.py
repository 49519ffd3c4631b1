"""The searches that a configuration asks for, ready to run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from verifier.config import Config
from verifier.decode.engine import Counts, Engine, Prompt
from verifier.model.heads import Verifier
from verifier.model.transformer import Transformer
from verifier.search import judge_prompts, methods, rain
from verifier.search.driver import SearchResult
from verifier.search.judge import Judge, by_itself
from verifier.search.session import Session
from verifier.search.tree import Node
from verifier.text.tokenizer import Tokenizer


class Models(NamedTuple):
    """What writes and what judges."""

    generator: Transformer
    tokenizer: Tokenizer
    verifier: Verifier | None = None  # None: the generator judges itself
    value_loss: str = ""  # what the verifier was trained with


class Searcher:
    """Methods that draw alike share a session, and so their programs."""

    def __init__(
        self,
        config: Config,
        models: Models,
        prompts: Sequence[Prompt],
        asked: Mapping[str, str],
    ) -> None:
        """Nothing is begun yet.

        Args:
            config: of the run; `search`, `rain` and `sample` of it.
            models: on the default device.
            prompts: all that will be searched.
            asked: by problem, its text as a judge that is asked in words is told it.
        """
        self._config, self._models = config, models
        self._prompts, self._asked = prompts, asked
        self._sessions: dict[bool, Session] = {}

    def run(
        self,
        name: str,
        budget: int,
        prompts: Sequence[Prompt],
        progress: Callable[[Counts], None] = lambda _: None,
    ) -> Iterator[SearchResult]:
        """Searches by one method; each result as soon as it is there.

        Args:
            name: of the method, one of `search.methods`.
            budget: candidates of a step.
            prompts: some of all, by falling length.
            progress: called after every step of the generator.
        """
        config, is_rain = self._config, name == methods.RAIN
        if is_rain not in self._sessions:
            drawn = methods.drawn_by(name, config)
            models = self._models
            engine = Engine(models.generator, models.tokenizer, drawn, config.seed)
            most = max(methods.budgets_of(name, config))
            ends = methods.step_ends_of(name, config)
            self._sessions[is_rain] = Session(
                engine, self._judge(is_rain), self._prompts, most, ends
            )
        method = methods.method_of(name, config, budget, self._embed if is_rain else None)
        scorer = methods.scorer_of(name, config)
        return self._sessions[is_rain].run(prompts, method, scorer, progress)

    def _judge(self, is_rain: bool) -> Judge:
        models, knobs = self._models, self._config.rain
        with_hidden = is_rain and knobs.embeddings == rain.HIDDEN
        if is_rain and knobs.judge != "verifier":
            question = judge_prompts.load(knobs.judge)
            return by_itself(models.generator, models.tokenizer, question, self._asked, with_hidden)
        assert models.verifier is not None, "a verifier is to judge, and there is none"
        return Judge(models.verifier, models.value_loss, with_hidden=with_hidden)

    def _embed(self, nodes: Sequence[Node], end: Node) -> np.ndarray:
        return rain.by_hidden(nodes, end)
