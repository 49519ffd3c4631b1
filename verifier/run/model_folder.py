"""A trained generator or verifier as a folder: parameters, architecture, tokenizer, manifest.

Knows no stage and no optimiser.

generator/            verifier/
  params/  (Orbax)      params/  (Orbax; decoder and value head; of LoRA adapters and head alone)
  tokenizer files       tokenizer files
  manifest.json         manifest.json, written last: id, architecture, head, settings, template, the
                        sums of all other files
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from verifier import config as config_lib
from verifier import errors
from verifier.hf import files as hf_files
from verifier.hf import verifier as hf_verifier
from verifier.model import lora, sharding
from verifier.model.arch import Arch
from verifier.model.heads import LinearHead, ReservedLogitHead, Verifier
from verifier.model.rotary import RopeScaling
from verifier.model.transformer import Transformer
from verifier.run import adapted_base, hosts
from verifier.run import workdir as workdir_lib
from verifier.system import checksums
from verifier.tables.manifests import MANIFEST
from verifier.text.problem import Template
from verifier.text.tokenizer import Tokenizer, load_tokenizer
from verifier.train import parameters

_EXPORTED = ("verify.value_loss", "model.dtype")  # settings that a verifier's scores depend on


class Saved(NamedTuple):
    """A model with what is needed to use it."""

    model: Any  # Transformer of a generator, Verifier of a verifier
    tokenizer: Tokenizer
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        """Hash of the parameters: what tables call this model."""
        return self.manifest["id"]

    @property
    def template(self) -> Template | None:
        """How a problem was put to it; None where its manifest is from before that was noted."""
        return Template(**self.manifest["template"]) if "template" in self.manifest else None


def save(
    folder: pathlib.Path,
    model: Transformer | Verifier,
    tokenizer: Tokenizer,
    facts: Mapping[str, Any],
    beside: Mapping[str, Any] = types.MappingProxyType({}),
) -> str:
    """Writes a model folder, manifest last.

    Args:
        folder: may hold training checkpoints already; they are left alone.
        model: a Transformer or a Verifier.
        tokenizer: the one it was trained with.
        facts: further entries of the manifest (settings, seconds, ...); of an adapted model
            `adapted_base.facts`.
        beside: further parameters, each tree in a folder of that name; the model is read without.

    Returns:
        The id of all parameters.
    """
    params = nnx.state(model, nnx.Param)
    stored = lora.trained(params)  # beside a frozen base the adapters and the head
    for inside, tree in {"params": stored, **beside}.items():
        parameters.save_params(folder / inside, tree)
    name = parameters.tree_id({"params": stored, **beside} if beside else stored)
    if lora.is_adapted(params):  # the same adapters are another model beside another base
        base = json.dumps(facts[adapted_base.LORA], sort_keys=True)
        name = hashlib.sha256(f"{name} {base}".encode()).hexdigest()[: len(name)]
    head = (
        {"head": "reserved_logit" if isinstance(model.head, ReservedLogitHead) else "linear"}
        if isinstance(model, Verifier)
        else {}
    )
    arch = model.backbone.arch if isinstance(model, Verifier) else model.arch
    if hosts.is_first():
        tokenizer.save(folder)
        names = [path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST]
        for inside in ("params", *beside):
            names += [f"{inside}/{name}" for name in checksums.of_folder(folder / inside)]
        files = checksums.of_files(folder, names)
        checksums.write_sealed(
            folder / MANIFEST,
            {"id": name, "arch": dataclasses.asdict(arch), **head, **facts, "files": files},
        )
    hosts.wait("saved")
    return name


def outline(folder: pathlib.Path, stage: str, dtype: str) -> Saved:
    """A model folder without the numbers: a model of shapes (`nnx.eval_shape`), tokenizer and
    manifest.

    Arguments as `load`.

    Raises:
        WorkdirError: the folder is missing or unfinished.
        Damaged: a file of the tokenizer is not what was written.
    """
    manifest = workdir_lib.manifest_of(folder, stage)
    checksums.check(
        folder,
        {name: sums for name, sums in manifest["files"].items() if not name.startswith("params/")},
        _way_out(folder),
    )
    try:
        arch = arch_from_dict(manifest["arch"])
    except (KeyError, TypeError, ValueError) as error:
        raise errors.UserError(
            f"{folder / MANIFEST} describes no model of this version ({error!r}); "
            f"{_way_out(folder)}"
        ) from error
    tokenizer = load_tokenizer(folder)

    def build() -> nnx.Module:
        backbone = Transformer(arch, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype))
        return _with_head(backbone, manifest, tokenizer)

    return Saved(nnx.eval_shape(build), tokenizer, manifest)


def load(
    folder: pathlib.Path,
    stage: str,
    dtype: str,
    mesh: jax.sharding.Mesh | None = None,
    rules: sharding.Rules = sharding.RULES,
    merged: bool = True,
) -> Saved:
    """Reads a model folder.

    Args:
        folder: as `save` wrote it.
        stage: the stage that makes it, named where it is missing.
        dtype: of activations, "float32" or "bfloat16".
        mesh: where the parameters go, each device holding its share; None: the default device.
        rules: how they are divided.
        merged: adapters are added to the kernels; else they stay beside them, to be trained on.

    Raises:
        WorkdirError: the folder is missing or unfinished.
        Damaged: a file is not what was written.
        CheckpointError: its parameters do not fit its architecture.
        ConfigError: the mesh does not divide the model.
    """
    saved = outline(folder, stage, dtype)
    checksums.check(folder, saved.manifest["files"], _way_out(folder))
    arch = arch_from_dict(saved.manifest["arch"])
    about = saved.manifest.get(adapted_base.LORA)
    if about:
        size = saved.tokenizer.vocab_size
        backbone = adapted_base.load(folder, about, arch, size, dtype, mesh)
        saved = saved._replace(model=_with_head(backbone, saved.manifest, saved.tokenizer))
    wanted = lora.trained(nnx.state(saved.model, nnx.Param))
    if mesh is not None:
        sharding.check(arch, mesh)
        wanted = sharding.place_parameters(wanted, mesh, rules)
    nnx.update(saved.model, parameters.load_params(folder / "params", wanted))
    if about and merged:
        model = saved.model
        lora.merge(model.backbone if isinstance(model, Verifier) else model)
    if about and mesh is not None:
        whole = sharding.place_parameters(nnx.state(saved.model, nnx.Param), mesh, rules)
        nnx.update(saved.model, whole)
    return saved


def _with_head(
    backbone: Transformer, manifest: Mapping[str, Any], tokenizer: Tokenizer
) -> Transformer | Verifier:
    """A backbone as a manifest has it: a generator, or a verifier with a fresh head."""
    if "head" not in manifest:
        return backbone
    return Verifier(backbone, make_head(manifest["head"], tokenizer, backbone.arch))


def about_export(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What an exported verifier's config.json tells of its manifest, so that `load_export` gives
    the same scores.
    """
    kept = {
        name: manifest[name]
        for name in ("id", "generator", "trained_on", "template")
        if name in manifest
    }
    return kept | {
        "settings": {
            path: manifest["settings"][path] for path in _EXPORTED if path in manifest["settings"]
        }
    }


