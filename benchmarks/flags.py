"""Flags that several scripts share, and what they make of them. Knows no job."""

from __future__ import annotations

import argparse
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import results, workload
from benchmarks.contenders import ROOT, Contender, environment, use_cores
from verifier.errors import UserError


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
        choices=("float32", "bfloat16"),
        default="float32",
        help="of weights, activations and caches",
    )
    made.add_argument(
        "--threads", type=int, default=0, help="cores that every contender may use; 0: all"
    )
    made.add_argument(
        "--rounds", type=int, default=3, help="measurements of each contender, interleaved"
    )
    made.add_argument(
        "--gsm8k", default="", help="folder with train.jsonl and test.jsonl; empty: GSM8K_DIR"
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
    made.add_argument(
        "--results", type=pathlib.Path, default=results.FOLDER, help="folder of the result files"
    )
    made.add_argument(
        "--cache",
        type=pathlib.Path,
        default=ROOT / ".cache" / "benchmarks",
        help="exports, GGUF files, solutions",
    )
    return made


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
        self.gsm8k: str = flags.gsm8k or os.environ.get("GSM8K_DIR", "")

    def ours(self, name: str, job: dict[str, Any]) -> Contender:
        """This project under a name."""
        load = {"model": str(self.model), "dtype": self.flags.dtype, "context": self.flags.context}
        return Contender(
            name,
            "jax_worker",
            self.own_python,
            load,
            {**job, "settings": self.flags.set},
            short_warm_up=False,
        )

    def torch(self, name: str, module: str, job: dict[str, Any], dtype: str = "") -> Contender:
        """A contender of the peers' environment that loads the model by torch."""
        load = {
            "model": str(self.model),
            "dtype": dtype or self.flags.dtype,
            "threads": self.threads,
        }
        return Contender(name, module, self.flags.peer_python, load, job)

    def llamacpp(self, name: str, unified: bool) -> Contender:
        """llama.cpp, with the model converted where that has not been done."""
        load = {"model": str(self._gguf()), "threads": self.threads}
        return Contender(
            name, "llamacpp_worker", self.flags.peer_python, load, {"unified": unified}
        )

    def chosen(self, usual: list[str], known: list[str], ours: str = "verifier") -> list[str]:
        """Names that take part; without an interpreter for the peers those that begin with `ours`.

        Raises:
            UserError: a name that is none.
        """
        names = self.flags.contenders.split(",") if self.flags.contenders else usual
        for name in names:
            if name not in known:
                raise UserError(f"--contenders: there is no {name!r}; known are {', '.join(known)}")
        return (
            names if self.flags.peer_python else [name for name in names if name.startswith(ours)]
        )

    def facts(self) -> dict[str, Any]:
        """What goes into every result file."""
        return {
            "model": self.model.name
            if self.model.parent.name != "model"
            else self.flags.model.name,
            "dtype": self.flags.dtype,
        }

    def _gguf(self) -> pathlib.Path:
        file = self.cache / f"{self.model.name}-{self.flags.dtype}.gguf"
        if not file.is_file() and self.flags.peer_python:
            convert = [
                self.flags.peer_python,
                "-m",
                "benchmarks.gguf_file",
                str(self.model),
                str(file),
                self.flags.dtype,
            ]
            subprocess.run(convert, cwd=ROOT, check=True)
        return file
