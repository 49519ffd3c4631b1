"""A generator and a verifier, ready to search for solutions of problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from verifier.decode.annotations import Calculator
from verifier.decode.engine import Counts, Engine, Prompt
from verifier.decode.growing import Growing
from verifier.decode.tree_reader import TreeReader
from verifier.model.heads import Verifier
from verifier.search.driver import Driver, SearchResult
from verifier.search.scorers import Scorer
from verifier.search.tree import Method, Node


class Session:
    """Searches that may follow one another; programs that one has compiled serve the next."""

    def __init__(
        self,
        engine: Engine,
        verifier: Verifier | None,
        value_loss: str,
        prompts: Sequence[Prompt],
        budget: int,
        step_end: str,
    ) -> None:
        """Plans the memory of all searches alike.

        Args:
            engine: of the generator; its configuration says how tokens are drawn.
            verifier: None where no scorer asks for one.
            value_loss: what the verifier was trained with.
            prompts: all that will be searched.
            budget: most candidates of a step.
            step_end: the text that a step ends with.
        """
        writer = engine.writer
        calculator = Calculator(writer.tokenizer, on=writer.config.calculator, step_ends=[step_end])
        self._writer = dataclasses.replace(writer, calculator=calculator)
        self._sizes = engine.plan(prompts, budget, processes=1)  # the prompts are all its own
        self._reader = None
        if verifier is not None:
            self._reader = TreeReader(verifier, value_loss, self._sizes.prompts)

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
        driver = Driver(
            growing,
            scorer,
            self._reader if scorer.by_verifier else None,
            prompts,
            self._writer.tokenizer.end_id,
            self._writer.config.max_new_tokens,
            self._sizes.prompts,
        )
        return driver.run(method)
