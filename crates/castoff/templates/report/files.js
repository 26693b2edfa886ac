// The tree of what the image and its stages weigh. Tables of files are columns, parents before what is in them; nothing is
// made of a row before somebody looks at it.

let tables = null;

async function unpack() {
  const packed = document.getElementById("files").textContent;
  const text = atob(packed.trim());
  const raw = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) raw[at] = text.charCodeAt(at);
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
  tables = await new Response(stream).json();
  for (const table of tables) if (table) prepare(table);
}

// Adds to a table where what is below each row ends, and how many files that are.
function prepare(table) {
  const count = table.name.length;
  table.end = new Uint32Array(count);
  table.files = new Uint32Array(count);
  const rests = new Map(table.rests);
  const open = [];
  const close = (at) => {
    const row = open.pop();
    table.end[row] = at;
    if (open.length) table.files[open[open.length - 1]] += table.files[row];
  };
  for (let row = 0; row < count; row += 1) {
    while (open.length && table.depth[open[open.length - 1]] >= table.depth[row]) close(row);
    table.files[row] = rests.get(row) ?? (table.name[row].endsWith("/") ? 0 : 1);
    open.push(row);
  }
  while (open.length) close(count);
  table.vain = new Set(table.inVain);
  table.gone = new Set(table.copied);
  table.rest = rests;
}

// A node has a name, bytes, files and whether it was shipped; its parts are found when they are asked for.
function rootNode() {
  const shipped = data.layers.map((layer, index) => index).filter((index) => data.layers[index].shipped);
  const stages = new Map();
  data.layers.forEach((layer, index) => {
    if (layer.shipped) return;
    if (!stages.has(layer.stage)) stages.set(layer.stage, []);
    stages.get(layer.stage).push(index);
  });
  const image = groupNode("the image", shipped, true);
  if (!stages.size) return { ...image, name: data.image.name };
  const behind = [...stages].map(([name, layers]) => groupNode(name ?? "stage", layers, false));
  return node({ name: "the whole build", parts: () => [image, ...behind], bytes: sum([image, ...behind], (part) => part.bytes), files: sum([image, ...behind], (part) => part.files), mixed: true });
}

const node = (fields) => ({ ship: false, kind: "group", parts: () => [], ...fields });

function groupNode(name, layers, ship) {
  const parts = layers.map((index) => layerNode(index));
  return node({ name, ship, group: true, bytes: sum(parts, (part) => part.bytes), files: sum(parts, (part) => part.files), parts: () => parts });
}

function layerNode(index) {
  const layer = data.layers[index];
  const table = tables[index];
  const files = table ? countTop(table) : 0;
  const name = layer.step !== null && build ? brief(steps[layer.step]) : layer.base ? `FROM ${imageName(layer.base)}` : firstLine(layer.name ?? "layer");
  return node({ kind: "layer", layer: index, name, ship: layer.shipped, bytes: layer.bytes ?? 0, files, parts: () => (table ? partsOf(index, 0, table.name.length, "") : []) });
}

function countTop(table) {
  let files = 0;
  for (let row = 0; row < table.name.length; row = table.end[row]) files += table.files[row];
  return files;
}

function partsOf(layer, from, to, directory) {
  const parts = [];
  const table = tables[layer];
  for (let row = from; row < to; row = table.end[row]) parts.push(rowNode(layer, row, directory));
  return parts;
}

function rowNode(layer, row, directory) {
  const table = tables[layer];
  let at = row;
  let name = table.name[row];
  // Directories with nothing but a directory in them are one.
  while (name.endsWith("/") && table.end[at] > at + 1 && table.name[at + 1].endsWith("/") && table.end[at + 1] === table.end[at]) {
    at += 1;
    name += table.name[at];
  }
  const ship = data.layers[layer].shipped;
  const common = { layer, row: at, ship, bytes: table.bytes[at], files: table.files[at] };
  if (table.rest.has(at)) return node({ ...common, kind: "rest", name: counted(table.rest.get(at), "smaller file", "smaller files") });
  const path = directory + name;
  if (!name.endsWith("/")) return node({ ...common, kind: "file", name, path, vain: table.vain.has(at), copied: table.gone.has(at) });
  return node({ ...common, kind: "directory", name, path, parts: () => partsOf(layer, at + 1, table.end[at], path) });
}

const sorted = (parts) => parts.filter((part) => part.bytes > 0 || part.kind === "file").sort((a, b) => b.bytes - a.bytes || (a.name < b.name ? -1 : 1));

// Who made a file, in words.
function makerOf(part) {
  const layer = data.layers[part.layer];
  const number = tables[part.layer].maker?.[part.row];
  const maker = number === null || number === undefined ? null : data.makers[number];
  const of = (index) => [stepLink(index, instruction(steps[index])), steps[index].stage ? ` in ${steps[index].stage}` : ""];
  if (!maker) {
    if (layer.step !== null && build) return ["by ", of(layer.step)];
    return layer.base ? [`from the image ${imageName(layer.base)}`] : layer.name ? [`by ${firstLine(layer.name)}`] : [];
  }
  switch (maker.kind) {
    case "step": return ["made by ", of(maker.step), layer.step !== null ? [", brought by ", of(layer.step)] : ""];
    case "context": return [maker.name ? `from the context ${maker.name}` : "from the build context"];
    case "archive": return ["out of an archive"];
    case "dockerfile": return ["written in the Dockerfile"];
    case "fetched": return [`fetched from ${maker.address}`];
    case "image": return [`from the image ${imageName(maker.reference)}`];
    default: return ["from a step of which nothing is left here"];
  }
}

// Finds files whose path has some text, the largest first.
function search(text, most) {
  const found = [];
  const wanted = text.toLowerCase();
  tables.forEach((table, layer) => {
    if (!table) return;
    const open = [];
    for (let row = 0; row < table.name.length; row += 1) {
      open.length = table.depth[row];
      open.push(table.name[row]);
      if (table.rest.has(row) || table.name[row].endsWith("/")) continue;
      if (table.name[row].toLowerCase().includes(wanted) || (wanted.includes("/") && open.join("").toLowerCase().includes(wanted))) {
        found.push({ layer, row, bytes: table.bytes[row], path: open.join("") });
      }
    }
  });
  found.sort((a, b) => b.bytes - a.bytes);
  return { count: found.length, first: found.slice(0, most) };
}
