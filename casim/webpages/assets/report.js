// The report of rows: one choice of rows for figures, tables and comparisons.

const data = carried("row-data");
const comparisons = carried("comparison-data");
const cards = carried("card-data");
const table = document.getElementById("scores-table");
const METHOD = 0;
const METHODOLOGY = 1;
const WORLD = nameWorlds();
const KNOBS = data.settings.map((_, place) => place).slice(METHODOLOGY + 1);
const MOST = 60; // Values that a menu may have.

/** Where rows differ in several settings, a setting that says all of them at once; its place, or -1. */
function nameWorlds() {
  const places = data.settings.map((_, place) => place).slice(METHODOLOGY + 1);
  const differ = (place) => new Set(data.rows.map((row) => row.settings[place])).size > 1;
  const told = places.filter((place) => differ(place) && data.settings[place] !== "seed");
  if (told.length < 2) return -1;
  const said = (row) => (place) => {
    const name = data.settings[place].split(".").at(-1);
    const value = row.settings[place];
    if (value === "-") return "";
    return ["task", "policy", "judge"].includes(name) ? String(value) : `${name.replaceAll("_", " ")} ${value}`;
  };
  for (const row of data.rows) row.settings.push(told.map(said(row)).filter((text) => text).join(", "));
  data.settings.push("world");
  return data.settings.length - 1;
}

const state = {
  words: "",
  controls: true,
  chosen: {}, // From the place of a setting to the value, as text, that rows must have.
  score: firstScore(),
  x: firstKnob(),
  kind: "auto",
};

function firstScore() {
  const preferred = ["snr_aligned", "variance", "bias"];
  const names = data.scores.map((score) => score.name);
  const found = preferred.find((name) => names.includes(name));
  return Math.max(0, names.indexOf(found));
}

/** The values of a setting, numbers by size. */
function valuesOf(place) {
  const all = [...new Set(data.rows.map((row) => row.settings[place]))];
  return all.every((x) => typeof x === "number") ? all.sort((a, b) => a - b) : all;
}

function varies(place) {
  return valuesOf(place).length > 1;
}

/** The first setting that is a number and varies, or else any that varies; worlds if no one will do. */
function firstKnob() {
  if (WORLD >= 0) return WORLD;
  const varying = KNOBS.filter(varies);
  const numeric = varying.find((place) => valuesOf(place).every((x) => typeof x === "number"));
  return numeric ?? varying[0] ?? KNOBS[0];
}

function isShown(row) {
  if (!state.controls && row.settings[METHODOLOGY] === "control") return false;
  for (const [place, value] of Object.entries(state.chosen)) {
    if (value !== "" && String(row.settings[place]) !== value) return false;
  }
  const said = row.settings.join(" ").toLowerCase();
  return state.words.split(/\s+/).every((word) => said.includes(word));
}

// Filters.

function addFilters() {
  const form = document.getElementById("filters");
  const words = html("input", { type: "search", "aria-label": "words" });
  words.addEventListener("input", () => {
    state.words = words.value.trim().toLowerCase();
    update();
  });
  form.append(html("label", {}, "words", words));
  for (const place of [METHODOLOGY, ...KNOBS]) {
    const values = valuesOf(place);
    if (values.length < 2 || values.length > MOST) continue;
    const options = [["", "any"], ...values.map((value) => [value, String(value).replaceAll("_", " ")])];
    form.append(menu(data.settings[place], options, "", (value) => {
      state.chosen[place] = value;
      update();
    }));
  }
  const controls = html("input", { type: "checkbox", checked: true, id: "controls" });
  controls.addEventListener("change", () => {
    state.controls = controls.checked;
    update();
  });
  form.append(html("label", {}, controls, "controls too"));
  form.addEventListener("submit", (event) => event.preventDefault());
}

function update() {
  let count = 0;
  for (const line of table.tBodies[0].rows) {
    const shown = isShown(data.rows[line.dataset.row]);
    line.hidden = !shown;
    count += shown;
  }
  document.getElementById("count").textContent = `${count} of ${data.rows.length} rows`;
  drawPanels();
  drawComparisons();
}

