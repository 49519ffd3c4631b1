"""What no stage could use or hardly anyone means, said before anything is written. Knows the knobs' meaning and no device."""

from __future__ import annotations

import difflib
import math

from verifier.config import Config, ConfigError, OodConfig, flatten

_CHOICES = {
    "data.source": ("local", "tfds", "hub"),
    "tokenizer.kind": ("auto", "huggingface", "sentencepiece", "bytes"),
    "model.dtype": ("float32", "bfloat16"),
    "label.grader": ("numeric", "paper", "strict", "flexible", "math_verify"),
    "verify.head": ("reserved_logit", "linear"),
    "verify.level": ("token", "solution"),
    "verify.value_loss": ("mse", "bce"),
    "verify.normalise": ("tokens", "solutions"),
    "verify.init": ("generator", "base"),
    "report.aggregation": ("last", "mean", "min", "product", "last_line"),
}
_OOD_SETS = ("svamp", "asdiv", "multiarith", "gsm8k")
_POSITIVE = (
    *("model.context", "model.layers", "model.width", "model.heads", "model.kv_heads", "model.mlp_width", "tokenizer.vocab_size"),
    *("sample.train_samples", "sample.heldout_samples", "sample.test_samples", "sample.max_new_tokens"),
    *("score.rows", "report.resamples", "data.heldout_problems", "label.grader_seconds"),
    *(f"{stage}.{knob}" for stage in ("pretrain", "finetune", "verify") for knob in ("batch_rows", "row_tokens", "accumulate")),
    *(f"{stage}.{knob}" for stage in ("pretrain", "finetune", "verify") for knob in ("learning_rate", "keep_checkpoints")),
)
_SHARES = tuple(f"{stage}.{knob}" for stage in ("pretrain", "finetune", "verify") for knob in ("dropout", "warmup_share", "beta1", "beta2"))


def check(config: Config) -> None:
    """Refuses values that no stage could use, before anything is written or a device is touched.

    Raises:
        ConfigError: the first such value, with what was expected.
    """
    _check_seed(config.seed)
    flat = flatten(config)
    for path, choices in _CHOICES.items():
        if flat[path] not in choices:
            near = difflib.get_close_matches(flat[path], choices, n=1)
            raise ConfigError(f"{path}={flat[path]!r}: expected one of {', '.join(choices)}{f'; did you mean {near[0]}?' if near else ''}")
    for path, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{path}={value!r}: expected a finite number")
        if path in _POSITIVE and not value > 0:
            raise ConfigError(f"{path}={value!r}: expected a number above 0")
        if path in _SHARES and not 0 <= value < 1:
            raise ConfigError(f"{path}={value!r}: expected a share, at least 0 and below 1")
        if path.startswith("mesh."):
            if value != -1 and value < 1:
                raise ConfigError(f"{path}={value!r}: expected a number of devices, at least 1, or -1 for what is left")
        elif isinstance(value, (int, float)) and value < 0:
            raise ConfigError(f"{path}={value!r}: expected 0 or more")
    _check_ood(config.ood)
    if config.verify.weights and config.verify.init != "base":
        raise ConfigError(
            f"verify.weights={config.verify.weights!r} with verify.init={config.verify.init}: a verifier that starts from the generator "
            "has the generator's weights; set verify.init=base, or leave verify.weights empty"
        )
    if not 0 < config.sample.top_p <= 1:
        raise ConfigError(f"sample.top_p={config.sample.top_p!r}: expected a share above 0 and at most 1 (1: off)")
    if not config.report.ks or min(config.report.ks) < 1:
        raise ConfigError(f"report.ks={list(config.report.ks)!r}: expected sizes of votes from 1 up, such as [1,3,5]")
    if config.sample.max_new_tokens >= config.model.context:
        raise ConfigError(
            f"sample.max_new_tokens={config.sample.max_new_tokens} leaves no room for a prompt in model.context={config.model.context}"
        )
    for name, stage in (("pretrain", config.pretrain), ("finetune", config.finetune), ("verify", config.verify)):
        if stage.batch_rows % stage.accumulate:
            raise ConfigError(
                f"{name}.batch_rows={stage.batch_rows} is no multiple of accumulate={stage.accumulate}: micro-batches are equal parts"
            )
        if stage.has_work and stage.row_tokens > config.model.context:
            raise ConfigError(f"{name}.row_tokens={stage.row_tokens} is more than model.context={config.model.context}")
    model = config.model
    if model.heads % model.kv_heads or model.width % (2 * model.heads):
        raise ConfigError(
            f"model.heads={model.heads} must be a multiple of model.kv_heads={model.kv_heads} and give heads of an even width "
            f"in model.width={model.width}"
        )


def _check_seed(seed: int) -> None:
    """A seed that tables can hold; every bit of it counts."""
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed={seed}: expected a whole number from 0 to {2**63 - 1} (2^63 - 1)")


def _check_ood(config: OodConfig) -> None:
    """Sets that are known, each once, and as many folders as sets or none."""
    for name in config.sets:
        if name not in _OOD_SETS or config.sets.count(name) > 1:
            known = ", ".join(_OOD_SETS)
            raise ConfigError(f"ood.sets={list(config.sets)!r}: {name!r} is unknown or stands twice; expected some of {known}")
    if config.dirs and len(config.dirs) != len(config.sets):
        raise ConfigError(
            f"ood.dirs={list(config.dirs)!r} has {len(config.dirs)} folders for the {len(config.sets)} sets of "
            f"ood.sets={list(config.sets)!r}; name one a set, or none and set SVAMP_DIR and the like"
        )


def warnings(config: Config) -> list[str]:
    """One line for each setting that is allowed and yet hardly meant."""
    most = max(config.sample.train_samples, config.sample.heldout_samples, config.sample.test_samples)
    if config.sample.temperature == 0 and most > 1:
        return [f"sample.temperature=0 makes all {most} solutions of a problem the same; raise it, or draw 1 solution a problem"]
    return []
