// The explorer: knobs choose a point of the grid, and everything on the page is of that point.

const grid = carried("grid");
const kinds = carried("kinds");
const REFERENCE = grid.knobs.map((knob) => knob.reference);
const STEPS = ["thought", "call", "tool's answer"];
const CALL = 1;
const SNR = "snr_aligned";
// What is said of each method above its picture: a score, its name there and its unit.
const BRIEF = [
  ["bias", "bias", " × signal"],
  ["variance", "variance", " × signal"],
  [SNR, "SNR", ""],
];

const state = {
  place: [...REFERENCE],
  order: [], // Knobs, that which was moved longest ago first.
  back: [], // Names of knobs that went back while the last one was moved.
  won: false,
  shared: false,
  score: grid.scores.indexOf(SNR),
  knob: 0,
};

function point(place = state.place) {
  return grid.points[place.join(",")];
}

function valueText(knob, at) {
  const { values, unit } = grid.knobs[knob];
  return `${number(values[at])} ${unit}`.trim();
}

// Knobs.

function addKnobs() {
  const form = document.getElementById("knobs");
  grid.knobs.forEach((knob, place) => {
    const input = html("input", {
      type: "range", min: 0, max: knob.values.length - 1, step: 1, value: knob.reference,
      "aria-label": knob.name, "aria-describedby": `said-${place}`, id: `knob-${place}`,
    });
    input.addEventListener("input", () => move(place, Number(input.value)));
    const output = html("output", { for: input.id });
    form.append(html("div", { class: "knob" },
      html("label", { for: input.id }, knob.name), output, input,
      html("small", { id: `said-${place}` }, knob.said)));
  });
  const reset = html("button", { type: "button", id: "reset" }, "back to the reference");
  reset.addEventListener("click", () => {
    state.place = [...REFERENCE];
    state.order = [];
    say("All knobs are at their reference.");
    update();
  });
  form.append(reset);
}

/** Moves a knob. What was not computed together with it goes back to the reference. */
function move(knob, at) {
  if (state.order.at(-1) !== knob) state.back = [];
  state.place[knob] = at;
  state.order = [...state.order.filter((other) => other !== knob), knob];
  state.knob = knob;
  while (!point()) {
    const oldest = state.order.find((other) => other !== knob && state.place[other] !== REFERENCE[other]);
    state.place[oldest] = REFERENCE[oldest];
    state.back.push(grid.knobs[oldest].name);
  }
  const back = state.back.length ? ` Back at the reference: ${state.back.join(", ")}.` : "";
  say(`${grid.knobs[knob].name}: ${valueText(knob, at)}.${back}`);
  update();
}

function say(text) {
  document.getElementById("moved").textContent = text;
}

function drawKnobs() {
  grid.knobs.forEach((knob, place) => {
    const at = state.place[place];
    const input = document.getElementById(`knob-${place}`);
    input.value = at;
    const text = valueText(place, at);
    const away = at !== knob.reference;
    input.setAttribute("aria-valuetext", away ? text : `${text}, the reference`);
    const output = input.previousElementSibling;
    output.textContent = away ? `${text} (reference ${number(knob.values[knob.reference])})` : text;
  });
}

// The trajectory.

function episode() {
  const known = point().episodes;
  return known.find((one) => one.won === state.won) ?? known[0];
}

function addOutcomes() {
  const form = document.getElementById("outcomes");
  for (const won of [true, false]) {
    const input = html("input", { type: "radio", name: "won", value: won, checked: won === state.won });
    input.addEventListener("change", () => {
      state.won = won;
      update();
    });
    form.append(html("label", {}, input, won ? "one that was won" : "one that was lost"));
  }
}

/** What happened at a step, in words. */
function stepSaid(own, step) {
  const turn = Math.floor(step / grid.tokens);
  const kind = step % grid.tokens;
  const parts = [`turn ${turn + 1}, ${STEPS[kind]}`];
  if (kind === CALL) {
    parts.push(own.right[turn] ? "right" : "wrong");
    parts.push(point().decides[turn] ? "counts" : "changes nothing");
  }
  return parts.join(", ");
}

function story(own) {
  const counting = own.right.filter((_, turn) => point().decides[turn]);
  const right = counting.filter((x) => x).length;
  const end = own.won ? "the task was intact at the end: reward 1" : "the task was broken at the end: reward 0";
  return `${own.right.length} turns; of ${counting.length} calls that count ${right} were right; ${end}.`;
}

