"""The page of thoughts: figures are those of the table, colours follow gains, texts stay texts."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pyarrow as pa
import pytest

from tests.browser import browser, needs_browser
from verifier.evaluate import thoughts
from verifier.report import thought_charts, thought_texts, thoughts_page
from verifier.tables import schemas
from verifier.tables import thoughts as stored

ATTACK = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
WINDOWS, TOKENS, AHEAD, DRAWN = 12, 9, 2, 3


def table(seed=0, thinks=True, windows=WINDOWS):
    """Windows of two documents each; the last two tokens have no reward."""
    rng, rows = np.random.default_rng(seed), []
    for window in range(windows):
        for place in range(TOKENS):
            second = place >= 5
            first = place in (0, 5)
            whole = not first and thinks and place + AHEAD <= (TOKENS if second else 5)
            base = -float(np.random.default_rng([window, place]).gamma(1.0))  # of any thinker
            rows.append(
                {
                    "window": window,
                    "document": 2 * window + second,
                    "token": place - 5 * second,
                    "token_id": place,
                    "text": ATTACK if place == 2 else f" w{place}",
                    "kind": ("hard" if place % 2 else "easy"),
                    "logprob_base": None if first else base,
                    "logprob_talk": None if first else base + thinks * float(rng.normal(0, 0.3)),
                    "mixing": None if first else float(thinks * rng.random()),
                    "thought": None if first or not thinks else f"{ATTACK} {place}",
                    "thought_tokens": [],
                    "rewards": rng.normal(0.1, 1, DRAWN if whole else 0).tolist(),
                    "mixings": rng.random(0 if first else DRAWN).tolist(),
                    "entropies": rng.random(0 if first or not thinks else DRAWN).tolist(),
                    "ahead_talk": [],
                }
            )
    return pa.Table.from_pylist(rows, schema=schemas.schema_of("thoughts"))


def curves():
    noise = np.random.default_rng(0).normal(0, 0.1, 300)
    reward = [(step, 0.001 * step + float(noise[step])) for step in range(300)]
    return {"reward": reward, "mixing": [(0, 0.0), (1, 0.1)], "entropy": [(3, 2.0)]}


@pytest.fixture(scope="module")
def made():
    tables = {"stage=1": table(), "stage=2": table(1), "<i>plain": table(2, thinks=False)}
    figures = thoughts.figures({name: stored.gains(own) for name, own in tables.items()}, 50, 0)
    drawn = thought_charts.charts(figures, {"stage=1": curves()})
    about = ("run <b>", "today", {"quiet.corpus": "<u>texts"})
    return tables, figures, drawn, thoughts_page.render(figures, tables, drawn, about, (5, 0))


def test_figures_are_those_of_the_rows(made):
    tables, figures, _, _ = made
    rows = tables["stage=2"].to_pylist()
    there = [row for row in rows if row["logprob_base"] is not None]
    assert figures["tokens"] == len(there) == WINDOWS * (TOKENS - 2)
    for group in ("all", "hard", "easy"):
        own = [row for row in there if group in ("all", row["kind"])]
        found = figures["thinkers"]["stage=2"][group]
        gains = [row["logprob_talk"] - row["logprob_base"] for row in own]
        rewards = [sum(row["rewards"]) / DRAWN for row in own if row["rewards"]]
        entropies = [sum(row["entropies"]) / DRAWN for row in own]
        assert found["gain"]["value"] == pytest.approx(sum(gains) / len(gains), abs=1e-6)
        assert found["reward"]["value"] == pytest.approx(sum(rewards) / len(rewards), abs=1e-6)
        assert found["entropy"]["value"] == pytest.approx(sum(entropies) / len(own), abs=1e-6)
        unchanged = sum(abs(gain) < thoughts.UNCHANGED for gain in gains) / len(gains)
        assert found["unchanged"]["value"] == pytest.approx(unchanged, abs=1e-6)
    assert figures["thinkers"]["<i>plain"]["all"]["reward"] is None
    assert figures["over"] == "documents" and figures["resampled"] == 2 * WINDOWS
    json.dumps(figures, allow_nan=False)


def test_the_histogram_holds_every_token(made):
    _, figures, drawn, _ = made
    histogram = figures["histogram"]
    for counts in histogram["counts"].values():
        assert sum(counts) == figures["tokens"]
    plain = histogram["counts"]["<i>plain"]
    assert plain[len(plain) // 2] == figures["tokens"]
    svg = drawn["gain_histogram_1"].render(standalone=True)
    told = [int(count.replace(",", "")) for count in re.findall(r": ([\d,]+) tokens?<", svg)]
    assert sum(told) == figures["tokens"]
    assert 'role="img"' in svg and "aria-label" in svg


def test_charts_are_there_for_what_was_logged(made):
    _, figures, drawn, _ = made
    assert {"training_reward", "training_mixing"} <= set(drawn) <= set(thought_charts.possible(3))
    assert "training_entropy" not in drawn  # of one step there is no curve
    bare = thought_charts.charts(figures, {})
    assert set(bare) == {"gain_by_difficulty", *(f"gain_histogram_{n}" for n in (1, 2, 3))}
    for chart in drawn.values():
        assert "nan" not in chart.render() and "inf" not in chart.render()


def test_colours_follow_gains():
    gains = np.linspace(-3, 3, 601)
    shades = [thought_texts.shade(float(gain)) for gain in gains]
    assert shades == sorted(shades) and set(shades) == set(range(thought_texts.SHADES))
    assert [thought_texts.shade(-gain) for gain in gains] == [10 - each for each in shades]
    for gain in (0.0, thoughts.UNCHANGED * 0.99, None, math.nan):
        assert thought_texts.shade(gain) == 5
    assert thought_texts.shade(thoughts.UNCHANGED) == 6


def test_no_text_of_the_corpus_becomes_markup(made):
    _, _, _, page = made
    assert ATTACK not in page and "<script>window" not in page
    assert page.count("<script") == page.count("</script") == 2
    assert "<i>plain" not in page.replace("\\u003ci>plain", "") and "run <b>" not in page
    assert "&lt;img" in page  # in the list of strongest tokens
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert data["thinkers"] == ["stage=1", "stage=2", "<i>plain"] and data["main"] == 1
    assert len(data["windows"]) == 5
    assert data["windows"][0]["texts"][2] == ATTACK


def test_windows_are_shown_as_they_are(made):
    tables, _, _, _ = made
    found = thought_texts.browsed(tables, WINDOWS, 0)
    assert [each["window"] for each in found["windows"]] == list(range(WINDOWS))
    rows = [row for row in tables["stage=2"].to_pylist() if row["window"] == 3]
    window = found["windows"][3]
    own = window["read"][1]
    assert window["begins"] == [5]
    for place, row in enumerate(rows):
        assert window["texts"][place] == row["text"] and window["kinds"][place] == row["kind"]
        assert own["thought"][place] == row["thought"]
        if row["logprob_base"] is None:
            assert own["base"][place] is None and own["shade"][place] == 5
            continue
        gain = row["logprob_talk"] - row["logprob_base"]
        assert own["shade"][place] == thought_texts.shade(gain)
        assert own["gain"][place] == pytest.approx(1000 * gain, abs=0.51)
        assert own["base"][place] == pytest.approx(1000 * math.exp(row["logprob_base"]), abs=0.51)
    least = thought_texts.browsed(tables, WINDOWS, 0, room=1)
    assert len(least["windows"]) == 1


def test_the_strongest_tokens_are_listed_with_their_own_document_before_them(made):
    tables, _, _, _ = made
    rows = [row for row in tables["stage=2"].to_pylist() if row["logprob_base"] is not None]
    gains = sorted(row["logprob_talk"] - row["logprob_base"] for row in rows)
    found = thought_texts.extremes(tables["stage=2"])
    assert [each["gain"] for each in found["hurt"]] == pytest.approx(gains[:8], abs=1e-6)
    assert [each["gain"] for each in found["helped"]] == pytest.approx(gains[::-1][:8], abs=1e-6)
    for each in (*found["helped"], *found["hurt"]):
        assert each["before"].startswith((" w0", " w5")) and not each["cut"]
        assert "w4 w5" not in each["before"]
    assert thought_texts.extremes(tables["<i>plain"]) == {"helped": [], "hurt": []}


@needs_browser
def test_a_browser_shows_what_the_page_holds(made, tmp_path):
    (tmp_path / "index.html").write_text(made[3])
    spans = "[...document.querySelectorAll('#text span')].map(each => [each.className, {}])"
    said = "document.getElementById('said').textContent"
    at = "document.querySelector('#text .at').dataset.place"
    with browser(tmp_path / "profile") as driven:
        driven.open(tmp_path / "index.html")
        assert driven.messages == []
        assert {address.partition(":")[0] for address in driven.addresses} <= {"file", "data"}
        data = json.loads(re.search(r'id="data">(.*?)</script>', made[3], re.S)[1])
        window = data["windows"][0]
        for thinker, own in enumerate(window["read"]):
            driven.run(
                f"(form => {{ form.elements.thinker.value = '{thinker}'; "
                "form.dispatchEvent(new Event('input')); })(document.getElementById('shown'))"
            )
            shown = driven.run(spans.format("each.textContent"))
            shades = [f"v{shade}" for shade in own["shade"]]
            assert shown == [list(each) for each in zip(shades, window["texts"], strict=True)]
        driven.run("document.getElementById('text').focus()")
        for key, place in (("ArrowRight", 1), ("End", TOKENS - 1), ("ArrowLeft", TOKENS - 2)):
            driven.key(key)
            assert driven.run(at) == str(place), key
        assert f"token {TOKENS - 1} of {TOKENS}" in driven.run(said)
        driven.look(390, 800)
        assert driven.run("document.documentElement.scrollWidth") <= 390
        driven.point("#text span:nth-child(3)", click=True)
        assert driven.run(at) == "2" and ATTACK in driven.run(said)
        assert driven.run("window.hacked") is None
        assert driven.run("document.querySelectorAll('#text img, #said img').length") == 0
