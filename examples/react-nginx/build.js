// Bundles the page into dist/: assets whose names carry a hash of their content, and an index.html
// that names them.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { build } from "esbuild";

const { metafile } = await build({
  entryPoints: ["src/main.jsx"],
  outdir: "dist/assets",
  entryNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  metafile: true,
  format: "esm",
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"' },
});

const assets = Object.keys(metafile.outputs).map((path) => `/assets/${basename(path)}`);
const find = (extension) => assets.find((path) => path.endsWith(extension));
const page = await readFile("index.html", "utf8");
await mkdir("dist", { recursive: true });
await writeFile("dist/index.html", page.replace("%SCRIPT%", find(".js")).replace("%STYLE%", find(".css")));
