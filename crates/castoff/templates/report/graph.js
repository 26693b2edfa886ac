// The graph of the build: a box for each stage, with its steps, and one for each thing that comes from outside.

const GRAPH = { width: 250, outside: 168, row: 20, head: 28, gapX: 62, gapY: 22, margin: 18, most: 26 };
// On a small screen more of it is to be seen at once.
if (innerWidth < 760) Object.assign(GRAPH, { width: 214, outside: 124, gapX: 34, margin: 10 });

function graphNodes() {
  const nodes = new Map();
  const of = new Map();
  steps.forEach((step, index) => {
    const kind = step.action.kind;
    if (kind === "internal" || (kind === "scratch" && !step.stage)) return;
    const outside = !step.stage || kind === "local" || kind === "fetched";
    // Of several platforms, the name of a step says which one its stage is for.
    const label = (step.name.match(/^\[(.*?)(?: \d+\/\d+)?\]/) ?? [null, step.stage])[1];
    const key = outside ? `outside ${index}` : `stage ${label}`;
    if (!nodes.has(key)) {
      nodes.set(key, { name: outside ? outsideName(step) : label, stage: step.stage, outside, steps: [], inputs: new Map(), rank: 0 });
    }
    nodes.get(key).steps.push(index);
    of.set(index, key);
  });
  for (const node of nodes.values()) {
    for (const index of node.steps) {
      for (const input of steps[index].inputs) {
        const from = of.get(input);
        if (from === undefined || nodes.get(from) === node) continue;
        const edge = `${input} ${index}`;
        node.inputs.set(edge, { from: nodes.get(from), output: input, input: index });
      }
    }
  }
  return [...nodes.values()].filter((node) => !node.outside || isRead(node, nodes));
}

function isRead(node, nodes) {
  return [...nodes.values()].some((other) => [...other.inputs.values()].some((edge) => edge.from === node));
}

function outsideName(step) {
  const action = step.action;
  if (action.kind === "local") return action.name ? `context ${action.name}` : "build context";
  return action.reference ? imageName(action.reference) : action.address ?? instruction(step);
}

// Ranks by the longest way from what has no inputs. Stages cannot depend on each other in a circle, but the steps of one
// may be mixed with those of another, so the rounds are counted.
function rank(nodes) {
  for (let round = 0; round < nodes.length; round += 1) {
    let moved = false;
    for (const node of nodes) {
      for (const edge of node.inputs.values()) {
        if (edge.from.rank + 1 > node.rank && edge.from.rank + 1 <= nodes.length) {
          node.rank = edge.from.rank + 1;
          moved = true;
        }
      }
    }
    if (!moved) break;
  }
  // What comes from outside stands right before its first reader.
  for (const node of nodes.filter((one) => one.outside)) {
    const readers = nodes.filter((other) => [...other.inputs.values()].some((edge) => edge.from === node));
    if (readers.length) node.rank = Math.max(0, Math.min(...readers.map((reader) => reader.rank)) - 1);
  }
}

// Chooses which steps of a stage have a row: all, or the ones that took longest, in their order.
function rowsOf(node) {
  if (node.steps.length <= GRAPH.most) return node.steps;
  const linked = new Set();
  const longest = [...node.steps].sort((a, b) => (steps[b].makingMs ?? 0) - (steps[a].makingMs ?? 0));
  longest.slice(0, GRAPH.most - 1).forEach((index) => linked.add(index));
  return node.steps.filter((index) => linked.has(index));
}

function place(nodes) {
  const columns = [];
  for (const node of nodes) (columns[node.rank] ??= []).push(node);
  let x = GRAPH.margin;
  let bottom = 0;
  for (const column of columns) {
    if (!column) continue;
    for (const node of column) {
      node.rows = node.outside ? [] : rowsOf(node);
      node.left = node.steps.length - node.rows.length;
      node.height = node.outside ? 38 : GRAPH.head + GRAPH.row * (node.rows.length + (node.left ? 1 : 0)) + 6;
      const before = [...node.inputs.values()].map((edge) => edge.from).filter((from) => from.y !== undefined);
      node.wish = before.length ? sum(before, (from) => from.y + from.height / 2) / before.length - node.height / 2 : 0;
    }
    column.sort((a, b) => a.wish - b.wish || a.steps[0] - b.steps[0]);
    let y = GRAPH.margin;
    for (const node of column) {
      node.x = x;
      node.width = node.outside ? GRAPH.outside : GRAPH.width;
      node.y = Math.max(y, node.wish);
      y = node.y + node.height + GRAPH.gapY;
      bottom = Math.max(bottom, node.y + node.height);
    }
    // What comes from outside stands at the end of its column, near to what reads it.
    const width = Math.max(...column.map((node) => node.width));
    column.forEach((node) => { node.x += width - node.width; });
    x += width + GRAPH.gapX;
  }
  return { width: x - GRAPH.gapX + GRAPH.margin, height: bottom + GRAPH.margin };
}

// Where the row of a step is; of one without a row, the middle of its box.
function rowAt(node, index) {
  const at = node.rows.indexOf(index);
  return at < 0 ? node.y + node.height / 2 : node.y + GRAPH.head + GRAPH.row * (at + 0.5);
}

function clip(text, width, letter) {
  const most = Math.max(3, Math.floor(width / letter));
  return text.length > most ? `${text.slice(0, most - 1)}\u2026` : text;
}

function marker(state, x, y) {
  if (state === "run" || state === "found") return s("circle", { class: state, cx: x, cy: y, r: 4 });
  if (state === "failed") return s("rect", { class: "failed", x: x - 4, y: y - 4, width: 8, height: 8 });
  return s("circle", { class: "other", cx: x, cy: y, r: 4 });
}

