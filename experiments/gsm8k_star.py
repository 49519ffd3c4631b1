"""A model that teaches itself GSM8K and learns no worked solution (STaR, Zelikman et al. 2022).

Command:  python -m verifier.launch --exp=gsm8k_star --set data.dir=FOLDER
          model.weights=FOLDER_OR_HUB_ID
          the same without rationalisation: star.rationalise=false, in a workdir of its own, and
          python -m verifier.compare of the two
Data:     train.jsonl and test.jsonl of openai/grade-school-math in data.dir (or GSM8K_DIR)
Hardware: accelerators for the paper's size (GPT-J, 6 billion parameters); for an hour of 2 CPU
          cores with 0.14 billion parameters --set model.context=1024 data.train_problems=160
          data.test_problems=100 distill.teacher_shots=2 star.loops=3 finetune.steps=12
          finetune.batch_rows=2 finetune.row_tokens=512 finetune.learning_rate=3e-5
          sample.max_new_tokens=160
Cost:     with N training and T test problems, tokens are on average 60 of a question, 190 of an
          exemplar with its question, 120 of a solution. The base reads (N + T) (60 + 190 shots)
          and writes (N + T) 120, and as much again for those of N that it fails, with hints; a
          later loop reads (N + T) 60 and writes (N + T) 120, and again for its failures; it trains
          on finetune.steps batches of batch_rows x row_tokens, a fifth more from loop to loop
Expect:   in the paper 10.7% of the test after 46 loops, the last 10 with rationalisation, and 10.1
          without; 3.1 with exemplars alone, 5.8 where answers are learned without a rationale.
          28.7 and 25.0% of the training problems are learned from, 0.5% by hints. So accuracy
          rises from loop to loop and hints bring little here; drawing at a temperature of 0.5 or
          0.7 is worse than the likeliest solution
Differs:  right solutions of fewer than 8 different words are not learned (star.fewest_words): a
          base of 0.14 billion parameters learned by hints to answer without a reason, see
          docs/results.md. Exemplars are training problems, other ones for each question (the
          paper: the same 10 for all; here --set distill.exemplars=FILE), and show the calculator's
          annotations (distill.annotations=false: none). The rate rises over the first 2% of the
          steps and then falls (the paper: 100 steps of rise, then constant), and steps grow in all
          loops (the paper: up to the 30th)
"""

from verifier.config import (
    Config,
    DataConfig,
    DistillConfig,
    FinetuneConfig,
    ModelConfig,
    SampleConfig,
    StarConfig,
)
from verifier.recipes import star
from verifier.run.stage import Stage


def get_config() -> Config:
    """The paper's exemplars, batches, rate and steps (section 4.1).

    Most likely solutions alone, so nothing is drawn by chance.
    """
    return Config(
        name="gsm8k_star",
        data=DataConfig(
            name="gsm8k", heldout_problems=1, prompt_template=DistillConfig().prompts[1]
        ),
        model=ModelConfig(weights="HuggingFaceTB/SmolLM2-135M-Instruct", context=3072),
        finetune=FinetuneConfig(steps=40, batch_rows=8, row_tokens=1024, learning_rate=1e-6),
        sample=SampleConfig(
            train_samples=1,
            heldout_samples=1,
            test_samples=1,
            temperature=0.0,
            stop="\n\n",
            max_new_tokens=300,
        ),
        distill=DistillConfig(teacher_shots=10),
        star=StarConfig(loops=36, plateau=3, first="in_context_chain_of_thought", fewest_words=8),
    )


def get_stages(config: Config) -> list[Stage]:
    """In loop=0 the base, in each further loop finetune; of each sample and label, and in its hint
    failures, sample and label; report.
    """
    return star.stages(config)
