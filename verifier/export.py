"""python -m verifier.export: a trained model for transformers, or a run's scored samples as JSONL.

python -m verifier.export --model=runs/NAME/generator --to=FOLDER
    for AutoModelForCausalLM
python -m verifier.export --model=runs/NAME/verifier --to=FOLDER
    for AutoModelForTokenClassification: a value after every token
python -m verifier.export --scored=runs/NAME --to=FILE.jsonl
    question, solution, answer, correct, score (no JAX)
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from verifier.system import stopping

if __name__ == "__main__":
    stopping.listen(goes_on=False)  # before all that takes time to import

from absl import app, flags

from verifier.config import gives_logits
from verifier.errors import UserError
from verifier.system import atomic, log, paths
from verifier.tables.manifests import MANIFEST
from verifier.tables.results import GENERATOR, VERIFIER

_MODEL = flags.DEFINE_string(
    "model", None, "The model folder of a run: runs/NAME/generator or runs/NAME/verifier."
)
_SCORED = flags.DEFINE_string("scored", None, "A workdir whose samples are scored: runs/NAME.")
_TO = flags.DEFINE_string("to", None, "The folder to write, or of scored samples the JSONL file.")
_TOKEN_SCORES = flags.DEFINE_bool(
    "token_scores", False, "With --scored: also every sample's tokens and the value after each."
)
flags.DEFINE_alias("token-scores", "token_scores")
_ASIDE = f"export{atomic.ASIDE}"  # of the folder to write: a model lies there until it is whole
# By which an earlier export is known.
_SCORED_FIELDS = {"question", "solution", "extracted", "correct", "score", "split"}
_USAGE = (
    "usage: python -m verifier.export --model=runs/NAME/generator --to=FOLDER, or "
    "--scored=runs/NAME --to=FILE.jsonl"
)


def export(model: pathlib.Path, to: str | os.PathLike[str]) -> None:
    """Writes a model folder so that transformers reads it: weights, tokenizer and a model card.

    A generator becomes a CausalLM, or a Seq2SeqLM, which `model.weights` takes too; a verifier a
    ForTokenClassification with one label, whose output is the value after each token, raw (of a
    verifier of value_loss=bce a logit).

    Args:
        model: as a run saved it.
        to: a local folder, made where it is missing; an earlier export in it is replaced once the
            new one is whole, and a killed one is begun anew.

    Raises:
        UserError: no such model, one that the format cannot express, or a folder to write to that
            is remote or holds something else.
    """
    whole_run = [
        str(result.folder(model))
        for result in (GENERATOR, VERIFIER)
        if (result.folder(model) / MANIFEST).is_file()
    ]
    if whole_run:
        raise UserError(f"{model} is a whole run: give one of its models, {' or '.join(whole_run)}")
    folder = _folder_to_write(to)
    log.leave_out_remarks()
    from verifier.hf import verifier as hf_verifier
    from verifier.hf import weights as hf_weights
    from verifier.model.heads import Verifier
    from verifier.report import card
    from verifier.run import model_folder  # after the cheap checks: importing JAX takes seconds
    from verifier.system import checksums
    from verifier.text.transformers_tokenizer import save_for_transformers

    made_by = VERIFIER.stage if model.name == VERIFIER.name else GENERATOR.stage
    saved = model_folder.load(model, made_by, "float32")
    size, end_id = saved.tokenizer.vocab_size, saved.tokenizer.end_id
    beside: tuple[Any, ...] = ()  # what is read beside the prompt and the solution
    with _whole_folder(folder) as out:
        if isinstance(saved.model, Verifier):
            logits = gives_logits(saved.manifest["settings"])
            about = model_folder.about_export(saved.manifest)
            hf_verifier.save_verifier(
                saved.model, out, tokenizer_size=size, end_id=end_id, logits=logits, about=about
            )
        else:
            hf_weights.save_weights(saved.model, out, tokenizer_size=size, end_id=end_id)
            if saved.model.arch.encoder_layers:
                beside = saved.model.arch.closing, saved.model.arch.start_id
        save_for_transformers(saved.tokenizer, out, *beside)
        card.write_card(model, out)
        checksums.write_sums(out)


@contextlib.contextmanager
def _whole_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder aside, within the one to write to, whose files take their names once all are there.

    What else is in the folder stays.

    Killed while they go there, the folder has no config.json, by which others would take it for a
    model.
    """
    from verifier.hf import files as hf_files

    aside = folder / _ASIDE
    made = not folder.exists()
    shutil.rmtree(aside, ignore_errors=True)  # of an export that was killed
    atomic.make_folder(aside)
    try:
        yield aside
        with atomic.refusals_of(folder):
            (folder / "config.json").unlink(missing_ok=True)
            hf_files.remove_weights(folder, {path.name for path in aside.iterdir()})
            for path in sorted(aside.iterdir(), key=lambda path: path.name == "config.json"):
                path.replace(folder / path.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _folder_to_write(to: str | os.PathLike[str]) -> pathlib.Path:
    """The folder, once it is known that nothing but an earlier export is in it, whole or killed."""
    if paths.is_remote(to):
        raise UserError(
            f"--to={to}: a model is exported to a folder of this machine: give one, and copy "
            "it there when it is whole"
        )
    out = paths.local(to)
    if (out / "manifest.json").exists():
        raise UserError(
            f"{out} holds a model of a run, which an export would spoil: give --to another folder"
        )
    if out.is_dir() and any(out.iterdir()) and not _is_export(out) and not (out / _ASIDE).is_dir():
        raise UserError(
            f"{out} is not empty and holds no earlier export, so its files would be lost: give "
            "--to a new or an empty folder"
        )
    return out


def _is_export(folder: pathlib.Path) -> bool:
    """Whether its config.json is a model's, not a run's."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config and "settings" not in config


def _file_to_write(to: str) -> pathlib.Path:
    """The file, once it is known that nothing but earlier scored samples would be lost.

    An empty one loses nothing.
    """
    file = paths.to_path(to)
    try:
        with file.open("rb") as there:
            first = there.readline(1 << 26)
        row = json.loads(first) if first else dict.fromkeys(_SCORED_FIELDS)
    except FileNotFoundError:
        return file
    except (OSError, ValueError):
        row = None
    if not isinstance(row, dict) or not row.keys() >= _SCORED_FIELDS:
        raise UserError(
            f"{file} is there and holds no earlier export of scored samples, so it would be "
            "lost: give --to another file"
        )
    return file


def main(argv: Sequence[str]) -> None:
    """Exports; what a user can mend ends as one line on stderr and exit status 1."""
    try:
        model, workdir, to = _MODEL.value, _SCORED.value, _TO.value
        if len(argv) > 1 or not to or (model is None) == (workdir is None):
            raise UserError(_USAGE)
        if model is not None:
            export(paths.to_path(model), to)
            log.tell(f"wrote {to}")
        if workdir is not None:
            from verifier.tables import scored

            count = scored.write_scored(
                paths.to_path(workdir), _file_to_write(to), _TOKEN_SCORES.value
            )
            log.tell(f"wrote {count:,} samples to {to}")
    except UserError as error:
        log.complain(error)
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
