// The loss curve, the slider over the recorded steps, and playing them.

const CURVE = { height: 164, left: 52, right: 14, top: 24, bottom: 22 };
let curve = null;

function buildCurve() {
  const box = byId("curve");
  const zoom = zoomOf(box.clientWidth), width = box.clientWidth / zoom;
  const values = moments.map(lossAt), last = moments.at(-1).step;
  const all = [...values, ...losses], good = all.filter(Number.isFinite);
  const [low, high] = [Math.min(...good), Math.max(...good)];
  const log = low > 0 && high / low > 50;
  const bent = log ? Math.log : (value) => value;
  const span = bent(high) - bent(log ? low : Math.min(0, low)) || 1;
  const x = (step) => CURVE.left + ((width - CURVE.left - CURVE.right) * (step - 1)) / Math.max(1, Math.max(last, losses.length) - 1);
  const y = (loss) => CURVE.top + (CURVE.height - CURVE.top - CURVE.bottom) * ((bent(high) - bent(loss)) / span);
  const end = Math.max(last, losses.length);
  const path = (pairs) => pairs.filter(([, loss]) => Number.isFinite(loss)).map(([step, loss], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`).join("");
  const engines = [...losses].map((loss, i) => [i + 1, loss]);
  const first = moments.findIndex((one) => one.own);
  const own = first < 0 ? [] : moments.slice(Math.max(0, first - 1)).map((one) => [one.step, lossAt(one)]);
  const mark = s("line", { class: "mark", y1: CURVE.top, y2: CURVE.height - CURVE.bottom });
  const dot = s("circle", { class: "dot", r: 5 });
  const bottom = log ? low : Math.min(0, low);
  const texts = [[CURVE.left - 6, y(high) + 8, brief(high), "end"], [CURVE.left - 6, y(bottom), brief(bottom), "end"],
    [x(1), CURVE.height - 5, "1", "middle"], [x(end), CURVE.height - 5, String(end), "middle"]];
  const svg = s("svg", { role: "img", width: width * zoom, height: CURVE.height * zoom, viewBox: `0 0 ${width} ${CURVE.height}` },
    s("path", { class: "axis", d: `M${CURVE.left} ${CURVE.top} V${CURVE.height - CURVE.bottom} H${width - CURVE.right}` }),
    s("path", { class: own.length ? "curve before" : "curve", d: path(engines) }), s("path", { class: "curve own", d: path(own) }),
    ...texts.map(([tx, ty, text, anchor]) => s("text", { x: tx, y: ty, class: anchor }, text)), mark, dot);
  const axis = s("text", { x: CURVE.left, y: CURVE.top - 13 }); // above the curve, wherever it runs
  svg.append(axis);
  const chosen = (event) => event.buttons && show({ at: nearest(1 + ((event.offsetX / zoom - CURVE.left) * (end - 1)) / (width - CURVE.left - CURVE.right)) });
  svg.addEventListener("pointerdown", chosen);
  svg.addEventListener("pointermove", chosen);
  box.replaceChildren(svg);
  curve = { svg, mark, dot, axis, x, y, log };
}

function nearest(step) {
  let best = 0;
  moments.forEach((one, i) => { if (Math.abs(one.step - step) < Math.abs(moments[best].step - step)) best = i; });
  return best;
}

function updateTraining() {
  const { step } = moment(), loss = lossAt(moment()), good = Number.isFinite(loss);
  const total = Math.max(losses.length, moments.at(-1).step);
  curve.mark.setAttribute("x1", curve.x(step));
  curve.mark.setAttribute("x2", curve.x(step));
  curve.dot.setAttribute("cx", curve.x(step));
  curve.dot.setAttribute("cy", good ? curve.y(loss) : CURVE.top);
  curve.dot.classList.toggle("bad", !good);
  curve.axis.textContent = say(curve.log ? "log_scale" : "loss_axis");
  curve.svg.setAttribute("aria-label", say("loss_curve", { first: shown(losses[0], 6), last: shown(lossAt(moments.at(-1)), 6), step, loss: shown(loss, 6) }));
  const told = `${say("step_of", { step, total })}, ${say("loss_now", { loss: shown(loss, 6) })}${isComputed(moment()) ? `, ${say("computed_here")}` : ""}`;
  byId("now").textContent = told;
  const slider = byId("step");
  slider.value = String(state.at);
  slider.setAttribute("aria-label", say("step"));
  slider.setAttribute("aria-valuetext", told);
  byId("play").textContent = `${state.playing ? "❚❚" : "▶"} ${say(state.playing ? "pause" : "play")}`;
  byId("play").setAttribute("aria-pressed", String(Boolean(state.playing)));
  updateControls();
}

function play() {
  if (state.playing) return pause();
  if (state.at === moments.length - 1) state.at = 0;
  const pace = Math.min(400, Math.max(50, 12000 / moments.length));
  show({ playing: setInterval(() => (state.at < moments.length - 1 ? show({ at: state.at + 1 }) : pause()), pace) });
}

function pause() {
  clearInterval(state.playing);
  show({ playing: null });
}
