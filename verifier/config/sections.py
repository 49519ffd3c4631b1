"""Every knob of a run, as frozen dataclasses: its default, its unit, and what it takes."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Literal

from verifier.config.distill_sections import DistillConfig, SelectConfig, StepByStepConfig
from verifier.config.kinds import Mark, Range
from verifier.config.quiet_sections import QuietConfig
from verifier.config.ranges import (
    Amount,
    BbhTask,
    Count,
    Devices,
    ForTesting,
    Grader,
    Kind,
    Length,
    Number,
    Problems,
    Seconds,
    Source,
    Tokens,
)
from verifier.config.search_sections import RainConfig, RolloutsConfig, SearchConfig
from verifier.config.star_sections import StarConfig
from verifier.config.think_sections import DirectConfig, ThinkConfig
from verifier.config.train_sections import DpoConfig, FinetuneConfig, PretrainConfig, VerifyConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which problems are read and how many of them.

    Held-out problems are taken from the training problems; they serve early stopping and the choice
    of k. Test problems serve no choice.
    """

    name: Source = "generated"
    # Folder of local files; empty: the source's environment variable (GSM8K_DIR, SVAMP_DIR, ...).
    dir: Annotated[str, Mark.PATH, Mark.NO_EFFECT] = ""  # the problems are kept as a table
    test_name: Literal[Source, ""] = ""  # test problems from another source; empty: from `name`
    test_dir: Annotated[str, Mark.PATH, Mark.NO_EFFECT] = ""  # its folder
    source: Annotated[Literal["local", "tfds", "hub"], Mark.NO_EFFECT] = "local"  # gsm8k only
    # Generated only: families of templates, repeat a name to weigh it.
    kinds: tuple[Kind, ...] = typing.get_args(Kind)
    # How long problems are, in turn. sums: digits (empty: 1 to 5) | generated, kinds=[chain] alone:
    # changes (empty: 2 to 7, as they come)
    lengths: tuple[Length, ...] = ()
    # Worked solutions to learn from: those of the source | equations: those that the equations of
    # svamp, asdiv or multiarith stand for; their problems are then training problems.
    solutions: Literal["source", "equations"] = "source"
    bbh_tasks: tuple[BbhTask, ...] = ()  # with test_name=bbh: which tasks; empty: all 27
    # Problems to fine-tune on and to sample from; 0: all there are (generated: must be > 0).
    train_problems: Problems = 0
    heldout_problems: Annotated[int, Range(1, 10_000_000)] = 128  # taken from train before the rest
    test_problems: Problems = 0  # 0: all there are (generated: must be > 0)
    prompt_template: str = "{question}\n"  # what the model is given
    target_template: str = "{solution}"  # what it is to write; the end token follows


