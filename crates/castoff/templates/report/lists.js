// The parts of the page that are lists and sentences.

function ratio() {
  const contents = data.contents;
  const behind = (contents.stages ?? []).filter((stage) => !stage.shipped);
  if (!contents.castOff || !behind.length) return;
  // Bytes that the image shares with a stage are the image's.
  const off = new Map();
  for (const layer of data.layers) if (!layer.shipped) off.set(layer.stage, (off.get(layer.stage) ?? 0) + (layer.bytes ?? 0));
  const parts = [["shipped", contents.bytes, true], ...[...off].sort((a, b) => b[1] - a[1]).map(([name, size]) => [name ?? "stage", size, false])];
  const bar = h("div", { class: "ratio", role: "img", "aria-label": parts.map(([name, size]) => `${name} ${bytes(size)}`).join(", ") });
  for (const [, size, ship] of parts) bar.append(style(h("span", { class: ship ? "ship" : null }), { "flex-grow": Math.max(size, 1), "flex-basis": "0" }));
  const few = parts.slice(0, 6);
  const others = parts.slice(6);
  if (others.length) few.push([counted(others.length, "more stage", "more stages"), sum(others, ([, size]) => size), false]);
  const key = h("div", { class: "ratio-key" }, few.map(([name, size, ship]) => h("span", null, h("span", { class: `dot${ship ? " ship" : ""}` }), h("b", null, shown(name)), ` ${bytes(size)}${ship ? "" : " cast off"}`)));
  const node = document.getElementById("ratio");
  node.hidden = false;
  node.append(bar, key);
}

function sizes() {
  const root = body("sizes");
  const place = h("div");
  root.append(place, instructions(), ...vain());
  return unpack().then(() => {
    const top = rootNode();
    const map = treemap(top);
    const found = h("div");
    const field = h("input", { type: "search", placeholder: "Find a file", "aria-label": "Find a file by a part of its path" });
    let waiting = null;
    field.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => results(field.value.trim(), found, map), 120);
    });
    const lead = h("p", { class: "lead" }, "Areas are bytes. ", h("span", { class: "dot ship" }), "is in the image",
      build && [", ", h("span", { class: "dot" }), "was only needed to build it"], ". Hatched is in vain: a later layer replaces or removes it.");
    place.replaceChildren(lead, h("div", { class: "body" }, map.view, h("div", { class: "find" }, h("h3", null, "Find"), field, found)));
    map.draw();
  }).catch((error) => {
    place.replaceChildren(h("p", { class: "note" }, `The list of files cannot be unpacked by this browser (${error.message}).`));
  });
}

function results(text, found, map) {
  if (text.length < 2) return found.replaceChildren();
  const { count, first } = search(text, 100);
  const rows = first.map((file) => {
    const layer = data.layers[file.layer];
    const part = rowNode(file.layer, file.row, file.path.slice(0, file.path.length - tables[file.layer].name[file.row].length));
    const where = layer.shipped ? h("span", { class: "tag ship" }, "shipped") : h("span", { class: "tag cast" }, `cast off with ${shown(layer.stage)}`);
    return [h("button", { class: "link mono", type: "button", on: { click: () => map.tell(part) } }, `/${shown(file.path)}`), bytes(file.bytes), where];
  });
  const columns = [{ name: "Path", class: "wide" }, { name: "Size", class: "number" }, { name: "" }];
  found.replaceChildren(h("p", { class: "soft", role: "status" }, count > first.length ? `The largest ${first.length} of ${counted(count, "file", "files")}` : counted(count, "file", "files")), ...[table(null, columns, rows, 20)].flat());
}

