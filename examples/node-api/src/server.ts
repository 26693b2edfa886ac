import { app } from "./app.js";

const port = Number(process.env.PORT ?? 8080);
const server = app().listen(port, () => console.log(`listening on port ${port}`));

// `docker stop` sends SIGTERM; without this, open connections would be cut.
process.on("SIGTERM", () => server.close());
