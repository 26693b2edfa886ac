// The treemap: the parts of one node by their bytes, walked down with a click or Enter and up with Escape.

// Areas of a list of sizes in a rectangle, as near to squares as they go (Bruls, Huizing, van Wijk: squarified treemaps).
function squarify(sizes, x, y, width, height) {
  const areas = [];
  const total = sizes.reduce((all, size) => all + size, 0);
  if (!total || width <= 0 || height <= 0) return areas;
  const scale = (width * height) / total;
  let at = 0;
  while (at < sizes.length) {
    const side = Math.min(width, height);
    let row = 0;
    let count = 0;
    let worst = Infinity;
    while (at + count < sizes.length) {
      const area = sizes[at + count] * scale;
      const next = row + area;
      const largest = sizes[at] * scale;
      const bad = Math.max((side * side * largest) / (next * next), (next * next) / (side * side * Math.max(area, 1e-9)));
      if (count && bad > worst) break;
      worst = bad;
      row = next;
      count += 1;
    }
    const thick = row / side || 0;
    let along = 0;
    for (let index = 0; index < count; index += 1) {
      const long = (sizes[at + index] * scale) / thick || 0;
      areas.push(width < height ? { x: x + along, y, width: long, height: thick } : { x, y: y + along, width: thick, height: long });
      along += long;
    }
    if (width < height) { y += thick; height -= thick; } else { x += thick; width -= thick; }
    at += count;
  }
  return areas;
}

// No more cells than can be told apart; the others are one.
function chosen(parts, area, least) {
  const total = sum(parts, (part) => part.bytes);
  let count = 0;
  while (count < parts.length && count < 160 && total && (parts[count].bytes / total) * area >= least) count += 1;
  if (count >= parts.length - 1) return parts;
  const others = parts.slice(count);
  const rest = node({ kind: "rest", name: `${others.length.toLocaleString("en")} more, in the list below`, bytes: sum(others, (part) => part.bytes), files: sum(others, (part) => part.files), ship: others[0].ship });
  return [...parts.slice(0, count), rest];
}

