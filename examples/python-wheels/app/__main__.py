"""Serves GET /score?text=...: how surprising a text is, computed by the native module."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from markupsafe import escape
from textscore import entropy


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/health":
            return self.answer(200, "text/plain", "ok\n")
        if url.path != "/score":
            return self.answer(404, "text/plain", "not found\n")
        text = parse_qs(url.query).get("text", [""])[0]
        body = {"text": str(escape(text)), "entropy": round(entropy(text.encode()), 3)}
        return self.answer(200, "application/json", json.dumps(body) + "\n")

    def answer(self, status, content_type, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(os.environ.get("PORT", "8080"))
    server = ThreadingHTTPServer(("", port), Handler)
    print(f"listening on port {port}", flush=True)
    server.serve_forever()


main()
