"""What all pages share: the templates of this folder, their style, and what a browser may load."""

from __future__ import annotations

import base64
import functools
import hashlib
import pathlib
from collections.abc import Iterable
from typing import Any

import jinja2
import markupsafe

from verifier.evaluate.results_table import counted
from verifier.report.formatting import apart, interval, percent, points
from verifier.report.svg import Drawing

_HERE = pathlib.Path(__file__).parent


def filled(
    template: str, *, scripts: Iterable[str] = (), styles: Iterable[str] = (), **values: Any
) -> str:
    """A page's HTML; all text of data is escaped.

    Args:
        template: the name of its file, before `.html.jinja`.
        scripts: texts of the scripts that may run; nothing else may, and nothing is loaded.
        styles: what else of style is on it than every page has, by the names of files.
        values: what the template asks for.
    """
    texts = [(_HERE / f"{name}.css").read_text() for name in ("page", "chart", *styles)]
    return (
        _environment()
        .get_template(f"{template}.html.jinja")
        .render(policy=_policy(scripts), style=markupsafe.Markup("".join(texts)), **values)
    )


def by_title(charts: Iterable[Drawing]) -> dict[str, markupsafe.Markup]:
    """Charts as a page has them, by their titles."""
    return {chart.title: markupsafe.Markup(chart.render()) for chart in charts}


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {
        "percent": percent,
        "points": points,
        "interval": interval,
        "apart": apart,
        "counted": counted,
    }
    return made


def _policy(scripts: Iterable[str]) -> str:
    """The Content-Security-Policy."""
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()) for each in scripts]
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in digests) or "'none'"
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