function treemap(root) {
  const way = [root];
  const map = h("div", { class: "treemap", role: "group", "aria-label": "Sizes; arrow keys move, Enter opens, Escape goes up" });
  const crumbs = h("nav", { class: "crumbs", "aria-label": "Where you are in the sizes" });
  const told = h("p", { class: "told soft", role: "status" });
  const list = h("div");
  const here = () => way[way.length - 1];

  function go(depth, focus) {
    const from = way[depth];
    way.length = depth;
    draw(focus ? from : null);
  }

  function open(part) {
    if (part.kind === "rest") return;
    if (part.kind === "file") return tell(part);
    if (!part.parts().length) return tell(part, "Its files are not on this machine.");
    way.push(part);
    draw();
    map.querySelector(".cell")?.focus({ preventScroll: true });
  }

  function tell(part, more) {
    const path = part.path ? `/${part.path}` : part.name;
    const fate = part.vain ? h("span", { class: "bad" }, " In vain: a later layer replaces or removes it.") : part.copied ? " It went into the image." : "";
    told.replaceChildren(h("b", { class: "mono" }, shown(path)), ` ${bytes(part.bytes)} `, ...(part.layer === undefined || part.kind === "layer" ? [] : makerOf(part).flat(Infinity)), ". ", fate, more ?? "");
  }

  // What is in a part, as deep as there is room.
  function inner(cell, part, x, y, width, height, depth) {
    if (width < 24 || height < 16 || depth > 3 || part.kind === "file" || part.kind === "rest") return;
    const kept = chosen(sorted(part.parts()).filter((one) => one.bytes > 0), width * height, 60);
    squarify(kept.map((one) => one.bytes), x, y, width, height).forEach((place, at) => {
      const [wide, high] = [place.width - 1.5, place.height - 1.5];
      if (wide < 1.5 || high < 1.5) return;
      const mark = kept[at].vain ? " vain" : kept[at].copied || (part.mixed && kept[at].ship) ? " copied" : "";
      const named = wide > 60 && high > 22 && depth < 4;
      const box = h("span", { class: `inner${mark}`, "aria-hidden": "true" }, named && clip(shown(kept[at].name), wide - 8, 5.8));
      cell.append(style(box, { left: `${place.x}px`, top: `${place.y}px`, width: `${wide}px`, height: `${high}px` }));
      const top = named ? 17 : 3;
      inner(cell, kept[at], place.x + 3, place.y + top, wide - 6, high - top - 3, depth + 1);
    });
  }

  function cells() {
    const [width, height] = [map.clientWidth, map.clientHeight];
    const parts = chosen(sorted(here().parts()).filter((part) => part.bytes > 0), width * height, 190);
    const areas = squarify(parts.map((part) => part.bytes), 0, 0, width, height);
    map.replaceChildren(...areas.map((area, at) => {
      const part = parts[at];
      const kind = part.vain ? " vain" : part.copied || part.ship ? " ship" : "";
      const label = `${shown(part.name)}, ${bytes(part.bytes)}${part.ship ? ", shipped" : part.copied ? ", went into the image" : ""}${part.vain ? ", in vain" : ""}`;
      const big = area.width > 34 && area.height > 18;
      const cell = h("button", { class: `cell${kind}${part.kind === "rest" ? " rest" : ""}`, type: "button", "aria-label": label, title: label, tabindex: at === 0 ? "0" : "-1", on: { click: () => open(part) } },
        big && h("b", { "aria-hidden": "true" }, shown(part.name)), big && area.height > 36 && h("i", { "aria-hidden": "true" }, bytes(part.bytes)));
      style(cell, { left: `${area.x}px`, top: `${area.y}px`, width: `${area.width}px`, height: `${area.height}px` });
      if (area.width > 60 && area.height > 60) inner(cell, part, 4, 39, area.width - 8, area.height - 43, 1);
      cell.area = area;
      return cell;
    }));
    if (!areas.length) map.append(h("p", { class: "told soft" }, "Nothing here has any bytes."));
  }

  function draw(focus) {
    told.textContent = here().kind === "group" && way.length === 1 ? "Open a part to see what is in it." : "";
    crumbs.replaceChildren(...way.flatMap((part, depth) => {
      const last = depth === way.length - 1;
      const name = h("button", { class: "link", type: "button", "aria-current": last ? "true" : null, on: { click: () => { if (!last) go(depth + 1); } } }, shown(part.name));
      return depth ? [h("span", { class: "sep", "aria-hidden": "true" }, "/"), name] : [name];
    }), h("span", { class: "soft" }, ` ${bytes(here().bytes)}${here().files ? `, ${counted(here().files, "file", "files")}` : ""}`));
    cells();
    contents();
    if (focus) {
      const name = shown(focus.name);
      [...map.children].find((cell) => cell.getAttribute("aria-label")?.startsWith(`${name}, `))?.focus({ preventScroll: true });
    }
  }

  function contents() {
    const parts = sorted(here().parts());
    const total = here().bytes;
    const rows = parts.map((part) => {
      const what = part.vain ? h("span", { class: "tag bad" }, "in vain") : part.copied ? h("span", { class: "tag ship" }, "went into the image") : part.ship ? h("span", { class: "tag ship" }, "shipped") : h("span", { class: "tag cast" }, "cast off");
      const name = part.kind === "rest" ? h("span", { class: "soft" }, part.name) : h("button", { class: "link mono", type: "button", on: { click: () => { open(part); map.scrollIntoView({ block: "nearest" }); } } }, shown(part.name));
      const bar = h("span", { class: `share${part.ship || part.copied ? " ship" : ""}` }, style(h("span"), { width: `${total ? (part.bytes / total) * 100 : 0}%` }));
      return [name, bytes(part.bytes), bar, share(part.bytes, total), part.files ? part.files.toLocaleString("en") : "", what];
    });
    const columns = [{ name: "Name", class: "wide" }, { name: "Size", class: "number" }, { name: "", class: "bar-of" }, { name: "Share", class: "number" }, { name: "Files", class: "number" }, { name: "" }];
    list.replaceChildren(...[table(null, columns, rows, 15)].flat());
  }

  // The cell that is next in a direction: the nearest whose middle is that way, sideways counting double.
  function next(cell, dx, dy) {
    const middle = (area) => [area.x + area.width / 2, area.y + area.height / 2];
    const [x, y] = middle(cell.area);
    let best = null;
    for (const other of map.children) {
      if (other === cell || !other.area) continue;
      const [ox, oy] = middle(other.area);
      const ahead = (ox - x) * dx + (oy - y) * dy;
      if (ahead <= 0.5) continue;
      const aside = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
      if (!best || ahead + 2 * aside < best.distance) best = { other, distance: ahead + 2 * aside };
    }
    return best?.other;
  }

  map.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const cell = event.target.closest(".cell");
    if (event.key === "Escape" || event.key === "Backspace") {
      if (way.length > 1) go(way.length - 1, true);
    } else if (moves[event.key] && cell) {
      const found = next(cell, ...moves[event.key]);
      if (found) {
        cell.tabIndex = -1;
        found.tabIndex = 0;
        found.focus();
      }
    } else return;
    event.preventDefault();
  });

  let width = 0;
  new ResizeObserver(() => {
    if (map.clientWidth === width) return;
    width = map.clientWidth;
    const at = [...map.children].indexOf(document.activeElement);
    cells();
    if (at >= 0) map.children[at]?.focus({ preventScroll: true });
  }).observe(map);
  return { view: [crumbs, map, told, list], draw, tell };
}
