"""The report page: figures, charts and shown problems as one HTML file that loads nothing."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import markupsafe

from verifier.evaluate import metrics as metrics_lib
from verifier.evaluate.caveats import too_few
from verifier.evaluate.results_table import EXACT, ROWS, Shown, counted
from verifier.report import search_figures, templates
from verifier.report.formatting import duration, percent, points, star
from verifier.tables import own_likelihood
from verifier.text.split import HELDOUT, TEST

_HERE = pathlib.Path(__file__).parent
# The colour of a method's marks; of all others: oracle.
_SERIES = {
    "best_of_n": "verifier",
    "top_k_vote_chosen": "verifier",
    "weighted_vote": "verifier",
    "majority": "majority",
    "likeliest": "likeliest",
    "likeliest_own": "likeliest",
}
_NAMES = {row.key: row.name for row in ROWS} | {"mean_sample_accuracy": "a mean sample"}
_METHOD_WORDS = {
    "best_of_n": "best-of-n",
    "top_k_vote": "the top-k vote",
    "weighted_vote": "the weighted vote",
}


def render(
    metrics: Mapping[str, Any],
    charts: Mapping[str, str],
    browsed: Mapping[str, Any],
    about: Mapping[str, Any],
    trees: Mapping[str, Any] | None = None,
) -> str:
    """The page's HTML.

    Args:
        metrics: what metrics.json holds.
        charts: SVG texts by title, in order.
        browsed: the list of problems, from `browsing.browsed`.
        about: `name`, `date`, `grader`, `warnings` (what makes the figures doubtful) and `notes`
            (in words), `settings` (dotted path to value) and `facts` (versions, revision, ...).
        trees: of searched problems, from `search_trees.browsed`; None: nothing was searched.

    Returns:
        HTML of one self-contained file; all text of data is escaped.
    """
    script, viewer = (_HERE / "page.js").read_text(), _viewer(trees) if trees else None
    main = main_split(metrics["splits"])
    split, others = metrics["splits"][main], [name for name in metrics["splits"] if name != main]
    results, differences = _results(metrics["splits"], main, others), _differences(split)
    return templates.filled(
        "page",
        scripts=[script, *([viewer["script"]] if viewer else [])],
        styles=["search"] * bool(trees),
        about=about,
        exact=EXACT,
        starred=_starred(results, differences, split.get("aggregations")),
        few=too_few(split["n_problems"]),
        script=markupsafe.Markup(script),
        search=search_figures.section(split),
        search_chart=search_figures.TITLE,
        viewer=viewer,
        data=markupsafe.Markup(embedded(browsed)),
        browsed=_browsed_words(browsed),
        main=main,
        split=split,
        others=others,
        samples=_samples_words(split),
        cards=_cards(split),
        headline=_headline(split, main),
        results=results,
        differences=differences,
        gaps=[
            (_NAMES[method], estimate)
            for method, estimate in (split.get("oracle_gap_closed") or {}).items()
            if estimate
        ],
        aggregation=metrics.get("aggregation", "last"),
        charts={title: markupsafe.Markup(svg) for title, svg in charts.items()},
        disagreement=split.get("grader_disagreement"),
        settings=_sections(about["settings"]),
        seconds=_seconds(metrics.get("seconds") or {}),
    )


def embedded(content: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element: no `<` in it ends that or opens a comment."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _browsed_words(browsed: Mapping[str, Any]) -> dict[str, Any]:
    """How many problems and solutions the list holds, for the words above it."""
    solutions = [one for problem in browsed["problems"] for one in problem["solutions"]]
    return {
        "scored": browsed["scored"],
        "problems": len(browsed["problems"]),
        "opened": sum(bool(problem["solutions"]) for problem in browsed["problems"]),
        "solutions": len(solutions),
        "by_token": any("lengths" in one for one in solutions),
    }


def _viewer(trees: Mapping[str, Any]) -> dict[str, Any]:
    """The viewer of trees: its script and data, and the words about which problems are there."""
    here, searched = len(trees["problems"]), trees["searched"]
    words = f"All {searched:,} problems that were searched are here." if searched > 1 else ""
    if here < searched:
        words = (
            f"{here:,} of the {counted(searched, 'problem')} that were searched, taken at random, "
            "are here: there is no room for more. All trees are in tables/search."
        )
    return {
        "script": markupsafe.Markup((_HERE / "search.js").read_text()),
        "data": markupsafe.Markup(embedded(trees)),
        "words": words,
        "valued": trees["valued"],
    }


def main_split(splits: Iterable[str]) -> str:
    """The split that the page is about: test, or the first not held out, or what there is."""
    names, test = list(splits), str(TEST)
    others = [name for name in names if name != str(HELDOUT)]
    return test if test in names else (others or names)[0]


def _samples_words(split: Mapping[str, Any]) -> str:
    low, high = split["samples_per_problem"]["min"], split["samples_per_problem"]["max"]
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _cards(split: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures in large type: of a random sample, the vote, the verifier, and the ceiling."""
    n = _samples_words(split)
    best = split.get("best_method_on_heldout")
    cards = [
        Shown("mean_sample_accuracy", "one sample", "mean accuracy"),
        Shown("majority", "majority", f"of {n} answers"),
    ]
    if best and best["method"] != "best_of_n":
        is_top_k = best["method"] == "top_k_vote"
        words = f"top-{best['k']} vote" if is_top_k else "weighted vote"
        cards += [
            Shown("best_of_n", "best-of-n", f"verifier's first of {n}"),
            Shown(metrics_lib.figure_of(best["method"]), words, "verifier, chosen on held-out"),
        ]
    else:
        cards += [Shown("best_of_n", "best-of-n", f"verifier's first of {n}")]
    cards += [Shown("oracle_pass_at_n", "oracle", f"any of {n} is right")]
    return [
        {
            "estimate": split[card.key],
            "name": card.name,
            "words": card.words,
            "kind": _SERIES.get(card.key, "oracle"),
        }
        for card in cards
        if split.get(card.key)
    ]


