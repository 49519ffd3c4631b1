"""Mistral-7B on GSM8K with the settings of the public replication of the paper's recipe: 100
samples a problem, token-level verifier.

Command:  python -m verifier.launch --exp=gsm8k_token_verifier_7b --set data.dir=FOLDER
          model.weights=FOLDER_OR_HUB_ID
Data:     train.jsonl and test.jsonl of openai/grade-school-math in data.dir (or GSM8K_DIR)
Hardware: as planned (python -m verifier.plan), not measured: hours at 40% of the published peaks,
without communication
          64 TPU v5e, --set mesh.fsdp=16 mesh.tensor=4: 14.3 of 16 GB a device at most; sample 0.10
          hours, verify 0.92, the others 0.03 8 H100, --set mesh.fsdp=8 sample.memory_gib=60: 64.8
          of 80 GB at most; sample 0.15 hours, verify 1.5, the others 0.04
Expect:   best-of-100 of 84.6 on test, majority of 72.7, any of 100 of 97.6
          (FreedomIntelligence/OVM, one run). Not run here yet.
Differs:  there, the language-model loss is on the samples, the head is a linear one with dropout,
          squared errors are summed over tokens and
          divided by rows, and the batch is 16 (generator) and 64 (verifier) examples a device, on a
          number of devices that is not said.
"""

from verifier.config import (
    Config,
    DataConfig,
    FinetuneConfig,
    MeshConfig,
    ModelConfig,
    SampleConfig,
    ScoreConfig,
    VerifyConfig,
)


def get_config() -> Config:
    """scripts/gsm8k of that repository: 2 epochs of the generator, 1 of the verifier, rate 1e-5
    without warm-up, no repeats.

    Its generator learns from every token, the question's too, as the paper's does.
    """
    return Config(
        name="gsm8k_token_verifier_7b",
        data=DataConfig(name="gsm8k", heldout_problems=256),
        model=ModelConfig(weights="mistralai/Mistral-7B-v0.1", dtype="bfloat16"),
        mesh=MeshConfig(data=1, fsdp=-1, tensor=1),
        finetune=FinetuneConfig(
            epochs=2,
            batch_rows=32,
            row_tokens=1024,
            learning_rate=1e-5,
            warmup_share=0.0,
            beta2=0.999,
            remat=True,
            loss_on_question=True,
        ),
        sample=SampleConfig(
            train_samples=100,
            heldout_samples=100,
            test_samples=100,
            temperature=0.7,
            top_k=50,
            max_new_tokens=400,
        ),
        verify=VerifyConfig(
            epochs=1,
            batch_rows=128,
            row_tokens=1024,
            learning_rate=1e-5,
            warmup_share=0.0,
            beta2=0.999,
            remat=True,
            deduplicate=True,
        ),
        score=ScoreConfig(rows=32),
    )
