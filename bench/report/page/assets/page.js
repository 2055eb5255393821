"use strict";

// Elements are made from texts, never from HTML: a name from a file stays a name.
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const number = (value, digits) =>
  value === null || value === undefined ? "-" : value.toFixed(digits);
const percent = (value) => (value === null || value === undefined ? "-" : (100 * value).toFixed(2));

// ---- tables ----

function figure(cell) {
  if (!("v" in cell.dataset)) return cell.textContent;
  return cell.dataset.v === "" ? null : Number(cell.dataset.v);
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}

// Rows by one column; what has no figure there stays at the end either way.
function sortRows(table, column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, value: figure(row.cells[column]) }));
  const known = rows.filter((entry) => entry.value !== null);
  const missing = rows.filter((entry) => entry.value === null);
  known.sort((one, other) => compare(one.value, other.value) * (descending ? -1 : 1));
  body.append(...[...known, ...missing].map((entry) => entry.row));
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = head.dataset.first || "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const next = now === first ? second : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      sortRows(table, column, next === "descending");
    });
  });
}

// Only what changes: an attribute that is set anew is styled anew.
function hide(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

function makeFilters(controls) {
  const table = document.getElementById(controls.dataset.for);
  const rows = [...table.tBodies[0].rows];
  const filters = [...controls.querySelectorAll("[data-filter]")];
  const count = controls.querySelector("output");
  const heads = [...table.tHead.rows[0].cells];

  function apply() {
    let shown = 0;
    for (const row of rows) {
      const fits = filters.every((filter) => fit(row, filter.dataset.filter, filter.value));
      hide(row, !fits);
      shown += fits ? 1 : 0;
    }
    count.textContent = `${shown} of ${rows.length} cells`;
  }

  function fit(row, name, value) {
    if (value === "") return true;
    if (name !== "words") return row.getAttribute(`data-${name}`) === value;
    const text = row.textContent.toLowerCase();
    return value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  }

  filters.forEach((filter) => filter.addEventListener("input", apply));
  controls.querySelector("[data-reset]").addEventListener("click", () => {
    filters.forEach((filter) => { filter.value = ""; });
    apply();
  });
  for (const box of controls.querySelectorAll("[data-column]")) {
    const column = heads.findIndex((head) => head.dataset.name === box.dataset.column);
    const show = () => {
      for (const row of [table.tHead.rows[0], ...rows]) hide(row.cells[column], !box.checked);
    };
    box.addEventListener("change", show);
    show(); // a browser may restore a reader's choice when it goes back
  }
  apply();
}

// ---- one cell closely ----

const RUN_COLUMNS = [
  ["seed", (run) => String(run.seed)],
  ["run", (run) => run.id],
  ["status", (run) => run.status],
  ["accuracy %", (run) => percent(run.accuracy)],
  ["macro F1 %", (run) => percent(run.macro_f1)],
  ["precision %", (run) => percent(run.precision)],
  ["recall %", (run) => percent(run.recall)],
  ["images/s", (run) => number(run.images_per_s, 0)],
  ["stall %", (run) => number(run.stall_pct, 1)],
  ["time to accuracy s", (run) =>
    run.accuracy !== undefined && run.time_to_accuracy_s === null
      ? "not reached" : number(run.time_to_accuracy_s, 2)],
  ["train s", (run) => number(run.train_s, 2)],
  ["whole run s", (run) => number(run.total_s, 2)],
  ["notes", (run) => [run.reason, run.suspect && `timing suspect: ${run.suspect}`]
    .filter(Boolean).join("; ")],
];

function box(...children) {
  return make("div", { class: "box", tabindex: "0" }, ...children);
}

function headRow(names) {
  return make("thead", null, make("tr", null,
    ...names.map((name) => make("th", { scope: "col" }, name))));
}

function runsTable(runs) {
  const columns = RUN_COLUMNS.filter(([name, of]) => name !== "notes" || runs.some(of));
  const rows = runs.map((run) => make("tr", { class: run.status === "ok" ? null : "failed" },
    ...columns.map(([name, of]) => make("td", { class: name === "notes" ? "long" : null }, of(run)))));
  return box(make("table", { class: "runs" }, headRow(columns.map(([name]) => name)),
    make("tbody", null, ...rows)));
}

function confusionTable(run, classes) {
  const rows = run.confusion.map((counts, label) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    const cells = counts.map((count, predicted) => {
      const cell = make("td", { class: label === predicted ? "right" : null,
        title: `${classes[label]} taken for ${classes[predicted]}: ${count} of ${total}` }, String(count));
      cell.style.setProperty("--share", total ? (0.85 * count / total).toFixed(3) : "0");
      return cell;
    });
    return make("tr", null, make("th", { scope: "row" }, classes[label]), ...cells);
  });
  return make("table", { class: "confusion" }, headRow(["", ...classes]), make("tbody", null, ...rows));
}

