"""Whether all contenders in sampling are the same model: the likeliest tokens after one prompt,
drawn by each, must be the same.

    python -m benchmarks.agreement --model=runs/NAME/generator --peer-python=PEERS/bin/python

To be run once before figures are compared: a GGUF file with its heads in the wrong order is just as
fast. Writes no result file.
"""

from __future__ import annotations

import sys

from benchmarks import flags as flags_lib
from benchmarks import sampling, workload
from benchmarks.rounds import compare

USUAL = ["verifier", "transformers", "transformers-continuous", "llama.cpp", "llama.cpp-split"]
COLD = 1e-4  # a temperature at which only the likeliest token is ever drawn


def main() -> None:
    """Draws and compares; exit status 1 where contenders differ."""
    parser = flags_lib.parser(__doc__)
    parser.add_argument("--max-new-tokens", type=int, default=40)
    setting = flags_lib.Setting(parser.parse_args())
    asked = workload.questions(setting.test_problems(), setting.tokenizer, 1)
    planned = sampling.plan(asked, 2, setting.flags.max_new_tokens, COLD, setting.tokenizer.end_id)
    taking_part = sampling.contenders(setting, USUAL, False)
    found = compare(taking_part, planned, 1, setting.environment)
    texts = {
        name: each["runs"][0]["solutions"][0][0] for name, each in found.items() if each["runs"]
    }
    reference = next(iter(texts.values()))
    for name, tokens in texts.items():
        same = next(
            (
                place
                for place, pair in enumerate(zip(tokens, reference, strict=False))
                if pair[0] != pair[1]
            ),
            len(tokens),
        )
        print(
            f"{name}: {same} of {len(tokens)} tokens as the first contender's: "
            f"{setting.tokenizer.decode(tokens)!r}"
        )
    sys.exit(any(tokens != reference for tokens in texts.values()) or len(texts) < len(found))


if __name__ == "__main__":
    flags_lib.guarded(main)
