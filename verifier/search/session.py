"""A generator and a verifier, ready to search for solutions of problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from verifier.decode.annotations import Calculator
from verifier.decode.engine import Engine, Prompt
from verifier.decode.growing import Growing
from verifier.decode.tree_reader import TreeReader
from verifier.model.heads import Verifier
from verifier.search.driver import Driver, Found
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
        width: int,
        step_end: str,
    ) -> None:
        """Plans the memory of all searches alike.

        Args:
            engine: of the generator; its configuration says how tokens are drawn.
            verifier: None where no scorer asks for one.
            value_loss: what the verifier was trained with.
            prompts: all that will be searched.
            width: most candidates of a problem at a time.
            step_end: the text that a step ends with.
        """
        self._engine, self._verifier, self._value_loss = engine, verifier, value_loss
        writer = engine.writer
        calculator = Calculator(writer.tokenizer, on=writer.config.calculator, step_end=step_end)
        self._writer = dataclasses.replace(writer, calculator=calculator)
        self._sizes = engine.plan(prompts, width)

    def run(
        self, prompts: Sequence[Prompt], method: Callable[[Node], Method], scorer: Scorer
    ) -> Iterator[Found]:
        """Searches for a solution of every problem, each given out as soon as it is there.

        Args:
            prompts: some of those that were planned for, by falling length.
            method: begins the search of one problem.
            scorer: of partial solutions.
        """
        at_once = min(self._sizes.prompts, len(prompts))
        reader = None
        if scorer.by_verifier:
            assert self._verifier is not None
            reader = TreeReader(self._verifier, self._value_loss, self._sizes.prompts)
        growing = Growing(self._writer, self._sizes, prompts)
        driver = Driver(
            growing,
            scorer,
            reader,
            prompts,
            self._writer.tokenizer.end_id,
            self._writer.config.max_new_tokens,
            at_once,
        )
        return driver.run(method)
