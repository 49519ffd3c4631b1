"""Search guided by the verifier on GSM8K: the paper's generator and verifier, the beams of OVM.

Command:  python -m verifier.launch --exp=gsm8k_guided --set data.dir=FOLDER
          model.weights=FOLDER_OR_HUB_ID
          with --workdir of a finished gsm8k_token_verifier its results are used again, and only
          search and report are run
Data:     train.jsonl and test.jsonl of openai/grade-school-math in data.dir (or GSM8K_DIR)
Hardware: one GPU with 24 GiB or more, as gsm8k_token_verifier; search runs on one device of each
          process. verifier.plan counts all but search, which writes 360 candidates a problem and
          reads them with the verifier (3 methods, 20 and 100 each) where sample writes 100
Expect:   with a 7B model, what OVM has (Yu et al. 2023, arXiv 2311.09724; means of three seeds of
          its released metrics): 20 candidates in 5 beams 68.8 with Llama2-7B; 100 in 25 beams 73.1
          with Llama2-7B and 84.7 with Mistral-7B, whose best-of-100 is 84.6. So a beam is to gain
          at few candidates and with a weak generator. Not run here; on generated problems no method
          was above best-of-n (docs/results.md)
Differs:  OVM draws from the 50 likeliest tokens (here: --set sample.top_k=50, in a workdir of its
          own), hands in what ten steps have come to (here: written to the end), and has no dropout
Beware:   what gsm8k_token_verifier says of dropout
"""

import dataclasses

from experiments import gsm8k_token_verifier
from verifier.config import Config, SearchConfig
from verifier.recipes import guided
from verifier.run.stage import Stage


def get_config() -> Config:
    """`gsm8k_token_verifier`, and OVM's search on all test problems: 20 candidates in 5 beams, 100
    in 25, steps of at most 100 tokens that end with a line, ten of them.
    """
    return dataclasses.replace(
        gsm8k_token_verifier.get_config(),
        name="gsm8k_guided",
        search=SearchConfig(budgets=(20, 100), branching=4, max_steps=10, step_tokens=100),
    )


def get_stages(config: Config) -> list[Stage]:
    """finetune, sample, label, verify, score, search and report."""
    return guided.stages(config)
