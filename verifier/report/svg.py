"""A small chart writer: scales, lines, bands, bars and words as one SVG, light and dark."""

from __future__ import annotations

import html
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 480, 320
# Styles of lines that can be told apart, as classes of chart.css.
LINES = tuple(
    f"{colour}{dash}"
    for dash in ("", " dashed", " dotted")
    for colour in ("verifier", "majority", "oracle")
)
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 40, 42
_STYLE = pathlib.Path(__file__).with_name("chart.css")


class Drawing:
    """Marks under a title.

    Colours are classes of chart.css, so that a page and a lone file look the same.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []

    def text(
        self, x: float, y: float, words: str, *, kind: str = "", anchor: str = "start"
    ) -> None:
        """Words at a point in pixels."""
        self._parts.append(
            f'<text class="{kind}" x="{x}" y="{y}" '
            f'text-anchor="{anchor}">{html.escape(words)}</text>'
        )

    def render(self, standalone: bool = False) -> str:
        """The SVG text; `standalone` carries its own style, for a file of its own."""
        style = (
            f"<style>{_STYLE.read_text()}svg{{background:var(--surface)}}</style>"
            if standalone
            else ""
        )
        title = html.escape(self.title)
        head = (
            f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} '
            f'{HEIGHT}" role="img" aria-label="{title}">'
        )
        return f"{head}<title>{title}</title>{style}{''.join(self._parts)}</svg>"


class Grid(Drawing):
    """A heat map: a cell for every pair of two short lists of sizes, with its figure."""

    def __init__(
        self, title: str, columns: Sequence[int], rows: Sequence[int], x_label: str, y_label: str
    ) -> None:
        super().__init__(title)
        self.columns, self.rows = list(columns), list(rows)
        self.width = (WIDTH - _LEFT - _RIGHT) / len(columns)
        self.height = (HEIGHT - _TOP - _BOTTOM) / len(rows)
        for column in columns:
            self.text(
                round(self._left(column) + self.width / 2, 1),
                HEIGHT - _BOTTOM + 17,
                f"{column:,}",
                anchor="middle",
            )
        for row in rows:
            self.text(
                _LEFT - 7, round(self._top(row) + self.height / 2 + 4, 1), f"{row:,}", anchor="end"
            )
        self.text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, x_label, anchor="middle")
        self.text(4, 14, y_label)

    def cell(
        self, column: int, row: int, level: int, words: str, hint: str, *, framed: bool = False
    ) -> None:
        """A cell in one of ten shades, 0 to 9."""
        left, top = self._left(column), self._top(row)
        frame = " framed" if framed else ""
        box = (
            f'x="{left + 1:.1f}" y="{top + 1:.1f}" width="{self.width - 2:.1f}" '
            f'height="{self.height - 2:.1f}"'
        )
        self._parts.append(
            f'<g><title>{html.escape(hint)}</title><rect class="heat h{level}{frame}" {box} '
            'rx="2"/>'
        )
        if self.width >= 30 and self.height >= 14:
            middle = round(left + self.width / 2, 1), round(top + self.height / 2 + 4, 1)
            self.text(*middle, words, kind="light" if level > 5 else "strong", anchor="middle")
        self._parts.append("</g>")

    def _left(self, column: int) -> float:
        return _LEFT + self.columns.index(column) * self.width

    def _top(self, row: int) -> float:
        return HEIGHT - _BOTTOM - (self.rows.index(row) + 1) * self.height


class Chart(Drawing):
    """A pair of axes that marks are put on."""

    def __init__(
        self,
        title: str,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        log: bool = False,
        right: int = _RIGHT,
    ) -> None:
        super().__init__(title)
        self.log, self.right = log, right
        self.x_range = tuple(map(math.log, x)) if log else x
        self.y_range = y

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self.x_range
        at = math.log(value) if self.log else value
        return round(_LEFT + (at - low) / ((high - low) or 1) * (WIDTH - _LEFT - self.right), 1)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.y_range
        return round(
            HEIGHT - _BOTTOM - (value - low) / ((high - low) or 1) * (HEIGHT - _TOP - _BOTTOM), 1
        )

    def axes(
        self, x_label: str, y_label: str, x_ticks: dict[float, str], y_ticks: dict[float, str]
    ) -> None:
        """Grid lines, ticks and labels; ticks map values to their words."""
        for value, word in y_ticks.items():
            self._parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - self.right}" '
                f'y1="{self.y(value)}" y2="{self.y(value)}"/>'
            )
            self.text(_LEFT - 7, self.y(value) + 4, word, anchor="end")
        base = HEIGHT - _BOTTOM
        self._parts.append(
            f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - self.right}" y1="{base}" y2="{base}"/>'
        )
        for value, word in x_ticks.items():
            self._parts.append(
                f'<line class="axis" x1="{self.x(value)}" x2="{self.x(value)}" y1="{base}" '
                f'y2="{base + 4}"/>'
            )
            self.text(self.x(value), base + 17, word, anchor="middle")
        self.text((_LEFT + WIDTH - self.right) / 2, HEIGHT - 6, x_label, anchor="middle")
        self.text(4, 14, y_label)

    def curve(
        self, xs: Sequence[float], ys: Sequence[float], kind: str, hints: Sequence[str] = ()
    ) -> None:
        """A line in a series' colour, with a dot and its hint at every point that has one."""
        points = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in zip(xs, ys, strict=True))
        self._parts.append(f'<polyline class="curve stroke {kind}" points="{points}"/>')
        for x, y, hint in zip(xs, ys, hints, strict=False):
            self.dot(x, y, kind.split()[0], hint)  # a dashed line keeps whole dots

    def dot(self, x: float, y: float, kind: str, hint: str, radius: float = 3.6) -> None:
        """A dot that says its hint when pointed at."""
        shape = f'<circle class="fill halo {kind}" cx="{self.x(x)}" cy="{self.y(y)}" r="{radius}">'
        self._parts.append(f"{shape}<title>{html.escape(hint)}</title></circle>")

    def band(
        self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], kind: str
    ) -> None:
        """The area between two lines."""
        there = [f"{self.x(x)},{self.y(high)}" for x, high in zip(xs, highs, strict=True)]
        back = [f"{self.x(x)},{self.y(low)}" for x, low in zip(xs, lows, strict=True)]
        self._parts.append(
            f'<polygon class="band fill {kind}" points="{" ".join(there + back[::-1])}"/>'
        )

    def estimates(
        self,
        xs: Sequence[float],
        estimates: Sequence[Mapping[str, Any]],
        kind: str,
        hints: Sequence[str],
    ) -> None:
        """A line of estimates, as `evaluate.intervals` gives them, above the band of their
        intervals.
        """
        lows, highs = zip(*(each["ci95"] for each in estimates), strict=True)
        self.band(xs, lows, highs, kind.split()[0])
        self.curve(xs, [each["value"] for each in estimates], kind, hints)

    def line(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
        """A straight line between two points given as values."""
        (x1, y1), (x2, y2) = start, end
        self._parts.append(
            f'<line class="{kind}" x1="{self.x(x1)}" x2="{self.x(x2)}" y1="{self.y(y1)}" '
            f'y2="{self.y(y2)}"/>'
        )

    def bar(self, x: tuple[float, float], y: tuple[float, float], kind: str, hint: str) -> None:
        """A filled rectangle between two values either way, with a hair of room around it."""
        left, top = self.x(x[0]) + 0.7, self.y(max(y))
        width, height = max(self.x(x[1]) - left - 0.7, 0.5), max(self.y(min(y)) - top, 0)
        shape = (
            f'<rect class="fill {kind}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="1.5">'
        )
        self._parts.append(f"{shape}<title>{html.escape(hint)}</title></rect>")

    def legend(self, entries: Sequence[tuple[str, str]], y: float = 30) -> None:
        """Words with a stroke of their series' style, above the plot, if all have room."""
        if sum(37 + 6.6 * len(words) for _, words in entries) > WIDTH - _LEFT + 14:
            return
        x = float(_LEFT)
        for kind, words in entries:
            self._parts.append(
                f'<line class="curve stroke {kind}" x1="{x:.0f}" x2="{x + 18:.0f}" '
                f'y1="{y - 4}" y2="{y - 4}"/>'
            )
            self.text(round(x + 23), y, words)
            x += 23 + 6.6 * len(words) + 14


def percent_ticks(low: float, high: float) -> tuple[tuple[float, float], dict[float, str]]:
    """A round range around two shares, and its ticks in percent."""
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 6), 0.25)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return (first * step, last * step), {
        n * step: f"{100 * n * step:.0f}%" for n in range(first, last + 1)
    }


def size_ticks(sizes: Sequence[int], most: int = 9) -> dict[float, str]:
    """Ticks of a logarithmic axis of sizes: all, or of many the rounder ones and both ends."""
    if len(sizes) <= most:
        keep = list(sizes)
    else:
        keep = [k for k in sizes if str(k)[0] in "125" and not str(k)[1:].strip("0")]
        keep = [sizes[0], *(k for k in keep if k > sizes[0] and k * 1.35 < sizes[-1]), sizes[-1]]
    return {float(k): f"{k:,}" for k in keep}
