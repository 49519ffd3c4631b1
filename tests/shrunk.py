"""The demo's experiment, made so small that a whole run takes seconds; and the rows of its tables."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from verifier import config as config_lib
from verifier import experiment

ROOT = pathlib.Path(__file__).parents[1]
SHRUNK = """
model.weights= tokenizer.kind=sentencepiece tokenizer.vocab_size=512
model.layers=1 model.width=32 model.heads=2 model.kv_heads=2 model.mlp_width=64
data.train_problems=60 data.heldout_problems=10 data.test_problems=10
finetune.epochs=2 finetune.batch_rows=4 finetune.row_tokens=256
sample.train_problems=10 sample.train_samples=3 sample.heldout_samples=4 sample.test_samples=4 sample.rows=16 sample.max_new_tokens=24
verify.epochs=1 verify.batch_rows=4 verify.row_tokens=256 score.rows=16
report.ks=[1,2,4] report.resamples=50 report.show_problems=3
""".split()


def config(*more):
    return config_lib.override(experiment.load("tiny_token_verifier"), [*SHRUNK, *more])


def rows(folder):
    table = pa.concat_tables([pq.read_table(part, partitioning=None) for part in sorted(folder.glob("part-*.parquet"))])
    return sorted(table.to_pylist(), key=lambda row: (row["problem_id"], row.get("sample_id", 0)))
