"""python -m verifier.export: writes a trained generator as a Hugging Face folder, tokenizer included. Knows flags only."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags

from verifier import places
from verifier.config import UserError

_MODEL = flags.DEFINE_string("model", None, "The model folder of a run, such as runs/NAME/generator (of a verifier: its decoder).")
_TO = flags.DEFINE_string("to", None, "The folder to write: config.json, model.safetensors and the tokenizer's files.")


def export(model: pathlib.Path, out: pathlib.Path) -> None:
    """Writes the decoder of a model folder so that transformers and `model.weights` read it.

    Args:
        model: as a run saved it.
        out: made where it is missing.

    Raises:
        UserError: no such model, or one that the format cannot express.
    """
    from verifier import checksums, saved  # after the cheap checks: importing JAX takes seconds
    from verifier.model import hf_weights
    from verifier.model.heads import Verifier

    found = saved.load(model, "finetune", "float32")
    decoder = found.model.backbone if isinstance(found.model, Verifier) else found.model
    hf_weights.save_weights(decoder, out, end_id=found.tokenizer.end_id)
    found.tokenizer.save(out)
    checksums.write_sums(out)


def main(argv: Sequence[str]) -> None:
    """Exports; what a user can mend ends as one line on stderr and exit status 1."""
    try:
        if len(argv) > 1 or _MODEL.value is None or _TO.value is None:
            raise UserError("usage: python -m verifier.export --model=runs/NAME/generator --to=FOLDER")
        export(places.place(_MODEL.value), pathlib.Path(_TO.value))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"wrote {_TO.value}")


if __name__ == "__main__":
    app.run(main)
