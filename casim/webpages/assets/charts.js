// Panels of lines with intervals, as plain SVG: axes that fit, points that pointer and keys reach.

const WIDTH = 320;
const HEIGHT = 215;
const MARGIN = { left: 46, right: 10, top: 8, bottom: 34 };
const MARKS = ["circle", "square", "triangle", "diamond", "down", "cross", "plus", "star"];
const FEW_WORDS = 5;
const REACH = 26; // How far a pointer may be from a point.
const ROOM = 0.3; // What intervals may add to an axis on either side, of what estimates need.
const FACTOR = 30; // Sizes that differ by more than this ask for a logarithm.

/** How numbers lie along an axis: "linear", "log", or "symlog", which is linear up to `threshold`. */
function makeScale(values, kind, ends = []) {
  const finite = values.filter(Number.isFinite);
  const chosen = kind === "auto" ? fittingKind(finite) : kind;
  const usable = chosen === "log" ? finite.filter((x) => x > 0) : finite;
  const sizes = usable.map(Math.abs).filter((x) => x > 0).sort((a, b) => a - b);
  const threshold = sizes.length ? 10 ** Math.floor(Math.log10(sizes[Math.floor(sizes.length / 4)])) : 1;
  const forth = {
    linear: (x) => x,
    log: (x) => (x > 0 ? Math.log10(x) : NaN),
    symlog: (x) => Math.asinh(x / threshold),
  }[chosen];
  let low = Math.min(...usable.map(forth));
  let high = Math.max(...usable.map(forth));
  if (!usable.length) [low, high] = [0, 1];
  if (high - low < 1e-12 * Math.max(1, Math.abs(high))) [low, high] = [low - 0.5, high + 0.5];
  // Ends of intervals have room, as long as what was estimated stays in sight.
  const most = ROOM * (high - low);
  const reach = ends.map(forth).filter(Number.isFinite);
  [low, high] = [Math.max(low - most, Math.min(low, ...reach)), Math.min(high + most, Math.max(high, ...reach))];
  const room = 0.06 * (high - low);
  [low, high] = [low - room, high + room];
  const share = (x) => (forth(x) - low) / (high - low);
  return { kind: chosen, threshold, share, ticks: ticksOf(chosen, threshold, share, low, high) };
}

function fittingKind(values) {
  const sizes = values.map(Math.abs).filter((x) => x > 0);
  if (!sizes.length || Math.max(...sizes) <= FACTOR * Math.min(...sizes)) return "linear";
  if (values.every((x) => x > 0)) return "log";
  const sorted = sizes.sort((a, b) => a - b);
  return sorted.at(-1) > FACTOR * sorted[Math.floor(sorted.length / 4)] ? "symlog" : "linear";
}

/** Few numbers to write at an axis, none too near to another. */
function ticksOf(kind, threshold, share, low, high) {
  if (kind === "linear") return linearTicks(low, high);
  const powers = Array.from({ length: 41 }, (_, place) => 10 ** (place - 20));
  const sides = kind === "log" ? powers : [0, ...powers, ...powers.map((x) => -x)];
  const inside = sides.filter((x) => {
    const place = share(x);
    return place >= 0 && place <= 1 && (kind === "log" || x === 0 || Math.abs(x) >= threshold);
  });
  if (kind === "log" && inside.length < 2) return logTicks(low, high);
  const kept = [];
  for (const x of inside.sort((a, b) => (a === 0 ? -1 : b === 0 ? 1 : Math.abs(b) - Math.abs(a)))) {
    if (kept.every((other) => Math.abs(share(other) - share(x)) > 0.13)) kept.push(x);
  }
  return kept.sort((a, b) => a - b);
}

function linearTicks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((x) => x * power).find((x) => x >= rough);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, place) => Number(((first + place) * step).toPrecision(12)));
}

function logTicks(low, high) {
  const least = 10 ** low;
  const most = 10 ** high;
  return linearTicks(least, most).filter((x) => x > 0);
}

/** Where values of x lie: numbers by their size, words side by side. */
function makePlaces(values) {
  const all = [...new Set(values)];
  const numeric = all.every((x) => typeof x === "number");
  if (numeric && all.length > 1) {
    all.sort((a, b) => a - b);
    const factors = all.length > 2 && all[0] > 0 && all.at(-1) >= 8 * all[0];
    const scale = makeScale(all, factors ? "log" : "linear");
    const ticks = [];
    for (const x of all) {
      const far = ticks.every((other) => Math.abs(scale.share(other) - scale.share(x)) > 0.14);
      if (far) ticks.push(x);
    }
    return { share: scale.share, ticks, text: number };
  }
  const share = (x) => (all.indexOf(x) + 0.5) / all.length;
  // Many words are numbered: a list beside the panels says what they are.
  const word = (x) => (all.length > FEW_WORDS ? String(all.indexOf(x) + 1) : String(x));
  return { share, ticks: all, text: (x) => (typeof x === "number" ? number(x) : word(x)) };
}

