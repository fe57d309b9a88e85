// The sum of what is pointed at, written out with the engine's numbers.

const exact = (value) => h("b", { class: Number.isFinite(value) ? "" : "bad", "data-value": String(value) }, shown(value));

// One sum: a line per term, the smaller terms as one, the rounding where it would show, and the total.
function sumOf(terms, total, marked = null, rest = page.columns.every((column) => column.whole) ? "room_rest" : "other_terms") {
  const lines = terms.terms.map(([label, left, right, product]) => {
    const name = termName(now(label));
    return termLine(name, `${shown(now(left))} × ${factor(now(right))}`, now(product), name === marked);
  });
  if (terms.left_out) lines.push(termLine(say(rest, { count: terms.left_out }), "", now(terms.rest)));
  const value = now(terms.value), rounding = now(terms.rounding);
  if (rounding && Math.abs(rounding) > 1e-10 * Math.abs(value)) lines.push(termLine(say("room_rounding"), "", rounding));
  return h("ol", { class: "terms" }, ...lines, h("li", { class: "total" }, h("p", {}, h("span", { class: "label" }, total), heard(": "), exact(value))));
}

// What stands between two parts for those who hear the page; those who see it see them apart.
const heard = (text) => h("span", { class: "hidden" }, text);

function termLine(name, product, value, marked = false) {
  return h("li", { class: marked ? "marked" : "" }, h("span", { class: "label" }, name), heard(": "),
    h("p", {}, h("span", {}, product), heard(" "), h("span", { class: "value" }, product ? "= " : "", exact(value))));
}

const line = (text, value) => h("p", { class: "line-of" }, h("span", {}, `${text} = `), exact(value));
const part = (name, kind, ...parts) => h("div", { class: `part ${kind}` }, h("h4", {}, name), ...parts);

function table(heads, rows, kind = "") {
  const head = h("tr", {}, h("td"), ...heads.map((text) => h("th", { scope: "col" }, text)));
  return h("div", { class: "wide", role: "group", tabindex: 0, "aria-label": say("sum") }, h("table", { class: kind }, h("thead", {}, head), h("tbody", {}, ...rows)));
}

const tellers = { loss: toldLoss, inputs: toldInput, units: toldUnit, weights: toldWeight };

function updateSums() {
  const thing = found(subject());
  const heading = thing.kind === "units" ? unitHeading(thing) : title(subject());
  byId("told").replaceChildren(h("h3", {}, heading), ...tellers[thing.kind](thing));
  byId("look-at").value = subject();
}

function unitHeading(unit) {
  const kind = kindOf(page.columns[unit.column]);
  return `${say("room_unit", { unit: unit.unit, place: place(unit), kind })}, ${say(unit.hidden ? "room_hidden" : "room_output")}`;
}

function toldUnit(unit) {
  const parts = state.row < 0 ? [batchTable(unit)] : [forwardPart(unit, state.row), backwardPart(unit, state.row)];
  if (direction() !== "forward") parts.reverse();
  const bend = canEdit() ? activationField(page.columns[unit.column]) : null;
  return [...(bend ? [h("p", { class: "edit" }, bend)] : []), ...parts, ...(unit.weights.length ? [weightTable(unit)] : [])];
}

function forwardPart(unit, r) {
  const terms = unit.forward && unit.forward[r];
  const dense = page.columns[unit.column].kind.startsWith("Dense");
  const ending = unit.activation ? say("room_activation", { name: activationName(unit) }) : say("room_output_a");
  return part(say(dense ? "room_forward" : "room_forward_other"), "forward",
    terms ? sumOf(terms, say("room_sum_z")) : null, line(ending, now(unit.a[r])));
}

function backwardPart(unit, r) {
  const last = !unit.hidden;
  const next = page.columns.filter((column) => column.sources.includes(unit.column));
  const head = last ? (page.about.own_loss ? "room_from_own_loss" : "room_from_loss") : next.every((column) => column.kind.startsWith("Dense")) ? "room_backward" : "room_backward_other";
  const through = unit.through
    ? [h("p", { class: "then" }, say("room_times_slope", { name: activationName(unit) })), sumOf(unit.through[r], say("room_sum_dz"))]
    : unit.activation
      ? [h("p", { class: "then" }, say("room_outside_slope", { name: unit.activation })), line("dL/dz", now(unit.dz[r]))]
      : [h("p", { class: "then" }, say("room_no_slope"))];
  if (!unit.incoming) return part(say("room_outside"), "backward", line("dL/da", now(unit.da[r])), ...through);
  return part(say(head), "backward", sumOf(unit.incoming[r], say("room_sum_da")), ...through);
}

