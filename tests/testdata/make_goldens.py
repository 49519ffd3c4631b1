"""Makes the tiny checkpoints and goldens of hf_weights_test and hf_verifier_test, with torch and
transformers. Knows no project.

hf_*: log-probabilities of a CausalLM. seq2seq_*: those of a Seq2SeqLM, of texts behind prompts of
several lengths. values_*: a ForTokenClassification with one label, and its
output after every token.

Run by hand:
    python tests/testdata/make_goldens.py                  # writes hf_*/, values_*/ and
                                                           seq2seq_*/ beside this file (the same
                                                           bytes each time)
    python tests/testdata/make_goldens.py --only seq2seq_  # those alone whose names begin so
    python tests/testdata/make_goldens.py --check FOLDER   # FOLDER holds models exported under the
                                                           same names: do they still agree?
"""

from __future__ import annotations

import argparse
import pathlib
import shutil

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).parent
SIZES = {
    "vocab_size": 80,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
ROPE_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    # small, so that 24 tokens with heads of width 16 meet all three bands of frequencies
    "original_max_position_embeddings": 64,
}
ROPE_LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}
ROPE_YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
ROPE_PLAIN = {"rope_type": "default", "rope_theta": 500.0}
ROPE_GEMMA3 = {
    "full_attention": ROPE_LINEAR,
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
}
CONFIGS: dict[str, transformers.PretrainedConfig] = {
    "hf_llama": transformers.LlamaConfig(
        **SIZES, rope_parameters=ROPE_PLAIN, tie_word_embeddings=True
    ),
    "hf_llama3": transformers.LlamaConfig(
        **SIZES, head_dim=16, rope_parameters=ROPE_LLAMA3, tie_word_embeddings=False
    ),
    "hf_llama_bias": transformers.LlamaConfig(
        **SIZES,
        rope_parameters=ROPE_LINEAR,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=True,
        dtype="bfloat16",
    ),
    "hf_mistral": transformers.MistralConfig(
        **SIZES, rope_parameters=ROPE_PLAIN, sliding_window=7, tie_word_embeddings=False
    ),
    "hf_qwen2": transformers.Qwen2Config(
        **SIZES, rope_parameters=ROPE_PLAIN, tie_word_embeddings=True
    ),
    "hf_qwen2_yarn": transformers.Qwen2Config(
        **SIZES, rope_parameters=ROPE_YARN, tie_word_embeddings=True
    ),
    "hf_gpt2": transformers.GPT2Config(
        vocab_size=80,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=32,
        bos_token_id=None,
        eos_token_id=None,
    ),
    "hf_qwen3": transformers.Qwen3Config(
        **SIZES, head_dim=16, rope_parameters=ROPE_PLAIN, tie_word_embeddings=True
    ),
}
SMALL = SIZES | {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 20}
VALUES: dict[str, transformers.PretrainedConfig] = {
    "values_llama": transformers.LlamaConfig(**SMALL, rope_parameters=ROPE_PLAIN, num_labels=1),
    "values_mistral": transformers.MistralConfig(
        **SMALL, rope_parameters=ROPE_PLAIN, sliding_window=7, num_labels=1
    ),
    "values_qwen2": transformers.Qwen2Config(**SMALL, rope_parameters=ROPE_PLAIN, num_labels=1),
    "values_gpt2": transformers.GPT2Config(
        vocab_size=40,
        n_embd=16,
        n_layer=2,
        n_head=4,
        n_positions=32,
        bos_token_id=None,
        eos_token_id=None,
        num_labels=1,
    ),
    "values_qwen3": transformers.Qwen3Config(
        **SMALL, head_dim=8, rope_parameters=ROPE_PLAIN, num_labels=1
    ),
}
# behind the others, whose seeds are their places
ADDED: dict[str, transformers.PretrainedConfig] = {
    # Stored as bfloat16, as the published ones are: 1 + weight is exact in float32, and comes back
    # as it was.
    "hf_gemma3": transformers.Gemma3TextConfig(
        **SIZES | {"num_hidden_layers": 3},
        head_dim=16,
        rope_parameters=ROPE_GEMMA3,
        sliding_window=7,
        sliding_window_pattern=2,
        query_pre_attn_scalar=24,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        dtype="bfloat16",
    ),
}
T5_SIZES = {
    "vocab_size": 80,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 20,
    "num_heads": 4,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "n_positions": 64,
    # few, so that texts of 24 tokens meet all of them
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "decoder_start_token_id": 0,
}
SEQ2SEQ: dict[str, transformers.PretrainedConfig] = {
    "seq2seq_t5": transformers.T5Config(**T5_SIZES),
    "seq2seq_t5_1_1": transformers.T5Config(
        **T5_SIZES, feed_forward_proj="gated-gelu", tie_word_embeddings=False, dtype="bfloat16"
    ),
}
ALL = CONFIGS | VALUES | ADDED | SEQ2SEQ


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights far from their usual small start: attention is peaked, norms and biases are not at 1
    and 0, so that any mistake shows.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 2:
                parameter.copy_(
                    noise
                    * (
                        0.5
                        if any(part in name for part in ("embed", "wte", "wpe", "shared", "bias"))
                        else parameter.shape[-1] ** -0.5
                    )
                )
            else:
                parameter.copy_(noise * 0.2 + (0.0 if name.endswith("bias") else 1.0))


