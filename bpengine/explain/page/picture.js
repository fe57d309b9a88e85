// The network as a picture: units as circles, weights as lines. Built once for a width, then only brought up to date.

const picture = { nodes: new Map(), lines: new Map(), lanes: [], links: [], taken: [], placed: new Map() };
const WIDE = 130; // between columns: room for a number on every line
const GAP = 92; // between columns, at least
const ROOMY = 108; // between columns of a picture that is scrolled anyway: room for a number between two circles
const EDGE = 34; // from the middle of the first and the last column to the edge, at least
const FEW_LINES = 16; // with more, only the lines of the sum that is shown have numbers
const CROWDED = 60; // lines: with more, only those of the sum that is shown stand out

// How much larger than on other screens all is drawn on a wide one, which would else stretch the lines only.
const zoomOf = (width) => Math.max(1, Math.min(1.6, width / 1200));

function buildPicture() {
  const box = byId("picture");
  const narrowest = (gap) => 2 * EDGE + page.columns.length * gap;
  const zoom = zoomOf(box.clientWidth);
  const width = box.clientWidth < narrowest(GAP) ? narrowest(ROOMY) : box.clientWidth / zoom;
  const places = laidOut(width);
  const svg = s("svg", { role: "group", "aria-labelledby": "network-heading", "aria-describedby": "network-help",
    width: width * zoom, height: places.height * zoom, viewBox: `0 0 ${width} ${places.height}` });
  Object.assign(picture, { wide: places.wide, x: places.x, sight: "", nodes: new Map(), lines: new Map(), lanes: [], links: [], taken: spotsTaken(places), placed: new Map() });
  const layers = ["links", "lines", "nodes", "labels"].map((name) => s("g", { class: name }));
  svg.append(...layers);
  svg.classList.toggle("narrow", !places.wide);
  drawLinks(layers[0], places);
  page.columns.forEach((column, c) => {
    const lines = page.weights.flatMap((w, i) => (w.column === c ? drawLine(w, `w${i}`, places, layers) : []));
    if (lines.length) picture.lanes.push(lines);
    picture.lanes.push(drawColumn(column, c, places, layers[2]));
  });
  picture.lanes.push([drawLoss(places, layers[2])]);
  box.replaceChildren(svg);
}

// Where everything stands: x of each column (the loss is one more), y of each unit, and of the constant 1 of the biases.
function laidOut(width) {
  const count = page.columns.length;
  const wide = (width - 92) / count >= WIDE;
  const edge = wide ? 46 : EDGE, gap = (width - 2 * edge) / count;
  const radius = wide ? 27 : 22;
  const tallest = Math.max(...page.columns.map((column) => column.marks.length));
  const top = 46;
  const height = Math.max(tallest * (2 * radius + 30), Math.min(330, width * 0.5)) + top + 14;
  const x = (c) => edge + gap * c;
  const y = (c, unit) => top + (height - top - 6) * page.columns[c].heights[page.columns[c].marks.indexOf(unit)];
  const middle = top + (height - top - 6) / 2;
  return { x, y, gap, height, radius, middle, wide };
}

function drawLinks(layer, places) {
  page.columns.forEach((column, c) => column.sources.forEach((from, order) => {
    if (order === 0 && page.weights.some((w) => w.column === c && w.from !== null)) return;
    column.units.forEach((unit) => page.columns[from].units.forEach((start) => {
      if (start !== unit && !column.joined) return;
      const ends = [places.x(from), places.y(from, start), places.x(c), places.y(c, unit)];
      const bend = c - from > 1 ? 60 : 0;
      const [x1, y1, x2, y2] = ends;
      layer.append(s("path", { d: `M${x1} ${y1} Q${(x1 + x2) / 2} ${(y1 + y2) / 2 - bend} ${x2} ${y2}` }));
    }));
  }));
}

function drawLine(weight, id, places, [, lines, , labels]) {
  const source = page.columns[weight.column].sources[0];
  if (source === undefined || (weight.from === null && !weight.bias)) return [];
  const x1 = places.x(source), y1 = places.y(source, weight.bias ? null : weight.from);
  const x2 = places.x(weight.column), y2 = places.y(weight.column, weight.unit);
  const ends = { x1, y1, x2, y2 };
  const mark = s("line", ends);
  const line = s("g", { class: "line", role: "button", tabindex: -1, "data-id": id, on: pointing(id) },
    s("line", { ...ends, class: "target" }), s("line", { ...ends, class: "ring" }), mark);
  const label = s("text");
  lines.append(line);
  labels.append(label);
  picture.lines.set(id, { line, mark, label, weight, ends });
  return [{ id, element: line, y: y1 + (y2 - y1) * 0.5 }];
}

const CIRCLES = 12, NUMBERS = 6; // how much worse it is to cover a circle or another number than a name

// What stands in the picture already: circles, the names below them, the squares of the biases, the loss.
function spotsTaken(places) {
  const high = 2 * places.radius + 6, taken = [];
  page.columns.forEach((column, c) => column.marks.forEach((unit) => {
    const [x, y] = [places.x(c), places.y(c, unit)], square = unit === null ? 30 : high;
    taken.push({ x, y, wide: square, high: square, weight: CIRCLES });
    if (unit !== null) taken.push({ x, y: y + places.radius + 10, wide: 60, high: 15, weight: 1 });
  }));
  return [...taken, { x: places.x(page.columns.length), y: places.middle, wide: high + 16, high: 60, weight: CIRCLES }];
}

