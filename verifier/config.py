"""Every knob of a run: frozen dataclasses with defaults and units, loaded, overridden and saved. Knows no stage and no device."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, cast


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which problems are read and how many of them.

    Held-out problems are taken from the training problems; they serve early stopping and the choice of k. Test problems serve no choice.
    """

    name: str = "generated"  # generated | gsm8k | svamp | asdiv | multiarith
    dir: str = ""  # folder of local files; empty: the source's environment variable (GSM8K_DIR, SVAMP_DIR, ...)
    test_name: str = ""  # test problems from another source: svamp | asdiv | multiarith | gsm8k | generated; empty: from `name`
    test_dir: str = ""  # its folder
    source: str = "local"  # gsm8k only: local | tfds | hub
    kinds: tuple[str, ...] = (
        "chain",
        "price",
        "distance",
        "share",
        "backwards",
        "guess",
        "rectangle",
    )  # generated only: families of templates, repeat a name to weigh it
    train_problems: int = 0  # problems to fine-tune on and to sample from; 0: all there are (generated: must be > 0)
    heldout_problems: int = 128  # taken from train before the rest
    test_problems: int = 0  # 0: all there are (generated: must be > 0)
    prompt_template: str = "{question}\n"  # what the model is given
    target_template: str = "{solution}"  # what it is to write; the end token follows


@dataclasses.dataclass(frozen=True)
class OodConfig:
    """Further test sets, of other sources: sampled, labelled, scored and reported beside the test problems. They serve no choice either."""

    sets: tuple[str, ...] = ()  # svamp | asdiv | multiarith | gsm8k; each is a split of its own, test_svamp and so on
    dirs: tuple[str, ...] = ()  # their folders, in the order of `sets`; empty: each set's environment variable (SVAMP_DIR, ...)
    problems: int = 0  # of each set; 0: all there are


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes tokens. `auto` takes the tokenizer that lies in the folder of `model.weights`."""

    kind: str = "auto"  # auto | huggingface | sentencepiece | bytes
    path: str = ""  # tokenizer.json, *.model or their folder; sentencepiece with no path: trained on the training problems
    vocab_size: int = 1024  # pieces, only where a SentencePiece model is trained


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The decoder: imported from `weights`, or of the sizes below with random weights."""

    weights: str = ""  # Hugging Face folder or hub id; empty: from scratch
    dtype: str = "float32"  # activations: float32 | bfloat16; parameters stay float32 while training
    context: int = 1024  # tokens, prompt and solution together; an imported model with a shorter one keeps its own
    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int = 4
    mlp_width: int = 512
    rope_theta: float = 10000.0
    tied: bool = True  # embedding and output share one matrix


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How the devices of all processes are laid out; the product of the three is their number, and -1 stands for what is left.

    Every stage computes the same on every mesh. `data` costs least and holds everything once a device; `fsdp` keeps a share of the model
    on each device and fetches the rest layer by layer; `tensor` splits each layer itself, over devices that are close to each other.
    """

    data: int = -1  # groups of devices, each with rows of its own
    fsdp: int = 1  # devices that share the parameters and optimiser state of such a group; each has rows of its own, too
    tensor: int = 1  # devices that share the heads, the MLP and the vocabulary


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Optimisation of one training job."""

    epochs: float = 1.0  # passes over the examples
    batch_rows: int = 32  # packed rows a step, over all micro-batches and hosts
    row_tokens: int = 512  # tokens of a packed row
    accumulate: int = 1  # micro-batches a step; divides batch_rows
    learning_rate: float = 1e-5  # peak
    warmup_share: float = 0.02  # share of all steps that the rate rises linearly; then it falls linearly to 0
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    clip_norm: float = 1.0  # global norm of the gradient; 0: off
    dropout: float = 0.0  # residual dropout: on the output of every attention and MLP before it joins the residual stream
    remat: bool = False  # recompute each layer's activations in the backward pass: less memory, a third more work
    loss_on_question: bool = False  # the language-model loss counts the question's tokens too
    loss_on_forced: bool = True  # the losses count tokens that the calculator writes
    eval_every: int = 0  # steps between evaluations on held-out problems; 0: at the end of an epoch
    patience: int = 0  # evaluations without improvement before it stops; 0: never stops early
    checkpoint_minutes: float = 5.0  # between two checkpoints, which are written while training goes on; 0: off
    checkpoint_every: int = 0  # steps between two checkpoints; 0: by time alone
    keep_checkpoints: int = 2  # the newest ones, beside the best so far


