"""Compares our log-probabilities of an imported model with those of transformers on real texts.

Run by hand; transformers lives in a Python of its own:
    python tests/compare_with_transformers.py FOLDER --torch-python=PYTHON [--jsonl=FILE] [--rows=2]

FILE: JSONL with `question` and `answer` (GSM8K's own file); without it one built-in problem is read.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from verifier.model.hf_weights import load_weights

REFERENCE = """
import json, sys, numpy as np, torch, transformers
folder, texts, out = sys.argv[1:]
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
found = {"size": np.int64(len(tokenizer))}
with torch.no_grad():
    for i, text in enumerate(json.load(open(texts))):
        tokens = tokenizer(text, return_tensors="pt")["input_ids"]
        found[f"tokens{i}"] = tokens[0].numpy()
        found[f"log_probabilities{i}"] = torch.log_softmax(model(input_ids=tokens).logits[0].float(), -1).numpy()
np.savez(out, **found)
"""
TEXT = "Tom has 3 boxes of 12 pens, less 7. How many are left?\nHe has 3*12=<<3*12=36>>36 pens.\n36-7=<<36-7=29>>29 are left.\n#### 29"


def main() -> None:
    """Prints one line a text and ends with status 1 if any log-probability is more than 1e-3 away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--torch-python", required=True, help="a Python that has torch and transformers")
    parser.add_argument("--jsonl", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=2)
    arguments = parser.parse_args()
    texts = [TEXT]
    if arguments.jsonl:
        rows = [json.loads(line) for line in arguments.jsonl.read_text().splitlines()[: arguments.rows]]
        texts = [f"{row['question']}\n{row['answer']}" for row in rows]
    with tempfile.TemporaryDirectory() as scratch:
        texts_path, out = pathlib.Path(scratch, "texts.json"), pathlib.Path(scratch, "reference.npz")
        texts_path.write_text(json.dumps(texts))
        subprocess.run([arguments.torch_python, "-c", REFERENCE, str(arguments.folder), str(texts_path), str(out)], check=True)
        worst = compare(arguments.folder, dict(np.load(out)), len(texts))
    raise SystemExit(0 if worst < 1e-3 else 1)


def compare(folder: pathlib.Path, reference: dict[str, np.ndarray], texts: int) -> float:
    """The largest difference of a log-probability over all texts, positions and ids."""
    model = load_weights(folder, tokenizer_size=int(reference["size"]))
    worst = 0.0
    for i in range(texts):
        tokens, expected = jnp.asarray(reference[f"tokens{i}"], jnp.int32)[None], reference[f"log_probabilities{i}"]
        with jax.default_matmul_precision("highest"):
            hidden = model.hidden(tokens, jnp.arange(tokens.shape[1])[None], jnp.ones_like(tokens))
            found = np.asarray(jax.nn.log_softmax(model.logits(hidden)[0, :, : expected.shape[1]], axis=-1))
        difference = float(np.abs(found - expected).max())
        same_first = float((found.argmax(-1) == expected.argmax(-1)).mean())
        print(
            f"{folder.name} text {i}: {tokens.shape[1]} tokens, max abs difference {difference:.2e}, same likeliest token {same_first:.1%}"
        )
        worst = max(worst, difference)
    return worst


if __name__ == "__main__":
    main()
