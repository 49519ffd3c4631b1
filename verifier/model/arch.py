"""What is static about a decoder: sizes and choices, frozen and hashable."""

from __future__ import annotations

import dataclasses

from verifier.config import ModelConfig
from verifier.model.rotary import RopeScaling

_ROW_MULTIPLE = 64
MOST_LAYERS = 1000  # an order of magnitude above any decoder in use; each is built by itself


@dataclasses.dataclass(frozen=True)
class Arch:
    """One decoder family member.

    Llama, Mistral, Qwen2, Qwen3, Gemma 3 and GPT-2 are settings of this and nothing more.

    Args:
        vocab_size: rows of the embedding, the value head's reserved row and padding rows among
            them.
        context: most tokens of prompt and solution together.
        norm: rms | layer. positions: rotary | learned. activation: silu | gelu | gelu_tanh | relu.
        gated: the MLP multiplies act(gate) with up (Llama); otherwise it is act(up).
        qk_norm: each head's query and key go through an RMS norm of their own width before they are
            rotated (Qwen3, Gemma 3).
        tied: the output matrix is the embedding.
        sliding_window: a token sees itself and the sliding_window - 1 tokens before it; None: all.
        sliding_window_pattern: every so many layers one has no window (Gemma 3: every 6th); None:
            all have it.
        local_rope_theta: of the layers with a window, which then have no rope_scaling (Gemma 3);
            None: rotation is the same in all.
        query_pre_attn_scalar: scores are divided by its square root; None: head_width.
        post_norms: what attention and MLP put out goes through norms of its own before it joins the
            stream (Gemma 3).
        scaled_embed: embeddings are multiplied by the square root of the width (Gemma 3); the
            output matrix is not.
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
    sliding_window_pattern: int | None = None
    local_rope_theta: float | None = None
    query_pre_attn_scalar: float | None = None
    post_norms: bool = False
    scaled_embed: bool = False

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "layers",
            "width",
            "heads",
            "kv_heads",
            "head_width",
            "mlp_width",
            "context",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.layers > MOST_LAYERS:
            raise ValueError(f"layers is {self.layers:,}; at most {MOST_LAYERS:,} can be built")
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}; choose "
                "kv_heads that divides it"
            )
        if self.positions not in ("rotary", "learned"):
            raise ValueError(
                f"positions {self.positions!r} is not known; it must be rotary or learned"
            )
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(
                f"head_width {self.head_width} is odd; rotary positions pair channels and need "
                "an even one"
            )
        if self.sliding_window is not None and self.sliding_window < 1:
            raise ValueError(
                f"sliding_window is {self.sliding_window}; it must be at least 1, or None for "
                "full attention"
            )
        if self.sliding_window is None and (self.sliding_window_pattern, self.local_rope_theta) != (
            None,
            None,
        ):
            raise ValueError(
                "sliding_window_pattern and local_rope_theta speak of layers with a "
                "sliding_window; set it too"
            )
        if self.sliding_window_pattern is not None and self.sliding_window_pattern < 1:
            raise ValueError(
                f"sliding_window_pattern is {self.sliding_window_pattern}; it must be at least "
                "1, or None: all have a window"
            )

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The sliding window of each layer; None: it sees all."""
        period = self.sliding_window_pattern
        return tuple(
            None if period and (layer + 1) % period == 0 else self.sliding_window
            for layer in range(self.layers)
        )


def layer_parameters(arch: Arch) -> int:
    """Entries of one layer's matrices."""
    attention = arch.width * arch.head_width * (2 * arch.heads + 2 * arch.kv_heads)
    return attention + (3 if arch.gated else 2) * arch.width * arch.mlp_width


def parameters(arch: Arch) -> int:
    """Entries of all matrices; norms and biases are some millionths of them."""
    return arch.layers * layer_parameters(arch) + arch.vocab_size * arch.width * (
        1 if arch.tied else 2
    )


def grown_rows(rows: int) -> int:
    """Rows of an embedding of at least `rows`: a multiple of 64, which divides over devices."""
    return -(-rows // _ROW_MULTIPLE) * _ROW_MULTIPLE


def scratch_arch(config: ModelConfig, vocab_size: int) -> Arch:
    """The Llama-like decoder of the config's sizes.

    vocab_size: ids that need a row of the embedding, the reserved one among them.
    """
    if config.width % config.heads:
        raise ValueError(
            f"model.width {config.width} is not a multiple of model.heads {config.heads}; "
            "change one of them"
        )
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