@dataclasses.dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """Extra language-model training before fine-tuning (Cobbe et al. 2021, section 4.3: with dropout, for models trained without it)."""

    epochs: float = 0.0  # 0: none
    corpus: str = ""  # a text file, one document a line, or JSONL with a field "text"; empty: the training problems, every token counted
    loss_on_question: bool = True


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """The generator: cross-entropy on ground-truth solutions (Cobbe et al. 2021, section 4.1; 2 epochs for sampling, section 4.2)."""

    epochs: float = 2.0


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """How solutions are drawn."""

    train_samples: int = 100  # solutions a training problem
    heldout_samples: int = 100
    test_samples: int = 100
    train_problems: int = 0  # training problems that are sampled from; 0: all
    greedy: bool = True  # one more solution a test problem at temperature 0 (test@1), kept in a split of its own
    temperature: float = 0.7  # 0: the most likely token
    top_k: int = 0  # 0: off
    top_p: float = 1.0  # 1: off
    max_new_tokens: int = 400  # forced ones included
    calculator: bool = True  # writes the result of an open annotation
    rows: int = 0  # slots, solutions decoded at once; 0: as many as memory_gib holds and as help
    memory_gib: float = 0.0  # GiB for the generator, the caches and a step together; 0: what the device has free


@dataclasses.dataclass(frozen=True)
class LabelConfig:
    """How solutions are judged."""

    grader: str = "numeric"  # numeric | paper | strict | flexible | math_verify (extra [math])
    grader_seconds: float = 5.0  # of computing that math_verify has for one solution; one that takes longer is not graded: wrong
    fix_labels: bool = False  # correct known-wrong gold answers of GSM8K (verifier/data/gsm8k_corrections.jsonl); worked solutions stay


@dataclasses.dataclass(frozen=True)
class VerifyConfig(TrainConfig):
    """The verifier: joint value and language-model loss (Cobbe et al. 2021, section 4.2 and Appendix B)."""

    head: str = "reserved_logit"  # reserved_logit (gain and bias on a reserved token's logit) | linear
    level: str = "token"  # token: every solution token carries the label | solution: only the last one does
    value_loss: str = "mse"  # mse | bce
    normalise: str = "tokens"  # tokens: mean over all solution tokens of a batch | solutions: every solution weighs the same
    lm_weight: float = 1.0  # of the language-model loss on ground truth; 0: verification only
    init: str = "generator"  # generator | base: whose weights the verifier starts from
    weights: str = ""  # with init=base, another base model than the generator's: Hugging Face folder or hub id; empty: model.weights
    head_learning_rate: float = 0.0  # peak rate of the value head's own parameters; 0: learning_rate
    samples_per_problem: int = 0  # labelled samples of a problem that are used; 0: all
    deduplicate: bool = False  # drop samples of a problem that repeat another one's tokens
    other_generator: bool = False  # allow samples of another generator than the one the verifier starts from


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """How the verifier reads stored samples."""

    rows: int = 16  # most packed rows read at once, each of several solutions of one problem: memory, not results, depends on it


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """What is concluded and shown."""

    ks: tuple[int, ...] = (1, 3, 5, 10, 20, 50)  # sizes of top-k votes; the one to use is chosen on held-out problems
    resamples: int = 2000  # of the bootstrap over problems
    show_problems: int = 2000  # problems on the page whose solutions can be opened, where there is room; the others are only listed
    aggregation: str = "last"  # a solution's score out of its token values: last | mean | min | product | last_line
    allow_missing: bool = False  # leave out samples without a score (or one that is NaN or inf) and count them; false: refuse them


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Where numbers go beside `logs/`."""

    wandb: str = ""  # project of Weights & Biases (the `wandb` extra) that the numbers of all jobs are mirrored to; empty: none


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run. The sections are the stages' names where they belong to one stage."""

    name: str = "unnamed"
    seed: int = 0
    data: DataConfig = DataConfig()
    ood: OodConfig = OodConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    mesh: MeshConfig = MeshConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    sample: SampleConfig = SampleConfig()
    label: LabelConfig = LabelConfig()
    verify: VerifyConfig = VerifyConfig()
    score: ScoreConfig = ScoreConfig()
    report: ReportConfig = ReportConfig()
    log: LogConfig = LogConfig()


