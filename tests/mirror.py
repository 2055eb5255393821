"""A local mirror that behaves, or misbehaves, as the first part of the path says."""

import http.server
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PAGE = b"<html>we moved</html>"
REDIRECTS = {  # behaviour to the target of its redirect; "{}" is the path
    "circles": "{}",
    "leaves": "file:///etc/hostname",
    "nowhere": "http://[::1/file",
}


@dataclass
class Mirror:
    """What it serves, and what it was asked: (path, Range header or "")."""

    url: str
    content: bytes
    asked: list[tuple[str, str]] = field(default_factory=list)

    def downloads(self, manner: str) -> list[str]:
        """Ranges of the requests for this behaviour, except those for the first byte alone."""
        return [span for path, span in self.asked if f"/{manner}/" in path and span != "bytes=0-0"]


class Handler(http.server.BaseHTTPRequestHandler):
    mirror: Mirror
    over: threading.Event

    def do_GET(self) -> None:
        manner, span = self.path.split("/")[1], self.headers.get("Range", "")
        self.mirror.asked.append((self.path, span))
        if manner in REDIRECTS:
            return self.send(302, b"", {"Location": REDIRECTS[manner].format(self.path)})
        getattr(self, f"do_{manner}")(self.mirror.content, span)

    def do_ok(self, content: bytes, span: str) -> None:
        if not span:
            return self.send(200, content)
        first, last = span.removeprefix("bytes=").split("-")
        part = content[int(first) : int(last) + 1 if last else None]
        where = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        self.send(206, part, {"Content-Range": where})

    def do_whole(self, content: bytes, span: str) -> None:
        self.send(200, content)

    def do_wrong(self, content: bytes, span: str) -> None:
        self.send(200, bytes(len(content)))

    def do_cut(self, content: bytes, span: str) -> None:
        self.send(200, content[: len(content) // 2], {"Content-Length": str(len(content))})

    def do_page(self, content: bytes, span: str) -> None:
        self.send(200, PAGE)

    def do_endless(self, content: bytes, span: str) -> None:
        self.protocol_version = "HTTP/1.0"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content + content)

    def do_gone(self, content: bytes, span: str) -> None:
        self.send(404, b"")

    def do_silent(self, content: bytes, span: str) -> None:
        self.over.wait(30)

    def do_stalls(self, content: bytes, span: str) -> None:
        self.do_cut(content, span)
        if span != "bytes=0-0":
            self.over.wait(30)

    def do_drips(self, content: bytes, span: str) -> None:
        self.send(200, b"", {"Content-Length": str(len(content))})
        while span != "bytes=0-0" and not self.over.wait(0.05):
            self.wfile.write(content[:1])
            self.wfile.flush()

    def do_resets(self, content: bytes, span: str) -> None:
        self.do_cut(content, span)
        self.reset()

    def do_slams(self, content: bytes, span: str) -> None:
        self.reset()

    def do_html(self, content: bytes, span: str) -> None:
        self.protocol_version = "HTTP/1.0"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(PAGE)

    def do_garbage(self, content: bytes, span: str) -> None:
        self.wfile.write(b"\x1b[2J\x07no HTTP at all\r\n\r\n")

    def do_header(self, content: bytes, span: str) -> None:
        """Sends the header of the file byte by byte; answers a request for one byte at once."""
        if span == "bytes=0-0":
            return self.do_ok(content, span)
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Never-Ends: ")
        while not self.over.wait(0.05):
            self.wfile.write(b"x")
            self.wfile.flush()

    def reset(self) -> None:
        """Ends the connection like a crash: with RST instead of FIN."""
        self.wfile.flush()
        now = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        self.connection.close()

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *args: object) -> None:
        """Keeps standard error empty."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """Keeps quiet when a client hangs up, which tests make it do."""


@contextmanager
def serve(content: bytes) -> Iterator[Mirror]:
    """Serves `content` under every path until the block ends."""
    over = threading.Event()
    mirror = Mirror(url="", content=content)
    handler = type("Bound", (Handler,), {"mirror": mirror, "over": over})
    with Server(("127.0.0.1", 0), handler) as server:
        mirror.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield mirror
        finally:
            over.set()
            server.shutdown()
            thread.join()


def refused() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
