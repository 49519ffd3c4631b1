// The list of problems of a report: filters, search, order, and solutions coloured token by token. All text goes in as text, never as HTML.
"use strict";
(() => {
  const { scored, problems } = JSON.parse(document.getElementById("data").textContent);
  const BATCH = 50; // problems added to the list at once
  const form = document.getElementById("filters");
  const list = document.getElementById("list");
  const more = document.getElementById("more");
  const count = document.getElementById("count");
  let found = [];

  function make(tag, kind, ...content) {
    const node = document.createElement(tag);
    if (kind) node.className = kind;
    node.append(...content);
    return node;
  }

  const share = (problem) => problem.right / problem.samples;
  const side = (right) => (right ? "right" : "wrong");
  const filters = {
    majority: (problem) => side(problem.majority),
    best: (problem) => side(problem.best),
    any: (problem) => side(problem.right > 0),
    apart: (problem) => (problem.apart ? "differ" : "agree"),
  };
  const orders = {
    differ: (a, b) => b.apart - a.apart,
    hard: (a, b) => share(a) - share(b),
    easy: (a, b) => share(b) - share(a),
    low: (a, b) => a.score - b.score,
    high: (a, b) => b.score - a.score,
    id: () => 0,
  };

  function draw() {
    const wanted = Object.fromEntries(new FormData(form));
    const words = wanted.search.toLowerCase().split(/\s+/).filter(Boolean);
    found = problems.filter((problem) => {
      const text = `${problem.question ?? ""} ${problem.id}`.toLowerCase();
      return words.every((word) => text.includes(word)) &&
        Object.entries(filters).every(([name, value]) => !wanted[name] || value(problem) === wanted[name]);
    }).sort(orders[wanted.order]); // a stable sort: equals stay in order of their ids
    list.replaceChildren();
    count.textContent = `${found.length.toLocaleString("en")} of ${problems.length.toLocaleString("en")} problem${problems.length === 1 ? "" : "s"}` +
      (found.length ? "" : ": none is like that; change or clear the filters");
    add();
  }

  function add() {
    const shown = list.childElementCount;
    list.append(...found.slice(shown, shown + BATCH).map(row));
    const left = found.length - list.childElementCount;
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(left, BATCH)} more of ${left.toLocaleString("en")}`;
  }

  function mark(name, right) {
    const sign = right === null ? "–" : right ? "✓" : "✗";
    const node = make("span", `mark ${right === null ? "" : side(right)}`, `${name} ${sign}`);
    node.setAttribute("aria-label", `${name} ${right === null ? "has no answer" : side(right)}`);
    return node;
  }

  function row(problem) {
    const details = make("details", "problem");
    const facts = make("span", "count", `${problem.right} of ${problem.samples} right`);
    if (scored) facts.append(` · score ${problem.score.toFixed(2)}`);
    const marks = make("span", "marks", mark("majority", problem.majority), ...(scored ? [mark("verifier", problem.best)] : []));
    details.append(make("summary", "", make("span", "stem", problem.question ?? `problem ${problem.id}`), marks, facts));
    details.addEventListener("toggle", () => details.childElementCount > 1 || details.append(body(problem))); // built when first opened
    return details;
  }

  function body(problem) {
    const node = make("div", "opened", make("p", "question", problem.question ?? "(the question's text is not known)"));
    node.append(make("p", "fine", "right answer ", make("b", "", problem.gold), ` · problem ${problem.id}`));
    if (!problem.solutions.length) node.append(make("p", "fine", "There was no room for its solutions; they are in the tables."));
    const solutions = make("div", "solutions");
    solutions.append(...problem.solutions.map(solution));
    node.append(solutions);
    return node;
  }

  function solution(one) {
    const verdict = make("span", `verdict ${side(one.right)}`, one.right ? "✓ right" : "✗ wrong");
    const node = make("article", side(one.right), make("h4", "", make("span", "", one.roles.join(" · ")), verdict));
    const answer = ` · answers ${one.answer ?? "nothing"}`;
    const score = one.score === null ? "" : ` · score ${one.score.toFixed(3)}`;
    node.append(...(one.lengths ? tokens(one) : [whole(one)]), make("p", "fine", `sample ${one.sample}${answer}${score}`));
    return node;
  }

  const shade = (value) => `v${Math.round(Math.min(Math.max(value, 0), 1) * 10)}`;

  function whole(one) {
    return make("pre", "text whole", make("span", one.score === null ? "" : shade(one.score), one.text));
  }

  // A solution token by token. Pointing at one, tapping it, or the arrow keys say its value in the line below.
  function tokens(one) {
    const text = make("pre", "text");
    const said = make("output", "said idle", "point at a token, tap it, or use the arrow keys");
    const forced = new Set(one.forced);
    const letters = Array.from(one.text); // lengths count characters, of which some are two of JavaScript's
    let start = 0;
    const spans = one.lengths.map((length, place) => {
      const kind = `${shade(one.values[place] / 100)}${forced.has(place) ? " forced" : ""}`;
      return make("span", kind, letters.slice(start, (start += length)).join(""));
    });
    text.append(...spans);
    text.tabIndex = 0;
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", "Solution. The left and right arrow keys go from token to token.");
    let at = -1;
    function say(place) {
      spans[at]?.classList.remove("at");
      at = place;
      spans[at].classList.add("at");
      said.classList.remove("idle");
      const value = (one.values[at] / 100).toFixed(2);
      said.textContent = `token ${at + 1} of ${spans.length}: value ${value}${forced.has(at) ? " · written by the calculator" : ""}`;
    }
    const point = (event) => spans.includes(event.target) && say(spans.indexOf(event.target));
    text.addEventListener("pointerover", point);
    text.addEventListener("click", point);
    text.addEventListener("focus", () => at < 0 && say(0));
    text.addEventListener("keydown", (event) => {
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: spans.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      say(Math.min(Math.max(next, 0), spans.length - 1));
    });
    return [text, said];
  }

  form.addEventListener("input", draw);
  form.addEventListener("reset", () => setTimeout(draw));
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = list.childElementCount;
    add();
    list.children[first]?.querySelector("summary").focus(); // the button has moved or gone: go on at the first new one
  });
  draw();
})();
