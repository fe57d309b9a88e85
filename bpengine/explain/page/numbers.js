"use strict";
// What the page is given, and its numbers: columns over the recorded steps, computed by the engine.

const page = JSON.parse(document.getElementById("content").textContent);

function decoded(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

const constants = decoded(page.numbers.constants, Float64Array);
const singles = decoded(page.numbers.singles, Float32Array);
const doubles = decoded(page.numbers.doubles, Float64Array);
const losses = decoded(page.losses, Float64Array);

// A number of a moment: computed here, or looked up. A ref is a place on a sheet, which has a column, or a column itself.
function numberOf(ref, one) {
  if (isComputed(one)) return computed(one).numbers[ref];
  return numberAt(page.places ? page.places[ref] : ref, one.kept);
}

// The number of a column at a recorded step.
function numberAt(ref, at) {
  const count = page.steps.length;
  if (ref < constants.length) return constants[ref];
  const place = (ref - constants.length) * count + at;
  return place < singles.length ? singles[place] : doubles[place - singles.length];
}

// A number as the engine's own texts show it (C's %.10g); one that is not finite is marked.
function shown(value, digits = 10) {
  if (Number.isNaN(value)) return "nan (!)";
  if (!Number.isFinite(value)) return value > 0 ? "inf (!)" : "-inf (!)";
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (Number(exponent) >= -4 && Number(exponent) < digits) return trimmed(value.toPrecision(digits));
  return `${trimmed(mantissa)}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
}

// The second factor of a product: in brackets when it has a sign.
function factor(value, digits) {
  const text = shown(value, digits);
  return text.startsWith("-") ? `(${text})` : text;
}

// A number in a few characters, for the picture.
function brief(value) {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return `${String(value).replace("Infinity", "inf")} !`;
  if (value === 0 || (size >= 0.001 && size < 1e4)) {
    const four = shown(value, 4);
    return four.length <= 6 ? four : shown(value, size < 0.01 ? 2 : 3);
  }
  return value.toExponential(1).replace("e+", "e");
}

// The largest finite size of some numbers at this moment: beside the last steps of a run that diverges all others are nothing.
const largestNow = (refs) => Math.max(...refs.map((ref) => Math.abs(now(ref))).filter(Number.isFinite), 0) || 1;

// The largest finite size that any of some numbers has in the recorded steps and at this moment.
function largest(refs) {
  let found = 0;
  for (const ref of refs)
    for (let at = 0; at <= page.steps.length; at++) {
      const size = Math.abs(at < page.steps.length ? numberAt(page.places ? page.places[ref] : ref, at) : now(ref));
      if (Number.isFinite(size) && size > found) found = size;
    }
  return found || 1;
}
