"""A teacher that is less certain than the demo's base: the same problems, of which each line is
worded in one of several ways, for experiments/tiny_losses.py.

Command:  python -m experiments.tiny_wordings --to=FOLDER
          python -m verifier.launch --exp=tiny_wordings --stages=finetune --set data.dir=FOLDER
          python -m verifier.export --model=runs/tiny_wordings/generator --to=FOLDER/teacher
Hardware: 2 CPU cores, 4 GiB, some 4 minutes
Expect:   at the start of a line a choice among eight openings, which nothing in the problem tells
          of (2.1 nats), and of two orders of the operands (.7 nats)

The solutions of generated problems are otherwise the only ones that their problems have, and the
demo's base is certain of them: of .01 nats a token (mean entropy over right solutions at
temperature 1). A distribution can tell a student no more than a sample of it then.
"""

import argparse
import json
import pathlib
import random
import re

from experiments.tiny_token_verifier import WEIGHTS
from verifier.config import Config, DataConfig, FinetuneConfig, ModelConfig
from verifier.system import atomic
from verifier.tasks.generated import generate
from verifier.text.answer_lines import MARK

KINDS = ("chain", "price")
# Words of which the demo's base and the small student have the same first pieces, so that a
# teacher's distribution over them comes through the alignment.
OPENINGS = ("Now", "Here", "And", "In all", "At last", "By now", "For now", "There")
SEED = 1002  # far from the seeds a user will try
TRAIN, TEST = 4000, 100
_COMMUTES = re.compile(r"<<(\d+)([+*])(\d+)=")


def get_config() -> Config:
    """The demo's base, taught the other wordings; `data.dir` is where they were written to."""
    return Config(
        name="tiny_wordings",
        seed=SEED,
        data=DataConfig(name="gsm8k", heldout_problems=100),
        model=ModelConfig(weights=str(WEIGHTS)),
        finetune=FinetuneConfig(
            steps=300, batch_rows=10, row_tokens=256, learning_rate=1e-3, warmup_share=0.1
        ),
    )


def worded(solution: str, rng: random.Random) -> str:
    """A worked solution with other words before each line, and operands in any order."""
    *lines, answer = solution.split("\n")
    return "\n".join([*(_worded(line, rng) for line in lines), answer])


def _worded(line: str, rng: random.Random) -> str:
    def ordered(found: re.Match[str]) -> str:
        first, sign, second = found.groups()
        return found[0] if rng.random() < 0.5 else f"<<{second}{sign}{first}="

    words = f"{line[:1].lower()}{line[1:]}"
    return f"{rng.choice(OPENINGS)} {_COMMUTES.sub(ordered, words)}"


def main() -> None:
    """Writes train.jsonl and test.jsonl, in GSM8K's format."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", required=True, type=pathlib.Path, help="folder, made if missing")
    folder = parser.parse_args().to
    for split, count in (("train", TRAIN), ("test", TEST)):
        rng = random.Random(f"wordings/{split}")
        rows = [
            {"question": each.question, "answer": worded(each.solution or "", rng)}
            for each in generate(split, count, SEED, KINDS)
        ]
        assert all(MARK in row["answer"] for row in rows)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        atomic.write_text(folder / f"{split}.jsonl", text)


if __name__ == "__main__":
    main()
