// The moments of training that the page can show: recorded steps with the engine's own numbers, and steps that are computed
// here, from edited numbers or between recorded steps.

const program = page.program;
const rates = decoded(page.rates, Float64Array);
const WORDS = { "<f8": Float64Array, "<f4": Float32Array, "<i4": Int32Array, "<u4": Uint32Array };

// The arrays that a list of operations begins from, each in its own dtype.
function inputsOf(texts, numbers) {
  return texts.map(({ kind, text, count }, i) => {
    const [, dtype, shape] = program.operations[numbers[i]], data = KINDS[dtype].from(decoded(text, WORDS[kind]));
    return { shape, data: count ? new KINDS[dtype](count).fill(data[0]) : data };
  });
}

// What a step is computed with beside its state: the rows, the learning rate (null: the recorded run's), the activations.
const given = program && { rows: inputsOf(program.data, program.rows), rate: null, uses: program.uses.map((use) => use.key) };
const start = program && inputsOf(program.start, program.state.map((path) => path.at(-1)));
const orders = program && {
  after: neededFor(program.operations, [...program.after, program.loss]),
  shown: neededFor(program.operations, [program.loss, ...numbersShown(program.shown)]),
};

function numbersShown({ units, weights }) {
  const sums = (source) => (source ? [source.left, source.right, source.value] : []);
  return [
    ...units.flatMap((u) => [u.z, u.a, u.da, u.dz, ...sums(u.forward), ...sums(u.incoming), ...sums(u.through)]),
    ...weights.flatMap((w) => [w.old, w.slope, w.step_size, w.new, w.gradient, ...Object.values(w.slots).flat(), ...sums(w.data),
      ...w.penalties]),
  ];
}

// A moment: its step, its place among the recorded steps or null, and for a computed one the state that it begins from.
// Without a program only the recorded steps can be shown; with one, those between them as well.
const recorded = program
  ? Array.from(losses, (_, i) => ({ step: i + 1, kept: page.steps.indexOf(i + 1), own: false, given }))
  : page.steps.map((step, i) => ({ step, kept: i, own: false, given: null }));
let moments = recorded.slice();

const moment = () => moments[state.at];
const isComputed = (one) => one.own || one.kept < 0;
const lossAt = (one) => (one.own ? one.loss ?? computed(one).loss : losses[one.step - 1]);
const rateOf = (one) => one.given.rate ?? rates[Math.min(one.step, rates.length) - 1];

// The state that a moment begins from: kept, or computed from the moments before it.
function stateAt(at) {
  let from = at;
  while (!knownState(moments[from])) from--;
  for (let i = from; i < at; i++) moments[i + 1].state = stepped(moments[i]).state;
  return moments[at].state;
}

function knownState(one) {
  if (one.state) return true;
  if (one.step === 1) one.state = start;
  else if (one.kept >= 0 && page.state)
    one.state = start.map(({ shape, data }, k) => {
      const [first, count] = page.state[k];
      return { shape, data: data.constructor.from({ length: count }, (_, i) => numberAt(page.places[first + i], one.kept)) };
    });
  return Boolean(one.state);
}

// The results of a list's operations for a moment whose state is known.
function resultsOf(one, order) {
  const results = [];
  program.state.forEach((path, k) => { results[path.at(-1)] = one.state[k]; });
  program.rows.forEach((number, k) => { results[number] = one.given.rows[k]; });
  const [, kind, shape] = program.operations[program.rate];
  results[program.rate] = { shape, data: KINDS[kind].of(rateOf(one)) };
  return run(program.operations, order, results, (name, use, [z, dy]) => bent(name, program.activations[one.given.uses[use]], z, dy));
}

// An activation, or its gradient: a short list of operations of its own.
function bent(name, { operations, ...ends }, z, dy) {
  const wanted = name === "activation" ? ends.y : ends.dx, results = [];
  results[ends.z] = z;
  if (dy) results[ends.dy] = dy;
  const { data, shape } = run(operations, neededFor(operations, [wanted]).filter((n) => results[n] || operations[n][0] !== "input"), results)[wanted];
  return shape.length === z.shape.length && data.length === z.data.length ? { shape, data } : elementwise((a, b) => b, z.data.constructor, z, { shape, data });
}

