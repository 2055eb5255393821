"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const MAX_DEPTH = 50; // of nested brackets and nots, as in bench/selection.py
const MAX_EXPLAINED = 6; // cells of a mark
const KEY_COLUMNS = 3; // shown of each of several cells

// Elements are made from texts, never from HTML: a name from a file stays a name.
const make = (name, attributes, ...children) =>
  fill(document.createElement(name), attributes, children);
const draw = (name, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// ---- the filter: the grammar of -k, as in bench/selection.py ----

// A test of cells. Throws an error that says what is wrong with the expression.
function parse(expression, cells) {
  const tokens = expression.replace(/['"]/g, " ").match(/[()]|[^\s()]+/g) || [];
  let depth = 0;
  const take = (token) => tokens[0] === token && tokens.shift() === token;

  const anyOf = () => joined("or", allOf, "some");
  const allOf = () => joined("and", negation, "every");

  function joined(operator, part, how) {
    const tests = [part()];
    while (take(operator)) tests.push(part());
    return (cell) => tests[how]((test) => test(cell));
  }

  function negation() {
    depth += 1;
    if (depth > MAX_DEPTH) throw new Error(`it is nested more than ${MAX_DEPTH} deep`);
    const negated = take("not") && negation();
    const test = negated ? (cell) => !negated(cell) : bracketOrWord();
    depth -= 1;
    return test;
  }

  function bracketOrWord() {
    if (take("(")) {
      const test = anyOf();
      if (!take(")")) throw new Error("a bracket is not closed");
      return test;
    }
    if (["and", "or", ")", undefined].includes(tokens[0])) throw new Error("a word is missing");
    const word = nextWord();
    if (!take("(")) return has(word);
    const inside = until([")"]);
    tokens.splice(0, inside.length);
    if (!(inside.length && take(")"))) throw new Error("a bracket is empty or not closed");
    const named = ({ name }) => name === word;
    const tests = [cells.some(named) ? named : has(word), ...inside.join(" ").split(", ").map(has)];
    return (cell) => tests.every((test) => test(cell));
  }

  function until(ends) {
    const size = tokens.findIndex((token) => ends.includes(token));
    return size < 0 ? [...tokens] : tokens.slice(0, size);
  }

  // The next words if they are a label, "25 epochs", or else the next one.
  function nextWord() {
    const words = until(["and", "or", "not", "(", ")"]);
    const isLabel = words.length > 1 && cells.some((cell) => cell.labels.includes(words.join(" ")));
    const isPart = !isLabel && cells.some((cell) => cell.name.includes(words[0]));
    return tokens.splice(0, isPart ? 1 : words.length).join(" ");
  }

  // A test of a part of the name, or of a label if no name has that part.
  function has(word) {
    const part = (cell) => cell.name.includes(word), label = (cell) => cell.labels.includes(word);
    const test = [part, label].find((one) => cells.some(one));
    if (!test) throw new Error(`no cell has '${word}'`);
    return test;
  }

  if (!tokens.length) return () => true;
  const test = anyOf();
  if (tokens.length) throw new Error(`unexpected '${tokens[0]}'`);
  return test;
}

// The expression that hides the cells of one level: "not (sgd and not muon_sgd)".
function without(level, names) {
  const parts = new Set(names.flatMap((name) => name.split("/")));
  const longer = [...parts].filter((part) => part !== level && part.includes(level));
  const words = (text) => (text.match(/[^\s()]+/g) || []).join(" and ");
  const bracketed = (text) => (text.includes(" ") ? `(${text})` : text);
  const exceptions = longer.map((part) => ` and not ${bracketed(words(part))}`);
  return `not ${bracketed(words(level) + exceptions.join(""))}`;
}

// Adds a clause to an expression, or takes it away.
function toggled(expression, clause) {
  const [old, own] = [` and ${expression.trim()} and `, ` and ${clause} and `];
  if (old.includes(own)) return old.replace(own, " and ").slice(5, -5);
  if (!expression.trim()) return clause;
  return `${/(^|\s)or(\s|$)/.test(expression) ? `(${expression})` : expression} and ${clause}`;
}

// ---- texts on demand ----

const tip = make("div", { class: "tip", role: "status", hidden: "" });
document.body.append(tip);

function showTip(near, ...children) {
  tip.replaceChildren(...children);
  tip.hidden = false;
  const box = near.getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, below ? box.bottom + 6 : box.top - 6 - tip.offsetHeight)}px`;
}

const markAt = (target) => target.closest("svg [data-cells]:not(.out)");
const hideTip = () => { tip.hidden = true; };

const explainWhy = ({ target }) => target.matches(".why") && showTip(target, target.title);
document.addEventListener("focusin", explainWhy);
document.addEventListener("focusout", hideTip);
document.addEventListener("pointerover", ({ target, pointerType }) => {
  if (pointerType === "mouse" && !markAt(target)) hideTip();
});
document.addEventListener("keydown", ({ key }) => key === "Escape" && hideTip());
document.addEventListener("click", (event) => {
  if (!markAt(event.target)) hideTip();
  explainWhy(event);
  if (event.target.matches("[data-copy]")) copyText(event.target, event.target.dataset.copy);
});

// ---- an opened row ----

const box = (...children) => make("div", { class: "box", tabindex: "0" }, ...children);

function tableOf(name, heads, rows, attributes = () => null) {
  const head = make("tr", null, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map((row, y) => make("tr", null, ...row.map((text, x) =>
    make(x ? "td" : "th", x ? attributes(y, x - 1) : { scope: "row" }, String(text)))));
  const parts = [make("thead", null, head), make("tbody", null, ...body)];
  return box(make("table", { class: name }, ...parts));
}

const part = (title, caption, ...children) => make("section", null, make("h4", null, title),
  make("p", { class: "caption" }, caption), ...children);

function confusion({ classes, confusion: counts, images }) {
  const rows = counts.map((row, label) => [classes[label], ...row]);
  const table = tableOf("confusion", ["", ...classes], rows, (label, predicted) => {
    const total = counts[label].reduce((sum, count) => sum + count, 0);
    const count = counts[label][predicted];
    return { class: label === predicted ? "right" : null,
      style: `--share: ${total && (0.85 * count / total).toFixed(3)}`,
      title: `${classes[label]} taken for ${classes[predicted]}: ${count} of ${total}` };
  });
  return part("Confusion matrix",
    `Rows are true classes, columns predictions, numbers ${images}.`, table);
}

const confused = (cell) => part("Most confused", `Numbers are ${cell.images}.`,
  tableOf("confused", ["class", "taken for", "images"], cell.confused));

const classes = (cell) => part("Classes", "", tableOf("classes",
  ["class", "precision %", "recall %", "F1 %", "images"], cell.per_class));

// Each run's curve, against the seconds of its training clock if these can be trusted.
function curves(cell) {
  const [width, height, left, low] = [360, 190, 44, 22];
  const points = cell.curves.flat();
  const end = Math.max(...points.map(([place]) => place)) || 1;
  const top = Math.max(...points.map(([, value]) => value)) || 1;
  const at = ([place, value]) => [left + (width - left - 8) * place / end,
    height - low - (height - low - 8) * value / top].map((place) => place.toFixed(1)).join(" ");
  const label = (x, y, text) => draw("text", { x, y, "text-anchor": "end" }, text);
  return part("Curve", `${cell.curve_of} against ${cell.curve_over}, a line for each run.`,
    draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": cell.curve_of },
      draw("path", { class: "axes", d: `M${left} 4V${height - low}H${width - 4}` }),
      ...cell.curves.map((curve) => draw("path", { d: `M${curve.map(at).join("L")}` })),
      label(left - 5, height - low, "0"), label(left - 5, 14, top.toPrecision(3)),
      label(left + 4, height - 7, "0"), label(width - 4, height - 7, `${+end.toPrecision(3)}`)));
}

function commands(cell) {
  const text = cell.commands.join("\n");
  return part("Train it again", "", make("pre", null, make("code", null, text)),
    make("button", { type: "button", "data-copy": text }, "Copy"));
}

function closer(cell) {
  const settings = Object.entries(cell.settings).map(([name, value]) =>
    make("div", null, make("dt", null, name), make("dd", null, value)));
  const parts = { commands, curves, confusion, confused, per_class: classes };
  const known = Object.keys(parts).filter((name) => cell[name]?.length);
  return make("div", { class: "closer" }, tableOf("runs", cell.heads, cell.runs),
    ...cell.notes.map((note) => make("p", null, note)),
    make("div", { class: "side" }, ...known.map((name) => parts[name](cell))),
    part("Settings", "", make("dl", { class: "settings" }, ...settings)));
}

// ---- copies ----

async function copyText(button, text) {
  const name = button.textContent;
  const copied = navigator.clipboard?.writeText(text).then(() => "Copied");
  button.textContent = await copied?.catch(() => null) ?? "Not allowed by the browser";
  setTimeout(() => { button.textContent = name; }, 1500);
}

// A text that a spreadsheet would take for a formula is escaped.
function csvField(text) {
  const safe = /^[=+\-@\t\r]./.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// ---- one group: its table and figures ----

function startGroup(article) {
  const table = article.querySelector(".matrix");
  const cells = DATA[article.id];
  const heads = [...table.tHead.rows[0].cells];
  const columnOf = (name) => heads.findIndex((head) => head.dataset.name === name);
  const rows = new Map([...table.tBodies[0].rows].map((row) => [row.dataset.cell, row]));
  const names = [...new Set(Object.values(cells).map((cell) => cell.name))];
  const input = article.querySelector("[data-filter]");
  const problem = article.querySelector("[data-problem]");
  const marks = new Map([...article.querySelectorAll("[data-cells]")].map((mark) =>
    [mark, mark.dataset.cells.split(" ")]));
  const state = { k: "", sort: "", row: "" };
  let shown = new Set(rows.keys());

  // A malformed expression changes nothing but the problem beside the input.
  function filter(expression) {
    state.k = expression.trim();
    if (input.value.trim() !== state.k) input.value = state.k;
    saveState();
    let test;
    try {
      test = parse(state.k, Object.values(cells));
      problem.textContent = "";
    } catch (error) {
      problem.textContent = `${error.message}: write words joined by and, or, not and brackets`;
    }
    input.setAttribute("aria-invalid", String(!test));
    if (!test) return;
    shown = new Set(Object.keys(cells).filter((id) => test(cells[id])));
    for (const [id, row] of rows) row.hidden = !shown.has(id);
    for (const [mark, ids] of marks) mark.classList.toggle("out", !ids.some((id) => shown.has(id)));
    article.querySelector("output").textContent = `${shown.size} of ${rows.size} cells`;
    if (!shown.has(state.row)) open("");
    showLevels();
  }

  const valueOf = (cell) => cell.dataset.v ?? cell.textContent;

  // By "COLUMN ORDER"; a row without a value stays at the end either way.
  function sort(order) {
    state.sort = order;
    saveState();
    const [name, direction] = order.split(" ");
    const column = columnOf(name);
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    if (column < 0) return;
    heads[column].setAttribute("aria-sort", direction);
    const sign = direction === "descending" ? -1 : 1;
    const entries = [...rows.values()].map((row) => [valueOf(row.cells[column]), row]);
    entries.sort(([one], [other]) => (one === "") - (other === "") ||
      sign * (one - other || one.localeCompare(other, "en", { numeric: true })));
    table.tBodies[0].append(...entries.map(([, row]) => row));
    open(state.row);
  }

  function open(id) {
    table.querySelector("tr.opened")?.remove();
    table.querySelector("[aria-expanded=true]")?.setAttribute("aria-expanded", "false");
    state.row = rows.has(id) ? id : "";
    saveState();
    if (!state.row) return;
    const details = make("td", { colspan: heads.length }, closer(cells[id]));
    rows.get(id).querySelector("[aria-expanded]").setAttribute("aria-expanded", "true");
    rows.get(id).after(make("tr", { class: "opened" }, details));
  }

  function explain(mark) {
    const ids = marks.get(mark).filter((id) => shown.has(id));
    const lines = ids.slice(0, MAX_EXPLAINED).map((id) => {
      const columns = ids.length > 1 ? KEY_COLUMNS : heads.length;
      const known = [...rows.get(id).cells].slice(1, 1 + columns).filter((cell) =>
        !cell.hidden && !["-", ""].includes(cell.textContent));
      const values = known.map((cell) => `${heads[cell.cellIndex].textContent} ${cell.textContent}`);
      return make("p", null, make("b", null, cells[id].title), ` ${values.join(" \u00b7 ")}`);
    });
    const more = ids.length - lines.length;
    if (more > 0) lines.push(make("p", null, `and ${more} more`));
    highlight(ids);
    if (ids.length) showTip(mark, ...lines);
  }

  function highlight(ids) {
    for (const [id, row] of rows) row.classList.toggle("at", ids.includes(id));
    for (const [mark, own] of marks) mark.classList.toggle("at", ids.some((id) => own.includes(id)));
  }

  for (const plot of article.querySelectorAll(".plot")) {
    let at = -1;
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const own = plot.querySelectorAll("[data-cells]:not(.out)");
      if (!step || !own.length) return;
      event.preventDefault();
      at = (at + step + own.length) % own.length;
      explain(own[at]);
    });
  }
  article.addEventListener("pointerover", ({ target }) => {
    if (markAt(target)) explain(markAt(target));
    else highlight([target.closest("[data-cell]")?.dataset.cell]);
  });

  // ---- keys of the figures ----

  const levels = [...article.querySelectorAll("[data-level]")].filter(({ dataset }) =>
    names.some((name) => name.split("/").includes(dataset.level)));
  const switched = (entry) => toggled(state.k, without(entry.dataset.level, names));

  function showLevels() {
    for (const entry of levels) {
      const off = switched(entry).length < state.k.length;
      entry.classList.toggle("off", off);
      if (entry.tabIndex === 0) entry.setAttribute("aria-pressed", String(!off));
    }
  }

  for (const entry of levels) {
    entry.classList.add("level");
    entry.closest("svg").setAttribute("role", "group"); // an image would hide its buttons
    const attributes = { role: "button", tabindex: "0", "aria-pressed": "true" };
    if (entry.querySelector("text")) fill(entry, attributes, []);
    entry.addEventListener("click", () => filter(switched(entry)));
    entry.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      filter(switched(entry));
    });
  }

  input.addEventListener("input", () => filter(input.value));
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const { name, first, second } = head.dataset;
      sort(`${name} ${head.getAttribute("aria-sort") === first ? second : first}`);
    });
  }
  article.addEventListener("click", ({ target }) => {
    if (markAt(target)) explain(markAt(target));
    const id = target.closest("[data-open]")?.dataset.open;
    if (id === undefined) return;
    if (!shown.has(id)) filter("");
    open(target.closest(".matrix") && state.row === id ? "" : id);
    if (!target.closest(".matrix")) reveal(rows.get(id));
  });
  for (const checkbox of article.querySelectorAll("[data-column]")) {
    const column = columnOf(checkbox.dataset.column);
    checkbox.addEventListener("change", () => {
      for (const row of [table.tHead.rows[0], ...rows.values()]) {
        row.cells[column].hidden = !checkbox.checked;
      }
    });
  }

  function csv() {
    const columns = heads.filter((head) => head.cellIndex && !head.hidden);
    const lines = [...table.querySelectorAll("[data-cell]:not([hidden])")].map((row) => [
      cells[row.dataset.cell].title, ...columns.map((head) => valueOf(row.cells[head.cellIndex])),
      row.querySelector(".why")?.title || ""]);
    const first = ["cell", ...columns.map((head) => head.dataset.name), "notes"];
    return [first, ...lines].map((line) => `${line.map(csvField).join(",")}\n`).join("");
  }

  const [copy, save] = article.querySelectorAll("[data-csv]");
  copy.addEventListener("click", () => copyText(copy, csv()));
  save.addEventListener("click", () => {
    const href = `data:text/csv;charset=utf-8,${encodeURIComponent(csv())}`;
    make("a", { href, download: "matrix.csv" }).click();
  });

  function restore(saved) {
    const [k, order, row] = Object.keys(state).map((key) => saved.get(`${article.id}.${key}`));
    filter(k || "");
    sort(order || "");
    open(row || "");
  }

  return { id: article.id, state, restore };
}

const groups = [...document.querySelectorAll("article")].filter((article) =>
  article.querySelector(".matrix")).map(startGroup);

// ---- the fragment of the address: state, or a place in the page ----

function saveState() {
  const all = new URLSearchParams();
  for (const { id, state } of groups) {
    for (const [key, value] of Object.entries(state)) if (value) all.set(`${id}.${key}`, value);
  }
  history.replaceState(null, "", `#${all}`);
}

function reveal(element) {
  for (let one = element; one; one = one.parentElement) if (one.matches("details")) one.open = true;
  element?.scrollIntoView({ block: element.matches("tr") ? "center" : "start" });
}

function followAddress() {
  const fragment = location.hash.slice(1);
  const place = document.getElementById(fragment);
  if (place) reveal(place);
  else groups.forEach(({ restore }) => restore(new URLSearchParams(fragment)));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (!link) return;
  event.preventDefault(); // the address keeps the state
  reveal(document.getElementById(link.getAttribute("href").slice(1)));
});
window.addEventListener("hashchange", followAddress);
followAddress();

// ---- boxes that scroll sideways show that there is more ----

for (const element of document.querySelectorAll("main .box")) {
  const showMore = () => element.classList.toggle("more",
    element.scrollWidth - element.clientWidth - element.scrollLeft > 2);
  new ResizeObserver(showMore).observe(element);
  element.addEventListener("scroll", showMore, { passive: true });
}
