"""What is static about a decoder: sizes and choices, frozen and hashable. Knows no parameter and no device."""

from __future__ import annotations

import dataclasses

from verifier.config import ModelConfig
from verifier.model.rotary import RopeScaling

_ROW_MULTIPLE = 64

@dataclasses.dataclass(frozen=True)
class Arch:
    """One decoder family member. Llama, Mistral, Qwen2, Qwen3 and GPT-2 are settings of this and nothing more.

    Args:
        vocab_size: rows of the embedding, the value head's reserved row and padding rows among them.
        context: most tokens of prompt and solution together.
        norm: rms | layer. positions: rotary | learned. activation: silu | gelu | gelu_tanh | relu.
        gated: the MLP multiplies act(gate) with up (Llama); otherwise it is act(up).
        qk_norm: each head's query and key go through an RMS norm of their own width before they are rotated (Qwen3).
        tied: the output matrix is the embedding.
        sliding_window: a token sees itself and the sliding_window - 1 tokens before it; None: all.
    """

    vocab_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    context: int
    norm: str = "rms"
    norm_eps: float = 1e-5
    positions: str = "rotary"
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    activation: str = "silu"
    gated: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tied: bool = True
    sliding_window: int | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "layers", "width", "heads", "kv_heads", "head_width", "mlp_width", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}; choose kv_heads that divides it")
        if self.positions not in ("rotary", "learned"):
            raise ValueError(f"positions {self.positions!r} is not known; it must be rotary or learned")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(f"head_width {self.head_width} is odd; rotary positions pair channels and need an even one")
        if self.sliding_window is not None and self.sliding_window < 1:
            raise ValueError(f"sliding_window is {self.sliding_window}; it must be at least 1, or None for full attention")


def grown_rows(rows: int) -> int:
    """Rows of an embedding that must have at least `rows`: a multiple of 64, so that it divides over devices."""
    return -(-rows // _ROW_MULTIPLE) * _ROW_MULTIPLE


def scratch_arch(config: ModelConfig, vocab_size: int) -> Arch:
    """The Llama-like decoder of the config's sizes. vocab_size: ids that need a row of the embedding, the reserved one among them."""
    if config.width % config.heads:
        raise ValueError(f"model.width {config.width} is not a multiple of model.heads {config.heads}; change one of them")
    return Arch(
        vocab_size=grown_rows(vocab_size),
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_width=config.width // config.heads,
        mlp_width=config.mlp_width,
        context=config.context,
        rope_theta=config.rope_theta,
        tied=config.tied,
    )
