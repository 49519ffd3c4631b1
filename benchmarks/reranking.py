"""How long `python -m verifier.rerank` takes on made-up samples, and the memory it takes: start-up, reading, figures and the page.

    python -m benchmarks.reranking --samples=100,400,1600,3200

Tables of 1,319 problems (as many as GSM8K's test set has) are made once in --cache: as the workdir of a run, with tokens and token values,
and as one Parquet file with `problem_id`, `solution`, `answer` and `score`. Each measurement is a process of its own; the time is that of
the whole command, the memory the greatest number of its resident bytes. Needs no model and no peer.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import results
from benchmarks.contenders import ROOT, use_cores
from verifier.data import store
from verifier.text.tokenizer import ByteTokenizer

KINDS = ("workdir", "file")
_PROBLEMS_A_PART = 16
_BODIES = 20_000  # different texts before the answer line
_WORDS = "she has so then each costs left of the days boxes pens gives total more makes hours and".split()


def main() -> None:
    """Makes the tables, measures every size in turn, writes a result file and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--problems", type=int, default=1319, help="problems of the test split")
    parser.add_argument("--samples", default="100,400,1600,3200", help="samples a problem, separated by commas")
    parser.add_argument("--kinds", default=",".join(KINDS), help="how the rows are stored")
    parser.add_argument("--tokens", type=int, default=100, help="mean tokens of a solution, in the workdir")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--threads", type=int, default=2, help="cores that may be used; 0: all")
    parser.add_argument("--results", type=pathlib.Path, default=results.FOLDER, help="folder of the result file")
    parser.add_argument("--cache", type=pathlib.Path, default=ROOT / ".cache" / "benchmarks", help="folder of the made tables")
    flags = parser.parse_args()
    threads = use_cores(flags.threads)
    points = [(kind, int(samples)) for samples in flags.samples.split(",") for kind in flags.kinds.split(",")]
    made = {point: made_tables(flags.cache, *point, flags.problems, flags.tokens) for point in points}
    taken: dict[tuple[str, int], list[dict[str, float]]] = {point: [] for point in points}
    for _ in range(flags.rounds):
        for point in points:
            taken[point].append(measured(made[point]))
            print(f"{point[0]:8} {point[1]:6,} samples: {taken[point][-1]['seconds']:6.2f} s, {taken[point][-1]['gib']:.2f} GiB", flush=True)
    found = [
        {
            "kind": kind,
            "samples": samples,
            "rows": flags.problems * samples,
            "seconds": results.summary([one["seconds"] for one in taken[kind, samples]]),
            "gib": results.summary([one["gib"] for one in taken[kind, samples]]),
            "each": taken[kind, samples],
        }
        for kind, samples in points
    ]
    results.write("reranking", threads, {"problems": flags.problems, "tokens": flags.tokens, "points": found}, flags.results)


