import express, { type Express } from "express";
import { Notes } from "./notes.js";

/** Returns the application without a socket, so that tests can listen on a port of their own. */
export function app(notes = new Notes()): Express {
  const app = express();
  app.disable("x-powered-by");
  app.use(express.json());
  app.get("/health", (_request, response) => {
    response.type("text/plain").send("ok\n");
  });
  app.get("/notes", (_request, response) => {
    response.json(notes.list());
  });
  app.post("/notes", (request, response) => {
    try {
      response.status(201).json(notes.add(request.body?.text));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      response.status(422).json({ error: error.message });
    }
  });
  return app;
}
