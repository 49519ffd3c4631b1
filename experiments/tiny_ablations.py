"""The paper's ablations on generated problems, one change at a time to the tiny experiment; each
theme is one question.

Command:  python -m verifier.launch --exp=sweep:tiny_ablations:losses --seeds=0,1,2
          (leave out :losses for all themes; :losses.from_base for one variant)
          python -m verifier.launch --exp=tiny_ablations  (the base alone)
Hardware: 2 CPU cores, 4 GiB. Base 2 minutes a seed; a variant of the verifier alone 1.5, of the
generator 2.5, test_samples 15
Out:      runs/tiny_ablations/compare/THEME/comparison.json, and the table

Expect:   what Cobbe et al. 2021 found with GPT-3 on GSM8K; a model this small on problems this
          plain need not agree, and the sweep says so:
What asks for other data than the base's (verification_only, train_problems, samples_per_problem)
takes the base's number of optimiser steps all the same, 24 of the generator and 247 of the
verifier, reading its fewer examples again, shuffled anew, until they are taken; the table shows the
steps of every variant. An epoch each would compare verifiers of 18 to 247 steps, not what the
themes are named for.

losses               section 4.3, figure 6. Token level starts slower than solution level and ends
                     higher; the joint objective beats
                     verification only; squared error or cross-entropy: no difference to speak of
                     (section 4.2); from the generator slightly better than from the base model
                     (section 4.2)
dropout              section 5.2, figure 8. A gain for the generator (mean sample, greedy), a large
                     one for the solution-level verifier,
                     a small one for the token-level verifier. A base model trained without dropout
                     is pre-trained with it first
sizes                section 4.3, figure 6c. A large generator with a small verifier beats a small
                     generator with a large verifier
train_problems       figure 5. With few problems verification gains little or nothing; its gain
                     grows faster than the generator's
samples_per_problem  none in the paper: more labelled samples a problem, a better verifier
epochs               section 4.1, figure 3. Greedy (test@1) still rises after many epochs; any-of-n
                     (test@100) is best after few
test_samples         section 5.1, figure 7. Best-of-n rises up to some 400 samples, then falls; the
                     more samples, the larger the best k
"""

import dataclasses
import pathlib

from experiments import tiny_token_verifier
from verifier.config import Config, PretrainConfig

BIG = tiny_token_verifier.WEIGHTS
# 0.3 million parameters with a vocabulary of its own; see tiny_base.py
SMALL = pathlib.Path(__file__).with_name("tiny_small_weights")
# of the base, which takes an epoch each: what its manifests say, the same with seeds 0, 1 and 2
FINETUNE_STEPS, VERIFY_STEPS = 24, 247
PRETRAIN = ["pretrain.epochs=1", "pretrain.dropout=0.2"]


def get_config() -> Config:
    """The tiny experiment with fewer test problems and samples: many verifiers are to be compared,
    each need not be measured as well.
    """
    tiny = tiny_token_verifier.get_config()
    return dataclasses.replace(
        tiny,
        name="tiny_ablations",
        data=dataclasses.replace(tiny.data, test_problems=200),
        pretrain=PretrainConfig(
            batch_rows=10, row_tokens=256, learning_rate=3e-4, warmup_share=0.1
        ),
        sample=dataclasses.replace(tiny.sample, train_samples=14, test_samples=16),
        verify=dataclasses.replace(tiny.verify, batch_rows=10, group=1),
        report=dataclasses.replace(tiny.report, ks=(1, 3, 5, 10)),
    )


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """Assignments to the base, by theme and variant."""
    solution, verify_steps = "verify.level=solution", f"verify.steps={VERIFY_STEPS}"
    return {
        "losses": {
            "solution_level": [solution],
            "verification_only": ["verify.lm_weight=0", verify_steps],
            "cross_entropy": ["verify.value_loss=bce"],
            "from_base": ["verify.init=base"],
        },
        "dropout": {
            "pretrained": ["pretrain.epochs=1"],
            "generator_dropout": ["finetune.dropout=0.2"],
            "generator_dropout_pretrained": [*PRETRAIN, "finetune.dropout=0.2"],
            "token_dropout": ["verify.dropout=0.2"],
            "token_dropout_pretrained": [*PRETRAIN, "finetune.dropout=0.2", "verify.dropout=0.2"],
            "solution_level": [solution],
            "solution_dropout": [solution, "verify.dropout=0.2"],
            "solution_dropout_pretrained": [
                *PRETRAIN,
                "finetune.dropout=0.2",
                solution,
                "verify.dropout=0.2",
            ],
        },
        "sizes": {
            "big_big": ["verify.init=base"],
            "big_small": ["verify.init=base", f"verify.weights={SMALL}"],
            "small_big": [f"model.weights={SMALL}", "verify.init=base", f"verify.weights={BIG}"],
            "small_small": [f"model.weights={SMALL}", "verify.init=base"],
        },
        "train_problems": {
            f"problems_{count}": [
                *(f"data.train_problems={count}", f"sample.train_problems={sampled}"),
                *(f"finetune.steps={FINETUNE_STEPS}", verify_steps),
            ]
            for count, sampled in ((60, 22), (120, 44), (240, 88))
        },
        "samples_per_problem": {
            f"samples_{count}": [f"verify.samples_per_problem={count}", verify_steps]
            for count in (1, 2, 4, 7)
        },
        "epochs": {f"epochs_{count}": [f"finetune.epochs={count}"] for count in (4, 16)},
        "test_samples": {"test_samples_400": ["sample.test_samples=400"]},
    }
