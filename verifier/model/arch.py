"""What is static about a model: sizes and choices, frozen and hashable."""

from __future__ import annotations

import dataclasses

from verifier.config import ModelConfig
from verifier.model.rotary import RopeScaling

_ROW_MULTIPLE = 64
MOST_LAYERS = 1000  # an order of magnitude above any decoder in use; each is built by itself


@dataclasses.dataclass(frozen=True)
class Arch:
    """One family member.

    Llama, Mistral, Qwen2, Qwen3, Gemma 3, GPT-2 and T5 are settings of this and nothing more.

    Args:
        vocab_size: rows of the embedding, the value head's reserved row and padding rows among
            them.
        layers: of the decoder, as all that follows but for the encoder's own.
        context: most tokens of prompt and solution together; with an encoder, of each of them and
            what is read beside it (`start_id`, `close_id`).
        norm: rms | layer. positions: rotary | learned | relative. activation: silu | gelu |
            gelu_tanh | relu.
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
        scaled_output: what the output matrix is multiplied with is divided by that root (T5 1.0).
        encoder_layers: of an encoder, which reads the prompt, and whose last states the decoder
            crosses to (T5); 0: the decoder reads the prompt itself.
        start_id: of a decoder behind an encoder, the token that it reads before a solution.
        close_id: of an encoder, the token that it reads behind a prompt.
        relative_buckets: of relative positions, how many distances are told apart (`relative`).
        relative_distance: of them, from which on all are alike.
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
    scaled_output: bool = False
    encoder_layers: int = 0
    start_id: int = 0
    close_id: int = 1
    relative_buckets: int = 32
    relative_distance: int = 128

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
        for name in ("layers", "encoder_layers"):
            if getattr(self, name) > MOST_LAYERS:
                raise ValueError(
                    f"{name} is {getattr(self, name):,}; at most {MOST_LAYERS:,} can be built"
                )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}; choose "
                "kv_heads that divides it"
            )
        if self.positions not in ("rotary", "learned", "relative"):
            raise ValueError(
                f"positions {self.positions!r} is not known; it must be rotary, learned or relative"
            )
        self._check_relative()
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
    def closing(self) -> tuple[int, ...]:
        """What is read behind a prompt."""
        return (self.close_id,) if self.encoder_layers else ()

    def before(self, prompt_tokens: int) -> int:
        """Tokens that the decoder has read before a solution, of a prompt of so many."""
        return 1 if self.encoder_layers else prompt_tokens

    def longest_prompt(self, new_tokens: int) -> int:
        """Tokens of the longest prompt that so many may follow."""
        return self.context - (len(self.closing) if self.encoder_layers else new_tokens)

    def _check_relative(self) -> None:
        """What relative positions and an encoder must be; raises ValueError."""
        if (self.positions == "relative") != bool(self.encoder_layers):
            raise ValueError(
                f"positions {self.positions!r} with encoder_layers {self.encoder_layers} is not "
                "built: relative positions and an encoder come together"
            )
        if self.positions != "relative":
            return
        if self.relative_buckets < 4 or self.relative_buckets % 4:
            raise ValueError(
                f"relative_buckets is {self.relative_buckets}; it must be a multiple of 4: half of "
                "an encoder's are for each side, half of these for distances of their own"
            )
        if self.relative_distance <= self.relative_buckets // 2:
            raise ValueError(
                f"relative_distance is {self.relative_distance}; it must be above half of "
                f"relative_buckets, {self.relative_buckets}"
            )
        if self.sliding_window is not None:
            raise ValueError("relative positions with a sliding_window are not built; set it None")

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The sliding window of each layer; None: it sees all."""
        period = self.sliding_window_pattern
        return tuple(
            None if period and (layer + 1) % period == 0 else self.sliding_window
            for layer in range(self.layers)
        )


def layer_parameters(arch: Arch) -> int:
    """Entries of one layer's matrices, without those that cross to an encoder."""
    return _attention_parameters(arch) + (3 if arch.gated else 2) * arch.width * arch.mlp_width


def parameters(arch: Arch) -> int:
    """Entries of all matrices; norms and biases are some millionths of them."""
    crossing = arch.layers * _attention_parameters(arch) if arch.encoder_layers else 0
    layers = (arch.layers + arch.encoder_layers) * layer_parameters(arch)
    return layers + crossing + arch.vocab_size * arch.width * (1 if arch.tied else 2)


def _attention_parameters(arch: Arch) -> int:
    return arch.width * arch.head_width * (2 * arch.heads + 2 * arch.kv_heads)


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