def _headline(split: Mapping[str, Any], main: str) -> str:
    """The finding in a sentence or two; of too few problems there is none."""
    few = too_few(split["n_problems"])
    if few:
        return f"{few}. The figures below are what was counted."
    best = split.get("best_method_on_heldout")
    gain = (
        best["difference_to_majority"]
        if best
        else (split.get("differences") or {}).get("best_of_n-majority")
    )
    if not gain:
        likeliest = split.get("likeliest")
        beside = f", the likeliest sample {percent(likeliest['value'])}" if likeliest else ""
        return (
            "These samples carry no scores: a majority vote solves "
            f"{percent(split['majority']['value'])} of the {main} problems{beside}."
        )
    who = _METHOD_WORDS[best["method"]] if best else "best-of-n"
    value = (best or split["best_of_n"])["value"]
    verdict = _verdict(gain, "more than", "fewer than", "and cannot be told apart from")
    low, high = gain["ci95"]
    by = f" ({points(gain['value'])} points, 95% interval {points(low)} to {points(high)})"
    choice = "Chosen on held-out problems, " if best else ""
    start = f"{choice}{who} solves {percent(value)} of the {main} problems, "
    told = start[0].upper() + start[1:] + f"{verdict} the majority vote{by}."
    return told + _beside_likeliest(split, best["method"] if best else "best_of_n")


def _beside_likeliest(split: Mapping[str, Any], method: str) -> str:
    """How the verifier's choice stands beside the stronger one that takes none: a sentence."""
    rivals = [key for key in own_likelihood.RANKS if split.get(key)]
    if not rivals:
        return ""
    rival = max(rivals, key=lambda key: split[key]["value"])
    gain = split["differences"][f"{metrics_lib.figure_of(method)}-{rival}"]
    low, high = gain["ci95"]
    verdict = _verdict(gain, "the verifier's choice is better", "the verifier's is worse", "")
    return (
        f" What its generator itself holds likeliest solves {percent(split[rival]['value'])}: "
        f"{verdict or 'the two cannot be told apart'} ({points(gain['value'])} points, 95% "
        f"interval {points(low)} to {points(high)})."
    )


