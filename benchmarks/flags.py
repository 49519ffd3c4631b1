"""Flags that several scripts share, and what they make of them. Knows no job."""

from __future__ import annotations

import argparse
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import results, workload
from benchmarks.contenders import (
    DTYPES,
    ROOT,
    Contender,
    environment,
    kind,
    precision,
    use_cores,
)
from verifier.errors import UserError
from verifier.text.problem import Problem

TESTS = ("gsm8k", "svamp", "asdiv", "multiarith")  # sources of test problems, the usual one first
BEFORE = "verifier-before"  # the contender that is an earlier state of this project


def is_own(name: str) -> bool:
    """Whether a contender is this project, of whatever state, or runs in its environment."""
    return name.startswith(("verifier", "jax"))


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the flags of every script."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument(
        "--model",
        type=pathlib.Path,
        required=True,
        help="generator folder of a run, or Hugging Face folder (Llama)",
    )
    made.add_argument(
        "--peer-python",
        default="",
        help="interpreter of the environment with requirements.txt; empty: no peers",
    )
    made.add_argument(
        "--dtype",
        choices=DTYPES,
        default=DTYPES[0],
        help="of weights, activations and caches, where a contender's name ends with none",
    )
    made.add_argument(
        "--threads", type=int, default=0, help="cores that every contender may use; 0: all"
    )
    made.add_argument(
        "--rounds", type=int, default=3, help="measurements of each contender, interleaved"
    )
    made.add_argument(
        "--context",
        type=int,
        default=1024,
        help="tokens, prompt and solution together, as model.context of a run",
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="a knob of this project, such as sample.rows=100",
    )
    made.add_argument(
        "--contenders", default="", help="only these, separated by commas; empty: the usual ones"
    )
    _add_places(made)
    return made


def _add_places(made: argparse.ArgumentParser) -> None:
    """The flags that say where things lie."""
    made.add_argument(
        "--gsm8k", default="", help="folder with train.jsonl and test.jsonl; empty: GSM8K_DIR"
    )
    made.add_argument(
        "--test",
        choices=TESTS,
        default=TESTS[0],
        help="whose test problems are asked; the others lie in SVAMP_DIR and so on",
    )
    made.add_argument(
        "--before",
        type=pathlib.Path,
        help="checkout of an earlier state of this project, for contenders named verifier-before",
    )
    made.add_argument(
        "--results", type=pathlib.Path, default=results.FOLDER, help="folder of the result files"
    )
    made.add_argument(
        "--cache",
        type=pathlib.Path,
        default=ROOT / ".cache" / "benchmarks",
        help="exports, GGUF files, solutions",
    )


def guarded(main: Callable[[], None]) -> None:
    """Runs a script; what a user can mend ends as one line and exit status 1."""
    # A stopped contender does not notice that its driver is gone: a driver that is told to end must
    # close them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")


class Setting:
    """What the common flags stand for: the exported model, the cores, the environment of all
    processes.
    """

    def __init__(self, flags: argparse.Namespace) -> None:
        """Exports the model where that has not been done, and binds this process to its cores."""
        self.flags = flags
        self.own_python = sys.executable
        self.threads = use_cores(flags.threads)
        self.cache: pathlib.Path = flags.cache.resolve()
        self.cache.mkdir(parents=True, exist_ok=True)
        self.model = workload.hugging_face_folder(flags.model.resolve(), self.cache).resolve()
        self.tokenizer = workload.tokenizer_of(self.model)
        self.environment = environment(self.cache, self.threads)

    def test_problems(self) -> list[Problem]:
        """Those that prompts are made of."""
        folder = self.flags.gsm8k if self.flags.test == "gsm8k" else ""
        return workload.problems(self.flags.test, folder)["test"]

    def train_problems(self) -> list[Problem]:
        """Those of GSM8K, with solutions."""
        return workload.problems("gsm8k", self.flags.gsm8k)["train"]

    def ours(self, name: str, job: dict[str, Any], *more: str) -> Contender:
        """This project under a name, with `more` assignments to its knobs.

        An earlier state of it is asked by its own worker.
        """
        dtype = self.dtype(name)
        return Contender(
            name,
            "jax_worker",
            self.own_python,
            {"model": str(self.model), "dtype": dtype, "context": self.flags.context},
            {**job, "settings": [*self.flags.set, *more]},
            short_warm_up=False,
            root=self.checkout(name),
            dtype=dtype,
        )

    def checkout(self, name: str) -> pathlib.Path:
        """The state of this project that a contender runs."""
        return self.flags.before.resolve() if kind(name) == BEFORE else ROOT

    def torch(self, name: str, module: str, job: dict[str, Any], dtype: str = "") -> Contender:
        """A contender of the peers' environment that loads the model by torch, its weights in
        `dtype` where they have another one than its products.
        """
        own = self.dtype(name)
        load = {"model": str(self.model), "dtype": dtype or own, "threads": self.threads}
        return Contender(name, module, self.flags.peer_python, load, job, dtype=own)

    def llamacpp(self, name: str, unified: bool) -> Contender:
        """llama.cpp, with the model converted where that has not been done."""
        dtype = self.dtype(name)
        load = {"model": str(self._gguf(dtype)), "threads": self.threads}
        job = {"unified": unified}
        return Contender(name, "llamacpp_worker", self.flags.peer_python, load, job, dtype=dtype)

    def dtype(self, name: str) -> str:
        """The precision that a contender computes in."""
        return precision(name, self.flags.dtype)

    def chosen(
        self, usual: Sequence[str], make: Mapping[str, Callable[[str], Contender]]
    ) -> list[Contender]:
        """The contenders that take part, each made by the maker of its kind.

        Without an interpreter for the peers these are left out, without --before this project's
        earlier state.

        Raises:
            UserError: a name that is none.
        """
        names = self.flags.contenders.split(",") if self.flags.contenders else usual
        for name in names:
            if kind(name) not in make:
                raise UserError(f"--contenders: there is no {name!r}; known are {', '.join(make)}")
        if not self.flags.before:
            names = [name for name in names if kind(name) != BEFORE]
        if not self.flags.peer_python:
            names = [name for name in names if is_own(name)]
        return [make[kind(name)](name) for name in names]

    def facts(self) -> dict[str, Any]:
        """What goes into every result file."""
        return {
            "model": self.model.name
            if self.model.parent.name != "model"
            else self.flags.model.name,
            "dtype": self.flags.dtype,
            "test": self.flags.test,
        }

    def _gguf(self, dtype: str) -> pathlib.Path:
        file = self.cache / f"{self.model.name}-{dtype}.gguf"
        if not file.is_file() and self.flags.peer_python:
            convert = [
                self.flags.peer_python,
                "-m",
                "benchmarks.gguf_file",
                str(self.model),
                str(file),
                dtype,
            ]
            subprocess.run(convert, cwd=ROOT, check=True)
        return file
