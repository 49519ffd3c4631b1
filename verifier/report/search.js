// The trees of searched problems: which problem, method and budget, a tree to go through by keys, and the text up to a step. All text goes in as text, never as HTML.
"use strict";
(() => {
  const { valued, problems } = JSON.parse(document.getElementById("trees").textContent);
  const form = document.getElementById("tried");
  const list = document.getElementById("tree");
  const reading = document.getElementById("reading");
  const ALL_OPEN = 24; // nodes of a tree that is open as a whole
  let view = null; // the tree that is shown

  function make(tag, kind, ...content) {
    const node = document.createElement(tag);
    if (kind) node.className = kind;
    node.append(...content);
    return node;
  }

  const counted = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
  const shade = (value) => (valued && value !== null ? `v${Math.round(Math.min(Math.max(value / 100, 0), 1) * 10)}` : "");
  const figure = (value) => (value === null ? "–" : (value / 100).toFixed(2));

  // A tree as it is drawn: children by falling value, and which nodes lead to the solution that was handed in.
  function arranged(tree, texts) {
    const children = new Map([[-1, []]]);
    tree.parent.forEach((parent, node) => {
      children.set(node, []);
      children.get(parent).push(node); // parents come before their children
    });
    const worth = (node) => tree.value[node] ?? -Infinity;
    for (const own of children.values()) own.sort((a, b) => worth(b) - worth(a) || a - b);
    const way = (node) => (node < 0 ? [] : [...way(tree.parent[node]), node]);
    const chosen = new Set(tree.chosen === null ? [] : way(tree.chosen));
    return { ...tree, children, way, chosen, dropped: new Set(tree.dropped), words: tree.text.map((index) => texts[index]), items: [], at: -1 };
  }

  const state = (node) => (node === view.chosen_end ? "handed in" : view.chosen.has(node) ? "on the way to the solution handed in" : view.dropped.has(node) ? "given up" : "");
  const line = (words) => words.trim().replace(/\s*\n\s*/g, " ⏎ ") || "(ends here)";

  function item(node, level, place, among) {
    const inner = view.children.get(node);
    const own = make("li", `${view.dropped.has(node) ? "dropped" : ""} ${view.chosen.has(node) ? "chosen" : ""}`);
    const words = make("span", "words", make("span", shade(view.value[node]), line(view.words[node])));
    const row = make("div", "step", make("span", "twist", inner.length ? "›" : ""), make("span", "worth", figure(view.value[node])), words, make("span", "times", `×${view.visits[node]}`));
    own.append(row);
    own.setAttribute("role", "treeitem");
    own.setAttribute("aria-level", level);
    own.setAttribute("aria-posinset", place + 1);
    own.setAttribute("aria-setsize", among);
    own.setAttribute("aria-selected", "false");
    own.setAttribute("aria-label", [line(view.words[node]), `value ${figure(view.value[node])}`, counted(view.visits[node], unit()), state(node)].filter(Boolean).join(", "));
    own.tabIndex = -1;
    own.dataset.node = node;
    view.items[node] = own;
    if (inner.length) {
      const group = make("ul", "", ...inner.map((each, index) => item(each, level + 1, index, inner.length)));
      group.setAttribute("role", "group");
      own.append(group);
      open(node, view.parent.length <= ALL_OPEN || view.chosen.has(node));
    }
    return own;
  }

  function open(node, wide) {
    const own = view.items[node];
    if (!view.children.get(node).length) return;
    own.setAttribute("aria-expanded", wide);
    own.lastElementChild.hidden = !wide;
  }

  const isOpen = (node) => view.items[node].getAttribute("aria-expanded") === "true";

  // A step becomes the current one: the only one that Tab reaches, and the one whose text is shown.
  function select(node, focus) {
    const before = view.items[view.at];
    if (before) {
      before.tabIndex = -1;
      before.setAttribute("aria-selected", "false");
    }
    view.at = node;
    for (const each of view.way(node).slice(0, -1)) open(each, true);
    const own = view.items[node];
    own.tabIndex = 0;
    own.setAttribute("aria-selected", "true");
    if (focus) {
      own.focus({ preventScroll: true });
      own.firstElementChild.scrollIntoView({ block: "nearest" });
    }
    read(node);
  }

  // Of RAIN it is how often a set was gone to, similar ones in part.
  function unit() {
    return form.elements.method.value === "rain" ? "visit" : "sample";
  }

  function read(node) {
    const way = view.way(node);
    const text = make("pre", "text", ...way.map((each) => make("span", `${shade(view.value[each])}${each === node ? " at" : ""}`, view.words[each])));
    const facts = [`step ${way.length}`, `value ${figure(view.value[node])}`, counted(view.visits[node], unit()), state(node)];
    reading.replaceChildren(text, make("p", "fine", facts.filter(Boolean).join(" · ")));
  }

  function options(select, values, words) {
    const before = select.value;
    select.replaceChildren(...values.map((value, index) => Object.assign(make("option", "", words(value, index)), { value: String(value) })));
    if (values.map(String).includes(before)) select.value = before;
  }

  function draw() {
    const problem = problems.find((each) => each.id === form.elements.problem.value);
    const methods = [...new Set(problem.trees.map((each) => each.method))];
    options(form.elements.method, methods, (each) => each);
    const own = problem.trees.filter((each) => each.method === form.elements.method.value);
    options(form.elements.budget, own.map((each) => each.budget), (each) => each.toLocaleString("en"));
    const tree = own.find((each) => String(each.budget) === form.elements.budget.value);
    view = arranged(tree, problem.texts);
    view.chosen_end = tree.chosen;
    const roots = view.children.get(-1);
    list.replaceChildren(...roots.map((each, index) => item(each, 1, index, roots.length)));
    document.getElementById("asked").textContent = problem.question ?? "(the question's text is not known)";
    const verdict = make("b", `verdict ${tree.right ? "right" : "wrong"}`, tree.right ? "✓ right" : "✗ wrong");
    const thing = tree.parent.every((parent) => parent < 0) ? "distinct solution" : "distinct step";
    const tried = `${counted(tree.parent.length, thing)} tried, ${tree.dropped.length.toLocaleString("en")} given up. Answers ${tree.answer ?? "nothing"} `;
    document.getElementById("outcome").replaceChildren(tried, verdict, ...(tree.right || problem.gold === null ? [] : [`, right is ${problem.gold}`]));
    reading.replaceChildren();
    list.scrollTop = 0;
    if (!roots.length) return;
    select(tree.chosen ?? roots[0], false);
    const top = (node) => node.getBoundingClientRect().top;
    list.scrollTop = top(view.items[view.way(view.at)[0]]) - top(list) - list.clientHeight / 4;
  }

  const beside = () => view.children.get(view.parent[view.at]);
  const keys = {
    ArrowDown: () => beside()[beside().indexOf(view.at) + 1],
    ArrowUp: () => beside()[beside().indexOf(view.at) - 1],
    ArrowRight: () => view.children.get(view.at)[0],
    ArrowLeft: () => (view.parent[view.at] < 0 ? undefined : view.parent[view.at]),
    Home: () => beside()[0],
    End: () => beside().at(-1),
  };

  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") open(view.at, !isOpen(view.at));
    else if (event.key in keys) {
      const next = keys[event.key]();
      if (next !== undefined) select(next, true);
    } else return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => {
    const own = event.target.closest("li");
    if (!own) return;
    const node = Number(own.dataset.node);
    if (event.target.classList.contains("twist") || view.at === node) open(node, !isOpen(node));
    else open(node, true);
    select(node, true);
  });
  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  options(form.elements.problem, problems.map((each) => each.id), (id, index) => `${index + 1}. ${(problems[index].question ?? `problem ${id}`).slice(0, 90)}`);
  draw();
  // Of the methods it is the searches that have trees to look at, and the larger budget has the larger ones.
  const first = problems[0].trees.find((each) => each.parent.some((parent) => parent >= 0));
  if (first) {
    form.elements.method.value = first.method;
    draw();
    form.elements.budget.selectedIndex = form.elements.budget.length - 1;
    draw();
  }
})();
