// Run by HEALTHCHECK: the slim image has neither curl nor wget, but it has Node.
const port = process.env.PORT ?? "8080";
const response = await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined);
process.exitCode = response?.ok ? 0 : 1;
