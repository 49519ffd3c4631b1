"""How many solutions a second a teacher's tokens are aligned with a student's, on one core.

    python -m benchmarks.aligning --teacher=FOLDER --student=experiments/tiny_base_weights

GSM8K's worked solutions stand for a teacher's, cut after some of its tokens; what it says of them
is made up. Counted is the time of the processor, with an aligner that has seen no solution yet.
Needs no model and no peer, only tokenizers.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import time
from collections.abc import Iterator

import numpy as np

from benchmarks import results, workload
from benchmarks.contenders import use_cores
from verifier.data.alignment import Aligner, Taught, Way
from verifier.text.tokenizer import Tokenizer, load_tokenizer, same_ids

_WAYS: tuple[Way, ...] = ("same", "bytes", "dtw")


def main() -> None:
    """Measures every way in turn, writes a result file and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", required=True, help="tokenizer file, or its folder")
    parser.add_argument("--student", required=True, help="likewise")
    parser.add_argument("--gsm8k", default="", help="folder with train.jsonl; empty: GSM8K_DIR")
    parser.add_argument("--solutions", type=int, default=4000)
    parser.add_argument("--tokens", type=int, default=60, help="of the teacher, at most")
    parser.add_argument("--alternatives", type=int, default=6, help="ids told of each token")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument(
        "--results", type=pathlib.Path, default=results.FOLDER, help="folder of the result file"
    )
    flags = parser.parse_args()
    threads = use_cores(1)
    teacher, student = load_tokenizer(flags.teacher), load_tokenizer(flags.student)
    taught = list(made(teacher, flags.gsm8k, flags.solutions, flags.tokens, flags.alternatives))
    ways = [way for way in _WAYS if way != "same" or same_ids(teacher, student)]
    rates: dict[Way, list[float]] = {way: [] for way in ways}
    lengths = {}
    for _, way in itertools.product(range(flags.rounds), ways):
        aligner = Aligner(teacher, student, way)
        students = [aligner.student_ids(each) for each in taught]
        lengths[way] = float(np.mean([len(ids) for ids in students]))
        begun = time.process_time()
        aligner.align_many(taught, students)
        rates[way].append(len(taught) / (time.process_time() - begun))
        print(f"{way:5} {rates[way][-1]:8,.0f} solutions/s", flush=True)
    points = [
        {
            "way": way,
            "student_tokens": lengths[way],
            "rate": results.summary(rates[way]),
            "each": rates[way],
        }
        for way in ways
    ]
    about = {
        "model": "made-up log-probabilities",
        "dtype": "float32",
        "solutions": len(taught),
        "teacher_tokens": float(np.mean([len(each.tokens_S) for each in taught])),
    }
    results.write("aligning", threads, {**about, "points": points}, flags.results)


def made(
    teacher: Tokenizer, folder: str, solutions: int, tokens: int, alternatives: int
) -> Iterator[Taught]:
    """Solutions in a teacher's tokens, each its likeliest id and others at random."""
    rng = np.random.default_rng(0)
    for problem in workload.problems("gsm8k", folder)["train"][:solutions]:
        text = teacher.decode(teacher.encode(problem.solution or "")[: tokens - 1])
        ids = np.array([*teacher.encode(text), teacher.end_id], np.int32)
        top_ids = rng.integers(0, teacher.vocab_size, (len(ids), alternatives), np.int32)
        top_ids[:, 0] = ids
        chances = -np.sort(-rng.dirichlet(np.full(alternatives + 1, 0.3), len(ids)))
        logprobs = np.log(chances[:, :alternatives] + 1e-9).astype(np.float32)
        yield Taught(ids, logprobs[:, 0], top_ids, logprobs)


if __name__ == "__main__":
    main()