function drawStage(node, way, longest) {
  const size = (data.contents.stages ?? []).find((stage) => stage.name === node.stage);
  const ship = node.steps.includes(build.root);
  const time = sum(node.steps, (index) => steps[index].makingMs);
  const state = ship ? "ship" : "";
  const facts = [size && bytes(size.bytes), duration(time)].filter(Boolean).join(", ");
  const group = s("g", null,
    s("rect", { class: `box ${state}`, x: node.x, y: node.y, width: GRAPH.width, height: node.height, rx: 3 }),
    s("rect", { class: `head ${state}`, x: node.x + 1, y: node.y + 1, width: GRAPH.width - 2, height: GRAPH.head - 5, rx: 2 }),
    s("text", { class: "name", x: node.x + 9, y: node.y + 17 }, clip(shown(node.name), GRAPH.width - 130, 7)),
    s("text", { class: "soft", x: node.x + GRAPH.width - 9, y: node.y + 17, "text-anchor": "end" }, facts));
  node.rows.forEach((index) => {
    const step = steps[index];
    const y = rowAt(node, index);
    const took = step.makingMs;
    const part = took && longest ? Math.max(1, (GRAPH.width - 2) * (took / longest)) : 0;
    const said = `${instruction(step)}: ${step.verdict}${took === null ? "" : `, ${duration(took)}`}${way.has(index) ? ", on the critical path" : ""}`;
    group.append(s("a", { href: `#step-${index}`, "aria-label": said },
      s("title", null, said),
      part ? s("rect", { class: "part", x: node.x + 1, y: y - GRAPH.row / 2 + 1, width: part, height: GRAPH.row - 2 }) : null,
      way.has(index) ? s("rect", { class: "waymark", x: node.x + 1, y: y - GRAPH.row / 2 + 1, width: 3, height: GRAPH.row - 2 }) : null,
      s("rect", { class: "hit", x: node.x + 1, y: y - GRAPH.row / 2, width: GRAPH.width - 2, height: GRAPH.row }),
      marker(stateOf(step), node.x + 14, y),
      s("text", { class: "code", x: node.x + 25, y: y + 4 }, clip(brief(step), GRAPH.width - 88, 6.95)),
      s("text", { class: "soft", x: node.x + GRAPH.width - 9, y: y + 4, "text-anchor": "end" }, isWork(step) || took > 0 ? duration(took) : "")));
  });
  if (node.left) {
    group.append(s("text", { class: "soft", x: node.x + 25, y: node.y + node.height - 10 }, `and ${node.left} steps that took less`));
  }
  return group;
}

function drawOutside(node) {
  const step = steps[node.steps[0]];
  const kinds = { local: "from this machine", fetched: "fetched", image: "base image" };
  return s("g", null,
    s("title", null, node.name),
    s("rect", { class: "source", x: node.x, y: node.y, width: node.width, height: node.height, rx: 3 }),
    s("text", { class: "code", x: node.x + 9, y: node.y + 16 }, clip(shown(node.name), node.width - 18, 6.95)),
    s("text", { class: "soft", x: node.x + 9, y: node.y + 31 }, kinds[step.action.kind] ?? ""));
}

function drawEdge(edge, node, way) {
  const [x1, x2] = [edge.from.x + edge.from.width, node.x];
  const [y1, y2] = [rowAt(edge.from, edge.output), rowAt(node, edge.input)];
  const on = way.follows(edge.output, edge.input) ? " way" : "";
  // An arrow back leaves and arrives on the same sides, so it goes around in a bow.
  const bend = Math.max(30, Math.abs(x2 - x1) * 0.45);
  return s("g", null,
    s("path", { class: `edge${on}`, d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2 - 5} ${y2}` }),
    s("path", { class: `tip${on}`, d: `M${x2} ${y2}l-7 -3.5v7z` }));
}

// The steps of the critical path that took time, and which of all its steps waited for which.
function onWay() {
  const path = currentWay().steps;
  const time = allCached() ? "makingMs" : "tookMs";
  const marked = new Set(path.filter((index) => (steps[index][time] ?? 0) > 0));
  const pairs = new Set(path.slice(1).map((index, before) => `${path[before]} ${index}`));
  return { has: (index) => marked.has(index), follows: (from, to) => pairs.has(`${from} ${to}`) };
}

function graph() {
  const nodes = graphNodes();
  if (!nodes.length) return;
  rank(nodes);
  const size = place(nodes);
  const way = onWay();
  const longest = Math.max(0, ...steps.filter((step) => step.action.kind !== "internal").map((step) => step.makingMs ?? 0));
  const edges = nodes.flatMap((node) => [...node.inputs.values()].filter((edge) => nodes.includes(edge.from)).map((edge) => drawEdge(edge, node, way)));
  const svg = s("svg", { width: size.width, height: size.height, viewBox: `0 0 ${size.width} ${size.height}`, role: "group", "aria-label": "Stages and steps of the build" },
    edges, nodes.map((node) => (node.outside ? drawOutside(node) : drawStage(node, way, longest))));
  const dot = (state, text) => h("span", null, h("span", { class: `dot ${state}` }), text);
  const states = new Set(nodes.flatMap((node) => (node.outside ? [] : node.rows)).map((index) => stateOf(steps[index])));
  body("build").append(
    h("div", { class: "key" },
      states.has("run") && dot("run", "executed"), states.has("found") && dot("found", "cached, with the time that it took once"),
      states.has("failed") && dot("failed", "failed"), states.has("other") && dot("other", "not needed"),
      dot("way", allCached() ? "critical path without a cache" : "critical path"), dot("ship", "shipped")),
    h("div", { class: "graph", tabindex: "0", role: "region", "aria-label": "Graph of the build, which scrolls" }, svg));
}
