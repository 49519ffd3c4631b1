"""The searches that a configuration asks for, ready to run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from verifier.config import Config
from verifier.decode.engine import Counts, Engine, Prompt
from verifier.decode.tree_reader import TreeReader
from verifier.hf.sentence_encoder import SentenceEncoder
from verifier.model.heads import Verifier
from verifier.model.transformer import Transformer
from verifier.search import judge_prompts, methods, rain, tree
from verifier.search.driver import SearchResult
from verifier.search.judge import Judge, by_itself
from verifier.search.reading import Reading
from verifier.search.session import Session
from verifier.search.tree import Node
from verifier.system import paths
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
        self._encoder = None
        if config.rain.embeddings != rain.HIDDEN:
            self._encoder = SentenceEncoder.load(paths.local(config.rain.embeddings))

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
        config, models, is_rain = self._config, self._models, name in methods.AS_RAIN
        if is_rain not in self._sessions:
            drawn = methods.drawn_by(name, config)
            engine = Engine(models.generator, models.tokenizer, drawn, config.seed)
            at_once = methods.at_once(name, config)
            ends = methods.step_ends_of(name, config)
            self._sessions[is_rain] = Session(
                engine, self._judge(is_rain), self._prompts, at_once, ends
            )
        method = methods.method_of(name, config, budget, self._embed)
        scorer = methods.scorer_of(name, config)
        return self._sessions[is_rain].run(prompts, method, scorer, progress)

    def judged(self, asked: Mapping[str, str], texts: Mapping[str, Sequence[int]]) -> list[float]:
        """What RAIN's judge, the generator itself, says of texts as they stand.

        Args:
            asked: by name, what each is an answer to, in words.
            texts: by name, their tokens.
        """
        models, knobs = self._models, self._config.rain
        question = judge_prompts.load(knobs.judge)
        judge = by_itself(models.generator, models.tokenizer, question, asked, with_hidden=False)
        reader = TreeReader(judge.model, judge.value_loss, 1)
        scorer, scores = methods.scorer_of(methods.RAIN, self._config), []
        for name, tokens in texts.items():
            top, end = tree.root(), Node(None, [], list(tokens), [], [])
            end.parent = top
            reading = Reading(reader, [judge.roots[name]], judge.probes)
            reading.open(0)
            reading.read([(0, top, [end], tree.Cost())])
            reading.close(0)
            scores.append(scorer.score(end))
        return scores

    def _judge(self, is_rain: bool) -> Judge:
        models, knobs = self._models, self._config.rain
        with_hidden = is_rain and knobs.embeddings == rain.HIDDEN
        if is_rain and knobs.judge != "verifier":
            question = judge_prompts.load(knobs.judge)
            return by_itself(models.generator, models.tokenizer, question, self._asked, with_hidden)
        assert models.verifier is not None, "a verifier is to judge, and there is none"
        return Judge(models.verifier, models.value_loss, with_hidden=with_hidden)

    def _embed(self, nodes: Sequence[Node], end: Node) -> np.ndarray:
        if self._encoder is None:
            return rain.by_hidden(nodes, end)
        way = end.way()
        texts = []
        for node in nodes:
            own = [token for each in way[way.index(node) :] for token in each.tokens]
            texts.append(self._models.tokenizer.decode(own))
        return self._encoder.encode(texts)
