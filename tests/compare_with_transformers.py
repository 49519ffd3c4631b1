"""Compares our numbers with those of transformers on real texts: log-probabilities of a decoder,
token values of a verifier.

Run by hand; transformers lives in a Python of its own:
    python tests/compare_with_transformers.py FOLDER --torch-python=PYTHON [--jsonl=FILE] [--rows=2]

FOLDER: a Hugging Face folder, which is imported; or a run's generator or verifier, which is
exported: then token ids are compared too, and the example of its model card is run. FILE: JSONL
with `question` and `answer` (GSM8K's own file); without it one built-in problem is read.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verifier import api, export
from verifier.config import gives_logits
from verifier.hf.weights import load_weights
from verifier.model.transformer import Transformer
from verifier.run import model_folder
from verifier.text.problem import Template, prompt_ids

REFERENCE = """
import json, sys, numpy as np, torch, transformers
folder, texts, out = sys.argv[1:]
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
architectures = transformers.AutoConfig.from_pretrained(folder).architectures
values = "ForTokenClassification" in architectures[0]
behind = "ForConditionalGeneration" in architectures[0]
kind = transformers.AutoModelForTokenClassification if values else transformers.AutoModelForCausalLM
kind = transformers.AutoModelForSeq2SeqLM if behind else kind
model, problems = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
found = {
    "size": np.int64(len(tokenizer)),
    "problems": json.dumps({name: list(each) for name, each in problems.items() if each}),
}
with torch.no_grad():
    for i, (prompt, solution) in enumerate(json.load(open(texts))):
        own = tokenizer(solution, add_special_tokens=False).input_ids
        ids = [*tokenizer(prompt).input_ids, *own]
        ids += [tokenizer.eos_token_id] if values else []
        inputs = {"input_ids": torch.tensor([ids])}
        if behind:
            prompt = tokenizer(prompt).input_ids
            read = [model.config.decoder_start_token_id, *own]
            inputs = dict(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([read]))
            found[f"prompt{i}"] = np.array(prompt)
        logits = model.eval()(**inputs).logits[0].float()
        found[f"tokens{i}"] = np.array(ids)
        found[f"numbers{i}"] = (logits[:, 0] if values else torch.log_softmax(logits, -1)).numpy()
np.savez(out, **found)
"""
PROBLEM = {
    "question": "Tom has 3 boxes of 12 pens, less 7. How many are left?",
    "answer": "He has 3*12=<<3*12=36>>36 pens.\n36-7=<<36-7=29>>29 are left.\n#### 29",
}


def main() -> None:
    """Prints one line a text and ends with status 1 if any number is more than 1e-3 away, or a
    token is another one.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument(
        "--torch-python", required=True, help="a Python that has torch and transformers"
    )
    parser.add_argument("--jsonl", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=2)
    arguments = parser.parse_args()
    rows = [PROBLEM]
    if arguments.jsonl:
        rows = [
            json.loads(line) for line in arguments.jsonl.read_text().splitlines()[: arguments.rows]
        ]
    with tempfile.TemporaryDirectory() as scratch:
        if not (arguments.folder / "manifest.json").exists():
            reference = _reference(
                arguments.torch_python, arguments.folder, rows, Template(), pathlib.Path(scratch)
            )
            model = load_weights(arguments.folder, tokenizer_size=int(reference["size"]))
            worst = max(
                _decoder(arguments.folder.name, model, reference, i) for i in range(len(rows))
            )
        else:
            worst = _exported(arguments.folder, arguments.torch_python, rows, pathlib.Path(scratch))
    raise SystemExit(0 if worst < 1e-3 else 1)


def _reference(
    python: str,
    folder: pathlib.Path,
    rows: list[dict[str, str]],
    template: Template,
    scratch: pathlib.Path,
) -> dict[str, Any]:
    """What transformers says of each row's solution behind its prompt."""
    texts, out = scratch / "texts.json", scratch / "reference.npz"
    texts.write_text(
        json.dumps(
            [
                [template.render_prompt(row["question"]), template.render_target(row["answer"])]
                for row in rows
            ]
        )
    )
    subprocess.run([python, "-c", REFERENCE, str(folder), str(texts), str(out)], check=True)
    found = dict(np.load(out))
    print(f"{folder.name}: loading problems: {found['problems']}")
    return found


def _exported(
    folder: pathlib.Path, python: str, rows: list[dict[str, str]], scratch: pathlib.Path
) -> float:
    """A run's model, exported: its numbers, its tokens, and the example of its card."""
    out = scratch / folder.name
    export.export(folder, out)
    found = model_folder.load(folder, "finetune", "float32")
    template = found.template or Template()
    reference = _reference(python, out, rows, template, scratch)
    worst = 0.0
    for i, row in enumerate(rows):
        prompt = prompt_ids(row["question"], template, found.tokenizer)
        if isinstance(found.model, Transformer):
            prompt += found.model.arch.closing
            ids = [*prompt, *found.tokenizer.encode(template.render_target(row["answer"]))]
            difference = _decoder(folder.name, found.model, reference, i)
        else:
            scored = api.load(folder, dtype="float32", template=template).score(
                row["question"], [template.render_target(row["answer"])]
            )[0]
            ids, expected = [*prompt, *scored.tokens], reference[f"numbers{i}"][len(prompt) :]
            if gives_logits(found.manifest["settings"]):
                expected = 1 / (1 + np.exp(-expected))
            difference = float(np.abs(np.array(scored.token_values) - expected).max())
            print(
                f"{folder.name} text {i}: {len(expected)} values of std {expected.std():.2f}, "
                f"max abs difference {difference:.2e}"
            )
        if ids != reference[f"tokens{i}"].tolist():
            print(f"{folder.name} text {i}: other tokens than those of transformers")
            difference = float("inf")
        worst = max(worst, difference)
    example = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert example is not None
    said = subprocess.run(
        [python, "-c", example[1]], cwd=out, check=True, capture_output=True, text=True
    ).stdout
    print(f"the card's example says: {said.strip()!r}")
    return worst


def _decoder(name: str, model: Transformer, reference: dict[str, np.ndarray], i: int) -> float:
    """The largest difference of a log-probability of text i over all positions and ids."""
    tokens, expected = (
        jnp.asarray(reference[f"tokens{i}"], jnp.int32)[None],
        reference[f"numbers{i}"],
    )
    prompts = ends = None
    if model.arch.encoder_layers:
        prompt = jnp.asarray(reference[f"prompt{i}"], jnp.int32)[None]
        solution = tokens[:, prompt.shape[1] :]
        tokens = jnp.pad(solution, ((0, 0), (1, 0)), constant_values=model.arch.start_id)
        ends = jnp.full(tokens.shape, tokens.shape[1])
        prompts = prompt, jnp.full(prompt.shape, tokens.shape[1])
    with jax.default_matmul_precision("highest"):
        place = jnp.arange(tokens.shape[1])[None]
        hidden = model.hidden(tokens, place, ends, prompts=prompts)
        found = np.asarray(
            jax.nn.log_softmax(model.logits(hidden)[0, :, : expected.shape[1]], axis=-1)
        )
    difference = float(np.abs(found - expected).max())
    same_first = float((found.argmax(-1) == expected.argmax(-1)).mean())
    print(
        f"{name} text {i}: {tokens.shape[1]} tokens, max abs difference {difference:.2e}, same "
        f"likeliest token {same_first:.1%}"
    )
    return difference


if __name__ == "__main__":
    main()
