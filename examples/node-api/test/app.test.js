import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { app } from "../dist/app.js";

let server;
let base;

before(async () => {
  server = app().listen(0, "127.0.0.1");
  await once(server, "listening");
  base = `http://127.0.0.1:${server.address().port}`;
});

after(() => server.close());

const post = (body) =>
  fetch(`${base}/notes`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });

test("a note that was added is listed", async () => {
  assert.equal((await post({ text: " tea " })).status, 201);
  assert.deepEqual(await (await fetch(`${base}/notes`)).json(), [{ id: 1, text: "tea" }]);
});

test("a note without a text is refused", async () => {
  assert.equal((await post({})).status, 422);
});
