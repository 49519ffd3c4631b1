"""Compares our vectors of real texts with those of transformers, pooled as sentence-transformers
pools them.

Run by hand; transformers lives in a Python of its own:
    python tests/compare_sentences_with_transformers.py FOLDER --torch-python=PYTHON [--jsonl=FILE]

FOLDER: a BERT, such as a download of sentence-transformers/all-MiniLM-L6-v2. FILE: JSONL with
`question` and `answer` (GSM8K's own file), whose first 20 problems are read, line by line and
whole; without it some built-in texts are.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import tempfile

import jax
import numpy as np

from verifier.hf.sentence_config import read_sentence_config
from verifier.hf.sentence_encoder import SentenceEncoder

REFERENCE = """
import json, sys, numpy as np, torch, transformers
folder, pooling, most, texts, out = sys.argv[1:]
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
vectors = []
with torch.no_grad():
    for text in json.load(open(texts)):
        ids = tokenizer(text, truncation=True, max_length=int(most), return_tensors="pt").input_ids
        hidden = model(ids).last_hidden_state[0]
        pooled = hidden[0] if pooling == "cls" else hidden.mean(0)
        vectors.append(torch.nn.functional.normalize(pooled, dim=0).numpy())
np.save(out, np.stack(vectors))
"""
TEXTS = [
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.",
    "In May, Natalia sold 24 clips.",
    "",
    "  Naïve café – TABS\tand\nlines, 東京 and ☃",
    "He has 3*12=<<3*12=36>>36 pens. " * 40,
]


def main() -> None:
    """Prints the largest differences and ends with status 1 if a number is more than 1e-4 away."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument(
        "--torch-python", required=True, help="a Python that has torch and transformers"
    )
    parser.add_argument("--jsonl", type=pathlib.Path)
    arguments = parser.parse_args()
    texts = list(TEXTS)
    if arguments.jsonl:
        for line in arguments.jsonl.read_text().splitlines()[:20]:
            row = json.loads(line)
            texts += [row["question"], row["answer"], *row["answer"].splitlines()]
    config = read_sentence_config(arguments.folder)
    with tempfile.TemporaryDirectory() as scratch:
        asked, out = pathlib.Path(scratch, "texts.json"), pathlib.Path(scratch, "vectors.npy")
        asked.write_text(json.dumps(texts))
        given = [str(config.folder), config.pooling, str(config.most_tokens), str(asked), str(out)]
        subprocess.run([arguments.torch_python, "-c", REFERENCE, *given], check=True)
        expected = np.load(out)
    with jax.default_matmul_precision("highest"):
        found = SentenceEncoder.load(arguments.folder).encode(texts)
    difference = float(np.abs(found - expected).max())
    cosine = float(np.sum(found * expected, axis=1).min())
    print(
        f"{arguments.folder.name}: {len(texts)} texts, {config.pooling} of at most "
        f"{config.most_tokens} tokens: max abs difference {difference:.2e}, least cosine "
        f"{cosine:.7f}"
    )
    raise SystemExit(0 if difference < 1e-4 else 1)


if __name__ == "__main__":
    main()
