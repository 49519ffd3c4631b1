"""A run of seconds and two variants of it, as version 0.1.0 made them."""

import pathlib

from experiments import tiny_token_verifier
from verifier import config as config_lib

PROBLEMS = pathlib.Path("problems")
SETTINGS = """
model.weights= tokenizer.kind=sentencepiece tokenizer.vocab_size=320
model.layers=1 model.width=32 model.heads=2 model.kv_heads=2 model.mlp_width=64 model.context=128
data.name=gsm8k data.train_problems=0 data.test_problems=0 data.heldout_problems=12
ood.sets=["svamp"]
finetune.epochs=16 finetune.batch_rows=4 finetune.row_tokens=128 finetune.learning_rate=3e-3
sample.train_problems=16 sample.train_samples=4 sample.heldout_samples=4 sample.test_samples=6
sample.rows=32 sample.max_new_tokens=40
verify.epochs=4 verify.batch_rows=4 verify.row_tokens=128 verify.learning_rate=3e-3 verify.group=1
score.rows=8
report.ks=[1,2,4] report.resamples=50 report.show_problems=3
""".split()


def get_config() -> config_lib.Config:
    """The base, of problems that lie beside this file."""
    folders = [f"data.dir={PROBLEMS / 'gsm8k'}", f'ood.dirs=["{PROBLEMS / "svamp"}"]']
    return config_lib.override(
        tiny_token_verifier.get_config(), ["name=small", *SETTINGS, *folders]
    )


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """One variant that shares all but its verifier, and one that draws other samples."""
    return {"heads": {"linear": ["verify.head=linear"], "warm": ["sample.temperature=0.9"]}}
