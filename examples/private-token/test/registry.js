// A private npm registry with one package, for the example's own test.
//
//   node registry.js TOKEN [PORT]
//
// Every request without `Authorization: Bearer TOKEN` is refused. It binds loopback only.

import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { gzipSync } from "node:zlib";

const [token, port = "4873"] = process.argv.slice(2);
if (!token) throw new Error("usage: node registry.js TOKEN [PORT]");

const files = {
  "package/package.json": JSON.stringify({
    name: "@acme/haiku",
    version: "1.0.0",
    type: "module",
    exports: "./index.js",
  }),
  "package/index.js": [
    'const seasons = ["snow on the server", "a branch is merging", "warm fans in the night", "leaves, cast off, falling"];',
    "export const haiku = (month) => seasons[Math.floor((month % 12) / 3)];",
    "",
  ].join("\n"),
};

/** One ustar entry: a 512-byte header and the padded content. */
function entry(name, content) {
  const data = Buffer.from(content);
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0" + "0000000\0" + "0000000\0", 100);
  header.write(data.length.toString(8).padStart(11, "0") + "\0" + "00000000000\0", 124);
  header.write("        0", 148);
  header.write("ustar\0" + "00", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(sum.toString(8).padStart(6, "0") + "\0 ", 148);
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

const tar = Buffer.concat([
  ...Object.entries(files).map(([name, content]) => entry(name, content)),
  Buffer.alloc(1024),
]);
const tarball = gzipSync(tar);
const document = {
  name: "@acme/haiku",
  "dist-tags": { latest: "1.0.0" },
  versions: {
    "1.0.0": {
      name: "@acme/haiku",
      version: "1.0.0",
      dist: {
        tarball: `http://127.0.0.1:${port}/@acme/haiku/-/haiku-1.0.0.tgz`,
        integrity: "sha512-" + createHash("sha512").update(tarball).digest("base64"),
      },
    },
  },
};

createServer((request, response) => {
  if (request.headers.authorization !== `Bearer ${token}`) {
    response.writeHead(401).end('{"error":"a token is needed"}');
  } else if (request.url.endsWith(".tgz")) {
    response.writeHead(200, { "content-type": "application/octet-stream" }).end(tarball);
  } else if (decodeURIComponent(request.url) === "/@acme/haiku") {
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document));
  } else {
    response.writeHead(404).end("{}");
  }
}).listen(Number(port), "127.0.0.1", () => console.log(`registry on port ${port}`));
