// The state of the page as a link and as a file, and back: what was changed step by step, and what is looked at. A file also
// holds the numbers of the moment that is shown, by name; one that was changed by hand brings its own numbers.

const FORMAT = "bpengine page 1";

const view = () => ({ edits, count: moments.length, at: state.at, row: state.row, stage: state.stage, kept: state.kept, lang: state.lang });

// The state as text for the page's address.
function written() {
  const bytes = new TextEncoder().encode(JSON.stringify(view()));
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function link() {
  location.replace(`#${written()}`);
  navigator.clipboard?.writeText(location.href).catch(() => null);
  tellOfState("linked");
}

function tellOfState(key, values) {
  byId("said").textContent = byId("edit-note").textContent = say(key, values);
}

// Bring back the state that the page's address holds, and return whether it could be; an address that holds none, or that of
// another network, changes nothing.
function restore() {
  if (location.hash.length < 2) return true;
  let saved = null;
  try {
    const text = atob(location.hash.slice(1).replaceAll("-", "+").replaceAll("_", "/"));
    saved = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
  } catch {
    return false;
  }
  if (!isView(saved)) return false;
  bringBack(saved);
  return true;
}

const isView = (saved) => Array.isArray(saved?.edits) && things.has(saved.kept) && Number.isInteger(saved.stage) && stages[saved.stage] !== undefined
  && saved.edits.every((one) => Array.isArray(one) && Number.isInteger(one[0]) && Array.isArray(one[1]) && Boolean(program) && one[1].every(isPossible));

// The recorded run, then the changes one after the other, then what was looked at.
function bringBack(saved) {
  moments = recorded.slice();
  edits = [];
  for (const [step, changes] of canEdit() ? saved.edits : []) {
    goTo(step - 1);
    edit(...changes);
  }
  goTo(saved.count - 1);
  const within = (value, low, high) => (Number.isInteger(value) ? Math.max(low, Math.min(high, value)) : low);
  state.at = within(saved.at, 0, moments.length - 1);
  const row = within(saved.row, -1, page.rows.length - 1);
  Object.assign(state, { row, stage: saved.stage, kept: saved.kept, lang: Object.hasOwn(page.words, saved.lang) ? saved.lang : state.lang });
}

function goTo(at) {
  const there = Math.min(Number(at) || 0, 100000);
  state.at = Math.min(there, moments.length - 1);
  if (there > state.at) advance(there - state.at);
}

function isPossible(change) {
  if (!Array.isArray(change)) return false;
  const [kind, k, place, value] = change;
  if (kind === "rate") return Number.isFinite(k) && k >= 0;
  const arrays = { state: start, rows: given.rows, activation: program.uses }[kind];
  if (!arrays || !Number.isInteger(k) || arrays[k] === undefined) return false;
  if (kind === "activation") return Object.hasOwn(program.activations, place);
  if (kind === "rows" && k === 1 && areLabels() && !classes().some(([label]) => label === String(value))) return false;
  return Number.isInteger(place) && place in arrays[k].data && Number.isFinite(value);
}

// The arrays of the state that a file holds, by name: parameters, and the running statistics of a normalisation.
const NAMED = program ? program.state.flatMap(([kind, name], k) => (["params", "running"].includes(kind) ? [[name, k]] : [])) : [];
const ROWS = ["x", "y", "weights"];

function nested(data, shape) {
  if (shape.length < 2) return Array.from(data);
  const size = data.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => nested(data.slice(i * size, (i + 1) * size), shape.slice(1)));
}

// Everything as plain values: the numbers of the moment that is shown by name, and how it came about.
function asFile() {
  const here = moment(), arrays = stateAt(state.at);
  const array = ({ data, shape }) => nested(data, shape);
  return {
    format: FORMAT, network: page.about.sizes, step: here.step, learning_rate: rateOf(here),
    activations: Object.fromEntries(program.uses.map(({ place }, use) => [place, here.given.uses[use]])),
    parameters: Object.fromEntries(NAMED.map(([name, k]) => [name, array(arrays[k])])),
    rows: Object.fromEntries(here.given.rows.map((one, k) => [ROWS[k], array(one)])), view: view(),
  };
}

function save() {
  const file = new Blob([JSON.stringify(asFile(), null, 1)], { type: "application/json" });
  const address = URL.createObjectURL(file), name = `${page.title || "page"}-${moment().step}.json`.replace(/[^\w.-]+/g, "-");
  h("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
  tellOfState("saved", { name });
}

async function openFile(file) {
  if (!file) return;
  const trouble = take(await file.text());
  speakLanguage();
  tellOfState(trouble ? "not_opened" : "opened", { name: file.name, trouble: trouble ?? "" });
}

// Take the text of a file: bring back its view, then whatever numbers of it differ. Returns what is wrong with it, or null; a
// file that is wrong changes nothing. Parameters alone, as `--parameters` takes them, do as well.
function take(text) {
  let file = null;
  try {
    file = JSON.parse(text);
  } catch {
    return say("file_not_json");
  }
  if (typeof file !== "object" || file === null) return say("file_not_json");
  const { parameters = file.format ? {} : file, rows = {}, activations = {} } = file;
  const arrays = [...Object.entries(parameters), ...Object.entries(rows)].map(([name, value]) => [name, value, shapeOf(name)]);
  for (const [name, value, wanted] of arrays) {
    if (wanted === undefined) return say("file_unknown", { name });
    const numbers = [value].flat(Infinity);
    if (numbers.length !== wanted.reduce((size, axis) => size * axis, 1) || !numbers.every(Number.isFinite))
      return say("file_shape", { name, shape: wanted.join(" × ") });
  }
  for (const [place, key] of Object.entries(activations))
    if (!useAt(place) || !isPossible(["activation", program.uses.indexOf(useAt(place)), key])) return say("file_unknown", { name: `${place}: ${key}` });
  if ("learning_rate" in file && !Number.isFinite(file.learning_rate)) return say("file_shape", { name: "learning_rate", shape: 1 });
  if (isView(file.view)) bringBack(file.view);
  else if (Number.isInteger(file.step)) goTo(file.step - 1);
  const changes = differences(file, arrays, activations);
  if (changes.length) edit(...changes);
  renew();
  return null;
}

const useAt = (place) => program.uses.find((use) => use.place === place);

function shapeOf(name) {
  const row = ROWS.indexOf(name), k = new Map(NAMED).get(name);
  return (row >= 0 ? given.rows[row] : start[k])?.shape;
}

// The changes that give this moment the numbers of a file.
function differences(file, arrays, activations) {
  const here = moment(), states = stateAt(state.at), numbers = new Map(NAMED), changes = [];
  for (const [name, value] of arrays) {
    const kind = ROWS.includes(name) ? "rows" : "state", k = kind === "rows" ? ROWS.indexOf(name) : numbers.get(name);
    const { data } = kind === "rows" ? here.given.rows[k] : states[k];
    [value].flat(Infinity).forEach((number, place) => { if (number !== data[place]) changes.push([kind, k, place, number]); });
  }
  if ("learning_rate" in file && file.learning_rate !== rateOf(here)) changes.push(["rate", file.learning_rate]);
  program.uses.forEach(({ place }, use) => {
    if (activations[place] && activations[place] !== here.given.uses[use]) changes.push(["activation", use, activations[place]]);
  });
  return changes;
}
