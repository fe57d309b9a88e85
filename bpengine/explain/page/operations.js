// Array operations: the kernels of the engine, recorded as a list, computed here with any numbers. An array is
// { shape, data }; data is a typed array of the dtype in which the engine computed, so that float32 rounds as it does there.

const KINDS = { d: Float64Array, f: Float32Array, i: Int32Array, u: Uint32Array, b: Uint8Array, l: Float64Array };

const ONE = {
  negative: (a) => -a, positive: (a) => a, square: (a) => a * a, sqrt: Math.sqrt, cbrt: Math.cbrt, reciprocal: (a) => 1 / a,
  exp: Math.exp, exp2: (a) => 2 ** a, expm1: Math.expm1, log: Math.log, log2: Math.log2, log10: Math.log10, log1p: Math.log1p,
  sin: Math.sin, cos: Math.cos, tan: Math.tan, asin: Math.asin, acos: Math.acos, atan: Math.atan, sinh: Math.sinh,
  cosh: Math.cosh, tanh: Math.tanh, asinh: Math.asinh, acosh: Math.acosh, atanh: Math.atanh, abs: Math.abs, sign: Math.sign,
  floor: Math.floor, ceil: Math.ceil, trunc: Math.trunc, isfinite: Number.isFinite, isnan: Number.isNaN, not: (a) => !a,
  cast: (a) => a, rint: (a) => { const r = Math.round(a); return Math.abs(a % 1) === 0.5 && r % 2 ? r - 1 : r; },
};
const TWO = {
  add: (a, b) => a + b, subtract: (a, b) => a - b, multiply: (a, b) => a * b, divide: (a, b) => a / b, power: (a, b) => a ** b,
  atan2: Math.atan2, hypot: (a, b) => Math.hypot(a, b), maximum: (a, b) => Math.max(a, b), minimum: (a, b) => Math.min(a, b),
  fmax: (a, b) => (Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.max(a, b)),
  fmin: (a, b) => (Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.min(a, b)),
  greater: (a, b) => a > b, greater_equal: (a, b) => a >= b, less: (a, b) => a < b, less_equal: (a, b) => a <= b,
  equal: (a, b) => a === b, not_equal: (a, b) => a !== b, and: (a, b) => a && b, or: (a, b) => a || b,
  heaviside: (a, b) => (Number.isNaN(a) ? a : a === 0 ? b : a > 0 ? 1 : 0),
  word_multiply: Math.imul, word_xor: (a, b) => a ^ b, word_shift: (a, b) => (b > 31 ? 0 : a >>> b),
};
const BENT = { activation: true, slope: true };

const sizeOf = (shape) => shape.reduce((product, n) => product * n, 1);

function broadcast(shapes) {
  const axes = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: axes }, (_, axis) => {
    const lengths = shapes.map((shape) => shape[axis - axes + shape.length] ?? 1);
    return lengths.find((n) => n !== 1) ?? 1;
  });
}

// Where each number of an array stands when it is broadcast to a shape; found once for two shapes.
const standing = new Map();

function placesIn(array, shape) {
  const key = `${array.shape} to ${shape}`;
  if (!standing.has(key)) standing.set(key, foundPlaces(array, shape));
  return standing.get(key);
}

function foundPlaces(array, shape) {
  const size = sizeOf(shape), places = new Int32Array(size);
  if (array.data.length === 1) return places;
  let block = 1, stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const own = array.shape[axis - shape.length + array.shape.length] ?? 1;
    if (own !== 1) for (let i = 0; i < size; i++) places[i] += (Math.floor(i / block) % shape[axis]) * stride;
    block *= shape[axis];
    stride *= own;
  }
  return places;
}

function elementwise(compute, Kind, ...args) {
  const shape = broadcast(args.map((arg) => arg.shape)), size = sizeOf(shape), data = new Kind(size);
  const [a, b, c] = args.map((arg) => arg.data);
  if (args.every((arg) => arg.data.length === size)) {
    if (args.length === 1) for (let i = 0; i < size; i++) data[i] = compute(a[i]);
    else if (args.length === 2) for (let i = 0; i < size; i++) data[i] = compute(a[i], b[i]);
    else for (let i = 0; i < size; i++) data[i] = compute(a[i], b[i], c[i]);
    return { shape, data };
  }
  if (args.length === 2 && a.length === size && b.length === 1) {
    for (let i = 0; i < size; i++) data[i] = compute(a[i], b[0]);
    return { shape, data };
  }
  if (args.length === 2 && b.length === size && a.length === 1) {
    for (let i = 0; i < size; i++) data[i] = compute(a[0], b[i]);
    return { shape, data };
  }
  const places = args.map((arg) => placesIn(arg, shape));
  if (args.length === 2) {
    const [here, there] = places;
    for (let i = 0; i < size; i++) data[i] = compute(a[here[i]], b[there[i]]);
    return { shape, data };
  }
  const at = (k, i) => (k < args.length ? args[k].data[places[k][i]] : 0);
  for (let i = 0; i < size; i++) data[i] = compute(at(0, i), at(1, i), at(2, i));
  return { shape, data };
}