function batchTable(unit) {
  const forward = direction() === "forward";
  const heads = forward ? ["z", "a"] : ["dL/da", "dL/dz"];
  const refs = forward ? [unit.z, unit.a] : [unit.da, unit.dz];
  const rows = page.rows.map((row, r) => h("tr", {},
    h("th", { scope: "row" }, h("button", { type: "button", on: { click: () => show({ row: r }) } }, say("room_row", { row }))),
    ...refs.map((list) => h("td", {}, exact(now(list[r]))))));
  const left = page.batch - page.rows.length;
  return part(say(forward ? "room_forward_other" : "room_backward_other"), forward ? "forward" : "backward",
    table(heads, rows),
    left ? h("p", { class: "note" }, say("rows_shown", { count: page.rows.length, total: page.batch })) : null);
}

function weightTable(unit) {
  const rows = unit.weights.map((i) => h("tr", {},
    h("th", { scope: "row" }, h("button", { type: "button", on: { click: () => show({ kept: `w${i}`, pointed: null }) } }, page.weights[i].name)),
    h("td", {}, exact(now(page.weights[i].gradient))),
    h("td", {}, canEdit() ? weightField(page.weights[i]) : exact(now(page.weights[i].old)))));
  return part(say("its_weights"), "weights", table([say("room_gradient"), say("value_now")], rows, "weights"));
}

function toldWeight(weight) {
  const row = state.row < 0 ? null : say("room_row", { row: page.rows[state.row] });
  const penalties = weight.penalties.map(([name, ref]) => line(`+ ${say("room_penalty", { name })}`, now(ref)));
  const averaged = page.about.reduction === "sum" ? null : h("p", { class: "note" }, say("room_averaged"));
  const gradient = part(say("room_parameters"), "backward", averaged,
    sumOf(weight.data, say(penalties.length ? "data_sum" : "sum_weight"), row, "room_rest"),
    ...penalties, penalties.length ? line(say("sum_weight"), now(weight.gradient)) : null);
  const parts = [gradient, stepPart(weight)];
  const value = canEdit()
    ? h("p", { class: "line-of edit" }, h("label", {}, h("span", {}, say("value_now")), weightField(weight)))
    : line(say("value_now"), now(weight.old));
  return [value, ...(direction() === "update" ? parts.reverse() : parts)];
}

function stepPart(weight) {
  const { rule, formula, optimizer, settings } = page.about;
  const words = { slope: shown(now(weight.slope)), rate: shown(now(weight.rate), 6), step: shown(now(weight.step_size)) };
  const new_ = say("room_new_value", { old: shown(now(weight.old)), step: factor(now(weight.step_size)), new: shown(now(weight.new)) });
  const lines = Object.entries(formula).map((pair) => pair.join(" = "));
  const how = rule === "sgd" && lines.length
    ? [h("p", {}, say("room_step_size", words))]
    : [h("p", {}, `${optimizer}${settings ? ` (${settings})` : ""}`),
       h("p", {}, lines.length ? say("room_rule_does", { formula: lines.join("; ") }) : say("room_outside_rule", { rule })),
       ...Object.entries(weight.slots).map(([name, [before, after]]) =>
         h("p", {}, `${name}: ${shown(now(before))} → ${shown(now(after))}`))];
  return part(say("stage_update"), "update", ...how, h("p", { class: "new", "data-value": String(now(weight.new)) }, new_));
}

function toldInput(input) {
  const rows = state.row < 0 ? page.rows.map((_, r) => r) : [state.row];
  const lines = rows.map((r) => canEdit()
    ? h("p", { class: "line-of edit" }, h("label", {}, h("span", {}, say("room_row", { row: page.rows[r] })), inputField(input, r)))
    : line(say("room_row", { row: page.rows[r] }), now(input.x[r])));
  return [part(say("inputs"), "forward", ...lines), h("p", { class: "note" }, say("input_note"))];
}

function toldLoss() {
  const { loss, reduction } = page.about;
  const outputs = page.units.filter((unit) => unit.column === page.columns.length - 1);
  const rows = state.row < 0 ? page.rows.map((_, r) => r) : [state.row];
  const heads = [say("target"), ...outputs.map(unitName)];
  const body = rows.map((r) => h("tr", {}, h("th", { scope: "row" }, say("room_row", { row: page.rows[r] })),
    h("td", { class: "target" }, ...(canEdit() ? targetFields(r) : [targetTexts(r).join(", ")])),
    ...outputs.map((unit) => h("td", {}, exact(now(unit.a[r]))))));
  const value = now(page.loss);
  return [h("p", { class: "line-of", "data-value": String(value) }, say("room_loss", { name: loss, reduction, count: page.batch, value: shown(value) })),
    part(say("room_output_a"), "forward", table(heads, body))];
}

// The sum as one sentence, for a screen reader: when something else is kept in view, or the step is chosen by hand.
function spoken() {
  const lines = [...byId("told").querySelectorAll(".part:first-of-type li, .part:first-of-type .line-of")];
  const sum = lines.slice(0, 12).map((element) => element.textContent).join("; ");
  return say("said", { step: moment().step, about: byId("told").querySelector("h3").textContent, sum });
}