class UserError(ValueError):
    """Something that the user can mend: the message names the value, what was expected and the way out. `launch` shows it as one line."""


class Stopped(Exception):
    """The run was asked to stop (SIGTERM or Ctrl-C), and what it had is saved; the message says where."""


class ConfigError(UserError):
    """A knob that does not exist or a value that it cannot take."""


def override(config: Config, assignments: Iterable[str]) -> Config:
    """A new configuration with `section.knob=value` assignments applied in order.

    Args:
        config: what to start from; it is not changed.
        assignments: `path=value`, the value in YAML notation (`0.7`, `[1,3]`, `true`, `some/folder`).

    Returns:
        A frozen Config whose values have the declared types.

    Raises:
        ConfigError: an assignment without `=`, an unknown path (the nearest ones are named) or a value of the wrong type.
    """
    import omegaconf  # not above: ranking saved samples overrides nothing, and need not wait for it
    from omegaconf import OmegaConf

    tree = cast(omegaconf.DictConfig, OmegaConf.structured(config))
    for part in (tree, *(section for section in tree.values() if isinstance(section, omegaconf.DictConfig))):
        OmegaConf.set_readonly(part, False)  # frozen as their classes are; merging into a new tree takes three times as long
    known = flatten(config)
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r}: expected path=value, such as sample.temperature=0.7")
        if path not in known:
            near = _nearest(path, known)
            raise ConfigError(f"--set {assignment!r}: there is no knob {path!r}; nearest: {', '.join(near)}")
        try:
            tree.merge_with(OmegaConf.from_dotlist([_quoted(assignment, known[path])]))
        except (omegaconf.errors.OmegaConfBaseException, ValueError) as error:
            reason = str(error).splitlines()[0]
            expected = type(known[path]).__name__
            raise ConfigError(f"--set {assignment!r}: expected a value of type {expected} such as {known[path]!r} ({reason})") from error
    return cast(Config, OmegaConf.to_object(tree))


def flatten(tree: Config | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every knob by its dotted path, tuples as lists (as JSON would give them back)."""
    items = dataclasses.asdict(tree) if dataclasses.is_dataclass(tree) and not isinstance(tree, type) else cast(Mapping[str, Any], tree)
    flat: dict[str, Any] = {}
    for key, value in items.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, prefix=f"{path}."))
        else:
            flat[path] = list(value) if isinstance(value, tuple) else value
    return flat


def settings_of(config: Config, *sections: str) -> dict[str, Any]:
    """The knobs of the named sections and the named knobs (`seed`, `model.dtype`), flat: what a stage's result depends on."""
    return {path: value for path, value in flatten(config).items() if path in sections or path.partition(".")[0] in sections}


def gives_logits(settings: Mapping[str, Any]) -> bool:
    """Whether a verifier's values are logits of a solution being right, not estimates of its label; of settings by dotted path."""
    return settings["verify.value_loss"] == "bce"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line a setting that is not the same in both, in the order of `new`."""
    paths = list(new) + [path for path in old if path not in new]
    missing = "(absent)"
    return [
        f"{path}: {old.get(path, missing)!r} there, {new.get(path, missing)!r} now"
        for path in paths
        if old.get(path, missing) != new.get(path, missing)
    ]


def _quoted(assignment: str, default: Any) -> str:
    """Text knobs take their value as it stands: `data.dir=0123` or `tokenizer.path=a: b` is not to be read as YAML."""
    path, _, value = assignment.partition("=")
    return f"{path}={json.dumps(value)}" if isinstance(default, str) else assignment


def _nearest(path: str, known: Mapping[str, Any]) -> list[str]:
    """Knobs that the writer may have meant: near in spelling, of the same or a near last name, or of the section that was named."""
    last = path.rpartition(".")[2]
    near = difflib.get_close_matches(path, known, n=3)
    names = difflib.get_close_matches(last, {other.rpartition(".")[2] for other in known}, n=2)
    near += [other for other in known if other.rpartition(".")[2] in names or other.startswith(f"{path}.")]
    return list(dict.fromkeys(near))[:5] or sorted({other.partition(".")[0] for other in known})
