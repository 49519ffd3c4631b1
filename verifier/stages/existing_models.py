"""Models that are there already, as model folders of a run: a teacher, what training starts from,
and a student as it was on its way.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from flax import nnx

from verifier import config as config_lib
from verifier.config import TokenizerConfig
from verifier.errors import ConfigError
from verifier.hf import files as hf_files
from verifier.model import sharding
from verifier.run import adapted_base, inputs, model_folder
from verifier.run.context import Context
from verifier.run.stage import Files, Stage
from verifier.stages import base_model, fitting
from verifier.system import checksums
from verifier.tables.results import Model
from verifier.text import tokenizer as tokenizer_lib
from verifier.text.split import TRAIN
from verifier.train import parameters

_TEACHER = "distill.teacher"


def teacher(place: str) -> Stage:
    """The model of `distill.teacher`, as it is."""
    return Stage(
        _take_teacher,
        makes=Model("generator", "teacher"),
        reads={"weights": Files(_TEACHER)},
        knobs=(_TEACHER, "model.dtype", "model.context"),
        place=place,
        check=_check_teacher,
    )


def _check_teacher(config: config_lib.Config) -> None:
    """Raises UserError for a teacher that is none, or cannot be read."""
    if not config.distill.teacher:
        raise ConfigError(
            f"{_TEACHER} is empty; expected the Hugging Face folder of the model that writes what "
            "is learned"
        )
    tokenizer_lib.load_tokenizer(hf_files.resolve_weights(config.distill.teacher))


def before(problems: Stage, place: str) -> Stage:
    """What a training job would start from, as it is."""
    return Stage(
        _take_base,
        makes=Model("generator", "before"),
        reads={
            "weights": Files("model.weights"),
            "tokenizer": Files("tokenizer.path"),
            "problems": problems.of(TRAIN, noted=False),
        },
        knobs=("seed", "data", "tokenizer", "model"),
        place=place,
    )


def milestone(student: Stage, number: int, place: str) -> Stage:
    """A student as it was at a milestone of its training (`fitting.milestone_of`)."""

    def take(context: Context) -> None:
        _take_milestone(context, number)

    return Stage(
        take, Model("generator", "checkpoint"), reads={"student": student.of()}, place=place
    )


def loaded(context: Context, role: str, merged: bool = True) -> model_folder.Saved:
    """The model that is read in a role, on the run's mesh; `merged` as `model_folder.load`."""
    mesh, made_by = sharding.make_mesh(context.config.mesh), context.input(role).stage.name
    dtype = context.config.model.dtype
    return model_folder.load(context.source(role), made_by, dtype, mesh, merged=merged)


def to_train_on(context: Context, role: str) -> tuple[model_folder.Saved, dict[str, Any]]:
    """The model that is read in a role, to be trained further as it was trained: of adapters these
    alone; and what the manifest of what comes of it notes of their base.
    """
    saved = loaded(context, role, merged=False)
    about = saved.manifest.get(adapted_base.LORA)
    return saved, {adapted_base.LORA: about} if about else {}


def _take_teacher(context: Context) -> None:
    config = context.config
    model = dataclasses.replace(config.model, weights=config.distill.teacher)
    _take(context, dataclasses.replace(config, model=model, tokenizer=TokenizerConfig()))


def _take_base(context: Context) -> None:
    _take(context, context.config)


def _take(context: Context, config: config_lib.Config) -> None:
    """Saves what a configuration starts from as a model folder."""
    settings = context.settings()
    if context.is_done(settings):
        return
    begun = time.monotonic()
    train = context.problems("problems") if "problems" in context.stage.reads else []
    tokenizer = base_model.tokenizer_of(config, train)
    model = base_model.base_model(config, tokenizer, sharding.make_mesh(config.mesh), [])
    facts: dict[str, Any] = {
        "settings": settings,
        "weights": base_model.weight_sums(config.model.weights),
        "inputs": inputs.sums(config, context.stage.named(config)),
    }
    fitting.finish(context, model, tokenizer, facts, begun)


def _take_milestone(context: Context, number: int) -> None:
    settings = context.settings()
    if context.is_done(settings):
        return
    begun, folder = time.monotonic(), context.source("student")
    milestone = fitting.milestone_of(folder, number)
    sums = context.manifest("student").get("milestones", {}).get(str(number), {})
    checksums.check(
        milestone, sums, f"put back a whole copy, or remove {folder} to train the student anew"
    )
    saved = loaded(context, "student")
    wanted = nnx.state(saved.model, nnx.Param)
    nnx.update(saved.model, parameters.load_params(milestone, wanted))
    facts = {"settings": settings, "template": saved.manifest["template"]}
    fitting.finish(context, saved.model, saved.tokenizer, facts, begun)
