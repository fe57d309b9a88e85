// The page as a whole: what is chosen, and bringing everything up to date with it.

let speaking = null;

function show(change) {
  Object.assign(state, change);
  updatePicture();
  updateSums();
  updateTraining();
  updateSamples();
  byId("sample").value = String(state.row);
  for (const choice of byId("stages").querySelectorAll("input")) choice.checked = Number(choice.value) === state.stage;
  updateLegend();
  if (("kept" in change || "at" in change || "row" in change || "stage" in change) && !state.playing) speak();
}

function speak() {
  clearTimeout(speaking);
  speaking = setTimeout(() => { byId("said").textContent = spoken(); }, 400);
}

function updateLegend() {
  const kind = { loss: "forward" }[direction()] ?? direction();
  const factors = found(subject()).kind === "units" && kind !== "forward" && picture.joined.size;
  byId("legend").textContent = `${say(`${state.row < 0 ? "batch_" : ""}${kind}_legend`)}${factors ? ` ${say("factor_legend")}` : ""}`;
  byId("previous-stage").disabled = state.stage === 0;
  byId("next-stage").disabled = state.stage === stages.length - 1;
}

// Everything whose words do not depend on what is chosen.
function speakLanguage() {
  document.documentElement.lang = state.lang === "pt" ? "pt-BR" : state.lang;
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  const penalties = page.about.penalties.length ? say("about_penalties", { penalties: page.about.penalties.join(", ") }) : "";
  byId("about").textContent = [page.title, say("about", { ...page.about, count: page.batch }) + penalties].filter(Boolean).join(": ");
  byId("previous-stage").setAttribute("aria-label", say("previous_stage"));
  byId("next-stage").setAttribute("aria-label", say("next_stage"));
  byId("stages").setAttribute("aria-label", say("stages"));
  byId("stages").replaceChildren(...stages.map((stage, i) => h("label", { class: stage.direction },
    h("input", { type: "radio", name: "stage", value: i, on: { change: () => show({ stage: i }) } }), h("span", {}, stageName(stage)))));
  byId("notices").replaceChildren(...notices().map(([kind, text]) => h("p", { class: `notice ${kind}` }, text)));
  fillSamples();
  fillSubjects();
  show({ stage: state.stage });
}

function notices() {
  const told = [];
  if (page.bad) told.push(["bad", say("not_finite", { step: page.bad[0], cause: page.bad[1][state.lang] })]);
  if (page.columns.some((column) => !column.whole)) told.push(["", say("too_large")]);
  if (page.trouble?.[0] === "too_many") told.push(["", say("cannot_edit_too_many", { what: page.trouble[1][state.lang] })]);
  if (page.left.length) told.push(["", say("not_drawn", { places: page.left.join(", ") })]);
  if (!page.trouble && page.steps.length < losses.length) told.push(["", say("thinned_computed", { count: page.steps.length, total: losses.length })]);
  else if (page.steps.length < losses.length) told.push(["", say("thinned", { count: page.steps.length, total: losses.length })]);
  return told;
}

function fillSamples() {
  byId("sample").replaceChildren(...page.rows.map((_, r) => h("option", { value: r })), h("option", { value: -1 }, say("whole_batch", { count: page.batch })));
  updateSamples();
}

// The rows as they are at this moment.
function updateSamples() {
  page.rows.forEach((row, r) => {
    const x = page.inputs.slice(0, 4).map((input) => shown(now(input.x[r]), 4)).join(", ");
    const more = page.columns[0].total > 4 ? ", …" : "";
    byId("sample").children[r].textContent = say("sample_option", { row, x: `(${x}${more})`, target: targetTexts(r).slice(0, 4).join(", ") });
  });
}

function fillSubjects() {
  const group = (label, ids) => h("optgroup", { label }, ...ids.map((id) => h("option", { value: id }, title(id))));
  const of = (list, c, letter) => page[list].flatMap((thing, i) => (thing.column === c ? [`${letter}${i}`] : []));
  const layers = page.columns.slice(1).flatMap(({ place }, i) => [
    group(say("units_of", { place }), of("units", i + 1, "u")),
    ...(of("weights", i + 1, "w").length ? [group(say("weights_of", { place }), of("weights", i + 1, "w"))] : []),
  ]);
  byId("look-at").replaceChildren(group(say("inputs"), page.inputs.map((_, i) => `x${i}`)), ...layers, group(say("stage_loss"), ["loss"]));
}

function dark() {
  const chosen = document.documentElement.style.colorScheme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function listen() {
  byId("language").value = state.lang;
  byId("language").addEventListener("change", (event) => { state.lang = event.target.value; speakLanguage(); });
  byId("dark").setAttribute("aria-pressed", String(dark()));
  byId("dark").addEventListener("click", () => {
    document.documentElement.style.colorScheme = dark() ? "light" : "dark";
    byId("dark").setAttribute("aria-pressed", String(dark()));
  });
  byId("sample").addEventListener("change", (event) => show({ row: Number(event.target.value) }));
  byId("look-at").addEventListener("change", (event) => show({ kept: event.target.value, pointed: null }));
  byId("step").max = String(moments.length - 1);
  byId("step").addEventListener("input", (event) => show({ at: Number(event.target.value) }));
  byId("play").addEventListener("click", play);
  byId("step-back").addEventListener("click", () => show({ at: state.at - 1 }));
  byId("step-on").addEventListener("click", () => advance(1));
  byId("run-on").addEventListener("click", () => advance(100));
  byId("reset").addEventListener("click", reset);
  byId("link").addEventListener("click", link);
  byId("save").addEventListener("click", save);
  byId("open").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", async (event) => { await openFile(event.target.files[0]); event.target.value = ""; });
  addEventListener("hashchange", () => { if (location.hash.length > 1 && location.hash.slice(1) !== written()) { const good = restore(); speakLanguage(); renew(); if (!good) tellOfState("link_wrong"); } });
  byId("previous-stage").addEventListener("click", () => show({ stage: state.stage - 1 }));
  byId("next-stage").addEventListener("click", () => show({ stage: state.stage + 1 }));
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; buildPicture(); buildCurve(); show({}); } });
}

// The page opens on what it is about: where the gradient of the first hidden unit comes from.
function begin() {
  const first = page.columns.length > 1 ? 1 : 0;
  state.stage = stages.findIndex((stage) => stage.direction === "backward" && stage.column === first);
  state.kept = `u${Math.max(0, page.units.findIndex((unit) => unit.hidden))}`;
  state.row = Math.min(1, page.rows.length - 1);
  checkAgainstEngine();
  const good = restore();
  listen();
  buildPicture();
  buildCurve();
  speakLanguage();
  if (!good) tellOfState("link_wrong");
}

begin();
