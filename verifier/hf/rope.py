"""Rotary positions in a Hugging Face config.json, of transformers 4 and 5, and back."""

from __future__ import annotations

import math
from typing import Any

from verifier.errors import WeightsError
from verifier.hf.fields import MOST_NUMBER
from verifier.model.rotary import RopeScaling

# Fields of rope_scaling that each kind reads: Hugging Face's name, ours.
_FIELDS: dict[str, dict[str, str]] = {
    "linear": {"factor": "factor"},
    "dynamic": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "original_max_position_embeddings": "original_context",
        "low_freq_factor": "low_freq_factor",
        "high_freq_factor": "high_freq_factor",
    },
    "yarn": {
        "factor": "factor",
        "original_max_position_embeddings": "original_context",
        "attention_factor": "attention_factor",
        "beta_fast": "beta_fast",
        "beta_slow": "beta_slow",
        "truncate": "truncate",
    },
}
_HARMLESS = {
    "type",
    "rope_type",
    "rope_theta",
    "partial_rotary_factor",
    "finetuned",
    "original_max_position_embeddings",
}


def read(config: dict[str, Any]) -> tuple[float, RopeScaling | None]:
    """Theta and scaling out of rope_parameters, or rope_theta and rope_scaling (4)."""
    rope: dict[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta") or config.get("rope_theta") or 10000.0
    # The waves grow longer from channel to channel.
    if type(theta) not in (int, float) or not 1 < theta < MOST_NUMBER:
        raise WeightsError(
            f"rope_theta={theta!r:.80} is not a finite number above 1; take the file that "
            "belongs to the weights"
        )
    if rope.get("partial_rotary_factor") not in (None, 1):
        raise WeightsError(
            f"partial_rotary_factor={rope['partial_rotary_factor']!r} is not supported; only 1"
        )
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default" and kind not in _FIELDS:
        raise WeightsError(
            f"rope scaling of type {kind!r} is not supported; supported are default, "
            f"{', '.join(_FIELDS)}"
        )
    fields = _FIELDS.get(kind, {})
    known = set(fields) | _HARMLESS | ({"mscale", "mscale_all_dim"} if kind == "yarn" else set())
    unknown = sorted(set(rope) - known)
    if unknown:
        raise WeightsError(
            f"rope scaling of type {kind!r} with {', '.join(unknown)} is not supported; it "
            f"reads {', '.join(sorted(known))}"
        )
    if kind == "default":
        return float(theta), None
    needed = {"factor", "low_freq_factor", "high_freq_factor"} & set(fields)
    if any(rope.get(field) is None for field in needed):
        raise WeightsError(
            f"rope scaling of type {kind!r} needs {', '.join(sorted(needed))}; found {rope}"
        )
    values = {ours: rope[theirs] for theirs, ours in fields.items() if rope.get(theirs) is not None}
    scales = {field: rope[field] for field in ("mscale", "mscale_all_dim") if rope.get(field)}
    for field, value in (values | scales).items():
        in_range = type(value) in (int, float) and 0 < value < 2**31
        if not (isinstance(value, bool) if field == "truncate" else in_range):
            fault = f"rope scaling of type {kind!r} with {field}={value!r:.80} makes no sense"
            raise WeightsError(f"{fault}; take the file that belongs to the weights")
    if "original_max_position_embeddings" in fields:
        values.setdefault("original_context", config["max_position_embeddings"])
    if len(scales) == 2:
        all_dim = _mscale(rope["factor"], scales["mscale_all_dim"])
        values.setdefault("attention_factor", _mscale(rope["factor"], scales["mscale"]) / all_dim)
    return float(theta), RopeScaling(kind=kind, **values)


def by_layer_type(config: dict[str, Any]) -> tuple[float, RopeScaling | None, float]:
    """Theta and scaling of the layers that see all, and theta of those with a window (Gemma 3).

    Written as rope_theta, rope_scaling and rope_local_base_freq (transformers 4), or as
    rope_parameters for each type of layer (5).
    """
    given: dict[str, Any] = config.get("rope_parameters") or {}
    unknown = sorted(set(given) - {"full_attention", "sliding_attention"})
    if unknown:
        raise WeightsError(
            f"rope_parameters with {', '.join(unknown)} is not supported here; only "
            "full_attention and sliding_attention"
        )
    full = (
        {"rope_theta": config["rope_theta"]}
        | (given.get("full_attention") or {})
        | (config.get("rope_scaling") or {})
    )
    local = {"rope_theta": config["rope_local_base_freq"]} | (given.get("sliding_attention") or {})
    theta, scaling = read({**config, "rope_parameters": full})
    local_theta, local_scaling = read({**config, "rope_parameters": local})
    if scaling is not None and scaling.kind != "linear":
        raise WeightsError(
            f"rope scaling of type {scaling.kind!r} is not supported for layers of "
            "full_attention; only default and linear"
        )
    if local_scaling is not None:
        raise WeightsError(
            f"rope scaling of type {local_scaling.kind!r} is not supported for layers of "
            "sliding_attention; only default"
        )
    return theta, scaling, local_theta


def written(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """rope_scaling as transformers 4 writes it and 5 reads it."""
    if scaling is None:
        return None
    fields = {theirs: getattr(scaling, ours) for theirs, ours in _FIELDS[scaling.kind].items()}
    return {"rope_type": scaling.kind} | {
        name: value for name, value in fields.items() if value is not None
    }


def _mscale(factor: float, scale: float) -> float:
    """YaRN's attention factor as DeepSeek's configs write it."""
    return 0.1 * scale * math.log(factor) + 1.0