function instructions() {
  const list = data.contents.instructions;
  const layers = new Map(data.layers.flatMap((layer) => (layer.instruction === null ? [] : [[layer.instruction, layer]])));
  const cell = (count) => (count ? bytes(count) : "");
  const rows = list.flatMap((one, at) => {
    if (one.layer === null) return [];
    const base = layers.get(at)?.base;
    const told = firstLine(one.text.replace("/bin/sh -c #(nop) ", "").replace(/^RUN \/bin\/sh -c /, "RUN ").replace(/ # buildkit$/, ""));
    const text = one.step !== null ? h("a", { href: `#step-${one.step}` }, instruction(steps[one.step])) : told || (base ? "a layer without history" : "(no history)");
    const name = [h("span", { class: "mono" }, text), base ? [" ", h("span", { class: "tag", title: base }, `of ${imageName(base)}`)] : ""];
    return [[name, cell(one.added), one.files ? one.files.toLocaleString("en") : "", cell(one.replaced), cell(one.removed), one.inVain ? h("span", { class: "bad" }, bytes(one.inVain)) : ""]];
  });
  const columns = [{ name: "Layer, bottom to top", class: "wide" }, { name: "Added", class: "number" }, { name: "Files", class: "number" }, { name: "Replaced", class: "number" }, { name: "Removed", class: "number" }, { name: "In vain", class: "number" }];
  return [h("h3", null, "Layers of the image"), table(null, columns, rows, 60)].flat().reduce((all, one) => (all.append(one), all), h("div"));
}

function vain() {
  const { lost, caches, instructions: list } = data.contents;
  const worth = lost.filter((one) => one.bytes >= 100000);
  const name = (at) => (at === null ? "the base image" : list[at].step !== null ? stepLink(list[at].step, instruction(steps[list[at].step])) : firstLine(list[at].text));
  const items = [
    ...worth.map((one) => h("li", null, h("b", null, bytes(one.bytes)), ` in ${counted(one.files, "file", "files")}, added by `, h("span", { class: "mono" }, name(one.addedBy)), one.removed ? " and removed by " : " and replaced by ", h("span", { class: "mono" }, name(one.lostBy)), h("div", { class: "soft" }, prose(one.advice)))),
    ...caches.map((one) => h("li", null, h("b", null, bytes(one.bytes)), ` of the cache of ${one.of} in `, h("span", { class: "mono" }, one.directory), h("div", { class: "soft" }, prose(one.advice)))),
  ];
  return items.length ? [h("h3", null, "In vain"), h("ul", { class: "findings" }, items)] : [];
}

const pairs = (list) => h("dl", { class: "pairs" }, list.flatMap(([name, value]) => (value === null || value === undefined || value === "" ? [] : [h("dt", null, name), h("dd", null, value)])));

function secrets() {
  const root = body("secrets");
  if (!data.secrets) return root.append(h("p", { class: "note" }, "Nothing is known of secrets."));
  const told = data.secrets.statement;
  const known = told.secrets.length;
  const when = data.secrets.when === "build"
    ? `When the image was built, castoff looked for the ${known === 1 ? "secret" : known ? `${known} secrets` : "secrets"} that the build was given, and for what looks like one.`
    : "No secret was handed to the build of this image that castoff knows of. So this is what can be seen now: whether anything looks like a token or a private key.";
  const item = (one) => h("li", null, h("span", { class: "tag bad" }, one.secret ?? one.rule), " ", h("span", { class: "mono" }, one.place ?? one.path), one.encoding ? `, ${one.encoding}` : "", one.step ? h("div", { class: "soft" }, `by ${firstLine(one.step)}`, one.line ? [" (", h("a", { href: `#line-${one.line}` }, `line ${one.line}`), ")"] : "") : null);
  root.append(h("p", { class: "lead" }, when));
  const list = (finds) => h("ul", { class: "findings" }, finds.map(item));
  if (told.found.length) root.append(h("h3", { class: "bad" }, "Got out"), list(told.found));
  else if (known) root.append(h("p", { class: "body good" }, known === 1 ? "It is not in what was given away, in any form." : "None of them is in what was given away, in any form."));
  if (told.tokens.length) root.append(h("h3", null, "What looks like a secret"), list(told.tokens));
  else root.append(h("p", { class: known ? "good" : "body good" }, "Nothing looks like a token or a private key."));
  const looked = [
    `${counted(told.layers, "layer", "layers")} with ${counted(told.entries, "entry", "entries")}, ${bytes(told.bytes)}`,
    told.members ? `${counted(told.members, "member", "members")} of archives, ${bytes(told.unpackedBytes)} unpacked, ${told.deepest} deep` : null,
    told.texts ? counted(told.texts, "text of config, history and names", "texts of config, history and names") : null,
    told.logs ? counted(told.logs, "log", "logs") : null,
    told.cacheMounts ? counted(told.cacheMounts, "cache mount", "cache mounts") : null,
  ].filter(Boolean);
  root.append(h("div", { class: "body" }, pairs([
    ["Looked for", told.secrets.join(", ")],
    ["Not looked for", told.tooShort.length ? `${told.tooShort.join(", ")} (too short or too plain)` : null],
    ["In the forms", known ? told.encodings.join(", ") : null],
    ["Looked at", looked.join("; ")],
    ["Not read", told.baseLayersNotRead ? counted(told.baseLayersNotRead, "layer of a base image from a registry", "layers of base images from a registry") : null],
    ["Not looked into", told.notLookedInto ? [counted(told.notLookedInto, "file", "files"), h("ul", null, told.notLookedIntoFirst.map((file) => h("li", { class: "soft" }, h("span", { class: "mono" }, file.path), ": ", prose(file.reason))))] : null],
  ])));
}

const words = (list) => (list && list.length ? h("span", { class: "mono" }, JSON.stringify(list)) : null);

function start() {
  const root = body("start");
  if (!data.start) return root.append(h("p", { class: "note" }, "It could not be found out."));
  const { findings, canStart } = data.start;
  const config = data.image.config;
  root.append(h("p", { class: "lead" }, "What the kernel, the dynamic loader and a runtime need of the image, gone through without starting it."));
  root.append(findings.length
    ? h("ul", { class: "findings" }, findings.map((one) => h("li", null, h("span", { class: `tag ${one.certainty === "certain" ? "bad" : "run"}` }, one.certainty), " ", prose(one.message), one.hint ? h("div", { class: "soft" }, "Hint: ", h("span", { class: "mono" }, one.hint)) : null)))
    : h("p", { class: "body good" }, "Nothing keeps it from starting."));
  if (findings.length && canStart) root.append(h("p", { class: "soft" }, "None of this is certain to keep it from starting."));
  root.append(h("div", { class: "body" }, pairs([
    ["Entrypoint", words(config.Entrypoint)], ["Command", words(config.Cmd)],
    ["User", config.User || "root"], ["Directory", config.WorkingDir || "/"],
  ])));
}

function packages() {
  const root = body("packages");
  const inventory = data.packages;
  if (!inventory) return root.append(h("p", { class: "note" }, "They could not be found out."));
  const list = inventory.packages;
  const count = (of) => [...list.reduce((all, one) => all.set(of(one), (all.get(of(one)) ?? 0) + 1), new Map())].sort((a, b) => b[1] - a[1]);
  const lead = list.length
    ? `${counted(list.length, "package", "packages")}: ${count((one) => one.type).map(([name, number]) => `${number.toLocaleString("en")} ${name}`).join(", ")}.`
    : "No package manager has left a list of packages in the image, and no program in it tells of any.";
  root.append(h("p", { class: "lead" }, lead, inventory.distribution ? ` The distribution is ${shown(inventory.distribution)}.` : ""));
  if (list.length) {
    const licences = count((one) => one.licence ?? "none stated").slice(0, 8);
    root.append(h("p", { class: "lead" }, "Licences: ", licences.map(([name, number]) => `${clip(shown(name), 60, 1)} (${number})`).join(", "), "."));
    const place = h("div", { class: "body" });
    const columns = [{ name: "Name" }, { name: "Version" }, { name: "Type" }, { name: "Licence" }, { name: "Found in" }];
    const draw = (text) => {
      const wanted = text.toLowerCase();
      const rows = list.filter((one) => !wanted || one.purl.toLowerCase().includes(wanted) || one.name.toLowerCase().includes(wanted) || (one.licence ?? "").toLowerCase().includes(wanted))
        .map((one) => [h("span", { class: "mono", title: one.purl }, shown(one.name)), h("span", { class: "mono" }, shown(one.version)), one.type, clip(shown(one.licence ?? ""), 48, 1), h("span", { class: "mono soft" }, clip(shown(one.foundIn[0] ?? ""), 60, 1))]);
      place.replaceChildren(...[table(null, columns, rows, 25)].flat());
      if (!rows.length) place.replaceChildren(h("p", { class: "soft" }, "No package is called so."));
    };
    const field = h("input", { type: "search", placeholder: "Find a package or licence", "aria-label": "Find a package or licence", on: { input: () => draw(field.value.trim()) } });
    root.append(h("div", { class: "body" }, field), place);
    draw("");
  }
  if (inventory.unread.length) {
    root.append(h("h3", null, "Not read"), h("ul", { class: "findings" }, inventory.unread.slice(0, 50).map((one) => h("li", null, h("span", { class: "mono" }, one.path), ": ", prose(one.reason)))));
  }
}

function dockerfile() {
  if (data.dockerfile === null) {
    if (build) body("dockerfile").append(h("p", { class: "note" }, "The build did not keep its text."));
    return;
  }
  const root = body("dockerfile");
  const lines = data.dockerfile.replace(/\n$/, "").split("\n");
  const checks = data.checks ?? [];
  const levels = { error: "bad", warning: "run", note: "" };
  root.append(h("p", { class: "lead" }, shown(build.dockerfile), checks.length ? `: ${counted(checks.length, "finding", "findings")} of castoff check, beneath the lines that they are about.` : ": castoff check finds nothing to say.", " The figures are what each step took and added."));
  const at = new Map();
  const begins = (line) => {
    if (!at.has(line)) at.set(line, { steps: [], checks: [] });
    return at.get(line);
  };
  const order = { failed: 3, executed: 2, cached: 1 };
  steps.forEach((step, index) => { if (step.lines && isWork(step)) begins(step.lines[0]).steps.push(index); });
  checks.forEach((one) => begins(Math.max(1, one.lines[0])).checks.push(one));
  const said = (one) => h("div", { class: "says" }, h("span", { class: `tag ${levels[one.level]}` }, one.rule), " ", prose(one.message), one.hints.map((hint) => h("div", { class: "soft" }, prose(hint))), one.fixable ? h("div", { class: "soft" }, "castoff check --fix puts it right.") : null);
  const block = h("div", { class: "source body", tabindex: "0", role: "region", "aria-label": "Text of the Dockerfile" });
  lines.forEach((text, index) => {
    const here = at.get(index + 1);
    const own = (here?.steps ?? []).sort((a, b) => (order[steps[b].verdict] ?? 0) - (order[steps[a].verdict] ?? 0));
    const first = own.length ? steps[own[0]] : null;
    const dot = first && h("a", { href: `#step-${own[0]}`, title: first.verdict, "aria-label": `The step of line ${index + 1} was ${first.verdict}` }, h("span", { class: `dot ${stateOf(first)}` }));
    block.append(h("div", { class: `at${own.length ? " step" : ""}`, id: `line-${index + 1}` },
      h("span", { class: "no" }, index + 1), h("pre", null, shown(text.replace(/\t/g, "    ").replace(/\r$/, ""))),
      h("span", { class: "fig" }, own.length ? duration(sum(own, (one) => steps[one].makingMs)) : ""),
      h("span", { class: "fig" }, own.length ? bytes(sum(own, addedBy)) : ""),
      h("span", { class: "fig" }, dot)));
    if (here) block.append(...here.checks.map(said));
  });
  root.append(block);
}

function config() {
  const { config: own } = data.image;
  const list = (values) => (values && values.length ? h("ul", null, values.map((value) => h("li", { class: "mono" }, value))) : null);
  const keys = (values) => (values ? list(Object.entries(values).map(([key, value]) => (typeof value === "string" ? `${key}=${value}` : key))) : null);
  body("config").append(pairs([
    ["Environment", list(own.Env)], ["Ports", keys(own.ExposedPorts)], ["Volumes", keys(own.Volumes)], ["Labels", keys(own.Labels)],
    ["Stop signal", own.StopSignal], ["Health check", own.Healthcheck ? words(own.Healthcheck.Test) : null],
    ["Layers as they travel", bytes(data.image.transferBytes)],
    ["Build", build ? h("span", { class: "mono" }, build.build) : null], ["Context", build?.context ? h("span", { class: "mono" }, build.context) : null], ["Target", build?.target],
  ]));
}
