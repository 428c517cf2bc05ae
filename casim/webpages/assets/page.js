// What every page needs: elements, numbers, tables that sort, and a tip beside what is looked at.

const SVG = "http://www.w3.org/2000/svg";
const DASH = "–";

/** An element of HTML. Children are text, which stays text, or elements. */
function html(tag, attributes = {}, ...children) {
  return built(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
function svg(tag, attributes = {}, ...children) {
  return built(document.createElementNS(SVG, tag), attributes, children);
}

function built(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** A label that is broken before its settings, or in and after the name of one. */
function breakable(label) {
  const parts = label.split(/(?=\()|(?<=[=_])|(?<=\.)(?=[a-z])/);
  return parts.flatMap((part, place) => (place ? [html("wbr"), part] : [part]));
}

/** The value that the page carries under an id. */
function carried(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

/** Three digits, as `shown` of casim.webpages.numbers writes them. */
function number(x) {
  if (x === null || x === undefined || !Number.isFinite(x)) return DASH;
  const size = Math.abs(x);
  if (x !== 0 && (size < 1e-3 || size >= 1e5)) return x.toExponential(2).replace("e+", "e");
  return Number(x.toPrecision(3)).toLocaleString("en-US", { maximumFractionDigits: 10 });
}

/** A menu with its label. Options are texts, or pairs of a value and a text. */
function menu(label, options, chosen, changed) {
  const select = html("select", { "aria-label": label });
  for (const option of options) {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    select.append(html("option", { value, selected: String(value) === String(chosen) }, String(text)));
  }
  select.addEventListener("change", () => changed(select.value));
  return html("label", {}, label, select);
}

/** Sorts a table by a column whenever the button in its head is pressed; missing values go last. */
function sortable(table) {
  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => sortBy(table, button.closest("th")));
  }
}

function sortBy(table, head) {
  arrange(table, head, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
}

/** Puts lines in the order of a column, "ascending" or "descending". */
function arrange(table, head, order) {
  const falling = order === "descending";
  for (const other of head.parentNode.cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", order);
  const lines = [...table.tBodies[0].rows];
  const keys = new Map(lines.map((line) => [line, keyOf(line.cells[head.cellIndex])]));
  lines.sort((one, other) => compareKeys(keys.get(one), keys.get(other), falling ? -1 : 1));
  table.tBodies[0].append(...lines);
}

/** What a cell is sorted by: a number if it is one, null if it is missing. */
function keyOf(cell) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  if (text === DASH || text === "-" || text === "") return null;
  const value = Number(text);
  return Number.isNaN(value) ? text : value;
}

function compareKeys(one, other, direction) {
  if (one === null || other === null) return (one === null) - (other === null);
  if (typeof one === "number" && typeof other === "number") return direction * (one - other);
  return direction * String(one).localeCompare(String(other), "en", { numeric: true });
}

// The tip: what a pointer or the focus is on. Those who hear the page have the point's own label.
const tip = html("div", { id: "tip", hidden: true, "aria-hidden": true });
document.body.append(tip);

function showTip(node, text) {
  tip.textContent = text;
  tip.hidden = false;
  const place = node.getBoundingClientRect();
  const box = tip.getBoundingClientRect();
  const middle = place.left + place.width / 2;
  const left = Math.min(Math.max(middle - box.width / 2, 6), innerWidth - box.width - 6);
  const above = place.top - box.height - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 4 ? above : place.bottom + 8}px`;
}

function hideTip() {
  tip.hidden = true;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
});
// To focus a point may scroll to it: the tip goes along, and stays for what has the focus.
function followTip() {
  const node = document.activeElement;
  if (!tip.hidden && node?.said) showTip(node, node.said);
  else hideTip();
}
addEventListener("scroll", followTip, { passive: true, capture: true });
