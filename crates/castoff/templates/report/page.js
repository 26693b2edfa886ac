// What the parts of the page share. All text goes into the page as text; nothing here makes markup of a string.

const data = JSON.parse(document.getElementById("data").textContent);
const build = data.build;
const steps = build ? build.steps : [];

// Characters that would hide others or turn a line around.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

function shown(text) {
  return String(text ?? "").replace(HIDDEN, "\ufffd");
}

function make(space, tag, attributes, children) {
  const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else node.setAttribute(name, value === true ? "" : shown(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : shown(child));
  }
  return node;
}

const h = (tag, attributes, ...children) => make(null, tag, attributes, children);
const s = (tag, attributes, ...children) => make("http://www.w3.org/2000/svg", tag, attributes, children);

// The policy of the page allows no style attributes; properties set by a script are no attributes.
function style(node, properties) {
  for (const [name, value] of Object.entries(properties)) node.style.setProperty(name, value);
  return node;
}

// Three digits and a decimal unit, as castoff writes sizes everywhere.
function bytes(count) {
  if (count === null || count === undefined) return "";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit + 1 < units.length) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits)}\u00a0${units[unit]}`;
}

// What stands between backticks in a message is a name or a text of a program.
const prose = (text) => shown(text).split(/`([^`]*)`/).map((part, at) => (at % 2 ? h("code", null, part) : part));

function duration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 1000) return `${Math.round(ms)}\u00a0ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)}\u00a0s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}\u00a0min ${seconds % 60}\u00a0s`;
}

function share(part, whole) {
  if (!whole) return "";
  const of = (part * 100) / whole;
  return of > 0 && of < 0.1 ? "<0.1\u00a0%" : `${of.toFixed(of < 10 ? 1 : 0)}\u00a0%`;
}

const counted = (count, one, several) => `${count.toLocaleString("en")} ${count === 1 ? one : several}`;
const firstLine = (text) => shown(String(text ?? "").split("\n")[0]);
const sum = (list, of) => list.reduce((total, item) => total + (of(item) ?? 0), 0);

// The name of a step is `[stage 2/4] INSTRUCTION`.
function instruction(step) {
  return firstLine(step.name).replace(/^\[[^\]]*\] /, "");
}

// The same without flags, which are often longer than what the instruction does.
function brief(step) {
  const text = instruction(step).replace(/^([A-Z]+)(?:\s+--[a-z-]+(?:=\S+)?)+\s+/, "$1 ");
  return text.startsWith("FROM ") ? `FROM ${imageName(text.slice(5))}` : text;
}

function stateOf(step) {
  if (step.verdict === "executed") return "run";
  if (step.verdict === "cached") return "found";
  return step.verdict === "failed" ? "failed" : "other";
}

// The name of an image without the digest that it may be pinned to, as people write it.
const imageName = (reference) => shown(reference).replace(/@sha256:[0-9a-f]{64}$/, "").replace(/^docker\.io\/(library\/)?/, "");

// Bytes of files that a step added; of a layer that nobody weighed, those of its tar.
const weights = new Map(data.layers.flatMap((layer) => (layer.step === null ? [] : [[layer.step, layer.bytes]])));
const addedBy = (index) => weights.get(index) ?? (steps[index].layer ? steps[index].bytes : null);

const isWork = (step) => ["run", "copy", "workdir"].includes(step.action.kind);
const stepLink = (index, ...children) => h("a", { href: `#step-${index}` }, children);

function body(section) {
  const node = document.getElementById(section);
  node.hidden = false;
  return node.querySelector(".body");
}

// A table; `rows` are lists of cells, each a node, a text or a list. What is beyond `most` waits for a button.
function table(caption, columns, rows, most = 200) {
  const tbody = h("tbody");
  const cells = (row) => row.map((cell, at) => h("td", { class: columns[at].class }, cell));
  const add = (from, to) => {
    for (const row of rows.slice(from, to)) tbody.append(h("tr", { id: row.id }, cells(row.cells ?? row)));
  };
  add(0, most);
  const head = columns.map((column) => h("th", { scope: "col", class: column.class }, column.name));
  const node = h("table", null, caption && h("caption", null, caption), h("thead", null, h("tr", null, head)), tbody);
  const whole = h("div", { class: "scroll" }, node);
  if (rows.length <= most) return whole;
  let known = most;
  const left = () => (rows.length - known > 1000 ? `Show 1,000 of ${(rows.length - known).toLocaleString("en")} others` : `Show the other ${rows.length - known}`);
  const more = h("button", { class: "button", type: "button" }, left());
  more.addEventListener("click", () => {
    add(known, known + 1000);
    known += 1000;
    if (known >= rows.length) more.remove();
    else more.textContent = left();
  });
  return [whole, h("p", null, more)];
}
