"""Job (b): tokens a second at a fixed number of new tokens, where the end token ends nothing.

    python -m benchmarks.fixed_length --model=runs/NAME/generator --peer-python=PEERS/bin/python

The end token is a token like any other here: this project is given a tokenizer whose end is the
value head's reserved id, which is never drawn (jax_worker.Endless); the others are given no end
token. The calculator is off, since peers have none.
"""

from __future__ import annotations

from benchmarks import flags as flags_lib
from benchmarks import results, sampling


def main() -> None:
    """Measures and writes the result."""
    setting = flags_lib.Setting(sampling.drawing_flags(__doc__, 128).parse_args())
    taking_part = sampling.contenders(setting, sampling.USUAL, False)
    found = sampling.measured(setting, taking_part, None, "tokens_per_second")
    results.write("fixed_length", setting.threads, found, setting.flags.results)


if __name__ == "__main__":
    flags_lib.guarded(main)
