"""The paper's recipe on GSM8K with adapters (LoRA) on a model of half a billion parameters that can
solve some of it: what two CPU cores can do in a few nights, and one GPU in an hour.

Command:  python -m verifier.launch --exp=gsm8k_lora --set data.dir=FOLDER
          model.weights=FOLDER_OR_HUB_ID
          python -m verifier.launch --exp=sweep:gsm8k_lora:problems --set as above: verifiers of the
          samples of fewer problems, in as many steps; theme `sizes`: a small verifier that reads
          the solutions as text
Data:     train.jsonl and test.jsonl of openai/grade-school-math in data.dir (or GSM8K_DIR): 1,024
          and 300 problems of them; samples are of the first 250 training problems by the hashes of
          their questions, so that a later run with more only adds
Hardware: 2 CPU cores and 12 GiB, or one GPU with 16 GiB
Expect:   not run yet
Steps:    in the theme `problems` fewer problems are read so many times more that all take the same
Weights:  `sizes` takes SmolLM2-135M from the hub (pip install '.[hub]'); for another edit SMALL
Beware:   no dropout: the model was trained without it
"""

import dataclasses

from experiments import gsm8k_token_verifier
from experiments.gsm8k_ablations import SMALL, fewer_problems
from verifier.config import Config, ModelConfig

SAMPLED = 250  # training problems with samples


def get_config() -> Config:
    """Cobbe et al. 2021 with frozen weights; the value head is a vector, for a reserved token's
    row of the embedding would be frozen, too.
    """
    paper = gsm8k_token_verifier.get_config()
    return dataclasses.replace(
        paper,
        name="gsm8k_lora",
        data=dataclasses.replace(
            paper.data, train_problems=1024, heldout_problems=64, test_problems=300
        ),
        model=ModelConfig(weights="Qwen/Qwen2.5-Coder-0.5B-Instruct", dtype="auto", lora_rank=16),
        finetune=dataclasses.replace(
            paper.finetune,
            batch_rows=4,
            row_tokens=512,
            accumulate=2,
            learning_rate=2e-4,
            dropout=0.0,
        ),
        sample=dataclasses.replace(
            paper.sample,
            train_problems=SAMPLED,
            train_samples=16,
            heldout_samples=16,
            test_samples=64,
            max_new_tokens=256,
        ),
        verify=dataclasses.replace(
            paper.verify,
            head="linear",
            group=16,
            batch_rows=4,
            row_tokens=1024,
            accumulate=4,
            learning_rate=1e-4,
            dropout=0.0,
        ),
    )


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """Assignments to the base, by theme and variant."""
    return {
        "problems": fewer_problems(
            {str(SAMPLED // part): (SAMPLED // part, part) for part in (2, 5)}
        ),
        "sizes": {"small": ["verify.init=base", f"verify.weights={SMALL}"]},
    }
