import { createServer } from "node:http";
import { haiku } from "@acme/haiku";

const port = Number(process.env.PORT ?? 8080);
const server = createServer((request, response) => {
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end(`haiku: ${haiku(new Date().getMonth())}\n`);
});
server.listen(port, () => console.log(`listening on port ${port}`));
process.on("SIGTERM", () => server.close());