@dataclasses.dataclass(frozen=True)
class OodConfig:
    """Further test sets, of other sources, which serve no choice either.

    Their problems are sampled, labelled, scored and reported beside the test problems.
    """

    # Each is a split of its own, test_svamp and so on; a kind of generated problems is one, too.
    sets: tuple[Literal[ForTesting, "gsm8k", Kind], ...] = ()
    # Their folders, in the order of `sets`; empty: each set's environment variable (SVAMP_DIR, ...)
    dirs: tuple[str, ...] = ()
    problems: Problems = 0  # of each set; 0: all there are (generated: must be > 0)
    # Problems of a set that training or held-out ones have too are refused, or left out of the set;
    # those of `step_by_step.unlabelled` that any other split has, likewise.
    shared: Literal["refuse", "leave_out"] = "refuse"
    # Of the set bbh (BIG-Bench Hard): which of its tasks; empty: all 27.
    bbh_tasks: tuple[BbhTask, ...] = ()
    # Folder of the tasks' prompts, cot-prompts of their repository, for formats with exemplars;
    # empty: the environment variable BBH_PROMPTS_DIR
    bbh_prompts: Annotated[str, Mark.PATH, Mark.TEXTS] = ""


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes tokens.

    `auto` takes the tokenizer that lies in the folder of `model.weights`.
    """

    kind: Literal["auto", "huggingface", "sentencepiece", "bytes"] = "auto"
    # tokenizer.json, *.model or their folder; sentencepiece with no path: trained on the training
    # problems
    path: Annotated[str, Mark.PATH] = ""
    vocab_size: Count = 1024  # pieces, only where a SentencePiece model is trained


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model: imported from `weights`, or a decoder of the sizes below with random weights."""

    # Hugging Face folder or hub id; empty: from scratch.
    weights: Annotated[str, Mark.WEIGHTS] = ""
    # Of activations; parameters stay float32 while training. auto: what the device is fast in, or,
    # in a workdir that has been begun, the type it was begun with.
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    # Tokens, prompt and solution together, or each where there is an encoder; an imported model
    # with a shorter one keeps its own.
    context: Tokens = 1024
    layers: Annotated[int, Range(1, 1000)] = 4
    width: Annotated[int, Range(1, 100_000)] = 128
    heads: Annotated[int, Range(1, 10_000)] = 4
    kv_heads: Annotated[int, Range(1, 10_000)] = 4
    mlp_width: Count = 512
    rope_theta: Annotated[float, Range(1, 1_000_000_000)] = 10000.0
    tied: bool = True  # embedding and output share one matrix
    # LoRA (Hu et al. 2021): `weights` stay as they are, and beside each matrix of its layers a
    # product of this rank is trained, times alpha / rank. 0: all parameters are trained.
    lora_rank: Number = 0
    lora_alpha: Annotated[float, Range(0, 1_000_000, above=True)] = 16.0
    lora_matrices: Literal["attention", "all"] = "all"  # attention's projections, or the MLP's too


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How the devices of all processes are laid out.

    The product of the three is the number of devices, and -1 stands for what is left.

    Every stage computes the same on every mesh. `data` costs least and holds everything once a
    device; `fsdp` keeps a share of the model on each device and fetches the rest layer by layer;
    `tensor` splits each layer itself, over devices that are close to each other.
    """

    data: Devices = -1  # groups of devices, each with rows of its own
    # Devices that share the parameters and optimiser state of such a group; each has rows of its
    # own, too.
    fsdp: Devices = 1
    tensor: Devices = 1  # devices that share the heads, the MLP and the vocabulary


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """How solutions are drawn."""

    train_samples: Count = 100  # solutions a training problem
    heldout_samples: Count = 100
    test_samples: Count = 100
    train_problems: Problems = 0  # training problems that are sampled from; 0: all
    # Generators that share out the training problems: each learns all but a fold of them, and draws
    # the samples of that one. 0 and 1: the run's own draws them, of problems that it has learned.
    folds: Annotated[int, Range(0, 1000)] = 0
    # One more solution a test problem at temperature 0 (test@1), kept in a split of its own.
    greedy: Annotated[bool, Mark.NO_EFFECT] = True
    temperature: Annotated[float, Range(0.01, 100, off=0)] = 0.7  # 0: the most likely token
    top_k: Number = 0  # 0: off
    top_p: Annotated[float, Range(0, 1, above=True)] = 1.0  # 1: off
    max_new_tokens: Count = 400  # forced ones included
    calculator: bool = True  # writes the result of an open annotation
    # Text that ends a solution wherever it stands, such as the line between exemplars; empty: none
    stop: str = ""
    # Of every token the likeliest ids that are kept with their log-probabilities (at temperature 1,
    # before top_k and top_p), for students; 0: none
    top_logprobs: Annotated[int, Range(0, 20)] = 0
    # Solutions of a problem that begin alike are written once as far as they do.
    share: Annotated[bool, Mark.NO_EFFECT] = True
    # Slots, solutions decoded at once; 0: as many as memory_gib holds and as help.
    rows: Annotated[Number, Mark.NO_EFFECT] = 0
    # GiB for the generator, the caches and a step together; 0: what the device has free
    memory_gib: Annotated[Amount, Mark.NO_EFFECT] = 0.0


@dataclasses.dataclass(frozen=True)
class LabelConfig:
    """How solutions are graded."""

    grader: Grader = "numeric"  # math_verify: extra [math]
    # Of computing that math_verify has for one solution; one that takes longer is not graded: wrong
    grader_seconds: Seconds = 5.0
    # Correct known-wrong gold answers of GSM8K (verifier/grading/gsm8k_corrections.jsonl); worked
    # solutions stay.
    fix_labels: bool = False


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """How the verifier reads stored samples."""

    # How much is read at once: so many times the longest text of some problems. bfloat16 scores
    # move by up to .004 with it.
    rows: Annotated[Count, Mark.NO_EFFECT] = 16


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """What is concluded and shown."""

    # Sizes of top-k votes; the one to use is chosen on held-out problems.
    ks: tuple[Count, ...] = (1, 3, 5, 10, 20, 50)
    resamples: Annotated[int, Range(1, 100_000)] = 2000  # of the bootstrap over problems
    # Problems on the page whose solutions can be opened, where there is room; the others are only
    # listed.
    show_problems: Number = 2000
    # A solution's score out of its token values.
    aggregation: Literal["last", "mean", "min", "product", "last_line"] = "last"
    # Leave out samples without a score (or one that is NaN or inf) and count them; false: refuse
    # them.
    allow_missing: bool = False


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Where numbers go beside `logs/`."""

    # Project of Weights & Biases (the `wandb` extra) that the numbers of all jobs are mirrored to;
    # empty: none.
    wandb: str = ""


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run. The sections are the stages' names where they belong to one stage."""

    name: str = "unnamed"
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    data: DataConfig = DataConfig()
    ood: OodConfig = OodConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    mesh: MeshConfig = MeshConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    sample: SampleConfig = SampleConfig()
    label: LabelConfig = LabelConfig()
    rollouts: RolloutsConfig = RolloutsConfig()
    verify: VerifyConfig = VerifyConfig()
    dpo: DpoConfig = DpoConfig()
    score: ScoreConfig = ScoreConfig()
    search: SearchConfig = SearchConfig()
    rain: RainConfig = RainConfig()
    distill: DistillConfig = DistillConfig()
    step_by_step: StepByStepConfig = StepByStepConfig()
    select: SelectConfig = SelectConfig()
    star: StarConfig = StarConfig()
    quiet: QuietConfig = QuietConfig()
    think: ThinkConfig = ThinkConfig()
    direct: DirectConfig = DirectConfig()
    report: ReportConfig = ReportConfig()
    log: LogConfig = LogConfig()
