"""python -m verifier.export: a trained model as a Hugging Face folder, or a run's scored samples as JSONL. Knows flags and paths.

    python -m verifier.export --model=runs/NAME/generator --to=FOLDER     # for AutoModelForCausalLM
    python -m verifier.export --model=runs/NAME/verifier --to=FOLDER      # for AutoModelForTokenClassification: a value after every token
    python -m verifier.export --scored=runs/NAME --to=FILE.jsonl          # question, solution, answer, correct, score (no JAX)
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Sequence

from verifier import stopping

if __name__ == "__main__":
    stopping.listen(goes_on=False)  # before all that takes time to import

from absl import app, flags

from verifier import places
from verifier.config import UserError

_MODEL = flags.DEFINE_string("model", None, "The model folder of a run: runs/NAME/generator or runs/NAME/verifier.")
_SCORED = flags.DEFINE_string("scored", None, "A workdir whose samples are scored: runs/NAME.")
_TO = flags.DEFINE_string("to", None, "The folder to write, or of scored samples the JSONL file.")
_TOKEN_SCORES = flags.DEFINE_bool("token_scores", False, "With --scored: also every sample's tokens and the value after each.")
_USAGE = "usage: python -m verifier.export --model=runs/NAME/generator --to=FOLDER, or --scored=runs/NAME --to=FILE.jsonl"


def export(model: pathlib.Path, to: str | os.PathLike[str]) -> None:
    """Writes a model folder so that transformers reads it: weights, tokenizer and a model card.

    A generator becomes a CausalLM, which `model.weights` takes too; a verifier a ForTokenClassification with one label, whose output is
    the value after each token, raw (of a verifier of value_loss=bce a logit).

    Args:
        model: as a run saved it.
        to: a local folder, made where it is missing; an earlier export in it is replaced.

    Raises:
        UserError: no such model, one that the format cannot express, or a folder to write to that is remote or holds something else.
    """
    whole_run = [str(model / name) for name in ("generator", "verifier") if (model / name / "manifest.json").is_file()]
    if whole_run:
        raise UserError(f"{model} is a whole run: give one of its models, {' or '.join(whole_run)}")
    out = _folder_to_write(to)
    from verifier import checksums, saved  # after the cheap checks: importing JAX takes seconds
    from verifier.evaluate import card
    from verifier.model import hf_verifier, hf_weights
    from verifier.model.heads import Verifier
    from verifier.text.transformers_tokenizer import save_for_transformers

    found = saved.load(model, "verify" if model.name == "verifier" else "finetune", "float32")
    size, end_id = found.tokenizer.vocab_size, found.tokenizer.end_id
    if isinstance(found.model, Verifier):
        logits, about = saved.gives_logits(found.manifest), saved.about_export(found.manifest)
        hf_verifier.save_verifier(found.model, out, tokenizer_size=size, end_id=end_id, logits=logits, about=about)
    else:
        hf_weights.save_weights(found.model, out, tokenizer_size=size, end_id=end_id)
    save_for_transformers(found.tokenizer, out)
    card.write_card(model, out)
    checksums.write_sums(out)


def _folder_to_write(to: str | os.PathLike[str]) -> pathlib.Path:
    """The folder, once it is known that nothing but an earlier export is in it."""
    if places.is_remote(to):
        raise UserError(f"--to={to}: a model is exported to a folder of this machine: give one, and copy it there when it is whole")
    out = pathlib.Path(to)
    if (out / "manifest.json").exists():
        raise UserError(f"{out} holds a model of a run, which an export would spoil: give --to another folder")
    if out.is_dir() and any(out.iterdir()) and not _is_export(out):
        raise UserError(f"{out} is not empty and holds no earlier export, so its files would be lost: give --to a new or an empty folder")
    return out


def _is_export(folder: pathlib.Path) -> bool:
    """Whether its config.json is a model's, not a run's."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config and "settings" not in config


def main(argv: Sequence[str]) -> None:
    """Exports; what a user can mend ends as one line on stderr and exit status 1."""
    try:
        model, workdir, to = _MODEL.value, _SCORED.value, _TO.value
        if len(argv) > 1 or to is None or (model is None) == (workdir is None):
            raise UserError(_USAGE)
        if model is not None:
            export(places.place(model), to)
            print(f"wrote {to}")
        if workdir is not None:
            from verifier.evaluate import scored

            count = scored.write_scored(places.place(workdir), places.place(to), _TOKEN_SCORES.value)
            print(f"wrote {count:,} samples to {to}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
