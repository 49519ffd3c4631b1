"""The model card of an exported model, from its run's manifests, config.json and metrics.json."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from verifier.config import Config, Mark, flatten, gives_logits, marked
from verifier.errors import UserError
from verifier.evaluate.results_table import ROWS
from verifier.hf.files import is_hub_id
from verifier.report.page import main_split
from verifier.report.writing import About, about_workdir
from verifier.system import atomic, paths
from verifier.tables import own_likelihood, store
from verifier.tables.provenance import lineage, made_anew
from verifier.tables.results import GENERATOR, PROBLEMS, SAMPLES, SCORES, VERIFIER
from verifier.text.problem import Template
from verifier.text.split import HELDOUT, TEST, TRAIN, Split

_HERE = pathlib.Path(__file__).parent
_QUESTION = "Mia has 3 boxes of 4 pens. How many pens is that?"
_SOLUTION = "That is 3*4 = <<3*4=12>>12 pens.\n#### 12"
# On somebody's disk: of no use to a reader, and private.
_PRIVATE = marked(Mark.PATH)
_WEIGHTS = marked(Mark.WEIGHTS)
_GENERATORS_OWN = (
    "greedy_accuracy",
    "mean_sample_accuracy",
    "majority",
    *own_likelihood.RANKS,
    "oracle_pass_at_n",
)


def write_card(model: pathlib.Path, out: pathlib.Path) -> None:
    """Writes README.md with front matter as the Hugging Face hub reads it.

    The licence is left to the user.

    Args:
        model: a model folder, alone or in its workdir, which tells the settings and the figures.
        out: the exported folder.

    Raises:
        StoreError: the folder has no manifest that can be read.
        UserError: config.json or metrics.json of the run cannot be read, or nothing tells how
            problems were put to the model.
    """
    atomic.write_text(out / "README.md", render_card(model))


def render_card(model: pathlib.Path) -> str:
    """The card's text; arguments and errors as `write_card`."""
    model = paths.to_path(model)
    # Of a sweep: a link leads to another run's folder.
    manifest, root = store.read_manifest(model), paths.absolute(model).parent
    if manifest is None:
        raise UserError(
            f"{model} has no manifest: give the folder of a trained model, such as "
            "runs/NAME/generator"
        )
    about, kind = about_workdir(root), (VERIFIER if "head" in manifest else GENERATOR).name
    settings = about.settings or {
        path: value for path, value in manifest["settings"].items() if "." in path
    }
    own = (
        kind == "verifier"
        and settings.get("verify.init") == "base"
        and settings.get("verify.weights")
    )
    public = _of_the_hub(root, manifest, settings)
    template = _template(model, manifest, settings)
    encoder = bool(manifest["arch"].get("encoder_layers"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    return environment.get_template("card.md.jinja").render(
        kind=kind,
        verifier=kind == "verifier",
        encoder=encoder,
        model_class="AutoModelForSeq2SeqLM" if encoder else "AutoModelForCausalLM",
        name=about.name if about.settings else root.name,
        id=manifest["id"],
        generator=manifest.get("generator"),
        logits=kind == "verifier" and gives_logits(manifest["settings"]),
        base_model=public.get("verify.weights" if own else "model.weights", ""),
        dataset="openai/gsm8k" if settings.get("data.name") == "gsm8k" else "",
        prompt=_literal(template.render_prompt(_QUESTION)),
        solution=_literal(template.render_target(_SOLUTION)),
        calculator=settings.get("sample.calculator", True),
        data=_data(root, settings),
        shape=_shape(manifest),
        versions=_versions(about),
        settings=_changed(settings, lineage(root, manifest), public),
        **_figures(root, about, manifest, kind),
    )


def _of_the_hub(
    root: pathlib.Path, manifest: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, str]:
    """The weights that are known to come from the hub, by knob.

    All others may be paths on somebody's disk.
    """
    generator = (
        manifest if "head" not in manifest else store.read_manifest(GENERATOR.folder(root)) or {}
    )
    sums = {
        "model.weights": generator.get("weights", {}),
        "verify.weights": manifest.get("weights", {}) if "head" in manifest else {},
    }
    return {
        path: str(settings[path])
        for path, own in sums.items()
        if path in settings and is_hub_id(str(settings[path]), own)
    }


def _template(
    model: pathlib.Path, manifest: Mapping[str, Any], settings: Mapping[str, Any]
) -> Template:
    """As in training; of a model from before its manifest noted it, the run's settings tell."""
    if "template" in manifest:
        return Template(**manifest["template"])
    if "data.prompt_template" in settings and "data.target_template" in settings:
        return Template(settings["data.prompt_template"], settings["data.target_template"])
    raise UserError(
        f"{model} does not tell how problems were put to the model, which its card has to "
        "show: export it in its workdir"
    )


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # Python reads a JSON string as JSON does


def _shape(manifest: Mapping[str, Any]) -> str:
    arch = manifest["arch"]
    layers = f"{arch['layers']} layers"
    if arch.get("encoder_layers"):
        layers = f"{arch['encoder_layers']} layers of an encoder and {arch['layers']} of a decoder"
    sizes = (
        f"{layers}, width {arch['width']}, {arch['heads']} heads, a context of "
        f"{arch['context']:,} tokens"
    )
    return sizes + (f", value head `{manifest['head']}`" if "head" in manifest else "")


def _versions(about: About) -> str:
    facts = [
        f"{name} {value}"
        for name, value in about.facts.items()
        if name in ("python", "jax", "flax")
    ]
    revision = [f"revision {about.facts['git revision']}"] if "git revision" in about.facts else []
    return f"Made with {', '.join([*facts, *revision])}." if facts or revision else ""


def _data(root: pathlib.Path, settings: Mapping[str, Any]) -> str:
    """Where the problems come from and how many there were."""
    name, test = settings.get("data.name"), settings.get("data.test_name")
    rows = {
        split: (store.read_manifest(PROBLEMS.folder(root, split)) or {}).get("rows")
        for split in _WORDS
    }
    known = [f"{count:,} {_WORDS[split]}" for split, count in rows.items() if count is not None]
    drawn = (store.read_manifest(SAMPLES.folder(root, TRAIN)) or {}).get("rows")
    parts = [
        f"Problems of `{name}`{f', tested on `{test}`' if test else ''}."
        if name
        else "Not known: the folder has left its run."
    ]
    parts += [f"{', '.join(known)}."] if known else []
    parts += [f"{drawn:,} solutions were sampled from training problems."] if drawn else []
    return " ".join(parts)


_WORDS = {
    TRAIN: "problems to train on",
    HELDOUT: "held out of them for early stopping and the choice of k",
    TEST: "to test on, which served no choice",
}


def _changed(
    settings: Mapping[str, Any], line: Sequence[Mapping[str, Any]] | None, public: Mapping[str, str]
) -> list[tuple[str, str]]:
    """The knobs that are not at their defaults, paths left out.

    Those of the sections that the model and what it follows from (`line`) depend on; where that is
    not known, all that the run notes.
    """
    defaults = flatten(Config())
    notes = [made.get("settings", {}) for made in line] if line else [settings]
    sections = {path.partition(".")[0] for noted in notes for path in noted}
    hidden = (*_PRIVATE, *(path for path in _WEIGHTS if path not in public))
    changed = [
        path
        for path in settings
        if path.partition(".")[0] in sections and settings[path] != defaults.get(path)
    ]
    return [
        (path, json.dumps(settings[path], ensure_ascii=False).replace("|", "\\|"))
        for path in changed
        if path not in hidden
    ]


def _figures(
    root: pathlib.Path, about: About, manifest: Mapping[str, Any], kind: str
) -> dict[str, Any]:
    """The report's figures, where they are known to be of this model; else none."""
    path = root / "report" / "metrics.json"
    if not path.is_file():
        return {}
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        split = main_split(metrics["splits"])
        figures = metrics["splits"][split]
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise UserError(
            f"{path} is no report's metrics.json ({error}); make it anew (--stages=report), or "
            "remove it"
        ) from error
    table = SCORES if kind == VERIFIER.name else SAMPLES
    made = store.read_manifest(table.folder(root, Split.named(split))) or {}
    if (
        made.get("settings", {}).get(kind) != manifest["id"]
        or metrics.get("config_hash") != about.config_hash
        or made_anew(root, metrics)
    ):
        return {}
    low, high = figures["samples_per_problem"]["min"], figures["samples_per_problem"]["max"]
    rows = [
        (key, label, figures.get(key))
        for key, label, _ in ROWS
        if kind == "verifier" or key in _GENERATORS_OWN
    ]
    return {
        "split": split,
        "problems": figures["n_problems"],
        "samples": f"{low:,}" if low == high else f"{low:,} to {high:,}",
        "figures": [
            (label + (f" (k={value['k']})" if "k" in value else ""), _interval(value))
            for _, label, value in rows
            if value
        ],
        "ranking": _ranking(figures.get("verifier")) if kind == "verifier" else [],
    }


def _interval(value: Mapping[str, Any]) -> str:
    low, high = value["ci95"]
    return f"{100 * value['value']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _ranking(verifier: Mapping[str, Any] | None) -> list[str]:
    """How well scores tell right from wrong."""
    if not verifier:
        return []
    words = {
        "auroc": "AUROC",
        "auroc_within_problem": "AUROC within a problem",
        "brier": "Brier score",
    }
    words["ece"] = "expected calibration error"
    known = [
        f"{name} {verifier[key]:.3f}"
        for key, name in words.items()
        if isinstance(verifier.get(key), float)
    ]
    return [f"Scores of single samples: {', '.join(known)}."] if known else []