function confusedTable(run, classes) {
  const rows = run.confused.map(([label, predicted, count]) => make("tr", null,
    make("td", null, classes[label]), make("td", null, classes[predicted]),
    make("td", { class: "n" }, String(count))));
  return make("table", { class: "confused" }, headRow(["class", "taken for", "images"]),
    make("tbody", null, ...rows));
}

function classTable(run, classes) {
  const rows = run.per_class.map(([precision, recall, f1, support], index) => make("tr", null,
    make("th", { scope: "row" }, classes[index]),
    ...[percent(precision), percent(recall), percent(f1), String(support)]
      .map((value) => make("td", { class: "n" }, value))));
  return make("table", { class: "classes" },
    headRow(["class", "precision %", "recall %", "F1 %", "images"]), make("tbody", null, ...rows));
}

function settingsList(settings) {
  return make("dl", { class: "settings" }, ...Object.entries(settings).map(([name, value]) =>
    make("div", null, make("dt", null, name), make("dd", null, value))));
}

function scores(run, classes) {
  if (!run.per_class) return make("p", null, `${run.status}: this run has no scores.`);
  const taken = run.confusion
    ? make("div", null, make("h4", null, "Confusion matrix"),
      make("p", { class: "caption" }, "Rows are true classes, columns are predictions, numbers are images."),
      box(confusionTable(run, classes)))
    : make("div", null, make("h4", null, "Most confused"), box(confusedTable(run, classes)));
  const each = make("div", null, make("h4", null, "Classes"), box(classTable(run, classes)));
  return make("div", { class: "side" }, taken, each);
}

function makePicker(picker) {
  const cells = JSON.parse(document.getElementById(picker.dataset.cells).textContent);
  const cellChoice = picker.querySelector('[data-pick="cell"]');
  const seedChoice = picker.querySelector('[data-pick="seed"]');
  const target = picker.querySelector(".cell");

  function show() {
    const cell = cells[Number(cellChoice.value)];
    const run = cell.runs[Number(seedChoice.value)];
    const rerun = run.rerun
      ? make("div", null, make("h4", null, "Train it again"), make("pre", null, make("code", null, run.rerun)))
      : null;
    target.replaceChildren(
      make("h4", null, `${cell.name}, seed ${run.seed}`), settingsList(cell.settings),
      runsTable(cell.runs), scores(run, cell.classes), ...(rerun ? [rerun] : []));
  }

  function pick() {
    const cell = cells[Number(cellChoice.value)];
    seedChoice.replaceChildren(...cell.runs.map((run, index) =>
      make("option", { value: String(index) }, `${run.seed}`)));
    const good = cell.runs.findIndex((run) => run.status === "ok");
    seedChoice.value = String(Math.max(0, good));
    show();
  }

  cellChoice.addEventListener("input", pick);
  seedChoice.addEventListener("input", show);
  for (const link of picker.closest("article").querySelectorAll("a[data-cell]")) {
    link.addEventListener("click", () => {
      cellChoice.value = link.dataset.cell;
      pick();
    });
  }
  pick();
}

// ---- links within the page ----

// A jump lands where it should only once everything above has its size.
const layOut = () => document.documentElement.classList.add("whole");
document.addEventListener("click", (event) => {
  if (event.target.closest("a[href^='#']")) layOut();
});
if (location.hash) layOut();

// ---- paper ----

// What is folded on the screen is printed.
const opened = new Set();
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("main details:not([open])")) {
    if (details.closest(".controls")) continue;
    details.open = true;
    opened.add(details);
  }
});
window.addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
  opened.clear();
});

document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
document.querySelectorAll("[data-for]").forEach(makeFilters);
document.querySelectorAll(".picker").forEach(makePicker);