/** The outline of a mark of radius r around 0. */
function markPath(place, r) {
  const points = (...list) => `M${list.map(([x, y]) => `${x * r},${y * r}`).join("L")}Z`;
  const arm = 0.36;
  switch (MARKS[place % MARKS.length]) {
    case "square": return points([-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]);
    case "triangle": return points([0, -1.1], [1, 0.8], [-1, 0.8]);
    case "diamond": return points([0, -1.2], [1.1, 0], [0, 1.2], [-1.1, 0]);
    case "down": return points([0, 1.1], [1, -0.8], [-1, -0.8]);
    case "plus": return points([-arm, -1.1], [arm, -1.1], [arm, -arm], [1.1, -arm], [1.1, arm], [arm, arm],
      [arm, 1.1], [-arm, 1.1], [-arm, arm], [-1.1, arm], [-1.1, -arm], [-arm, -arm]);
    case "cross": return points([-1.1, -0.6], [-0.6, -1.1], [0, -0.5], [0.6, -1.1], [1.1, -0.6], [0.5, 0],
      [1.1, 0.6], [0.6, 1.1], [0, 0.5], [-0.6, 1.1], [-1.1, 0.6], [-0.5, 0]);
    case "star": {
      const star = Array.from({ length: 10 }, (_, place) => {
        const size = place % 2 ? 0.5 : 1.25;
        const angle = (Math.PI * place) / 5;
        return [size * Math.sin(angle), -size * Math.cos(angle)];
      });
      return points(...star);
    }
    default: return `M${-r},0A${r},${r} 0 1 0 ${r},0A${r},${r} 0 1 0 ${-r},0Z`;
  }
}

/**
 * A panel.
 *
 * lines: of {name, points: [{x, value, low, high, exact, said}]}; `said` is what a reader is told.
 * behind: lines that are drawn grey, and are out of reach. now: a value of x that is marked.
 */