def load_export(folder: pathlib.Path, dtype: str | None) -> Saved:
    """Reads a verifier that `python -m verifier.export` wrote; its manifest is `about_export`.

    Args:
        folder: local.
        dtype: of activations; None: as the run scored.

    Raises:
        WeightsError: nothing of that kind, or files that are missing or damaged.
        TokenizerError: its tokenizer cannot be read.
    """
    manifest = hf_files.read_json(folder / "config.json").get(hf_verifier.ABOUT)
    if not isinstance(manifest, dict):
        raise errors.WeightsError(
            f"{folder} is no verifier that `python -m verifier.export` wrote: its config.json "
            "tells nothing of one"
        )
    try:
        known = dtype_of(manifest) in ("float32", "bfloat16")
        Template(**manifest.get("template", {}))
    except (KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise errors.WeightsError(
            f"{folder / 'config.json'} tells nothing of its verifier that can be read; export "
            "it again"
        )
    tokenizer = load_tokenizer(folder)
    model = hf_verifier.load_verifier(
        folder, tokenizer_size=tokenizer.vocab_size, dtype=jnp.dtype(dtype or dtype_of(manifest))
    )
    return Saved(model, tokenizer, manifest)


def dtype_of(manifest: Mapping[str, Any]) -> str:
    """The dtype of activations in which the run's own stages use a model."""
    return manifest["settings"].get("model.dtype", config_lib.ModelConfig.dtype)


def _way_out(folder: pathlib.Path) -> str:
    return f"put back a whole copy, or remove {folder} (and what was made from it) to make it anew"


def make_head(kind: str, tokenizer: Tokenizer, arch: Arch) -> ReservedLogitHead | LinearHead:
    """A fresh value head of a kind that `config.VerifyConfig.head` names."""
    return (
        ReservedLogitHead(tokenizer.reserved_id)
        if kind == "reserved_logit"
        else LinearHead(arch.width)
    )


def arch_from_dict(fields: Mapping[str, Any]) -> Arch:
    """The architecture that `dataclasses.asdict` made plain."""
    scaling = fields["rope_scaling"]
    return Arch(**{**fields, "rope_scaling": RopeScaling(**scaling) if scaling else None})
