"""How long `python -m verifier.rerank` takes on made-up samples, and the memory it takes: start-up,
reading, figures and the page.

    python -m benchmarks.reranking --samples=100,400,1600,3200

Tables of 1,319 problems (as many as GSM8K's test set has) are made once in --cache: as the workdir
of a run, with tokens and token values, and as one Parquet file with `problem_id`, `solution`,
`answer` and `score`. Each measurement is a process of its own; the time is that of the whole
command, the memory the greatest number of its resident bytes. Needs no model and no peer.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import results
from benchmarks.contenders import ROOT, use_cores
from verifier.tables import store
from verifier.text.tokenizer import train_sentencepiece

KINDS = ("workdir", "file")
_PROBLEMS_A_PART = 16
_BODIES = 20_000  # different texts before the answer line
_PIECES = 400  # of their tokenizer
_WORDS = (
    "she has so then each costs left of the days boxes pens gives total more makes hours and"
).split()


def main() -> None:
    """Makes the tables, measures every size in turn, writes a result file and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=1319, help="problems of the test split")
    parser.add_argument(
        "--samples", default="100,400,1600,3200", help="samples a problem, separated by commas"
    )
    parser.add_argument("--kinds", default=",".join(KINDS), help="how the rows are stored")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--threads", type=int, default=2, help="cores that may be used; 0: all")
    parser.add_argument(
        "--results", type=pathlib.Path, default=results.FOLDER, help="folder of the result file"
    )
    parser.add_argument(
        "--cache",
        type=pathlib.Path,
        default=ROOT / ".cache" / "benchmarks",
        help="folder of the made tables",
    )
    flags = parser.parse_args()
    threads = use_cores(flags.threads)
    points = [
        (kind, int(samples))
        for samples in flags.samples.split(",")
        for kind in flags.kinds.split(",")
    ]
    made = {point: made_tables(flags.cache, *point, flags.problems) for point in points}
    taken: dict[tuple[str, int], list[dict[str, float]]] = {point: [] for point in points}
    for _ in range(flags.rounds):
        for point in points:
            taken[point].append(measured(made[point]))
            last = taken[point][-1]
            print(
                f"{point[0]:8} {point[1]:6,} samples: {last['seconds']:6.2f} s, "
                f"{last['gib']:.2f} GiB",
                flush=True,
            )
    found = [
        {
            "kind": kind,
            "samples": samples,
            "rows": flags.problems * samples,
            **{
                name: results.summary([one[name] for one in taken[kind, samples]])
                for name in ("seconds", "gib", "page_mb")
            },
            "each": taken[kind, samples],
        }
        for kind, samples in points
    ]
    about = {"model": "made-up samples", "dtype": "float32", "problems": flags.problems}
    results.write("reranking", threads, {**about, "points": found}, flags.results)


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
        return {
            "seconds": seconds,
            "gib": usage.ru_maxrss / 2**20,
            "page_mb": page.stat().st_size / 1e6,
        }


def made_tables(cache: pathlib.Path, kind: str, samples: int, problems: int) -> pathlib.Path:
    """The path of the rows, made where they are not there yet; the same sizes give the same
    rows.
    """
    name = f"reranking-{problems}x{samples}"
    path = cache / name if kind == "workdir" else cache / f"{name}.parquet"
    if not path.exists():
        print(f"making {path.name}", flush=True)
        (_workdir if kind == "workdir" else _file)(path, problems, samples)
    return path


