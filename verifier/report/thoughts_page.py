"""The page of a model that thinks before every token: what its thoughts gained."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import markupsafe
import pyarrow as pa

from verifier.evaluate.thoughts import ALL, UNCHANGED
from verifier.report import templates, thought_texts
from verifier.report.page import embedded
from verifier.report.svg import Chart

_HERE = pathlib.Path(__file__).parent


def render(
    figures: Mapping[str, Any],
    tables: Mapping[str, pa.Table],
    drawn: Mapping[str, Chart],
    about: tuple[str, str, Mapping[str, Any]],
    browsed: tuple[int, int],
) -> str:
    """The page's HTML.

    Args:
        figures: what `evaluate.thoughts.figures` returns.
        tables: rows of the table thoughts, by thinker.
        drawn: `thought_charts.charts`.
        about: the run's name, the date in words, and settings by dotted path.
        browsed: windows at most whose text is shown, and the seed of their choice.
    """
    name, date, settings = about
    script = (_HERE / "thoughts.js").read_text()
    main = _main(figures)
    texts = thought_texts.browsed(tables, *browsed)
    texts["main"] = texts["thinkers"].index(main)
    return templates.filled(
        "thoughts",
        scripts=[script],
        styles=["thoughts"],
        figures=figures,
        main=main,
        groups=[ALL, *figures["kinds"]],
        unchanged=UNCHANGED,
        shown=len(texts["windows"]),
        extremes=thought_texts.extremes(tables[main]),
        name=name,
        date=date,
        charts=templates.by_title(drawn.values()),
        settings=settings,
        script=markupsafe.Markup(script),
        data=markupsafe.Markup(embedded(texts)),
        signed=signed,
    )


def _main(figures: Mapping[str, Any]) -> str:
    """The last thinker that thinks; the last one, where none does."""
    thinks = [name for name, own in figures["thinkers"].items() if own[ALL]["reward"] is not None]
    return (thinks or list(figures["thinkers"]))[-1]


def signed(value: float, digits: int = 4) -> str:
    """A signed number with a true minus sign; no sign before a zero."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\u2212")