def _results(splits: Mapping[str, Any], main: str, others: Sequence[str]) -> list[dict[str, Any]]:
    """A row a method: its estimate on every split, and its interval on a common scale."""
    split = splits[main]
    rows = [row for row in ROWS if split.get(row.key)]
    low = min(split[row.key]["ci95"][0] for row in rows)
    high = max(split[row.key]["ci95"][1] for row in rows)
    out = []
    for row in rows:
        estimate = split[row.key]
        out.append(
            {
                "name": row.name + (f" (k = {estimate['k']})" if "k" in estimate else ""),
                "words": row.words,
                "estimate": estimate,
                "kind": _SERIES.get(row.key, "oracle"),
                "whisker": _whisker(estimate, low, high),
                "others": [
                    splits[name].get(row.key)
                    or (_vote(splits[name], estimate["k"]) if "k" in estimate else None)
                    for name in others
                ],
            }
        )
    return out


def _vote(split: Mapping[str, Any], k: int) -> Mapping[str, Any] | None:
    return (split.get("top_k_vote") or {}).get(str(k))


def _differences(split: Mapping[str, Any]) -> list[dict[str, Any]]:
    pairs = {
        name: estimate for name, estimate in (split.get("differences") or {}).items() if estimate
    }
    if not pairs:
        return []
    few = too_few(split["n_problems"]) is not None
    reach = max(max(abs(end) for end in estimate["ci95"]) for estimate in pairs.values()) or 1.0
    return [
        {
            "name": " over ".join(_NAMES.get(method, method) for method in name.split("-")),
            "estimate": estimate,
            "verdict": "too few problems"
            if few
            else _verdict(estimate, "better", "worse", "within noise"),
            "kind": "oracle" if few else _verdict(estimate, "verifier", "majority", "oracle"),
            "whisker": _whisker(estimate, -reach, reach),
        }
        for name, estimate in pairs.items()
    ]


def _starred(
    results: Sequence[Mapping[str, Any]],
    differences: Sequence[Mapping[str, Any]],
    aggregations: Mapping[str, Any] | None,
) -> set[str]:
    """The tables with an exact interval in them, below which its star is explained."""
    rows = [row for row in (aggregations or {}).values() if row]
    tables = {
        "results": [one for row in results for one in (row["estimate"], *row["others"])],
        "differences": [row["estimate"] for row in differences],
        "aggregations": [row[key] for row in rows for key in ("best_of_n", "difference_to_last")],
    }
    return {name for name, cells in tables.items() if any(one and star(one) for one in cells)}


def _verdict(estimate: Mapping[str, Any], above: str, below: str, neither: str) -> str:
    """By the side of zero that a whole interval lies on."""
    low, high = estimate["ci95"]
    return above if low > 0 else below if high < 0 else neither


def _whisker(estimate: Mapping[str, Any], low: float, high: float) -> dict[str, str]:
    """Where value and interval lie between two ends, in percent of the way."""
    span = (high - low) or 1.0
    start, end = (100 * (value - low) / span for value in estimate["ci95"])
    return {
        "value": f"{100 * (estimate['value'] - low) / span:.2f}",
        "from": f"{start:.2f}",
        "width": f"{end - start:.2f}",
    }


def _sections(settings: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Settings by their first word, in the order given."""
    out: dict[str, list[tuple[str, str]]] = {}
    for path, value in settings.items():
        section, dot, knob = path.partition(".")
        out.setdefault(section if dot else "run", []).append((knob or section, _setting(value)))
    return out


def _setting(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return (
        repr(value)
        if value == "" or (isinstance(value, str) and value != value.strip())
        else str(value)
    )


def _seconds(seconds: Mapping[str, float]) -> list[dict[str, str]]:
    total = sum(seconds.values()) or 1.0
    return [
        {"stage": stage, "words": duration(spent), "width": f"{100 * spent / total:.2f}"}
        for stage, spent in seconds.items()
    ]