def measured(path: pathlib.Path) -> dict[str, float]:
    """Seconds and GiB of one rerank in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "verifier.rerank", f"--samples={path}", f"--out={out}"]
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        page = pathlib.Path(out, "index.html")
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
        return {"seconds": seconds, "gib": usage.ru_maxrss / 2**20, "page_mb": page.stat().st_size / 1e6}


def made_tables(cache: pathlib.Path, kind: str, samples: int, problems: int, tokens: int) -> pathlib.Path:
    """The path of the rows, made where they are not there yet; the same sizes give the same rows."""
    name = f"reranking-{problems}x{samples}-{tokens}"
    path = cache / name if kind == "workdir" else cache / f"{name}.parquet"
    if not path.exists():
        print(f"making {path.name}", flush=True)
        (_workdir if kind == "workdir" else _file)(path, problems, samples, tokens)
    return path


def _file(path: pathlib.Path, problems: int, samples: int, tokens: int) -> None:
    aside = path.with_suffix(".aside")
    aside.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    for rows in _parts(problems, samples, tokens, with_tokens=False):
        table = pa.table({name: rows[name] for name in ("problem_id", "sample_id", "solution", "answer", "score")})
        writer = writer or pq.ParquetWriter(aside, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()
    aside.rename(path)


def _workdir(root: pathlib.Path, problems: int, samples: int, tokens: int) -> None:
    aside = root.with_suffix(".aside")
    ByteTokenizer().save(aside / "generator")
    names = [f"{p:016x}" for p in range(problems)]
    asked = [f"Problem {p}: {' '.join(_WORDS[(p + place) % len(_WORDS)] for place in range(40))}?" for p in range(problems)]
    tables = {name: store.TableWriter(aside / "tables" / name / "split=test", name, {}) for name in store.SCHEMAS}
    rows = [
        {"problem_id": name, "question": question, "solution": None, "answer": str(p), "source": "made", "split": "test"}
        for p, (name, question) in enumerate(zip(names, asked, strict=True))
    ]
    tables["problems"].append(rows)
    for part in _parts(problems, samples, tokens, with_tokens=True):
        for name in ("samples", "labels", "scores"):
            schema = store.SCHEMAS[name]
            tables[name].append(pa.table([part[field.name].cast(field.type) for field in schema], schema=schema))
    for table in tables.values():
        table.finish({})
    aside.rename(root)


def _parts(problems: int, samples: int, tokens: int, with_tokens: bool) -> Any:
    """Columns of a few problems at a time. A problem's right answer is its number; a wrong answer is one of few, some rarer than others."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 60, _BODIES)
    words = rng.integers(len(_WORDS), size=int(lengths.sum()))
    ends = np.cumsum(lengths)
    bodies = pa.array([" ".join(_WORDS[word] for word in words[end - size : end]) for end, size in zip(ends, lengths, strict=True)])
    for first in range(0, problems, _PROBLEMS_A_PART):
        yield _part(np.arange(first, min(first + _PROBLEMS_A_PART, problems)), samples, tokens if with_tokens else 0, bodies, rng)


def _part(problem: np.ndarray, samples: int, tokens: int, bodies: pa.Array, rng: np.random.Generator) -> dict[str, pa.Array]:
    rows = len(problem) * samples
    owner = np.repeat(problem, samples)
    right = rng.random(rows) < np.repeat(rng.beta(0.8, 1.2, len(problem)), samples)
    wrong = owner + np.minimum(rng.zipf(1.6, rows), 5000)
    answer = np.where(right, owner, wrong)
    score = np.clip(rng.normal(0.35 + 0.3 * right, 0.2), 0, 1).astype(np.float32)
    text = pa.array(answer).cast(pa.string())
    ending = np.where(rng.random(rows) < 0.97, "\n#### ", "\nThe answer is ")
    solution = pc.binary_join_element_wise(bodies.take(rng.integers(len(bodies), size=rows)), pa.array(ending), text, "")
    part = {
        "problem_id": pa.array([f"{p:016x}" for p in problem]).take(pa.array(np.repeat(np.arange(len(problem)), samples))),
        "sample_id": pa.array(np.tile(np.arange(samples, dtype=np.int32), len(problem))),
        "solution": solution,
        "answer": pa.array(owner).cast(pa.string()),
        "score": pa.array(score),
        "correct": pa.array(right),
        **{name: pa.array([value]).take(pa.array(np.zeros(rows, np.int64))) for name, value in
           {"grader": "numeric", "verifier": "v", "generator": "g", "finish": "eos", "seed": 0, "calculator_errors": 0}.items()},
    }
    if tokens:
        count = rng.integers(tokens // 2, tokens * 3 // 2 + 1, rows)
        offsets = pa.array(np.r_[0, np.cumsum(count)].astype(np.int32))
        total = int(count.sum())
        value = np.repeat(score, count) + rng.normal(0, 0.1, total).astype(np.float32)
        values = {
            "tokens": pa.array(rng.integers(97, 123, total).astype(np.int32)),
            "forced": pa.array(rng.random(total) < 0.05),
            "logprobs": pa.array(-rng.exponential(0.3, total).astype(np.float32)),
            "token_scores": pa.array(value.astype(np.float32)),
        }
        part |= {name: pa.ListArray.from_arrays(offsets, flat) for name, flat in values.items()}
    return part


if __name__ == "__main__":
    main()
