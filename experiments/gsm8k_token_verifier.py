"""The paper's recipe on GSM8K with a pretrained base model: 100 samples a problem, residual dropout
0.2, token-level joint verifier.

Command:  python -m verifier.launch --exp=gsm8k_token_verifier --set data.dir=FOLDER
          model.weights=FOLDER_OR_HUB_ID
Data:     train.jsonl and test.jsonl of openai/grade-school-math in data.dir (or GSM8K_DIR)
Hardware: one GPU with 24 GiB or more for the whole recipe; a CPU for a scaled-down run
          (docs/results.md has one with its settings)
Expect:   with a 7B model and this recipe, best-of-100 of 84.6 for Mistral-7B (the public
          replication in OVM); a 135M model is far below
Beware:   a model that was trained without dropout breaks when residual dropout starts.
          SmolLM2-135M: loss on a GSM8K solution 1.9
          without, 11.8 with 0.2. The paper pre-trains further with dropout first: --set
          pretrain.epochs=1 pretrain.dropout=0.2 pretrain.corpus=TEXT; for a short run, --set
          finetune.dropout=0 verify.dropout=0.
"""

from verifier.config import (
    Config,
    DataConfig,
    FinetuneConfig,
    ModelConfig,
    SampleConfig,
    VerifyConfig,
)


def get_config() -> Config:
    """Cobbe et al. 2021, section 4 and Appendix B: 2 epochs of the generator, 1 of the verifier,
    32k tokens a batch.

    The generator's loss counts all training tokens, the question's too (section 4.1); both losses
    of the verifier leave questions out.
    """
    return Config(
        name="gsm8k_token_verifier",
        data=DataConfig(name="gsm8k", heldout_problems=256),
        model=ModelConfig(weights="HuggingFaceTB/SmolLM2-135M"),
        finetune=FinetuneConfig(
            epochs=2,
            batch_rows=32,
            row_tokens=1024,
            accumulate=4,
            learning_rate=1e-4,
            dropout=0.2,
            loss_on_question=True,
        ),
        sample=SampleConfig(
            train_samples=100,
            heldout_samples=100,
            test_samples=100,
            temperature=0.7,
            max_new_tokens=400,
        ),
        verify=VerifyConfig(
            epochs=1, batch_rows=32, row_tokens=1024, accumulate=4, learning_rate=1e-5, dropout=0.2
        ),
    )