def _kind(name: str) -> tuple[type, str]:
    """The class of transformers that a checkpoint is for, and what its golden holds."""
    if name in VALUES:
        return transformers.AutoModelForTokenClassification, "values"
    if name in SEQ2SEQ:
        return transformers.AutoModelForSeq2SeqLM, "log_probabilities"
    return transformers.AutoModelForCausalLM, "log_probabilities"


def output(model: torch.nn.Module, given: dict[str, np.ndarray], what: str) -> np.ndarray:
    """tokens [B, T] -> float32 log-probabilities [B, T, V], or values [B, T].

    With prompts [B, S] and lengths [B] beside them, tokens are what a decoder reads.
    """
    inputs = {"input_ids": torch.from_numpy(given["tokens"]).long()}
    if "prompts" in given:
        prompts, order = given["prompts"], np.arange(given["prompts"].shape[1])
        inputs = {
            "input_ids": torch.from_numpy(prompts).long(),
            "attention_mask": torch.from_numpy(order < given["lengths"][:, None]).long(),
            "decoder_input_ids": inputs["input_ids"],
        }
    with torch.no_grad():
        logits = model.eval()(**inputs).logits.float()
    return (logits[..., 0] if what == "values" else torch.log_softmax(logits, dim=-1)).numpy()


def make(name: str, seed: int) -> None:
    """One checkpoint with its golden: float32 reference of the weights as stored."""
    config = ALL[name]
    kind, what = _kind(name)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = kind.from_config(config, attn_implementation="eager").float()
    if name in SEQ2SEQ and not config.scale_decoder_outputs:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    randomise(model, seed)
    if config.dtype == torch.bfloat16:
        model = model.bfloat16()
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    random = np.random.default_rng(seed)
    given = {"tokens": random.integers(0, config.vocab_size, (2, 24), dtype=np.int32)}
    if name in SEQ2SEQ:
        given["tokens"][:, 0] = config.decoder_start_token_id
        given["prompts"] = random.integers(0, config.vocab_size, (2, 20), dtype=np.int32)
        given["lengths"] = np.array([20, 9], np.int32)
    reference = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    np.savez_compressed(folder / "golden.npz", **given, **{what: output(reference, given, what)})


def check(folder: pathlib.Path) -> bool:
    """Loads every model found in `folder`, prints how far it is from its golden and whether a
    tensor was left over or made up.
    """
    good = True
    for name in sorted(ALL.keys() & {path.name for path in folder.iterdir()}):
        kind, what = _kind(name)
        model, info = kind.from_pretrained(
            folder / name, output_loading_info=True, attn_implementation="eager"
        )
        golden = np.load(HERE / name / "golden.npz")
        difference = float(np.abs(output(model, golden, what) - golden[what]).max())
        left = {key: names for key, names in info.items() if names}
        good &= difference < 1e-4 and not left
        print(
            f"{name} {type(model).__name__}: max abs difference {difference:.2e}; loading "
            f"problems: {left or 'none'}"
        )
    return good


def main() -> None:
    """Writes the goldens, or checks a folder of exports against them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", type=pathlib.Path)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    if arguments.check:
        raise SystemExit(0 if check(arguments.check) else 1)
    for seed, name in enumerate(ALL):
        if name.startswith(arguments.only):
            make(name, seed)


if __name__ == "__main__":
    main()