function panel({ title, kind, lines, behind, places, scale, caption, xCaption, now }) {
  const inner = { width: WIDTH - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
  const x = (value) => MARGIN.left + inner.width * places.share(value);
  const y = (value) => {
    const share = scale.share(value);
    return Number.isFinite(share) ? MARGIN.top + inner.height * (1 - Math.min(Math.max(share, -0.02), 1.02)) : null;
  };
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": `${title}: ${caption}` });
  drawing.append(axes(places, scale, x, y, inner, xCaption));
  if (now !== undefined) drawing.append(svg("path", { class: "now", d: `M${x(now)},${MARGIN.top}v${inner.height}` }));
  for (const line of behind) drawing.append(svg("path", { class: "behind", d: pathOf(line.points, x, y) }));
  const groups = lines.map((line, place) => lineOf(line, place, x, y, places));
  drawing.append(...groups);
  reachable(drawing, groups);
  const keys = html("ul", { class: "keys" });
  lines.forEach((line, place) => keys.append(keyOfLine(line, place, groups)));
  return html("figure", { class: kind }, html("figcaption", {}, title), drawing, keys);
}

function axes(places, scale, x, y, inner, xCaption) {
  const group = svg("g", { "aria-hidden": true });
  const right = MARGIN.left + inner.width;
  const bottom = MARGIN.top + inner.height;
  for (const tick of scale.ticks) {
    const height = y(tick);
    const kind = tick === 0 ? "zero" : "grid";
    group.append(svg("path", { class: kind, d: `M${MARGIN.left},${height}H${right}` }));
    group.append(svg("text", { x: MARGIN.left - 5, y: height + 4, "text-anchor": "end" }, number(tick)));
  }
  group.append(svg("path", { class: "axis", d: `M${MARGIN.left},${MARGIN.top}V${bottom}H${right}` }));
  const room = inner.width / places.ticks.length / 6;
  for (const tick of places.ticks) {
    const text = places.text(tick);
    const short = typeof tick === "number" || text.length <= room ? text : `${text.slice(0, Math.max(room - 1, 2))}…`;
    group.append(svg("path", { class: "axis", d: `M${x(tick)},${bottom}v4` }));
    group.append(svg("text", { x: x(tick), y: bottom + 15, "text-anchor": "middle" }, short));
  }
  group.append(svg("text", { x: MARGIN.left + inner.width / 2, y: HEIGHT - 4, "text-anchor": "middle" }, xCaption));
  return group;
}

function pathOf(points, x, y) {
  let pen = "M";
  const parts = [];
  for (const point of points) {
    const height = point.value === null ? null : y(point.value);
    if (height === null) {
      pen = "M";
      continue;
    }
    parts.push(`${pen}${x(point.x).toFixed(1)},${height.toFixed(1)}`);
    pen = "L";
  }
  return parts.join("");
}

/** A line with its intervals and marks; each point has a label of its own. */
function lineOf(line, place, x, y, places) {
  const group = svg("g", { class: "series" });
  if (places.text === number) group.append(svg("path", { class: "line", d: pathOf(line.points, x, y) }));
  for (const point of line.points) {
    const across = x(point.x);
    const height = point.value === null ? null : y(point.value);
    const exact = point.exact === null || point.exact === undefined ? null : y(point.exact);
    if (height === null && exact === null) continue;
    const node = svg("g", { class: "point", tabindex: -1, role: "img", "aria-label": point.said });
    if (height !== null && point.low !== null && point.high !== null) {
      const ends = [y(point.low) ?? MARGIN.top + HEIGHT, y(point.high) ?? height];
      const floor = Math.min(ends[0], HEIGHT - MARGIN.bottom);
      const top = Math.max(ends[1], MARGIN.top);
      node.append(svg("path", { class: "whisker", d: `M${across},${floor}V${top}` }));
    }
    const moved = `translate(${across},${height ?? exact})`;
    if (height !== null) node.append(svg("path", { class: "mark", d: markPath(place, 3.6), transform: moved }));
    if (exact !== null) {
      node.append(svg("path", { class: "exact", d: markPath(3, 4.6), transform: `translate(${across},${exact})` }));
    }
    node.append(svg("circle", { class: "ring", r: 8, transform: moved }));
    node.place = { x: across, y: height ?? exact };
    node.said = point.said;
    group.append(node);
  }
  return group;
}

function distance(node, at) {
  return Math.hypot(node.place.x - at.x, node.place.y - at.y);
}

/** Gives the points of a drawing to pointers, the nearest at a time, and to the arrow keys. */
function reachable(drawing, groups, far = distance) {
  const rows = groups.map((group) => [...group.querySelectorAll(".point")]).filter((row) => row.length);
  const all = rows.flat();
  if (!all.length) return;
  all[0].setAttribute("tabindex", 0);
  let near = null;
  const leave = () => {
    near?.classList.remove("near");
    near = null;
    hideTip();
  };
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const unit = WIDTH / box.width;
    const at = { x: (event.clientX - box.left) * unit, y: (event.clientY - box.top) * unit };
    const found = all.reduce((one, other) => (far(other, at) < far(one, at) ? other : one));
    if (far(found, at) > REACH) return leave();
    if (found === near) return;
    leave();
    near = found;
    near.classList.add("near");
    showTip(near, near.said);
  });
  drawing.addEventListener("pointerleave", leave);
  for (const node of all) {
    node.addEventListener("focus", () => showTip(node, node.said));
    node.addEventListener("blur", hideTip);
  }
  drawing.addEventListener("keydown", (event) => {
    const target = nextPoint(rows, event.target.closest(".point"), event.key);
    if (!target) return;
    event.preventDefault();
    for (const node of all) node.setAttribute("tabindex", -1);
    target.setAttribute("tabindex", 0);
    target.focus();
  });
}

/** Left and right go along a line, up and down to the next line, Home and End to its ends. */
function nextPoint(rows, node, key) {
  const line = rows.findIndex((row) => row.includes(node));
  if (line < 0) return null;
  const place = rows[line].indexOf(node);
  const other = { ArrowUp: line - 1, ArrowDown: line + 1 }[key];
  if (other !== undefined) return rows[other]?.[Math.min(place, rows[other].length - 1)];
  const along = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: rows[line].length - 1 }[key];
  return rows[line][along];
}

/** The name of a line beside its mark; a pointer on it dims the others. */
function keyOfLine(line, place, groups) {
  const mark = svg("svg", { viewBox: "-7 -7 14 14", "aria-hidden": true }, svg("path", { d: markPath(place, 4.5) }));
  const item = html("li", { class: "key" }, mark, line.name);
  const dim = (on) => groups.forEach((group, other) => group.classList.toggle("dim", on && other !== place));
  item.addEventListener("pointerenter", () => dim(true));
  item.addEventListener("pointerleave", () => dim(false));
  return item;
}