// How far along its line each shown number stands: where it covers nothing, or as little as can be, near the middle. In a few
// rounds each is placed anew beside all others. The same lines have the same places, whatever their numbers are.
function placedAlong(ids, strong) {
  const key = [...ids, ...strong].join(" ");
  if (picture.placed.has(key)) return picture.placed.get(key);
  const covered = (a, b) => Math.max(0, (a.wide + b.wide) / 2 - Math.abs(a.x - b.x)) * Math.max(0, (a.high + b.high) / 2 - Math.abs(a.y - b.y));
  const boxes = new Map();
  for (let round = 0; round < 6; round++) for (const id of ids) {
    boxes.delete(id);
    const { x1, y1, x2, y2 } = picture.lines.get(id).ends, others = [...picture.taken, ...boxes.values()];
    const size = strong.has(id) && picture.wide ? { wide: 70, high: 20 } : { wide: 54, high: 17 };
    let best = null;
    for (let k = 0; k <= 36; k++) {
      const along = 0.5 + (k % 2 ? 1 : -1) * Math.ceil(k / 2) * 0.02;
      const box = { x: x1 + (x2 - x1) * along, y: y1 + (y2 - y1) * along, ...size, weight: NUMBERS, along };
      box.cost = others.reduce((total, other) => total + other.weight * covered(box, other), 0);
      if (!best || box.cost < best.cost) best = box;
    }
    boxes.set(id, best);
  }
  picture.placed.set(key, boxes);
  return boxes;
}

function drawColumn(column, c, places, layer) {
  const x = places.x(c);
  const head = s("text", { class: "head", x, y: 16 });
  const below = s("text", { class: "kind", x, y: 32 });
  layer.append(head, below);
  picture.nodes.set(`head${c}`, { head, below, column, x, room: places.gap - 8 });
  if (column.constant) {
    const y = places.y(c, null);
    layer.append(s("g", { class: "bias", "aria-hidden": "true" },
      s("rect", { x: x - 13, y: y - 13, width: 26, height: 26, rx: 5 }), s("text", { x, y: y + 4 }, "1")));
  }
  return column.units.map((unit) => {
    const list = c === 0 ? page.inputs : page.units;
    const index = list.findIndex((thing) => thing.unit === unit && (c === 0 || thing.column === c));
    return drawNode(`${c === 0 ? "x" : "u"}${index}`, x, places.y(c, unit), layer, c, places.radius);
  });
}

function drawNode(id, x, y, layer, c, r) {
  const value = s("text", { class: "value", x, y: y + 4 });
  const name = s("text", { class: "name", x, y: y + (id === "loss" ? 22 : r) + 14 });
  const hint = s("title");
  const shape = id === "loss" ? { x: x - r - 6, y: y - 22, width: 2 * r + 12, height: 44, rx: 9 } : { cx: x, cy: y, r };
  const kind = id === "loss" ? "rect" : "circle";
  const node = s("g", { class: `node ${id[0] === "x" ? "given" : ""}`, role: "button", tabindex: -1, "data-id": id,
    on: pointing(id) }, hint, s(kind, { ...shape, class: "ring" }), s(kind, { ...shape, class: "body" }), value, name);
  layer.append(node);
  picture.nodes.set(id, { node, value, name, hint, column: c, room: 2 * r - 7 + (id === "loss" ? 12 : 0) });
  return { id, element: node, y };
}

function drawLoss(places, layer) {
  const c = page.columns.length;
  const last = page.columns[c - 1];
  last.units.forEach((unit) => byLoss(places, layer, unit));
  return drawNode("loss", places.x(c), places.middle, layer, c, places.radius);
}

function byLoss(places, layer, unit) {
  const c = page.columns.length;
  layer.prepend(s("path", { class: "to-loss",
    d: `M${places.x(c - 1) + places.radius} ${places.y(c - 1, unit)} L${places.x(c) - places.radius - 6} ${places.middle}` }));
}

function pointing(id) {
  return {
    pointerenter: (event) => event.pointerType === "mouse" && show({ pointed: id }),
    pointerleave: (event) => event.pointerType === "mouse" && show({ pointed: null }),
    focus: () => show({ kept: id }),
    click: (event) => { event.currentTarget.focus(); show({ kept: id }); },
    keydown: (event) => moved(event, id),
  };
}

// Arrow keys: up and down within a column of units or weights, left and right to the next column.
function moved(event, id) {
  const lane = picture.lanes.findIndex((spots) => spots.some((spot) => spot.id === id));
  const spots = [...picture.lanes[lane]].sort((a, b) => a.y - b.y);
  const i = spots.findIndex((spot) => spot.id === id);
  const beside = (other) => other && [...other].sort((a, b) => Math.abs(a.y - spots[i].y) - Math.abs(b.y - spots[i].y))[0];
  const to = {
    ArrowUp: () => spots[i - 1], ArrowDown: () => spots[i + 1], Home: () => picture.lanes[0][0],
    ArrowLeft: () => beside(picture.lanes[lane - 1]), ArrowRight: () => beside(picture.lanes[lane + 1]),
    End: () => picture.lanes.at(-1)[0], Enter: () => spots[i], " ": () => spots[i],
  }[event.key];
  if (!to) return;
  event.preventDefault();
  to()?.element.focus();
}