function matmul(Kind, a, b) {
  const [rows, inner] = a.shape, columns = b.shape[1], data = new Kind(rows * columns), line = new Float64Array(columns);
  for (let r = 0; r < rows; r++) {
    line.fill(0);
    for (let k = 0; k < inner; k++) {
      const left = a.data[r * inner + k];
      for (let c = 0; c < columns; c++) line[c] += left * b.data[k * columns + c];
    }
    data.set(line, r * columns);
  }
  return { shape: [rows, columns], data };
}

function reduced(name, Kind, shape, axes, x) {
  const begin = { sum: 0, max: -Infinity, min: Infinity }[name], join = { sum: TWO.add, max: Math.max, min: Math.min }[name];
  const total = new Float64Array(sizeOf(shape)).fill(begin);
  const kept = { shape: x.shape.map((n, axis) => (axes.includes(axis) ? 1 : n)), data: total };
  const places = placesIn(kept, x.shape);
  for (let i = 0; i < x.data.length; i++) total[places[i]] = join(total[places[i]], x.data[i]);
  return { shape, data: Kind.from(total) };
}

function gathered(Kind, shape, where, sources) {
  const data = new Kind(sizeOf(shape));
  if (!Array.isArray(where) && shape.length === 2) {
    const from = sources[0].data, [high, wide] = shape, [down, along] = where.by;
    for (let r = 0, i = 0; r < high; r++) for (let c = 0, at = where.at + r * down; c < wide; c++, at += along) data[i++] = from[at];
    return { shape, data };
  }
  if (!Array.isArray(where)) {
    const index = new Array(shape.length).fill(0), from = sources[0].data;
    for (let i = 0, at = where.at; i < data.length; i++) {
      data[i] = from[at];
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        at += where.by[axis];
        if (++index[axis] < shape[axis]) break;
        at -= where.by[axis] * shape[axis];
        index[axis] = 0;
      }
    }
    return { shape, data };
  }
  const all = sources.length === 1 ? sources[0].data : Kind.from(sources.flatMap((source) => [...source.data]));
  for (let i = 0; i < data.length; i++) data[i] = all[where[i]];
  return { shape, data };
}

// The numbers of the operations that some are computed from, in order.
function neededFor(list, wanted) {
  const needed = new Set(wanted);
  for (let i = list.length - 1; i >= 0; i--) if (needed.has(i)) for (const argument of list[i][3]) needed.add(argument);
  return [...needed].sort((a, b) => a - b);
}

// Compute some operations; `results` holds the inputs by number, and is filled. `bend` computes an exchangeable activation.
function run(list, order, results, bend = null) {
  for (const number of order) {
    if (results[number]) continue;
    const [name, kind, shape, numbers, more] = list[number], Kind = KINDS[kind], args = numbers.map((n) => results[n]);
    if (name in ONE) results[number] = elementwise(ONE[name], Kind, ...args);
    else if (name in TWO) results[number] = elementwise(TWO[name], Kind, ...args);
    else if (name === "where") results[number] = elementwise((yes, a, b) => (yes ? a : b), Kind, ...args);
    else if (name === "matmul") results[number] = matmul(Kind, ...args);
    else if (name === "gather") results[number] = gathered(Kind, shape, more, args);
    else if (name === "constant") results[number] = { shape, data: constantOf(Kind, sizeOf(shape), more) };
    else if (name in BENT) results[number] = bend(name, more, args);
    else results[number] = reduced(name, Kind, shape, more, args[0]);
  }
  return results;
}

function constantOf(Kind, size, values) {
  const numbers = values.map((value) => ({ nan: NaN, inf: Infinity, "-inf": -Infinity })[value] ?? Number(value));
  return numbers.length === 1 ? new Kind(size).fill(numbers[0]) : Kind.from(numbers);
}

// The sum with a single rounding, as the engine's explanations add up (Shewchuk's partial sums; Python's math.fsum).
function exactSum(values) {
  const partials = [];
  for (let x of values) {
    if (!Number.isFinite(x)) return values.reduce((total, value) => total + value, 0);
    let kept = 0;
    for (let y of partials) {
      if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
      const high = x + y, low = y - (high - x);
      if (low) partials[kept++] = low;
      x = high;
    }
    partials.length = kept;
    partials.push(x);
  }
  let total = 0;
  while (partials.length) {
    const x = total, y = partials.pop();
    total = x + y;
    const low = y - (total - x);
    if (low) {
      if (partials.length && Math.sign(low) === Math.sign(partials.at(-1)) && total + 2 * low - total === 2 * low) total += 2 * low;
      break;
    }
  }
  return total;
}