// One step from a moment: the state after it.
function stepped(one) {
  const results = resultsOf(one, orders.after);
  return { state: program.after.map((number) => results[number]), loss: results[program.loss].data[0] };
}

// Everything that is shown of a moment, computed: the numbers by their places on a sheet, as the recorded ones are.
function computed(one) {
  if (!one.numbers) {
    stateAt(moments.indexOf(one));
    const results = resultsOf(one, orders.shown);
    one.loss = results[program.loss].data[0];
    one.numbers = sheetOf(one, (number) => results[number]);
  }
  return one;
}

function sheetOf(one, array) {
  const numbers = new Float64Array(page.places.length);
  const put = (ref, value) => { numbers[ref] = value; };
  const list = (refs, data) => refs.forEach((ref, i) => put(ref, data[i]));
  const x = one.given.rows[0], width = x.shape[1];
  for (const input of page.inputs) list(input.x, page.rows.map((row) => x.data[row * width + input.unit]));
  page.units.forEach((unit, i) => putUnit(unit, program.shown.units[i], array, put));
  page.weights.forEach((weight, i) => putWeight(weight, program.shown.weights[i], array, put, rateOf(one)));
  put(page.loss, one.loss);
  return numbers;
}

function putUnit(unit, source, array, put) {
  for (const name of ["z", "a", "da", "dz"]) {
    const { data } = array(source[name]);
    unit[name].forEach((ref, r) => put(ref, data[page.rows[r]]));
  }
  const { data } = array(source.a);
  put(unit.mean, exactSum(data) / data.length);
  put(unit.total, exactSum(array(source.dz).data));
  for (const name of ["forward", "incoming", "through"])
    if (source[name]) unit[name].forEach((sum, r) => putSum(sum, source[name], array, put, page.rows[r]));
}

function putWeight(weight, source, array, put, rate) {
  for (const name of ["old", "slope", "step_size", "new", "gradient"]) put(weight[name], array(source[name]).data[source.i]);
  for (const [name, refs] of Object.entries(weight.slots))
    refs.forEach((ref, k) => put(ref, array(source.slots[name][k]).data[source.i]));
  put(weight.rate, rate);
  weight.penalties.forEach(([, ref], k) => put(ref, array(source.penalties[k]).data[source.i]));
  putSum(weight.data, source.data, array, put, source.i);
}

// One sum of terms; of many, the largest terms are written out and the others added up, as the engine's explanations do.
function putSum(sum, source, array, put, r) {
  const n = source.terms, value = array(source.value).data[r];
  const left = lineOf(array(source.left), r, n), right = lineOf(array(source.right), r, n);
  const products = left.map((number, i) => number * right[i]);
  const size = (i) => (Number.isNaN(products[i]) ? Infinity : Math.abs(products[i]));
  let chosen = source.chosen ?? products.map((_, i) => i);
  if (!source.chosen && sum.terms.length < n) chosen = chosen.sort((i, j) => size(j) - size(i) || i - j).slice(0, sum.terms.length).sort((i, j) => i - j);
  const names = source.labels[source.labels.length === 1 ? 0 : r];
  sum.terms.forEach((refs, k) => [names[chosen[k]], left[chosen[k]], right[chosen[k]], products[chosen[k]]].forEach((number, i) => put(refs[i], number)));
  put(sum.value, value);
  put(sum.rounding, exactSum([...products.map((product) => -product), value]));
  if (sum.left_out) put(sum.rest, exactSum(products.filter((_, i) => !chosen.includes(i))));
}

// One line of an array that broadcasts to (sums, n).
function lineOf({ shape, data }, r, n) {
  const wide = shape.at(-1) ?? 1, high = shape.length > 1 ? shape.at(-2) : 1, at = high === 1 ? 0 : r * wide;
  return Array.from({ length: n }, (_, i) => data[at + (wide === 1 ? 0 : i)]);
}
