// Editing: numbers typed into the page, steps done from them, and all of it in the page's address.

let edits = []; // [step, changes of that step], in the order of the steps
let trusted = Boolean(program); // whether numbers can be edited: what is computed here must first be what the engine computed

const canEdit = () => trusted && !(page.bad && moment().kept === page.steps.length - 1);

// Compare what is computed here with the engine's own numbers of the first step.
function checkAgainstEngine() {
  if (!program) return;
  const first = { ...moments[0], own: true }, bound = program.operations[program.loss][1] === "f" ? 2e-3 : 1e-9;
  first.state = start;
  const results = resultsOf(first, orders.shown);
  first.loss = results[program.loss].data[0];
  const numbers = sheetOf(first, (number) => results[number]);
  const refs = [page.loss, ...page.weights.flatMap((w) => [w.gradient, w.new]), ...page.units.flatMap((u) => [...u.a, ...u.dz])];
  const pairs = refs.map((ref) => [numbers[ref], numberAt(page.places[ref], 0)]);
  const size = Math.max(1, ...pairs.map((pair) => Math.abs(pair[1])));
  trusted = pairs.every(([here, there]) => Math.abs(here - there) <= bound * size || Object.is(here, there));
}

// A change is ["state", array, place, value], ["rows", array, place, value], ["rate", value] or ["activation", use, key].
function changed(one, changes) {
  const next = { ...one, state: one.state.slice(), given: { ...one.given, rows: one.given.rows.slice(), uses: one.given.uses.slice() } };
  const put = (arrays, k, place, value) => {
    arrays[k] = { shape: arrays[k].shape, data: arrays[k].data.slice() };
    arrays[k].data[place] = value;
  };
  for (const [kind, ...what] of changes) {
    if (kind === "rate") next.given.rate = what[0];
    else if (kind === "activation") next.given.uses[what[0]] = what[1];
    else put(kind === "state" ? next.state : next.given.rows, ...what);
  }
  return { ...next, kept: -1, own: true, numbers: null, loss: undefined };
}

// Change numbers of the moment that is shown; what came after it is computed anew when it is asked for.
function edit(...changes) {
  const here = moment();
  stateAt(state.at);
  moments = [...moments.slice(0, state.at), changed(here, changes)];
  edits = edits.filter(([step]) => step <= here.step);
  if (edits.at(-1)?.[0] !== here.step) edits.push([here.step, []]);
  edits.at(-1)[1].push(...changes);
  renew();
}

// Go on by some steps; beyond the last moment they are computed. A step that is not finite is the last.
function advance(count) {
  for (let i = 0; i < count; i++) {
    const here = moment();
    if (state.at + 1 === moments.length) {
      if (!canEdit()) break;
      stateAt(state.at);
      const after = stepped(here);
      here.loss ??= after.loss;
      if (!Number.isFinite(after.loss)) break;
      moments.push({ step: here.step + 1, kept: -1, own: true, given: here.given, state: after.state });
    }
    state.at += 1;
  }
  renew();
}

function reset() {
  moments = recorded.slice();
  edits = [];
  state.at = Math.min(state.at, moments.length - 1);
  if (location.hash) history.replaceState(null, "", location.pathname);
  renew();
}

// Bring everything up to date with other moments; what had the focus keeps it.
function renew() {
  const field = document.activeElement?.dataset?.edit;
  scales.clear();
  byId("step").max = String(moments.length - 1);
  buildCurve();
  show({ at: state.at });
  if (field) document.querySelector(`[data-edit="${field}"]`)?.focus();
}

const inSingle = () => program.operations[program.rate][1] === "f";

// A number as one would type it: of a step in float32 the shortest decimal that stands for it, else ten digits, as elsewhere.
function typed(value) {
  const rounded = Number(value.toPrecision(10)), size = Math.abs(rounded);
  if (!inSingle()) return size > 0 && size < 1e-4 ? rounded.toExponential() : String(rounded);
  for (let digits = 1; digits <= 9; digits++) {
    const text = String(Number(value.toPrecision(digits)));
    if (Math.fround(text) === Math.fround(value)) return text;
  }
  return String(value);
}

const A_NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

// What was typed as a number, or the phrase that says what is wrong with it. A comma is the decimal mark in Portuguese only:
// in English 1,000 could be a thousand.
function entered(text, within) {
  const plain = text.trim().replace("\u2212", "-"), point = state.lang === "pt" && !plain.includes(".") ? plain.replace(",", ".") : plain;
  if (!A_NUMBER.test(point)) return { wrong: plain === "" ? "number_missing" : A_NUMBER.test(plain.replace(",", ".")) ? "number_comma" : "number_wrong" };
  const value = Number(point);
  if (!Number.isFinite(inSingle() ? Math.fround(value) : value)) return { wrong: "number_large" };
  return within && !within.holds(value) ? { wrong: within.wrong } : { value };
}

// A field for a number; `key` says which, `changes` what a new value changes, `within` which numbers it takes.
function field(key, label, value, changes, within = null) {
  const heard = (event) => {
    const { value: number, wrong } = entered(event.target.value, within);
    byId("wrong")?.remove();
    if (wrong) refuse(event.target, say(wrong, { text: event.target.value.trim().slice(0, 40), value: typed(value) }));
    else edit(...changes(number));
  };
  return h("input", { type: "text", class: "number", autocomplete: "off", spellcheck: "false", value: typed(value), "data-edit": key, "aria-label": label, on: { change: heard } });
}

