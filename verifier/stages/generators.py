"""The generator of a stage that draws, which may think."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal

from jax.sharding import Mesh

from verifier import config as config_lib
from verifier.decode import split_model
from verifier.decode.engine import Engine, Planner
from verifier.decode.thinking import Thinking, backbone_of
from verifier.errors import ConfigError
from verifier.model import sharding
from verifier.run import model_folder, thinker_folder
from verifier.run.context import Context

THINK = "think.every"  # of a stage whose generator may think: its result depends on it


class Generator:
    """The model that a stage reads in a role.

    It is not read where all that it would draw is there already. It thinks where the stage depends
    on the knob that says so and the model has learned it.
    """

    def __init__(self, context: Context, mesh: Mesh | None, role: str = "generator") -> None:
        self._folder, self.mesh = context.source(role), mesh
        self._made_by = context.input(role).stage.name
        self._dtype = context.config.model.dtype
        self.id = context.id_of(role)
        self.thinking: Thinking | None = None
        if THINK in context.stage.knobs:
            self.thinking = thinking_of(context.manifest(role), context.config.think.every)
        self._kind = thinker_folder if self.thinking else model_folder

    @functools.cached_property
    def outline(self) -> model_folder.Saved:
        return self._kind.outline(self._folder, self._made_by, self._dtype)

    def planner(self, config: config_lib.SampleConfig) -> Planner:
        """What is planned with before anything is read."""
        model, tokenizer, _ = self.outline
        arch = backbone_of(model).arch
        if self.mesh is not None:
            sharding.check(arch, self.mesh)
        weights = split_model.outline(model, tokenizer.vocab_size, self.mesh)
        return Planner(arch, weights, config, self.mesh, self.thinking)

    def engine(self, config: config_lib.SampleConfig, seed: int) -> Engine:
        """The engine of a job."""
        model, tokenizer, _ = self._loaded
        return Engine(model, tokenizer, config, seed, self.mesh, self.thinking)

    @functools.cached_property
    def _loaded(self) -> model_folder.Saved:
        saved = self._kind.load(
            self._folder, self._made_by, self._dtype, self.mesh, sharding.DECODING
        )
        split_model.make_ready(saved.model, saved.tokenizer.vocab_size, self.mesh)
        return saved


def thinking_of(manifest: Mapping[str, Any], every: str) -> Thinking | None:
    """How a stored model thinks where it is asked to; None: it does not.

    Args:
        manifest: of its folder; of one that has learned to think, with its "thoughts".
        every: think.every.

    Raises:
        ConfigError: thoughts that are no text.
    """
    told = manifest.get(thinker_folder.THOUGHTS)
    if told is None or every == "none" or not told["thought_tokens"]:
        return None
    if told.get("thought_source", "drawn") != "drawn":
        raise ConfigError(
            f"the model's thoughts are of quiet.thought_source={told['thought_source']}, which "
            "nothing is written with; set think.every=none, or train one that draws its thoughts"
        )
    at: Literal["token", "step"] = "step" if every == "step" else "token"
    return Thinking(told["thought_tokens"], told["mixing"], at)