function drawPath() {
  const own = episode();
  document.getElementById("story").textContent = story(own);
  const target = document.getElementById("path");
  const width = Math.max(target.clientWidth, 280);
  const steps = own.truth.length;
  const room = (width - 20) / steps;
  const x = (step) => 10 + room * (step + 0.5);
  const size = Math.min(7.5, 0.42 * room * grid.tokens / 1.6);
  const drawing = svg("svg", { viewBox: `0 0 ${width} 96`, role: "img", "aria-label": story(own), class: "path" });
  const each = Math.ceil(24 / (room * grid.tokens));
  own.right.forEach((right, turn) => {
    const first = turn * grid.tokens;
    if (turn % 2 === 0) {
      drawing.append(svg("rect", { class: "turn", x: x(first) - room / 2, y: 18, width: room * grid.tokens, height: 72 }));
    }
    if (turn % each === 0) {
      drawing.append(svg("text", { x: x(first + CALL), y: 12, "text-anchor": "middle" }, String(turn + 1)));
    }
    const counts = point().decides[turn];
    // What the tool says after a call is what the next call goes by; after the last none does.
    const told = own.told[turn + 1] ?? true;
    drawing.append(svg("circle", { class: "thought", cx: x(first), cy: 42, r: Math.min(2.5, room / 3) }));
    if (counts) drawing.append(svg("circle", { class: "counts", cx: x(first + CALL), cy: 42, r: size + 3 }));
    drawing.append(svg("path", {
      class: right ? "right" : "wrong", d: markPath(right ? 0 : 5, counts ? size : 0.6 * size),
      transform: `translate(${x(first + CALL)},42)`,
    }));
    const after = first + grid.tokens - 1;
    drawing.append(svg("path", { class: told ? "told" : "mistold", d: markPath(2, Math.min(3.5, room / 2.4)), transform: `translate(${x(after)},42)` }));
  });
  own.broken.forEach((broken, step) => {
    const from = x(step) - room / 2;
    drawing.append(svg("path", { class: broken ? "broken" : "intact", d: `M${from},76h${room}` }));
  });
  target.replaceChildren(drawing, legend());
}

function legend() {
  const icon = (...inside) => svg("svg", { viewBox: "-11 -11 22 22", "aria-hidden": true }, ...inside);
  const items = [
    [svg("circle", { class: "thought", r: 3 }), "thought"],
    [svg("path", { class: "right", d: markPath(0, 6) }), "right call"],
    [svg("path", { class: "wrong", d: markPath(5, 6) }), "wrong call"],
    [svg("circle", { class: "counts", r: 9 }), "counts"],
    [svg("path", { class: "told", d: markPath(2, 6) }), "the tool's answer tells its mode"],
    [svg("path", { class: "mistold", d: markPath(2, 6) }), "it misleads"],
    [svg("path", { class: "intact", d: "M-10,0h20" }), "task intact"],
    [svg("path", { class: "broken", d: "M-10,0h20" }), "broken"],
  ];
  return html("ul", { class: "keys path" }, ...items.map(([mark, text]) => html("li", {}, icon(mark), text)));
}

// The credit of its steps, a panel for each method.

function addCreditControls() {
  const form = document.getElementById("credit-controls");
  const input = html("input", { type: "checkbox", id: "shared" });
  input.addEventListener("change", () => {
    state.shared = input.checked;
    drawCredit();
  });
  form.append(html("label", {}, input, "one scale for all methods"));
}

function drawCredit() {
  const own = episode();
  const panels = document.getElementById("panels");
  const extents = grid.methods.map((_, place) => extentOf(own, place));
  const all = makeScale(extents.flat(), "linear");
  const drawn = grid.methods.map((method, place) => {
    const scale = state.shared ? all : makeScale(extents[place], "linear");
    return creditPanel(method, place, own, scale);
  });
  panels.replaceChildren(...drawn);
}

/** The numbers that the panel of a method must hold. */
function extentOf(own, place) {
  const found = [0];
  own.mean[place].forEach((mean, step) => {
    if (mean === null) return;
    found.push(mean - own.spread[place][step], mean + own.spread[place][step], own.truth[step]);
  });
  return found;
}

function creditPanel(method, place, own, scale) {
  const steps = own.truth.length;
  const width = WIDTH - MARGIN.left - MARGIN.right;
  const height = HEIGHT - MARGIN.top - MARGIN.bottom;
  const room = width / steps;
  const x = (step) => MARGIN.left + room * (step + 0.5);
  const y = (value) => MARGIN.top + height * (1 - scale.share(value));
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": `credit of ${method.name}` });
  const turns = own.right.map((_, turn) => turn);
  const each = Math.ceil(turns.length / 10);
  const places = {
    share: (turn) => (turn * grid.tokens + CALL + 0.5) / steps,
    ticks: turns.filter((turn) => turn % each === 0),
    text: (turn) => String(turn + 1),
  };
  drawing.append(axes(places, scale, (turn) => x(turn * grid.tokens + CALL), y, { width, height }, "turn"));
  const group = svg("g", { class: "series" });
  own.mean[place].forEach((mean, step) => {
    if (mean !== null) group.append(stepOf(own, place, step, x, y, room));
  });
  drawing.append(group);
  reachable(drawing, [group], (node, at) => Math.abs(node.place.x - at.x));
  return html("figure", { class: kinds[method.methodology] }, html("figcaption", {}, method.name), brief(place), drawing);
}

