"""A generator and a verifier, ready to search for solutions of problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from verifier.decode.annotations import Calculator
from verifier.decode.engine import Counts, Engine, Prompt
from verifier.decode.growing import Growing
from verifier.decode.tree_reader import TreeReader
from verifier.search.driver import Driver, SearchResult
from verifier.search.judge import Judge
from verifier.search.reading import Reading
from verifier.search.scorers import Scorer
from verifier.search.tree import Method, Node


class Session:
    """Searches that may follow one another; programs that one has compiled serve the next."""

    def __init__(
        self,
        engine: Engine,
        judge: Judge | None,
        prompts: Sequence[Prompt],
        at_once: int,
        step_ends: Sequence[str],
    ) -> None:
        """Plans the memory of all searches alike.

        Args:
            engine: of the generator; its configuration says how tokens are drawn.
            judge: reads what is scored; None where no scorer asks for that.
            prompts: all that will be searched.
            at_once: samples of a problem that are written at a time, most of the time.
            step_ends: the texts that a step ends with.
        """
        writer = engine.writer
        config = writer.config
        behind = writer.static.thinking.behind if writer.static.thinking else ""
        calculator = Calculator(writer.tokenizer, config.calculator, step_ends, config.stop, behind)
        self._writer = dataclasses.replace(writer, calculator=calculator)
        self._sizes = engine.plan(prompts, at_once, processes=1)  # the prompts are all its own
        self._judge, self._reader = judge, None
        if judge is not None:
            self._reader = TreeReader(
                judge.model, judge.value_loss, self._sizes.prompts, judge.with_hidden
            )

    def run(
        self,
        prompts: Sequence[Prompt],
        method: Callable[[Node], Method],
        scorer: Scorer,
        progress: Callable[[Counts], None] = lambda _: None,
    ) -> Iterator[SearchResult]:
        """Searches for a solution of every problem, each given out as soon as it is there.

        Args:
            prompts: some of those that were planned for, by falling length.
            method: begins the search of one problem.
            scorer: of partial solutions.
            progress: called after every step of the generator.
        """
        growing = Growing(self._writer, self._sizes, prompts, progress)
        reading = None
        if scorer.reads:
            assert self._judge is not None and self._reader is not None
            roots = [self._judge.root(prompt) for prompt in prompts]
            reading = Reading(self._reader, roots, self._judge.probes)
        driver = Driver(
            growing,
            scorer,
            reading,
            len(prompts),
            self._writer.tokenizer.end_id,
            self._writer.config.max_new_tokens,
            self._sizes.prompts,
        )
        return driver.run(method)
