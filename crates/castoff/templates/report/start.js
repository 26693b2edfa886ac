// Draws the parts in their order, and says which of them are there.

function part(draw) {
  try {
    return draw();
  } catch (error) {
    // One part that cannot be drawn takes nothing from the others.
    console.error(error);
    return null;
  }
}

part(ratio);
if (build) [graph, time].forEach(part);
const weighed = part(sizes) ?? Promise.resolve();
[secrets, start, packages, dockerfile, config].forEach(part);

const titles = { build: "Build", time: "Time", sizes: "Sizes", secrets: "Secrets", start: "Start", packages: "Packages", dockerfile: "Dockerfile", config: "Configuration" };
const sections = Object.keys(titles).filter((id) => !document.getElementById(id).hidden);
document.getElementById("parts").append(...sections.map((id) => h("li", null, h("a", { href: `#${id}` }, titles[id]))));
const links = new Map([...document.querySelectorAll("#parts a")].map((link) => [link.getAttribute("href").slice(1), link]));
const seen = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.isIntersecting ? seen.add(entry.target.id) : seen.delete(entry.target.id);
  const first = sections.find((id) => seen.has(id));
  links.forEach((link, id) => link.classList.toggle("here", id === first));
}, { rootMargin: "-10% 0px -60% 0px" });
sections.forEach((id) => watcher.observe(document.getElementById(id)));

addEventListener("hashchange", openStep);
addEventListener("beforeprint", () => { document.querySelectorAll("details").forEach((one) => { one.dataset.was = one.open; one.open = true; }); });
addEventListener("afterprint", () => { document.querySelectorAll("details").forEach((one) => { one.open = one.dataset.was === "true"; }); });
if (build) openStep();
weighed.then(() => document.documentElement.setAttribute("data-drawn", ""));
