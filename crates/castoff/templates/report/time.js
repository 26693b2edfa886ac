// Where the time went: a bar for each step, how many worked at a time, and every step in a table.

const allCached = () => steps.some((step) => isWork(step) && step.verdict === "cached") && !steps.some((step) => isWork(step) && step.verdict === "executed");
const currentWay = () => (allCached() ? data.time.uncached : data.time.critical);

// Bars of this build, by the clock.
function measured() {
  const from = Date.parse(build.startedAt);
  return steps.flatMap((step, index) => {
    if (!step.startedAt || !step.endedAt) return [];
    return [{ index, start: Date.parse(step.startedAt) - from, end: Date.parse(step.endedAt) - from }];
  });
}

// Bars of a build without any cache: each step begins when its inputs are done.
function imagined() {
  const ends = [];
  return steps.flatMap((step, index) => {
    const start = Math.max(0, ...step.inputs.map((input) => ends[input] ?? 0));
    ends[index] = start + (step.makingMs ?? 0);
    return step.action.kind === "internal" || !step.makingMs ? [] : [{ index, start, end: ends[index] }];
  });
}

// How many bars lie over each instant, as corners of an area.
function busy(bars, total) {
  const turns = bars.flatMap((bar) => [[bar.start, 1], [bar.end, -1]]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let now = 0;
  let peak = 0;
  const corners = [];
  for (const [at, by] of turns) {
    corners.push([at, now]);
    now += by;
    peak = Math.max(peak, now);
    corners.push([at, now]);
  }
  const x = (at) => (at / total) * 1000;
  const y = (count) => 40 - (count / Math.max(peak, 1)) * 36;
  const path = `M0 40${corners.map(([at, count]) => `L${x(at).toFixed(1)} ${y(count).toFixed(1)}`).join("")}L1000 40Z`;
  return { peak, path };
}

function ticks(total) {
  const raw = total / 6;
  const base = 10 ** Math.floor(Math.log10(Math.max(raw, 1)));
  const step = [1, 2, 5, 10].map((factor) => factor * base).find((size) => size >= raw) ?? raw;
  const list = [];
  for (let at = 0; at < total * 0.9; at += step) list.push(at);
  return list;
}

// The bars that can be seen, at most so many; with few there is room for all.
function visible(list, total, most) {
  const long = [...list].sort((a, b) => b.end - b.start - (a.end - a.start));
  const count = long.findIndex((bar) => bar.end - bar.start < total / 400);
  return new Set(long.slice(0, Math.min(most, Math.max(count < 0 ? long.length : count, 8))).map((bar) => bar.index));
}

function bars(list, way, total, chosen) {
  const on = new Set(list.filter((bar) => bar.end > bar.start && way.steps.includes(bar.index)).map((bar) => bar.index));
  const rows = list.filter((bar) => chosen.has(bar.index)).sort((a, b) => a.start - b.start || a.end - b.end || a.index - b.index);
  const percent = (ms) => `${((ms / total) * 100).toFixed(3)}%`;
  return rows.map(({ index, start, end }) => {
    const step = steps[index];
    const state = step.action.kind === "internal" ? "other" : stateOf(step);
    const bar = style(h("span", { class: `bar ${state}` }), { left: percent(start), width: percent(end - start) });
    // Behind the bar, before it, or in it: wherever there is room.
    const [side, at] = end < total * 0.82 ? ["long", end] : start > total * 0.18 ? ["long before", start] : ["long inside", start];
    const text = style(h("span", { class: side }, duration(end - start)), { left: percent(at) });
    return h("li", { class: `row${on.has(index) ? " way" : ""}` },
      h("a", { class: "what", href: `#step-${index}`, title: firstLine(step.name) }, step.stage && h("span", { class: "soft" }, `${step.stage} `), brief(step), on.has(index) && h("span", { class: "skip" }, " (critical path)")),
      h("span", { class: "track" }, bar, text));
  });
}

function timeline(list, way, note) {
  const total = Math.max(1, ...list.map((bar) => bar.end));
  const { peak, path } = busy(list, total);
  const work = sum(list, (bar) => bar.end - bar.start);
  const axis = h("div", { class: "axis" }, ticks(total).map((at) => style(h("span", null, at === 0 ? "0" : duration(at)), { left: `${(at / total) * 100}%` })));
  const strip = s("svg", { class: "busy", viewBox: "0 0 1000 42", preserveAspectRatio: "none", role: "img", "aria-label": `At most ${peak} steps at a time` }, s("path", { d: path }));
  const chosen = visible(list, total, 40);
  const rows = h("ol", { class: "bars" });
  const head = h("div", { class: "bars" }, h("div", { class: "row head" },
    h("span", { class: "what soft" }, peak > 1 ? `up to ${peak} steps at a time` : "one step at a time"), h("span", { class: "track" }, peak > 1 && strip, axis)));
  rows.append(...bars(list, way, total, chosen));
  const all = () => {
    rows.replaceChildren(...bars(list, way, total, new Set(list.map((bar) => bar.index))));
    more.remove();
  };
  const more = chosen.size < list.length && h("button", { class: "button", type: "button", on: { click: all } }, `Show the ${list.length - chosen.size} that took less`);
  const said = [
    `${duration(work)} of work in ${duration(total)}`,
    total > 0 && work > total * 1.05 ? `${(work / total).toFixed(1)} steps at a time on average` : null,
    `the critical path, in full colour, is ${duration(way.ms)} (${share(way.ms, total)}) in ${counted(list.filter((bar) => way.steps.includes(bar.index) && bar.end > bar.start).length, "step", "steps")}`,
  ].filter(Boolean).join("; ");
  return [h("p", { class: "lead" }, `${said}. ${note}`), head, rows, more && h("p", { class: "body" }, more)];
}

function whyOf(step) {
  if (step.verdict === "cached") {
    const made = step.madeAt ? `made ${step.madeAt.slice(0, 16).replace("T", " ")}` : null;
    const cache = step.cache ?? step.madeIn;
    return [made, cache && `from ${cache}`].filter(Boolean).join(", ");
  }
  if (step.message) return step.message;
  if (!step.reason) return "";
  const changes = step.reason.changes.map((change) => h("li", null, h("span", { class: "mono" }, change.name), change.before === null ? " is new" : change.after === null ? " is gone" : " is different"));
  if (!changes.length) return step.reason.text;
  const left = step.reason.leftOut ? h("li", { class: "soft" }, `and ${step.reason.leftOut} more`) : null;
  return h("details", null, h("summary", null, step.reason.text), h("ul", null, changes, left));
}

function stepTable() {
  const columns = [
    { name: "Step" }, { name: "Result" }, { name: "Took", class: "number" }, { name: "Making", class: "number" },
    { name: "CPU", class: "number" }, { name: "Adds", class: "number" }, { name: "Line", class: "number" }, { name: "Why" },
  ];
  const order = steps.map((step, index) => index).filter((index) => steps[index].action.kind !== "scratch");
  const rows = order.map((index) => {
    const step = steps[index];
    const line = step.lines ? h("a", { href: `#line-${step.lines[0]}` }, step.lines[0]) : "";
    return { id: `step-${index}`, cells: [
      h("span", { class: "mono" }, firstLine(step.name)), h("span", { class: `tag ${stateOf(step)}` }, step.verdict),
      duration(step.tookMs), duration(step.makingMs), duration(step.cpuMs), bytes(addedBy(index)), line, whyOf(step),
    ] };
  });
  return table("What a step took in this build, and what making its result took when that was done.", columns, rows, 5000);
}

function time() {
  const root = body("time");
  const place = h("div");
  const unknown = data.time.uncached.unknown;
  const views = [
    ["This build", () => timeline(measured(), data.time.critical, `What a step waited for last is before it on that path${data.time.critical.ms < data.time.tookMs * 0.9 ? "; in the gaps steps waited for their turn" : ""}.`)],
    ["Without a cache", () => timeline(imagined(), data.time.uncached, `As it would be with every step executed, as soon as its inputs are there${unknown ? `; of ${counted(unknown, "step", "steps")} nothing is known` : ""}.`)],
  ];
  const choose = (at) => {
    buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(at === other)));
    place.replaceChildren(...views[at][1]().flat().filter(Boolean));
  };
  const buttons = views.map(([name], at) => h("button", { class: "button", type: "button", on: { click: () => choose(at) } }, name));
  const list = h("details", { id: "steps" }, h("summary", null, "Every step as a table"), h("div", null, stepTable()));
  root.append(h("div", { class: "choices", role: "group", "aria-label": "Which build" }, buttons), place, list);
  choose(allCached() ? 1 : 0);
}

// A link to a step opens the table that it is in.
function openStep() {
  const row = /^#step-\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
  if (!row) return;
  document.getElementById("steps").open = true;
  document.querySelectorAll("tr.here").forEach((other) => other.classList.remove("here"));
  row.classList.add("here");
  row.scrollIntoView({ block: "center" });
}
