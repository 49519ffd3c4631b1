"""Job (d): real tokens a second of a fine-tuning step over packed GSM8K, beside a padded torch loop
and a packed one.

    python -m benchmarks.training --model=FOLDER --peer-python=PEERS/bin/python

All take the same examples in the same steps with AdamW and a clipped gradient: this project its
packed rows; torch the same packed rows under a block-diagonal mask, or the same examples one a row,
padded to the longest (the usual loop). In bfloat16 weights stay float32, this project computes in
bfloat16 and torch under autocast. `--contenders=verifier,verifier-lora` sets training with
adapters (`model.lora_rank`) beside that of all parameters. First losses are stored and must agree,
but for the value head's reserved id, which this project keeps out of the softmax. Each measurement
has a process of its own, which keeps its memory from step to step (`allocator.KEEPING`): three
processes of several GB each beside one another would slow down whichever comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import flags as flags_lib
from benchmarks import needed, results, workload
from benchmarks.contenders import Contender
from benchmarks.rounds import Plan, compare
from verifier.data.batches import Batch
from verifier.system import allocator

USUAL = [
    "verifier",
    "verifier-bfloat16",
    "torch-padded",
    "torch-packed",
    "torch-packed-bfloat16",
]


def contenders(setting: flags_lib.Setting) -> list[Contender]:
    """The chosen ones."""
    make: dict[str, Callable[[str], Contender]] = {
        "verifier": lambda name: setting.ours(name, {}),
        "verifier-lora": lambda name: setting.ours(
            name, {}, f"model.lora_rank={setting.flags.lora_rank}"
        ),
        "torch-padded": lambda name: loop(name, False),
        "torch-packed": lambda name: loop(name, True),
    }

    def loop(name: str, packed: bool) -> Contender:
        job = {"packed": packed, "autocast": setting.dtype(name) == "bfloat16"}
        return setting.torch(name, "torch_worker", job, "float32")

    return setting.chosen(USUAL, make)


def summarised(
    found: Mapping[str, dict[str, Any]], batches: Sequence[Batch], steps: int, sizes: needed.Sizes
) -> dict[str, dict[str, Any]]:
    """Adds tokens, rates and the least work; run number r took the steps from r * steps on."""
    for contender in found.values():
        for turn, run in enumerate(contender["runs"]):
            taken = batches[turn * steps : (turn + 1) * steps]
            tokens = sum(int((batch.ends_BT > 0).sum()) for batch in taken)
            least = [
                needed.training(
                    sizes,
                    workload.example_lengths(batch),
                    int((batch.targets["lm_weight"] > 0).sum()),
                )
                for batch in taken
            ]
            run |= {"tokens": tokens, "tokens_per_second": tokens / run["seconds"]}
            run["needed"] = needed.Needed(sum(each.flops for each in least), 0.0)._asdict()
        if contender["runs"]:
            contender["tokens_per_second"] = results.summary(
                [run["tokens_per_second"] for run in contender["runs"]]
            )
    return dict(found)


def main() -> None:
    """Measures and writes the result."""
    parser = flags_lib.parser(__doc__)
    parser.add_argument("--rows", type=int, default=4, help="packed rows a step")
    parser.add_argument("--row-tokens", type=int, default=512, help="tokens of a packed row")
    parser.add_argument("--steps", type=int, default=2, help="steps a measurement")
    parser.add_argument("--lora-rank", type=int, default=16, help="rank of verifier-lora")
    setting = flags_lib.Setting(parser.parse_args())
    flags = setting.flags
    steps = (flags.rounds + 1) * flags.steps
    batches = workload.packed_rows(
        setting.train_problems(),
        setting.tokenizer,
        flags.rows,
        flags.row_tokens,
        steps,
    )
    path = setting.cache / "rows.npz"
    workload.write_rows(path, batches)

    def asked(turn: int) -> dict[str, Any]:
        return {
            "rows": str(path),
            "first": turn * flags.steps,
            "steps": flags.steps,
            "learning_rate": 1e-5,
        }

    # All warm up with the steps that no round takes, from the same weights: their first losses can
    # be compared.
    plan = Plan("train", asked, lambda: asked(flags.rounds))
    sizes = needed.sizes_of(setting.model)
    environment = {**setting.environment, **allocator.variables(allocator.KEEPING)}
    compared = compare(contenders(setting), plan, flags.rounds, environment, apart=True)
    found = summarised(compared, batches, flags.steps, sizes)
    lengths = [length for batch in batches for length in workload.example_lengths(batch)]
    facts = {
        "rows": flags.rows,
        "row_tokens": flags.row_tokens,
        "steps": flags.steps,
        "example_tokens": results.summary(lengths),
    }
    facts["real_share_of_packed_rows"] = float(
        np.mean([(batch.ends_BT > 0).mean() for batch in batches])
    )
    facts["first_losses"] = {
        name: each["warm_up"]["losses"][0] for name, each in found.items() if "warm_up" in each
    }
    ratios = results.compared(found, "tokens_per_second")
    results.write(
        "training",
        setting.threads,
        {**setting.facts(), **facts, "contenders": found, **ratios},
        flags.results,
    )


if __name__ == "__main__":
    flags_lib.guarded(main)
