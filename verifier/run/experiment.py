"""Experiments by name: what ships in experiments/, or a file of one's own.

Knows no knob's meaning.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import importlib.util
import pathlib
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import experiments
from verifier import config as config_lib
from verifier import errors
from verifier.config import kinds
from verifier.config.assignments import nearest
from verifier.run.stage import Stage, check_recipe

Recipe = Callable[[config_lib.Config], list[Stage]]
Themes = dict[str, dict[str, list[str]]]  # assignments by theme and variant

# What running a module can raise: Python's own errors but for those that end a process.
_RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
_UNKNOWN_KNOB = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
_UNKNOWN_NAME = re.compile(
    r"cannot import name '(\w+)' from 'verifier\.config'|module 'verifier\.config' has no "
    r"attribute '(\w+)'"
)


def names() -> list[str]:
    """The experiments that ship with the project."""
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def load(name: str) -> config_lib.Config:
    """The configuration that an experiment file gives.

    Args:
        name: a module of `experiments/` or a path to a `.py` file, which may import what lies
            beside it.

    Raises:
        ConfigError: no such experiment (the nearest names are shown), a file that cannot be run
            (with the line and the reason), or one without a get_config() that returns a Config.
    """
    config = _result(name, f"--exp={name}", "get_config", "a verifier.config.Config")
    if not isinstance(config, config_lib.Config):
        raise errors.ConfigError(
            f"--exp={name}: get_config() gave {kinds.shortened(config)}; expected a "
            "verifier.config.Config"
        )
    return config


def load_themes(name: str) -> Themes:
    """The variants that an experiment file gives, by theme; `name` as in `load`.

    Raises:
        ConfigError: as `load`, of get_sweep().
    """
    expected = (
        "assignments by theme and variant, such as {'rates': {'slow': "
        "['finetune.learning_rate=1e-5']}}"
    )
    themes = _result(name, f"--exp=sweep:{name}", "get_sweep", expected)
    if not _is_table(themes, lambda variants: _is_table(variants, _are_texts)):
        raise errors.ConfigError(
            f"--exp=sweep:{name}: get_sweep() gave {kinds.shortened(themes)}; expected {expected}"
        )
    return {
        theme: {variant: list(each) for variant, each in variants.items()}
        for theme, variants in themes.items()
    }


def load_recipe(name: str, default: Recipe) -> Recipe:
    """The recipe of an experiment file: its `get_stages`, or the default where it has none.

    Errors as `load`, also of what the recipe itself gives.
    """
    flag, path = f"--exp={name}", _path(name, f"--exp={name}")
    with _running(flag, path):
        get_stages = getattr(_module(name), "get_stages", None)
    if get_stages is None:
        return default

    def recipe(config: config_lib.Config) -> list[Stage]:
        with _running(flag, path):
            stages = get_stages(config)
        if not isinstance(stages, list) or not all(isinstance(each, Stage) for each in stages):
            raise errors.ConfigError(
                f"{flag}: get_stages() gave {kinds.shortened(stages)}; expected a list of "
                "verifier.run.stage.Stage"
            )
        try:
            check_recipe(stages)
        except errors.ConfigError as error:
            raise errors.ConfigError(f"{flag}: get_stages(): {error}") from error
        return stages

    return recipe


def _is_table(value: object, is_entry: Callable[[object], bool]) -> bool:
    """Whether it is a dict of entries by name, at least one."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and is_entry(each) for name, each in value.items())
    )


def _are_texts(assignments: object) -> bool:
    return isinstance(assignments, (list, tuple)) and all(
        isinstance(each, str) for each in assignments
    )


def _result(name: str, flag: str, function: str, expected: str) -> Any:
    """What a function of an experiment file returns."""
    path = _path(name, flag)
    with _running(flag, path):
        module = _module(name)
        if callable(getattr(module, function, None)):
            return getattr(module, function)()
    raise errors.ConfigError(f"{flag}: {path} has no {function}() that returns {expected}")


def _path(name: str, flag: str) -> pathlib.Path:
    """The file of an experiment."""
    if name in names():
        return pathlib.Path(experiments.__path__[0]) / f"{name}.py"
    path = pathlib.Path(name)
    try:
        if name.endswith(".py") and path.is_file():
            return path
        near = (
            [f"{name}.py"]
            if pathlib.Path(f"{name}.py").is_file()
            else difflib.get_close_matches(name, names(), n=3) or names()
        )
    except OSError as error:  # a name that is too long
        raise errors.ConfigError(f"{flag}: {error.strerror}") from error
    if name.endswith(".py"):
        raise errors.ConfigError(f"{flag}: there is no such file")
    raise errors.ConfigError(
        f"{flag}: there is no such experiment; nearest: {', '.join(near)} (--exp=list shows all)"
    )


def _module(name: str) -> ModuleType:
    """An experiment file, run."""
    if not name.endswith(".py"):
        return importlib.import_module(f"experiments.{name}")
    # Not under its own name, which may be that of a package.
    spec = importlib.util.spec_from_file_location(f"experiment_{pathlib.Path(name).stem}", name)
    assert spec is not None and spec.loader is not None  # a .py suffix always gives both
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the types of their fields
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _running(flag: str, path: pathlib.Path) -> Iterator[None]:
    """The file's folder is where imports are looked for first, as for a program; what it raises
    becomes one line with its file and line.
    """
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    except _RAISED as error:
        lines = [
            each
            for each in traceback.extract_tb(error.__traceback__)
            if _is_own(pathlib.Path(each.filename).resolve(), folder)
        ]
        where = (
            f"{lines[-1].filename}, line {lines[-1].lineno} ({lines[-1].line})"
            if lines
            else str(path)
        )
        if isinstance(error, SyntaxError) and error.filename:
            where = f"{error.filename}, line {error.lineno} ({(error.text or '').strip()})"
        kind = "" if isinstance(error, errors.UserError) else f"{type(error).__name__}: "
        reason = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
        raise errors.ConfigError(f"{flag}: {where}: {kind}{reason}{_hint(str(error))}") from error
    finally:
        with contextlib.suppress(ValueError):  # the file has taken it out
            sys.path.remove(folder)


def _is_own(path: pathlib.Path, folder: str) -> bool:
    """Whether a file belongs to the experiment in `folder`: the innermost of these is what its
    writer can mend.
    """
    here = pathlib.Path(__file__).parents[1]
    return (
        path.is_file()
        and path.is_relative_to(folder)
        and not path.is_relative_to(here)
        and "site-packages" not in path.parts
    )


def _hint(reason: str) -> str:
    """The knobs or names of `verifier.config` that may have been meant, where one is unknown."""
    if (unknown := _UNKNOWN_NAME.search(reason)) is not None:
        return (
            "; nearest: "
            f"{', '.join(difflib.get_close_matches(unknown[1] or unknown[2], vars(config_lib)))}"
        )
    unknown_knob = _UNKNOWN_KNOB.search(reason)
    if unknown_knob is None:
        return ""
    sections = {
        type(field.default).__name__: f"{field.name}."
        for field in dataclasses.fields(config_lib.Config)
    } | {"Config": ""}
    prefix = sections.get(unknown_knob[1])
    return (
        ""
        if prefix is None
        else f"; nearest knobs: {', '.join(nearest(prefix + unknown_knob[2], config_lib.knobs()))}"
    )


def summaries() -> str:
    """A line an experiment: its name and the first line of its docstring."""
    lines = []
    for name in names():
        doc = (_module(name).__doc__ or "(no docstring)").strip().splitlines()[0]
        lines.append(f"{name:<28} {doc}")
    return "\n".join(lines)