/** A bar to the mean, a line of a deviation to both sides, and the truth. */
function stepOf(own, place, step, x, y, room) {
  const mean = own.mean[place][step];
  const spread = own.spread[place][step];
  const truth = own.truth[step];
  const said = [
    stepSaid(own, step),
    `credit ${number(mean)} on average, deviation ${number(spread)}`,
    `exact advantage ${number(truth)}`,
  ].join("\n");
  const node = svg("g", { class: "point", tabindex: -1, role: "img", "aria-label": said });
  const bar = Math.min(0.72 * room, 12);
  const [top, foot] = [y(mean), y(0)].sort((a, b) => a - b);
  node.append(svg("rect", { class: "bar", x: x(step) - bar / 2, y: top, width: bar, height: Math.max(foot - top, 0.8) }));
  node.append(svg("path", { class: "whisker", d: `M${x(step)},${y(mean - spread)}V${y(mean + spread)}` }));
  const size = Math.min(3.6, 0.45 * room + 0.8);
  node.append(svg("path", { class: "exact", d: markPath(3, size), transform: `translate(${x(step)},${y(truth)})` }));
  node.append(svg("circle", { class: "ring", r: Math.min(8, room + 2), cx: x(step), cy: y(mean) }));
  node.place = { x: x(step), y: y(mean) };
  node.said = said;
  return node;
}

/** The numbers of a method over all trajectories, in a line. */
function brief(place) {
  const scores = point().scores[place];
  const parts = BRIEF.map(
    ([name, text, unit]) => `${text} ${number(scores[grid.scores.indexOf(name)])}${unit}`,
  );
  const cost = point().costs[place];
  const words = ["steps", "judge calls", "updates"];
  const paid = cost.map((x, kind) => (x ? `${number(x)} ${words[kind]}` : "")).filter((x) => x);
  return html("p", { class: "brief" }, `${parts.join(" · ")} · costs ${paid.join(", ") || "nothing more"}`);
}

// Scores over all trajectories.

function drawNumbers() {
  const table = document.getElementById("numbers");
  const heads = [...table.tHead.rows[0].cells];
  const sorted = heads.map((head) => head.getAttribute("aria-sort"));
  const lines = grid.methods.map((method, place) => {
    const numbers = [...point().scores[place], ...point().costs[place]];
    const cells = numbers.map((x) => html("td", { "data-value": x ?? "" }, number(x)));
    return html("tr", {}, html("th", { scope: "row" }, method.name), ...cells);
  });
  table.tBodies[0].replaceChildren(...lines);
  const place = sorted.findIndex((order) => order !== "none");
  if (place >= 0) arrange(table, heads[place], sorted[place]);
  const size = grid.knobs.map((knob, at) => `${knob.name} ${valueText(at, state.place[at])}`).join(", ");
  document.getElementById("success").textContent =
    `At ${size}. The agent succeeds with probability ${number(point().success)}. Bias and variance are relative to the signal, SNR is that of the gradient after the best learning rate, costs are of one group.`;
}

// A score along a knob.

function addAlongControls() {
  const form = document.getElementById("along-controls");
  const scores = grid.scores.map((name, place) => [place, name]);
  form.append(menu("score", scores, state.score, (value) => {
    state.score = Number(value);
    drawAlong();
  }));
  const knobs = grid.knobs.map((knob, place) => [place, knob.name]);
  const chosen = menu("along", knobs, state.knob, (value) => {
    state.knob = Number(value);
    drawAlong();
  });
  chosen.querySelector("select").id = "along-knob";
  form.append(chosen);
}

function drawAlong() {
  document.getElementById("along-knob").value = state.knob;
  const knob = grid.knobs[state.knob];
  const moved = (base, at) => base.map((own, place) => (place === state.knob ? at : own));
  const places = (base) => knob.values.map((_, at) => moved(base, at));
  const here = places(state.place).every(point);
  const base = here ? state.place : REFERENCE;
  const lines = grid.methods.map((method, place) => ({
    name: method.name,
    methodology: method.methodology,
    points: places(base).map((at, value) => {
      const score = point(at).scores[place][state.score];
      const said = `${method.name}\n${knob.name} ${valueText(state.knob, value)}\n${grid.scores[state.score]} ${number(score)}, exact`;
      return { x: knob.values[value], value: score, low: null, high: null, exact: null, said };
    }),
  })).filter((line) => line.points.some((each) => each.value !== null));
  const numbers = lines.flatMap((line) => line.points.map((each) => each.value)).filter((x) => x !== null);
  const scale = makeScale(numbers, "auto");
  const along = makePlaces(knob.values);
  const target = document.getElementById("along-panels");
  target.replaceChildren();
  for (const [methodology, kind] of Object.entries(kinds)) {
    const own = lines.filter((line) => line.methodology === methodology);
    if (!own.length) continue;
    target.append(panel({
      title: methodology.replaceAll("_", " "), kind, lines: own,
      behind: lines.filter((line) => line.methodology !== methodology),
      places: along, scale, caption: grid.scores[state.score],
      xCaption: here ? knob.name : `${knob.name}, the others at their reference`,
      now: knob.values[state.place[state.knob]],
    }));
  }
}

function update() {
  hideTip();
  drawKnobs();
  drawPath();
  drawCredit();
  drawNumbers();
  drawAlong();
}

addKnobs();
addOutcomes();
addCreditControls();
sortable(document.getElementById("numbers"));
addAlongControls();
update();
new ResizeObserver(drawPath).observe(document.querySelector("main"));
