"""What no stage could use or hardly anyone means, said before anything is written.

What one knob takes is declared beside it in `sections`; here is what knobs must be to each other.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing

from verifier.config import (
    Config,
    Kind,
    OodConfig,
    SearchConfig,
    TrainConfig,
    choices,
    flatten,
    kinds,
    knobs,
    override,
)
from verifier.errors import ConfigError

_BATCH_TOKENS = 100_000_000  # of a step; each is some 24 bytes on the host


def check(config: Config) -> None:
    """Refuses values that no stage could use, before anything is written or a device is touched.

    Raises:
        ConfigError: the first such value, with what was expected.
    """
    _check_ranges(config)
    _check_ood(config.ood)
    _check_rows(config)
    _check_weights(config)
    _check_search(config.search)
    _check_rollouts(config)
    if config.finetune.loss == "match_spans" and config.distill.align == "dtw":
        raise ConfigError(
            "finetune.loss=match_spans with distill.align=dtw: the spans of time warping may spell "
            "different texts on both sides; set distill.align=bytes, or auto"
        )
    for name, step_end in (
        ("search", config.search.step_end),
        ("rollouts", config.rollouts.step_end),
    ):
        if not step_end:
            raise ConfigError(f"{name}.step_end is empty; expected the text that a step ends with")
    for path, entries in (
        ("report.ks", config.report.ks),
        ("data.kinds", config.data.kinds),
        ("search.methods", config.search.methods),
        ("search.budgets", config.search.budgets),
        ("rain.set_tokens", config.rain.set_tokens),
        ("select.formats", config.select.formats),
        ("step_by_step.methods", config.step_by_step.methods),
        ("step_by_step.train_shares", config.step_by_step.train_shares),
    ):
        if not entries:
            raise ConfigError(f"{path}=[]: expected at least one entry")
    if config.sample.max_new_tokens >= config.model.context:
        raise ConfigError(
            f"sample.max_new_tokens={config.sample.max_new_tokens} leaves no room for a prompt "
            f"in model.context={config.model.context}"
        )
    mesh = config.mesh
    if (mesh.data, mesh.fsdp, mesh.tensor).count(-1) > 1:
        raise ConfigError(
            f"mesh.data={mesh.data} mesh.fsdp={mesh.fsdp} mesh.tensor={mesh.tensor}: only one "
            "may be -1, for what is left"
        )
    model = config.model
    if model.heads % model.kv_heads or model.width % (2 * model.heads):
        raise ConfigError(
            f"model.heads={model.heads} must be a multiple of model.kv_heads={model.kv_heads} "
            f"and give heads of an even width in model.width={model.width}"
        )


def _check_ranges(config: Config) -> None:
    """Every knob by what is declared beside it."""
    for path, value in flatten(override(config, ())).items():
        if reason := kinds.refusal(value, knobs()[path]):
            near = (
                difflib.get_close_matches(value, choices(path), n=1)
                if isinstance(value, str)
                else []
            )
            raise ConfigError(
                f"{path}={kinds.shortened(value)}: "
                f"{reason}{f'; did you mean {near[0]}?' if near else ''}"
            )


def _check_weights(config: Config) -> None:
    """Weights that training starts from."""
    if config.verify.weights and config.verify.init != "base":
        raise ConfigError(
            f"verify.weights={kinds.shortened(config.verify.weights)} with "
            f"verify.init={config.verify.init}: a verifier that starts from the generator has "
            "the generator's weights; set verify.init=base, or leave verify.weights empty"
        )
    if config.model.lora_rank and not config.model.weights:
        raise ConfigError(
            f"model.lora_rank={config.model.lora_rank} without model.weights: adapters are trained "
            "beside a model that has learned something; name one, or set model.lora_rank=0"
        )


def _check_rows(config: Config) -> None:
    """Batches that can be cut up and held."""
    sections = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    jobs = {name: each for name, each in sections.items() if isinstance(each, TrainConfig)}
    for name, stage in jobs.items():
        if stage.batch_rows % stage.accumulate:
            raise ConfigError(
                f"{name}.batch_rows={stage.batch_rows} is no multiple of "
                f"accumulate={stage.accumulate}: micro-batches are equal parts"
            )
        if stage.batch_rows * stage.row_tokens > _BATCH_TOKENS:
            raise ConfigError(
                f"{name}.batch_rows={stage.batch_rows} rows of "
                f"{name}.row_tokens={stage.row_tokens} are "
                f"{stage.batch_rows * stage.row_tokens:,} tokens a step; expected at most "
                f"{_BATCH_TOKENS:,}"
            )


def _check_search(search: SearchConfig) -> None:
    """Candidates that can be shared out evenly, and steps that end somewhere."""
    for budget in search.budgets:
        if budget % search.branching:
            raise ConfigError(
                f"search.budgets={kinds.shortened(search.budgets)}: {budget} candidates cannot be "
                f"shared out with search.branching={search.branching} to each that goes on; "
                "expected multiples of it"
            )
    for path, entries in (("methods", search.methods), ("budgets", search.budgets)):
        if len(set(entries)) < len(entries):
            raise ConfigError(f"search.{path}={kinds.shortened(entries)}: one stands twice")


def _check_rollouts(config: Config) -> None:
    """Every sample that is learned from has rollouts."""
    rolled_out, used = config.rollouts.samples_per_problem, config.verify.samples_per_problem
    asked = config.verify.labels in ("hard", "soft", "first_error")
    if asked and rolled_out and (not 0 < used <= rolled_out or config.verify.deduplicate):
        raise ConfigError(
            f"rollouts.samples_per_problem={rolled_out} with verify.samples_per_problem={used} "
            f"verify.deduplicate={config.verify.deduplicate}: not all samples that are learned "
            f"from would have rollouts; expected 1 to {rolled_out} and false, or 0 rollouts for all"
        )


def _check_ood(config: OodConfig) -> None:
    """Sets that are named once, and as many folders as sets or none."""
    for path, entries in (("sets", config.sets), ("bbh_tasks", config.bbh_tasks)):
        for name in entries:
            if entries.count(name) > 1:
                raise ConfigError(f"ood.{path}={kinds.shortened(entries)}: {name!r} stands twice")
    generated = [name for name in config.sets if name in typing.get_args(Kind)]
    if generated and not config.problems:
        raise ConfigError(
            f"ood.problems=0 with the set {generated[0]!r}: generated problems have no end, so say "
            "how many are wanted"
        )
    if config.dirs and len(config.dirs) != len(config.sets):
        raise ConfigError(
            f"ood.dirs={kinds.shortened(config.dirs)} has {len(config.dirs)} folders for the "
            f"{len(config.sets)} sets of ood.sets={kinds.shortened(config.sets)}; name one a set, "
            "or none and set SVAMP_DIR and the like"
        )


def warnings(config: Config) -> list[str]:
    """One line for each setting that is allowed and yet hardly meant."""
    lines = []
    draws = config.sample
    most = max(draws.train_samples, draws.heldout_samples, draws.test_samples)
    if draws.temperature == 0 and most > 1:
        lines.append(
            f"sample.temperature=0 makes all {most} solutions of a problem the same; raise it, "
            "or draw 1 solution a problem"
        )
    if config.data.dir and config.data.name == "generated":
        lines.append(
            f"data.dir={kinds.shortened(config.data.dir)} is not read, for problems are generated; "
            "set data.name=gsm8k (or another) for problems in files"
        )
    return lines
