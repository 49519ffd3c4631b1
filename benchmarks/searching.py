"""What search costs: beam search on kept keys, plain samples, and the same search with prefixes
read anew at every step, as others do.

    python -m benchmarks.searching --model=FOLDER --rounds=1 --problems=2

The judge is a linear head of random weights on the same decoder: what it prefers is no matter here.
Steps are of so many tokens, for a step that ends where the text does would make contenders' work
differ by chance.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import flags as flags_lib
from benchmarks import jax_worker, results, workload
from verifier.config import SampleConfig
from verifier.decode.engine import Engine
from verifier.decode.growing import Growing
from verifier.decode.job import Prompt, by_falling_length
from verifier.decode.tree_reader import Read, TreeReader
from verifier.hf.weights import load_weights
from verifier.model.heads import LinearHead, Verifier
from verifier.search import beam, sample, scorers, tree
from verifier.search.judge import Judge
from verifier.search.session import Session
from verifier.search.tree import Extend, Method, Node, Score, walk

BUDGET, BRANCHING = 16, 4  # K candidates a step, of which every fourth goes on
_NEVER = "\0"  # ends no step


@dataclasses.dataclass
class Job:
    """Models and prompts; steps and tokens of the search."""

    engine: Engine
    judge: Verifier
    prompts: Sequence[Prompt]
    steps: int
    step_tokens: int

    def beam(self, root: Node) -> Method:
        """The search that both ways of reading do."""
        return beam.search(root, BUDGET, BRANCHING, self.steps, self.step_tokens)

    def sample(self, root: Node) -> Method:
        """As many plain samples."""
        return sample.search(root, BUDGET)


def kept(job: Job, method: Callable[[Node], Method], session: Session) -> dict[str, float]:
    """As the project does it."""
    begun = time.monotonic()
    found = list(session.run(job.prompts, method, scorers.by_value()))
    spent = [each.cost for each in found]
    return {
        "seconds": time.monotonic() - begun,
        "tokens": sum(cost.tokens_generated for cost in spent),
        "read": sum(cost.tokens_scored for cost in spent),
        "new": sum(len(node.tokens) for each in found for node in walk(each.root)),
    }


def read_anew(job: Job) -> dict[str, float]:
    """The same search, each step's prompts being all that stands before it, in both models."""
    begun, spent = time.monotonic(), {"tokens": 0, "read": 0, "new": 0}
    reader = TreeReader(job.judge, "mse", BUDGET)
    searches = [(prompt, job.beam(tree.root())) for prompt in job.prompts]
    asked = {index: next(method) for index, (_, method) in enumerate(searches)}
    while asked:
        given: dict[int, list[Node]] = {}
        for index, request in asked.items():
            if isinstance(request, Score):
                given[index] = _scored(reader, job.prompts[index], request.nodes, spent)
        extended = {i: each for i, each in asked.items() if isinstance(each, Extend)}
        given |= _extended(job, extended, spent)
        asked = {}
        for index, nodes in given.items():
            try:
                asked[index] = searches[index][1].send(nodes)
            except StopIteration:
                continue
    return {"seconds": time.monotonic() - begun, **spent}


def _scored(
    reader: TreeReader, prompt: Prompt, nodes: Sequence[Node], spent: dict[str, int]
) -> list[Node]:
    """Every node's whole text is read, all beside each other."""
    for place in range(len(nodes)):
        reader.open(place)
    texts = [Read(place, [], [*prompt.tokens, *node.written()]) for place, node in enumerate(nodes)]
    for node, read in zip(nodes, reader.read(texts), strict=True):
        node.score = read.values[-1]
        spent["read"] += len(read.values)
        spent["new"] += len(node.tokens)
    for place in range(len(nodes)):
        reader.close(place)
    return list(nodes)


