"""Experiments by name: what ships in experiments/, or a file of one's own. Knows no knob's meaning."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pathlib
import pkgutil
from types import ModuleType

import experiments
from verifier import config as config_lib


def names() -> list[str]:
    """The experiments that ship with the project."""
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def load(name: str) -> config_lib.Config:
    """The configuration that an experiment file gives.

    Args:
        name: a module of `experiments/` or a path to a `.py` file.

    Raises:
        ConfigError: no such experiment (the nearest names are shown), or the file has no get_config().
    """
    module = _module(name)
    if not hasattr(module, "get_config"):
        raise config_lib.ConfigError(f"--exp={name}: {module.__file__} has no get_config() that returns a verifier.config.Config")
    config = module.get_config()
    if not isinstance(config, config_lib.Config):
        raise config_lib.ConfigError(f"--exp={name}: get_config() gave {type(config).__name__}; expected a verifier.config.Config")
    return config


def load_themes(name: str) -> dict[str, dict[str, list[str]]]:
    """The variants that an experiment file gives, by theme; `name` as in `load`.

    Raises:
        ConfigError: the file has no get_sweep().
    """
    module = _module(name)
    if not hasattr(module, "get_sweep"):
        expected = "get_sweep() that returns assignments by theme and variant"
        raise config_lib.ConfigError(f"--exp=sweep:{name}: {module.__file__} has no {expected}")
    return module.get_sweep()


def _module(name: str) -> ModuleType:
    if name.endswith(".py"):
        path = pathlib.Path(name)
        if not path.is_file():
            raise config_lib.ConfigError(f"--exp={name}: there is no such file")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None  # a .py suffix always gives both
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3) or names()
        raise config_lib.ConfigError(f"--exp={name}: there is no such experiment; nearest: {', '.join(near)} (--exp=list shows all)")
    return importlib.import_module(f"experiments.{name}")


def summaries() -> str:
    """A line an experiment: its name and the first line of its docstring."""
    lines = []
    for name in names():
        doc = (_module(name).__doc__ or "(no docstring)").strip().splitlines()[0]
        lines.append(f"{name:<28} {doc}")
    return "\n".join(lines)
