"""The paper's recipe on real problems that a small model can solve: train on ASDiv, test on SVAMP
and MultiArith; 100 samples a problem, out of fold, and a token-level joint verifier.

Command:  python -m verifier.launch --exp=word_problems_token_verifier --set data.dir=ASDIV
          data.test_dir=SVAMP ood.dirs=[MULTIARITH] model.weights=FOLDER_OR_HUB_ID
          python -m verifier.launch --exp=sweep:word_problems_token_verifier:folds --seeds=0,1,2
          --set as above: in fold against out of fold (other themes: epochs, problems, losses)
          For a first look: --set sample.train_problems=300 data.test_problems=200 ood.problems=100
Data:     ASDiv.xml, SVAMP.json and MultiArith.json in these folders. ASDiv's equations are the
          worked solutions (1,575 of 2,305 problems can be written so), 100 are held out; the 59
          problems of MultiArith that ASDiv has too are left out of the test
Hardware: 2 CPU cores and 16 GiB, a night for one seed: four fold generators and the run's own at
          some 15 to 20 minutes each, some 300,000 solutions of 20 tokens at 1,400 a minute, an
          estimate from a trial of one hundredth
Expect:   with two folds, 20 training samples and 500 test problems (docs/results.md, 3 seeds, two
          hours of a core each) a vote of the verifier's best 4 to 6 points above the majority on
          SVAMP, as the shortest sample is, and a first choice 30 points below it on MultiArith
Equal:    in the theme `folds`: problems, samples a problem, epochs of the verifier, whose steps the
          table shows; generator and samples of held-out and test problems
Beware:   further problems of MultiArith differ from one of ASDiv by their numbers alone
"""

import dataclasses

from experiments import gsm8k_ablations, gsm8k_token_verifier
from verifier.config import Config, DataConfig, FinetuneConfig, ModelConfig, OodConfig, VerifyConfig


def get_config() -> Config:
    """SmolLM2-135M was trained without dropout, and has none here."""
    paper = gsm8k_token_verifier.get_config()
    return Config(
        name="word_problems_token_verifier",
        data=DataConfig(
            name="asdiv", solutions="equations", test_name="svamp", heldout_problems=100
        ),
        ood=OodConfig(sets=("multiarith",), shared="leave_out"),
        model=ModelConfig(weights="HuggingFaceTB/SmolLM2-135M", dtype="auto", context=512),
        finetune=FinetuneConfig(
            epochs=4,
            batch_rows=8,
            row_tokens=512,
            accumulate=2,
            learning_rate=1e-4,
            warmup_share=0.1,
        ),
        sample=dataclasses.replace(paper.sample, folds=4, max_new_tokens=64),
        verify=VerifyConfig(
            epochs=1,
            batch_rows=4,
            row_tokens=512,
            learning_rate=1e-4,
            warmup_share=0.1,
            group=20,
        ),
    )


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """Assignments to the base, by theme and variant."""
    few, in_fold = "finetune.epochs=2", "sample.folds=0"
    parts = {"quarter": (369, 4), "sixteenth": (92, 16)}  # of 1,475 problems
    return {
        "folds": {"in_fold": [in_fold], "folds_2": ["sample.folds=2"]},
        "epochs": {"epochs_2": [few], "epochs_2_in_fold": [few, in_fold]},
        "problems": gsm8k_ablations.fewer_problems(parts),
        "losses": gsm8k_ablations.get_sweep()["losses"],
    }