// Say below a field what is wrong with what was typed; nothing else changes, and a field refused before has its number again.
function refuse(input, text) {
  for (const other of document.querySelectorAll("[aria-invalid]")) {
    if (other !== input) other.value = other.defaultValue;
    other.removeAttribute("aria-invalid");
    other.removeAttribute("aria-describedby");
  }
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", "wrong");
  input.after(h("span", { id: "wrong", role: "alert" }, text));
}

const NOT_NEGATIVE = { holds: (value) => value >= 0, wrong: "number_negative" };
const SHARE = { holds: (value) => value >= 0 && value <= 1, wrong: "number_share" };

function weightField(weight) {
  const [name, places] = weight.name.split("["), index = places.slice(0, -1).split(",").map(Number);
  const k = program.state.findIndex(([kind, own]) => kind === "params" && own === name);
  const flat = index.reduce((at, i, axis) => at * program.operations[program.state[k].at(-1)][2][axis] + i, 0);
  return field(`state ${k} ${flat}`, weight.name, now(weight.old), (value) => [["state", k, flat, value]]);
}

function inputField(input, r) {
  const place = page.rows[r] * moment().given.rows[0].shape[1] + input.unit;
  const label = `${inputName(input.unit)}, ${say("room_row", { row: page.rows[r] })}`;
  return field(`rows 0 ${place}`, label, now(input.x[r]), (value) => [["rows", 0, place, value]]);
}

const targets = () => moment().given.rows[1];
const areLabels = () => Boolean(program) && targets().shape.length === 1 && program.operations[program.rows[1]][1] !== "d" && program.operations[program.rows[1]][1] !== "f";

// The targets of a row as text, as they are at this moment.
function targetTexts(r) {
  if (!program || !moment().own) return page.targets[r];
  const { shape, data } = targets(), width = shape[1] ?? 1, row = page.rows[r];
  const values = Array.from(data.slice(row * width, (row + 1) * width));
  return areLabels() ? values.map((label) => page.names.outputs?.[label] ?? String(label)) : values.map((value) => shown(value));
}

function targetFields(r) {
  const { shape, data } = targets(), width = shape[1] ?? 1, row = page.rows[r];
  const name = `${say("target")}, ${say("room_row", { row })}`;
  const one = (place) => areLabels()
    ? choice(`rows 1 ${place}`, name, classes(), String(data[place]), (label) => [["rows", 1, place, Number(label)]])
    : field(`rows 1 ${place}`, name, data[place], (value) => [["rows", 1, place, value]], !page.about.own_loss && page.about.loss.includes("cross_entropy") ? SHARE : null);
  return Array.from({ length: width }, (_, i) => one(row * width + i));
}

// The classes that a target can be: as many as there are outputs, or two of a single one.
function classes() {
  const count = Math.max(2, page.columns.at(-1).total);
  return Array.from({ length: count }, (_, label) => [String(label), page.names.outputs?.[label] ?? String(label)]);
}

function choice(key, label, options, chosen, changes) {
  const list = options.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("select", { "data-edit": key, "aria-label": label, on: { change: (event) => edit(...changes(event.target.value)) } }, ...list);
}

// The activation of a column at this moment: its key in the page's list; null for one that cannot be exchanged.
function useOf(column) {
  return program ? program.uses.findIndex((use) => use.place === column.place) : -1;
}

function activationName(unit) {
  const use = useOf(page.columns[unit.column]);
  return use < 0 ? unit.activation : moment().given.uses[use].split(" ")[0];
}

// The name of a term; of one that an activation makes, with the name of the activation that is there at this moment.
function termName(number) {
  const pattern = program?.patterns[number];
  if (!pattern) return page.labels[state.lang][number];
  return pattern[state.lang].replace("{activation}", moment().given.uses[useOf(pattern)].split(" ")[0]);
}

function activationField(column) {
  const use = useOf(column);
  if (use < 0) return null;
  const own = moment().given.uses[use];
  const names = [...new Set([own, ...(program.uses[use].choices ?? Object.keys(program.activations).filter((key) => !key.includes(" ")))])];
  const label = say("activation_of", { place: column.place });
  return h("label", {}, h("span", {}, label), choice(`activation ${use}`, label, names.map((name) => [name, name]), own, (key) => [["activation", use, key]]));
}

// The column's kind with the activation of this moment: "Dense, relu".
function kindOf(column) {
  const use = useOf(column);
  if (use < 0 || !column.kind.includes(", ")) return column.kind;
  return `${column.kind.split(", ")[0]}, ${moment().given.uses[use].split(" ")[0]}`;
}

// The controls beside the curve: buttons for steps, the learning rate, the link.
function updateControls() {
  const last = state.at === moments.length - 1, finite = Number.isFinite(lossAt(moment()));
  byId("step-back").disabled = state.at === 0;
  byId("step-on").disabled = byId("run-on").disabled = !finite || (last && !canEdit());
  byId("reset").disabled = moments.length === recorded.length && !edits.length;
  byId("link").disabled = !program;
  byId("save").disabled = byId("open").disabled = !trusted;
  byId("rate").replaceChildren(...(canEdit()
    ? [h("span", {}, say("learning_rate")), field("rate", say("learning_rate"), rateOf(moment()), (value) => [["rate", value]], NOT_NEGATIVE)] : []));
  byId("edit-note").textContent = trusted ? say("edit_help") : say(`cannot_edit_${page.trouble ? page.trouble[0] : "differs"}`, { what: page.trouble?.[1][state.lang] ?? "" });
}
