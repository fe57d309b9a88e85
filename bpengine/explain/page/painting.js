// Bringing the picture up to date: which numbers stand in it, and what stands out.

function updatePicture() {
  const at = stages[state.stage];
  picture.joined = joinedTo(subject());
  for (const [id, drawn] of picture.nodes) id.startsWith("head") ? updateHead(drawn) : updateNode(id, drawn, at);
  for (const [id, drawn] of picture.lines) updateLine(id, drawn, at);
  updateLabels();
  const spots = picture.lanes.flat();
  const kept = spots.some((spot) => spot.id === state.kept) ? state.kept : spots[0].id;
  for (const spot of spots) spot.element.setAttribute("tabindex", spot.id === kept ? 0 : -1);
  bringInSight();
}

// A picture that does not fit the window is scrolled to what is looked at, once: then it stays as the reader scrolls it.
function bringInSight() {
  const box = byId("picture"), sight = `${state.kept} ${state.stage}`;
  if (picture.sight === sight) return;
  picture.sight = sight;
  const one = found(state.kept);
  box.scrollLeft = picture.x(one.kind === "loss" ? page.columns.length : one.column) - box.clientWidth / 2;
}

// Of a column of which not all is drawn, how much is: in as many words as there is room for, all of it inside of the picture.
function updateHead({ head, below, column, x, room }) {
  head.textContent = column.place === "" ? say("inputs") : say("column", { place: column.place });
  const count = { count: column.units.length, total: column.total };
  const brief = picture.wide ? kindOf(column) : kindOf(column).split(", ").at(-1);
  const text = column.whole ? brief : say("drawn", count);
  if (below.dataset.full === text) return; // measuring takes time
  below.dataset.full = below.textContent = text;
  if (!column.whole && below.getComputedTextLength() > room) below.textContent = say("drawn_briefly", count);
  below.setAttribute("x", Math.max(x, below.getComputedTextLength() / 2 + 1));
}

// A column is known once the step has come to it: on the way forward from the left, on the way back from the right.
function known(column, at) {
  if (at.direction === "forward") return column <= at.column;
  return column < page.columns.length || at.direction !== "forward";
}

function wayBack(column, at) {
  return at.direction === "update" || (at.direction === "backward" && column >= at.column);
}

function nodeNumber(id, at) {
  const thing = found(id);
  const batch = state.row < 0;
  if (thing.kind === "loss") return now(page.loss);
  if (thing.kind === "inputs") return batch ? null : now(thing.x[state.row]);
  if (wayBack(thing.column, at)) return now(batch ? thing.total : thing.dz[state.row]);
  return now(batch ? thing.mean : thing.a[state.row]);
}

// About how wide a number is in bold, in the size of its letters: for a size that keeps it inside its circle, without measuring.
const emsOf = (text) => Math.max(1, Array.from(text).reduce((ems, letter) => ems + (letter === "." ? 0.38 : letter === "-" ? 0.42 : 0.7), 0));

function updateNode(id, { node, value, name, hint, column, room }, at) {
  const reached = known(column, at);
  const number = reached ? nodeNumber(id, at) : null;
  const bad = number !== null && !Number.isFinite(number);
  const thing = found(id);
  value.textContent = number === null ? "" : brief(number);
  value.style.fontSize = `${Math.max(9, Math.min(13, room / emsOf(value.textContent))).toFixed(1)}px`;
  const full = thing.kind === "units" ? unitName(thing) : title(id);
  const most = picture.wide ? 13 : 11;
  name.textContent = full.length > most ? `${full.slice(0, most - 1)}…` : full;
  hint.textContent = full;
  node.setAttribute("aria-label", `${title(id)}${number === null ? "" : `: ${shown(number)}`}`);
  node.setAttribute("aria-pressed", String(id === state.kept));
  node.classList.toggle("unknown", !reached);
  node.classList.toggle("bad", bad);
  node.classList.toggle("here", column === at.column && at.direction !== "update");
  node.classList.toggle("back", thing.kind === "units" && wayBack(column, at));
  node.classList.toggle("negative", number !== null && number < 0);
  node.classList.toggle("chosen", id === subject());
  node.classList.toggle("joined", picture.joined.has(id));
}

const scales = new Map();

function lineRef(weight) {
  return { backward: weight.gradient, update: weight.step_size }[direction()] ?? weight.old;
}

function updateLine(id, { line, mark, label, weight }, at) {
  const ref = lineRef(weight);
  const key = `${direction()}${weight.column}${page.bad ? ` ${state.at}` : ""}`;
  if (!scales.has(key))
    scales.set(key, (page.bad ? largestNow : largest)(page.weights.filter((w) => w.column === weight.column).map(lineRef)));
  const number = now(ref);
  const bad = !Number.isFinite(number);
  mark.setAttribute("stroke-width", bad ? 4 : 0.8 + (6.2 * Math.abs(number)) / scales.get(key));
  const reached = at.direction !== "backward" || weight.column >= at.column;
  const near = picture.joined.has(id);
  line.classList.toggle("negative", number < 0);
  line.classList.toggle("bad", bad);
  const crowded = picture.lines.size > CROWDED && !near && id !== subject();
  line.classList.toggle("faint", crowded || !reached || (at.direction === "forward" && weight.column > at.column));
  line.classList.toggle("chosen", id === subject());
  line.classList.toggle("joined", near);
  line.setAttribute("aria-pressed", String(id === state.kept));
  line.setAttribute("aria-label", say("weight_aria", { name: weight.name, start: startName(weight), unit: weight.unit,
    place: place(weight), value: shown(now(weight.old)), gradient: shown(now(weight.gradient)) }));
  const term = near && found(subject()).kind === "units";
  const few = picture.wide && picture.lines.size <= FEW_LINES && reached;
  label.textContent = term ? `×${picture.wide ? " " : ""}${brief(now(weight.old))}` : id === subject() || few ? brief(number) : "";
  label.setAttribute("class", term || id === subject() ? "strong" : "");
}

function updateLabels() {
  const shown = [...picture.lines].filter(([, { label }]) => label.textContent);
  const strong = new Set(shown.filter(([, { label }]) => label.classList.contains("strong")).map(([id]) => id));
  const boxes = placedAlong(shown.map(([id]) => id), strong);
  for (const [id, { label }] of shown) {
    label.setAttribute("x", boxes.get(id).x);
    label.setAttribute("y", boxes.get(id).y + 4);
  }
}

// What stands in the sum that is shown, beside the subject itself: of a unit, on the way forward the weights that lead to
// it, on the way back those that lead on from it, and the units at their other ends; of a weight, the units it joins.
function joinedTo(chosen) {
  const one = found(chosen), joined = new Set();
  if (one.kind === "weights") [one.start, one.end].forEach((spot) => joined.add(units.get(spot)));
  if (one.kind !== "units" && one.kind !== "inputs") return joined;
  const [here, there] = direction() === "forward" ? ["end", "start"] : ["start", "end"];
  for (const id of picture.lines.keys()) {
    const weight = found(id);
    if (weight[here] === spotOf(one)) joined.add(id).add(units.get(weight[there]));
  }
  return joined;
}

const spotOf = (thing) => `${thing.column} ${thing.unit}`;
const units = new Map(); // where a unit is -> its id
for (const [id, thing] of things) {
  if (thing.kind === "units" || thing.kind === "inputs") units.set(spotOf(thing), id);
  if (thing.kind === "weights") {
    thing.start = thing.bias ? null : `${page.columns[thing.column].sources[0]} ${thing.from}`;
    thing.end = spotOf(thing);
  }
}