def _file(path: pathlib.Path, problems: int, samples: int) -> None:
    aside = path.with_suffix(".aside")
    aside.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    for rows in _parts(problems, samples, _Texts(with_tokens=False)):
        kept = {name: rows[name] for name in ("problem_id", "sample_id", "solution", "score")}
        table = pa.table(kept | {"answer": rows["gold"]})
        writer = writer or pq.ParquetWriter(aside, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()
    aside.rename(path)


def _workdir(root: pathlib.Path, problems: int, samples: int) -> None:
    aside = root.with_suffix(".aside")
    shutil.rmtree(aside, ignore_errors=True)  # of a making that was broken off
    names = [f"{p:016x}" for p in range(problems)]
    asked = [
        f"Problem {p}: {' '.join(_WORDS[(p + place) % len(_WORDS)] for place in range(40))}?"
        for p in range(problems)
    ]
    tables = {
        name: store.TableWriter(aside / "tables" / name / "split=test", name, {})
        for name in store.SCHEMAS
    }
    rows = [
        {
            "problem_id": name,
            "question": question,
            "solution": None,
            "answer": str(p),
            "source": "made",
            "split": "test",
        }
        for p, (name, question) in enumerate(zip(names, asked, strict=True))
    ]
    tables["problems"].append(rows)
    texts = _Texts(with_tokens=True)
    if texts.tokenizer:
        texts.tokenizer.save(aside / "generator")
    for part in _parts(problems, samples, texts):
        for name in ("samples", "labels", "scores"):
            schema = store.SCHEMAS[name]
            tables[name].append(
                pa.table([part[field.name].cast(field.type) for field in schema], schema=schema)
            )
    for table in tables.values():
        table.finish({})
    aside.rename(root)


class _Texts:
    """What stands before the last line, 20,000 different texts; with tokens, also a tokenizer and
    the tokens of each.
    """

    def __init__(self, with_tokens: bool) -> None:
        rng = np.random.default_rng(1)
        lengths = rng.integers(20, 60, _BODIES)
        words = np.array(_WORDS)[rng.integers(len(_WORDS), size=int(lengths.sum()))]
        self.bodies = [" ".join(part) for part in np.split(words, np.cumsum(lengths)[:-1])]
        self.tokenizer = train_sentencepiece(self.bodies[:1000], _PIECES) if with_tokens else None
        self.tokens = (
            [self.tokenizer.encode(body) for body in self.bodies] if self.tokenizer else []
        )


def _parts(problems: int, samples: int, texts: _Texts) -> Iterator[dict[str, pa.Array]]:
    """Columns of a few problems at a time; the same rows with and without tokens."""
    rng = np.random.default_rng(0)
    bodies = pa.array(texts.bodies)
    for first in range(0, problems, _PROBLEMS_A_PART):
        rows, ending = _part(
            np.arange(first, min(first + _PROBLEMS_A_PART, problems)), samples, rng
        )
        body = rng.integers(len(bodies), size=len(ending))
        rows["solution"] = pc.binary_join_element_wise(bodies.take(pa.array(body)), ending, "")
        if texts.tokenizer:
            coded = ending.dictionary_encode()
            ids = [
                [*texts.tokenizer.encode(text), texts.tokenizer.end_id]
                for text in coded.dictionary.to_pylist()
            ]
            rows |= _token_columns(
                texts, body, ids, coded.indices.to_numpy(), rows["score"].to_numpy()
            )
        yield rows


def _part(
    problem: np.ndarray, samples: int, rng: np.random.Generator
) -> tuple[dict[str, pa.Array], pa.Array]:
    """All columns but text and tokens, and the last lines.

    A problem's right answer is its number; some wrong answers are commoner.
    """
    rows = len(problem) * samples
    owner = np.repeat(problem, samples)
    right = rng.random(rows) < np.repeat(rng.beta(0.8, 1.2, len(problem)), samples)
    answer = np.where(right, owner, owner + np.minimum(rng.zipf(1.6, rows), 5000))
    score = np.clip(rng.normal(0.35 + 0.3 * right, 0.2), 0, 1).astype(np.float32)
    marked = rng.random(rows) < 0.97
    written = pa.array(answer).cast(pa.string())
    same = {
        "grader": "numeric",
        "verifier": "v",
        "generator": "g",
        "finish": "eos",
        "seed": 0,
        "calculator_errors": 0,
    }
    made = {
        "problem_id": pa.array([f"{p:016x}" for p in problem]).take(
            pa.array(np.repeat(np.arange(len(problem)), samples))
        ),
        "sample_id": pa.array(np.tile(np.arange(samples, dtype=np.int32), len(problem))),
        "gold": pa.array(owner).cast(pa.string()),
        "answer": pc.if_else(pa.array(marked), written, pa.scalar(None, pa.string())),
        "score": pa.array(score),
        "correct": pa.array(right & marked),
        **{name: pa.repeat(pa.scalar(value), rows) for name, value in same.items()},
    }
    return made, pc.binary_join_element_wise(
        pa.array(np.where(marked, "\n#### ", "\nThe answer is ")), written, ""
    )


def _token_columns(
    texts: _Texts, body: np.ndarray, endings: list[list[int]], ending: np.ndarray, score: np.ndarray
) -> dict[str, pa.Array]:
    """Tokens of body and ending of every row, and numbers for each of them that end at the row's
    score.
    """
    parts = texts.tokens + endings
    sizes = np.array([len(ids) for ids in parts])
    flat, start = np.concatenate(parts).astype(np.int32), np.cumsum(sizes) - sizes
    # a row's body, then its ending
    which = np.stack([body, ending + len(texts.bodies)], axis=1).ravel()
    count = sizes[which]
    total = int(count.sum())
    token = flat[np.repeat(start[which] - (np.cumsum(count) - count), count) + np.arange(total)]
    length = count.reshape(-1, 2).sum(axis=1)
    left = np.repeat(np.cumsum(length), length) - np.arange(total) - 1  # tokens that follow
    rng = np.random.default_rng(total)
    value = np.repeat(score, length) + (
        rng.normal(0, 0.2, total) * np.minimum(left / 40, 1)
    ).astype(np.float32)
    values = {
        "tokens": pa.array(token),
        "forced": pa.array(rng.random(total) < 0.05),
        "logprobs": pa.array(-rng.exponential(0.3, total).astype(np.float32)),
        "token_scores": pa.array(value.astype(np.float32)),
    }
    offsets = pa.array(np.r_[0, np.cumsum(length)].astype(np.int32))
    return {name: pa.ListArray.from_arrays(offsets, column) for name, column in values.items()}


if __name__ == "__main__":
    main()