// Figures.

function addFigureControls() {
  const form = document.getElementById("figure-controls");
  const scores = data.scores.map((score, place) => [place, score.name]);
  form.append(menu("score", scores, state.score, (value) => {
    state.score = Number(value);
    drawPanels();
  }));
  const knobs = KNOBS.filter((place) => varies(place) || place === state.x);
  form.append(menu("along", knobs.map((place) => [place, data.settings[place]]), state.x, (value) => {
    state.x = Number(value);
    drawPanels();
  }));
  form.append(menu("axis", ["auto", "linear", "log", "symlog"], state.kind, (value) => {
    state.kind = value;
    drawPanels();
  }));
}

/** Rows as lines along x: one for each method and each setting of what else varies. */
function linesOf(rows) {
  const apart = (place) => place !== state.x && place !== WORLD && data.settings[place] !== "seed";
  const others = state.x === WORLD ? [] : KNOBS.filter((place) => apart(place) && varies(place));
  const told = others.filter((place) => new Set(rows.map((row) => row.settings[place])).size > 1);
  const found = new Map();
  for (const row of rows) {
    const rest = told.map((place) => `${data.settings[place]} ${row.settings[place]}`);
    const name = [row.settings[METHOD], ...rest].join(", ");
    if (!found.has(name)) found.set(name, { name, methodology: row.settings[METHODOLOGY], points: [] });
    found.get(name).points.push(pointOf(row, name));
  }
  const order = valuesOf(state.x);
  for (const line of found.values()) line.points.sort((a, b) => order.indexOf(a.x) - order.indexOf(b.x));
  return [...found.values()].filter((line) => line.points.some((point) => point.value !== null || point.exact !== null));
}

function pointOf(row, name) {
  const [value, low, high, exact] = row.scores[state.score] ?? [null, null, null];
  const x = row.settings[state.x];
  const parts = [`${name}\n${data.settings[state.x]} ${typeof x === "number" ? number(x) : x}`];
  const score = data.scores[state.score].name;
  parts.push(`${score} ${number(value)}`);
  if (low !== null && low !== high) parts.push(`95% ${number(low)} to ${number(high)}`);
  if (exact !== undefined && exact !== null) parts.push(`exact ${number(exact)}`);
  return { x, value, low, high, exact: exact ?? null, said: parts.join("\n") };
}

function drawPanels() {
  hideTip();
  const rows = data.rows.filter(isShown);
  const lines = linesOf(rows);
  const score = data.scores[state.score];
  const points = lines.flatMap((line) => line.points);
  const numbers = points.flatMap((point) => [point.value, point.exact]).filter((x) => x !== null);
  const ends = points.flatMap((point) => [point.low, point.high]).filter((x) => x !== null);
  const scale = makeScale(numbers, state.kind === "auto" && score.share ? "linear" : state.kind, ends);
  const places = makePlaces(rows.map((row) => row.settings[state.x]));
  const panels = document.getElementById("panels");
  panels.replaceChildren();
  for (const [methodology, kind] of Object.entries(data.kinds)) {
    const own = lines.filter((line) => line.methodology === methodology);
    if (!own.length) continue;
    panels.append(panel({
      title: methodology.replaceAll("_", " "),
      kind,
      lines: own,
      behind: lines.filter((line) => line.methodology !== methodology),
      places,
      scale,
      caption: score.caption,
      xCaption: data.settings[state.x],
    }));
  }
  const worlds = new Set(rows.map((row) => row.settings[state.x]));
  if (state.x === WORLD && worlds.size > FEW_WORDS) panels.append(listOf(worlds));
  if (!lines.length) panels.append(html("p", {}, `No row that is shown has ${score.name}.`));
}

/** What the numbers at the axis stand for. */
function listOf(worlds) {
  const items = [...worlds].map((world) => html("li", {}, world));
  return html("div", { class: "worlds" }, html("h3", {}, "Worlds"), html("ol", {}, ...items));
}

// The table of scores.

function addTable() {
  if (WORLD >= 0) tellWorlds();
  sortable(table);
  for (const button of document.querySelectorAll("#families input")) {
    button.addEventListener("change", () => (table.dataset.family = button.value));
  }
}

