"""The searches that a configuration asks for, ready to run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from verifier.config import Config
from verifier.decode.engine import Counts, Engine, Prompt
from verifier.decode.tree_reader import TreeReader
from verifier.errors import ConfigError
from verifier.hf.sentence_encoder import SentenceEncoder
from verifier.model.arch import Arch
from verifier.model.heads import Verifier
from verifier.model.transformer import Transformer
from verifier.search import judge_prompts, methods, rain, tree
from verifier.search.driver import SearchResult
from verifier.search.judge import Judge, by_itself
from verifier.search.reading import Reading, Unread
from verifier.search.session import Session
from verifier.search.tree import Node
from verifier.system import paths
from verifier.text import calculator
from verifier.text.tokenizer import Tokenizer


def check_step_end(config: Config) -> None:
    """Looks at what would be found hours later: steps that go on behind their end.

    Raises:
        ConfigError: they end in what the calculator writes.
    """
    step_end = config.search.step_end
    # Its first `=` too: what follows that is put in where a row waits.
    if config.sample.calculator and step_end[-1:] in calculator.WRITTEN | {"="}:
        raise ConfigError(
            f"search.step_end={step_end!r} with sample.calculator=true: the calculator may write "
            "what ends so, and a step would go on behind it; expected a text whose last character "
            "the generator writes itself, such as a line end, or sample.calculator=false"
        )


def check_rain(config: Config) -> None:
    """Looks at files that RAIN asks for.

    Raises:
        ConfigError: a question or a folder that is not there.
    """
    if methods.judges_itself(config):
        judge_prompts.load(config.rain.judge)
    folder = config.rain.embeddings
    if folder != rain.HIDDEN and not paths.local(folder).is_dir():
        raise ConfigError(
            f"rain.embeddings={folder} is no folder; expected {rain.HIDDEN}, or the folder of a "
            "sentence encoder"
        )


class Models(NamedTuple):
    """What writes and what judges."""

    generator: Transformer
    tokenizer: Tokenizer
    verifier: Verifier | None = None  # None: the generator judges itself, or nobody does
    value_loss: str = ""  # what the verifier was trained with


def refuse_encoder(arch: Arch) -> None:
    """Refuses a generator with an encoder where partial solutions are grown; raises ConfigError."""
    if arch.encoder_layers:
        raise ConfigError(
            "the generator has an encoder (T5), with which only whole solutions are drawn (stage "
            "sample): partial ones cannot be judged; take a decoder for model.weights"
        )


class Searcher:
    """Methods that draw and are judged alike share a session, and so their programs."""

    def __init__(
        self,
        config: Config,
        models: Models,
        prompts: Sequence[Prompt],
        texts: Mapping[str, str],
    ) -> None:
        """Nothing is begun yet.

        Args:
            config: of the run; `search`, `rain` and `sample` of it.
            models: on the default device.
            prompts: all that will be searched.
            texts: of prompts by problem, as a judge that is asked in words is told them.

        Raises:
            ConfigError: the generator has an encoder.
        """
        refuse_encoder(models.generator.arch)
        self._config, self._models = config, models
        self._prompts, self._texts = prompts, texts
        # by how they draw, and whether they are judged as RAIN is
        self._sessions: dict[tuple[methods.Drawing, bool], Session] = {}
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
        setup, as_rain = methods.setup(name, self._config), name in (methods.RAIN, methods.GREEDY)
        kind = setup.drawing, as_rain
        if kind not in self._sessions:
            self._sessions[kind] = self._session(*kind)
        method = setup.method(budget, self._embed)
        return self._sessions[kind].run(prompts, method, setup.scorer, progress)

    def _session(self, drawing: methods.Drawing, as_rain: bool) -> Session:
        models, config = self._models, self._config
        engine = Engine(models.generator, models.tokenizer, drawing.sample, config.seed)
        with_hidden = as_rain and config.rain.embeddings == rain.HIDDEN
        if as_rain and methods.judges_itself(config):
            judge: Judge | None = self._by_itself(self._texts, with_hidden)
        else:
            judge = None
            if models.verifier is not None:
                judge = Judge(models.verifier, models.value_loss, with_hidden=with_hidden)
        return Session(engine, judge, self._prompts, drawing.at_once, drawing.step_ends)

    def _by_itself(self, texts: Mapping[str, str], with_hidden: bool = False) -> Judge:
        question = judge_prompts.load(self._config.rain.judge)
        models = self._models
        return by_itself(models.generator, models.tokenizer, question, texts, with_hidden)

    def judged(self, asked: Mapping[str, str], texts: Mapping[str, Sequence[int]]) -> list[float]:
        """What RAIN's judge, the generator itself, says of texts as they stand.

        Args:
            asked: by name, what each is an answer to, in words.
            texts: by name, their tokens.
        """
        judge = self._by_itself(asked)
        reader = TreeReader(judge.model, judge.value_loss, 1)
        scorer, scores = methods.setup(methods.RAIN, self._config).scorer, []
        for name, tokens in texts.items():
            top = tree.root()
            end = Node(top, [], list(tokens), [], [])
            reading = Reading(reader, [judge.roots[name]], judge.probes)
            reading.open(0)
            reading.read([Unread(0, top, [end], tree.Cost())])
            reading.close(0)
            scores.append(scorer.score(end))
        return scores

    def _embed(self, nodes: Sequence[Node], end: Node) -> np.ndarray:
        if self._encoder is None:
            return rain.by_hidden(nodes, end)
        way = end.way()
        texts = []
        for node in nodes:
            own = [token for each in way[way.index(node) :] for token in each.tokens]
            texts.append(self._models.tokenizer.decode(own))
        return self._encoder.encode(texts)