def _extended(job: Job, asked: dict[int, Extend], spent: dict[str, int]) -> dict[int, list[Node]]:
    """Every node that goes on is a prompt of its own."""
    places = [(index, node) for index, each in asked.items() for node in each.asked]
    if not places:
        return {}
    prompts = [
        Prompt(f"{at}", [*job.prompts[index].tokens, *node.written()])
        for at, (index, node) in enumerate(places)
    ]
    ordered = by_falling_length(prompts)
    sizes = job.engine.plan(ordered, BRANCHING, processes=1)
    growing = Growing(job.engine.writer, sizes, ordered)
    found: dict[int, list[Node]] = {index: [] for index in asked}
    for number, prompt in enumerate(ordered):
        index, node = places[int(prompt.problem_id)]
        ids, most = asked[index].asked[node], asked[index].step_tokens
        left = job.engine.writer.config.max_new_tokens - len(node.written())
        growing.extend(growing.root(number), ids, min(most or left, left), False)
    for ended in growing.run():
        index, node = places[int(ordered[ended.problem].problem_id)]
        most = job.engine.writer.config.max_new_tokens
        over = ended.tokens[-1] == job.engine.writer.tokenizer.end_id
        whole = len(node.written()) + len(ended.tokens) >= most
        child = Node(node, list(ended.samples), ended.tokens, ended.forced, ended.logprobs)
        child.finish = "eos" if over else "length" if whole else ""
        found[index].append(child)
        spent["tokens"] += len(ended.tokens) * len(ended.samples)
    return {index: sorted(nodes, key=lambda node: node.samples) for index, nodes in found.items()}


def _job(setting: flags_lib.Setting, questions: Sequence[workload.Question], flags: Any) -> Job:
    tokenizer = setting.tokenizer
    model = load_weights(
        setting.model, tokenizer_size=tokenizer.vocab_size, dtype=jnp.dtype(flags.dtype)
    )
    model.arch = dataclasses.replace(model.arch, context=flags.context)
    head = LinearHead(model.arch.width, rngs=nnx.Rngs(0), initial_bias=0.5)
    config = SampleConfig(
        temperature=0.7, max_new_tokens=flags.steps * flags.step_tokens, calculator=False
    )
    endless = jax_worker.Endless(tokenizer)
    prompts = by_falling_length(Prompt(each.problem_id, each.prompt) for each in questions)
    return Job(
        Engine(model, endless, config, 0),
        Verifier(model, head),
        prompts,
        flags.steps,
        flags.step_tokens,
    )


def _rounds(job: Job, rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
    """One measurement of each contender in turn, after one of each to compile."""
    session = Session(job.engine, Judge(job.judge, "mse"), job.prompts, BUDGET, [_NEVER])
    ways = {
        "sample": lambda: kept(job, job.sample, session),
        "beam": lambda: kept(job, job.beam, session),
        "beam-read-anew": lambda: read_anew(job),
    }
    for number in range(rounds + 1):
        for name, way in ways.items():
            found = way()
            print(f"round {number} {name}: {found}", flush=True)
            if number:
                yield name, found


def main() -> None:
    """Measures, and writes a result file."""
    made = flags_lib.parser(__doc__)
    made.add_argument("--problems", type=int, default=2)
    made.add_argument("--steps", type=int, default=8)
    made.add_argument("--step-tokens", type=int, default=16)
    flags = made.parse_args()
    setting = flags_lib.Setting(flags)
    questions = workload.questions(setting.test_problems(), setting.tokenizer, flags.problems)
    job = _job(setting, questions, flags)
    runs: dict[str, list[dict[str, float]]] = {}
    for name, found in _rounds(job, flags.rounds):
        runs.setdefault(name, []).append(found)
    facts = {**setting.facts(), "budget": BUDGET, "branching": BRANCHING}
    facts |= {"problems": flags.problems, "steps": flags.steps, "step_tokens": flags.step_tokens}
    results.write("searching", setting.threads, {**facts, "runs": runs}, flags.results)
    middle = {
        name: float(np.median([each["seconds"] for each in own])) for name, own in runs.items()
    }
    print(middle)


if __name__ == "__main__":
    flags_lib.guarded(main)
