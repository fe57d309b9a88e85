// Words and elements. Text is only ever set as text, never as markup.

const state = { at: 0, row: 0, stage: 0, kept: null, pointed: null, lang: page.lang, playing: null };

// The phrase of a key with its values; "KEY_one", if there is one, for a count of 1.
function say(key, values = {}) {
  const words = page.words[state.lang], one = `${key}_one`;
  return words[values.count === 1 && one in words ? one : key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

function byId(id) {
  return document.getElementById(id);
}

function fill(element, attributes, parts) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, heard] of Object.entries(value)) element.addEventListener(event, heard);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...parts.filter((part) => part !== null));
  return element;
}

const h = (tag, attributes = {}, ...parts) => fill(document.createElement(tag), attributes, parts);
const s = (tag, attributes = {}, ...parts) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, parts);

const now = (ref) => numberOf(ref, moment());
const direction = () => stages[state.stage].direction;
const subject = () => state.pointed ?? state.kept;

// What can be pointed at: inputs "x0", units "u0", weights "w0" by their place in the lists, and "loss".
const things = new Map([["loss", { kind: "loss" }]]);
for (const [letter, kind] of [["x", "inputs"], ["u", "units"], ["w", "weights"]])
  page[kind].forEach((thing, i) => things.set(`${letter}${i}`, { kind, column: 0, ...thing }));

const found = (id) => things.get(id);

function inputName(unit) {
  return page.names.inputs ? page.names.inputs[unit] : say("room_input", { unit });
}

function unitName(unit) {
  const last = unit.column === page.columns.length - 1;
  return last && page.names.outputs ? page.names.outputs[unit.unit] : say("unit_name", { unit: unit.unit });
}

const place = (thing) => page.columns[thing.column].place;

function startName(weight) {
  if (weight.bias) return say("room_bias");
  const source = page.columns[weight.column].sources[0];
  if (source === 0) return inputName(weight.from);
  return say("room_next_unit", { unit: weight.from, place: page.columns[source].place });
}

function title(id) {
  const thing = found(id);
  if (thing.kind === "loss") return say("stage_loss");
  if (thing.kind === "inputs") return inputName(thing.unit);
  if (thing.kind === "units") return say("room_next_unit", { unit: thing.unit, place: place(thing) });
  const values = { name: thing.name, start: "", unit: thing.unit, place: place(thing) };
  if (thing.from === null && !thing.bias) return say("weight_of", values);
  return say("weight_joins", { ...values, start: startName(thing) });
}

// The parts of a training step, in the order in which they happen.
const stages = [
  ...page.columns.slice(1).map((_, i) => ({ direction: "forward", column: i + 1 })),
  { direction: "loss", column: page.columns.length },
  ...page.columns.slice(1).map((_, i) => ({ direction: "backward", column: page.columns.length - 1 - i })),
  { direction: "update", column: 0 },
];

function stageName(stage) {
  const where = stage.direction === "forward" || stage.direction === "backward";
  return say(`stage_${stage.direction}`, where ? { place: place(stage) } : {});
}