/** A column for worlds in place of those of their settings, so that scores are in sight. */
function tellWorlds() {
  const said = KNOBS.filter((place) => place !== WORLD && data.settings[place] !== "seed");
  for (const line of table.rows) {
    for (const place of said) line.cells[place].hidden = true;
    const row = data.rows[line.dataset.row];
    const cell = row
      ? html("td", { class: "said" }, row.settings[WORLD])
      : html("th", { scope: "col", "aria-sort": "none" }, html("button", { type: "button" }, "world"));
    line.insertBefore(cell, line.cells[WORLD]);
  }
}

// Comparisons.

const compared = { score: Object.keys(comparisons.found)[0] };
const HEADS = ["value", "reference", "difference", "95% interval", "p", "verdict"];

function addComparisons() {
  const form = document.getElementById("comparison-controls");
  const scores = Object.keys(comparisons.found);
  form.hidden = scores.length === 0;
  form.append(html("p", {}, "against ", html("strong", {}, String(comparisons.against))));
  form.append(menu("score", scores, compared.score, (value) => {
    compared.score = value;
    drawComparisons();
  }));
}

function drawComparisons() {
  const target = document.getElementById("comparisons-table");
  const sorted = [...(target.tHead?.rows[0].cells ?? [])].map((head) => head.getAttribute("aria-sort"));
  const known = comparisons.found[compared.score];
  if (!known) return;
  const told = WORLD >= 0 ? [WORLD] : KNOBS.filter((place) => data.settings[place] !== "seed");
  const settings = [METHOD, ...told];
  const names = [...settings.map((place) => data.settings[place]), ...HEADS];
  const heads = names.map((name) => html("th", { scope: "col", "aria-sort": "none" }, html("button", { type: "button" }, name)));
  const body = html("tbody");
  for (const line of known) {
    const row = data.rows[line[0]];
    if (isShown(row)) body.append(comparisonLine(line, row, settings));
  }
  target.replaceChildren(html("thead", {}, html("tr", {}, ...heads)), body);
  sortable(target);
  const place = sorted.findIndex((order) => order && order !== "none");
  if (place >= 0) arrange(target, heads[place], sorted[place]);
}

function comparisonLine(line, row, settings) {
  const [, value, reference, difference, low, high, p, verdict] = line;
  const [own, ...others] = settings.map((place) => row.settings[place]);
  const cell = (x) => html("td", { "data-value": x ?? "" }, number(x));
  const interval = low === null ? DASH : `${number(low)} to ${number(high)}`;
  return html("tr", {},
    html("th", { scope: "row" }, ...breakable(String(own))),
    ...others.map((x) => html("td", { class: "said" }, String(x))),
    cell(value), cell(reference), cell(difference),
    html("td", { "data-value": low ?? "" }, interval),
    cell(p), html("td", { class: verdict === "better" || verdict === "worse" ? verdict : "" }, verdict));
}

// Cards.

function addCards() {
  const form = document.getElementById("card-controls");
  form.hidden = cards.cards.length === 0;
  const titles = cards.cards.map((card, place) => [place, card.title]);
  form.append(menu("card", titles, 0, (value) => drawCard(cards.cards[value])));
  if (cards.cards.length) drawCard(cards.cards[0]);
}

function drawCard(card) {
  const target = document.getElementById("card");
  const missing = cards.questions.filter((question, place) => question[2] && card.answers[place] < 0).length;
  const few = ["Every required item is reported.", "1 required item is not reported."];
  target.replaceChildren(html("p", {}, few[missing] ?? `${missing} required items are not reported.`));
  let section = "";
  let lines = null;
  cards.questions.forEach(([name, words], place) => {
    if (name !== section) {
      section = name;
      lines = html("dl");
      target.append(html("h3", {}, name), lines);
    }
    const said = cards.texts[card.answers[place]] ?? "not reported";
    lines.append(html("dt", {}, words), html("dd", {}, said));
  });
}

addFilters();
addFigureControls();
addTable();
addComparisons();
addCards();
update();
