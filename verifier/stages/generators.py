"""The generator of a stage that draws."""

from __future__ import annotations

import functools

from jax.sharding import Mesh

from verifier import config as config_lib
from verifier.decode import split_model
from verifier.decode.engine import Planner
from verifier.model import sharding
from verifier.run import model_folder
from verifier.run.context import Context


class Generator:
    """The generator that draws, which is not read where all samples are there already."""

    def __init__(self, context: Context, mesh: Mesh | None) -> None:
        self._folder, self.mesh = context.source("generator"), mesh
        self._made_by = context.input("generator").stage.name
        self._dtype = context.config.model.dtype
        self.id = context.id_of("generator")

    @functools.cached_property
    def outline(self) -> model_folder.Saved:
        return model_folder.outline(self._folder, self._made_by, self._dtype)

    def planner(self, config: config_lib.SampleConfig) -> Planner:
        """What is planned with before anything is read."""
        model, tokenizer, _ = self.outline
        if self.mesh is not None:
            sharding.check(model.arch, self.mesh)
        weights = split_model.outline(model, tokenizer.vocab_size, self.mesh)
        return Planner(model.arch, weights, config, self.mesh)

    @functools.cached_property
    def loaded(self) -> model_folder.Saved:
        saved = model_folder.load(
            self._folder, self._made_by, self._dtype, self.mesh, sharding.DECODING
        )
        split_model.make_ready(saved.model, saved.tokenizer.vocab_size, self.mesh)
        return saved
