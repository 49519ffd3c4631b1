// Held-out text coloured by what thoughts gained at each token, and what was thought there. All text goes in as text, never as HTML.
"use strict";
(() => {
  const { thinkers, main, windows } = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("shown");
  const text = document.getElementById("text");
  const said = document.getElementById("said");
  const NONE = 5; // the shade of what is unchanged, or predicted by nothing
  let view = null; // the window, and what the chosen thinker made of it
  let spans = [];
  let at = -1;

  function make(tag, kind, ...content) {
    const node = document.createElement(tag);
    if (kind) node.className = kind;
    node.append(...content);
    return node;
  }

  const percent = (thousandths) => `${(thousandths / 10).toFixed(1)}%`;
  const nats = (thousandths) => `${thousandths > 0 ? "+" : thousandths < 0 ? "\u2212" : ""}${(Math.abs(thousandths) / 1000).toFixed(3)} nats`;
  const option = (value, words) => Object.assign(make("option", "", words), { value });
  const visible = (words) => words.replace(/\n/g, "⏎") || "(no text)";

  function draw() {
    const window = windows[Number(form.elements.window.value)];
    view = { ...window, ...window.read[Number(form.elements.thinker.value)] };
    const begins = new Set(view.begins);
    spans = view.texts.map((words, place) => {
      const span = make("span", `v${view.shade[place]}`, words || "·"); // the end of a text, or part of a character
      span.dataset.place = place;
      return span;
    });
    text.replaceChildren(...spans.flatMap((span, place) => (begins.has(place) ? ["\n", span] : [span])));
    text.scrollTop = 0;
    if (at < 0) return;
    at = Math.min(at, spans.length - 1);
    say(at);
  }

  function say(place) {
    spans[at]?.classList.remove("at");
    at = place;
    spans[at].classList.add("at");
    said.classList.remove("idle");
    const kind = view.kinds[at] ? ` (${view.kinds[at]})` : "";
    const token = make("b", "", visible(view.texts[at]));
    const where = `token ${at + 1} of ${spans.length}${kind}: `;
    if (view.base[at] === null) {
      said.replaceChildren(make("span", "", where, token), make("span", "", "nothing before it predicts it"));
      return;
    }
    const verdict = view.shade[at] === NONE ? "unchanged" : view.shade[at] > NONE ? "more likely" : "less likely";
    const reward = view.reward[at] === null ? "" : ` · with the tokens after it ${nats(view.reward[at])}`;
    const chances = `${verdict} with thoughts, ${percent(view.base[at])} to ${percent(view.talk[at])}, ${nats(view.gain[at])}${reward} · weight ${(view.mixing[at] / 100).toFixed(2)}`;
    const thought = view.thought[at] === null ? ["no thought"] : ["best thought before it: ", make("q", "", visible(view.thought[at]))];
    said.replaceChildren(make("span", "", where, token), make("span", "", chances), make("span", "", ...thought));
  }

  // The next place in a direction that a thought changed; where there is none, the same place.
  function changed(step) {
    for (let place = at + step; place >= 0 && place < spans.length; place += step) {
      if (view.shade[place] !== NONE) return place;
    }
    return at;
  }

  const keys = {
    ArrowRight: () => at + 1,
    ArrowLeft: () => at - 1,
    Home: () => 0,
    End: () => spans.length - 1,
    n: () => changed(1),
    p: () => changed(-1),
  };

  const point = (event) => {
    const span = event.target.closest("span[data-place]");
    if (span) say(Number(span.dataset.place));
  };
  text.addEventListener("pointerover", point);
  text.addEventListener("click", point);
  text.addEventListener("focus", () => at < 0 && say(0));
  text.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in keys)) return;
    event.preventDefault();
    say(Math.min(Math.max(keys[event.key](), 0), spans.length - 1));
    spans[at].scrollIntoView({ block: "nearest" });
  });
  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.window.replaceChildren(...windows.map((each, index) => option(index, `${each.window + 1}. ${each.texts.join("").slice(0, 60)}`)));
  form.elements.thinker.replaceChildren(...thinkers.map((name, index) => option(index, name)));
  form.elements.thinker.selectedIndex = main;
  draw();
})();
