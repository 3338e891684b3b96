"""A receiver of webhooks on loopback that behaves as it is told."""

import json
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any

OK, FAILS, REDIRECTS, HANGS, DRIBBLES, HANGS_UP = "ok", "500", "redirects", "hangs", "dribbles", "hangs up"
FLOODS, ENDLESS_HEADER = "floods", "endless header"


class Receiver:
    """Keeps what it was sent: path, headers and body of each request."""

    def __init__(self, manner: str = OK, certificate: str | None = None) -> None:
        self.manner, self.got = manner, list[tuple[str, dict[str, str], bytes]]()
        self._over = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}/services/T0/hook-key-1234"

    @property
    def ids(self) -> list[str]:
        """Return by which id each request can be known."""
        return [headers["X-Stp-Etl-Alert"] for _, headers, _ in self.got]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.got]

    @property
    def kinds(self) -> list[str]:
        return [each["metadata"]["event_payload"]["kind"] for each in self.messages]

    def __enter__(self) -> "Receiver":
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, dict(self.headers), body))
                match receiver.manner:
                    case "ok":
                        self._answer(200)
                    case "500":
                        self._answer(500)
                    case "redirects":
                        self._answer(307, Location=f"{receiver.url}-elsewhere")
                    case "hangs":
                        receiver._over.wait(60)
                    case "dribbles":
                        self._dribble()
                    case "floods":
                        self._flood(
                            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65_536
                        )
                    case "endless header":
                        self._flood(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 65_536)
                    case "hangs up":
                        self.close_connection = True

            def _answer(self, status: int, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _flood(self, start: bytes, more: bytes) -> None:
                try:
                    self.wfile.write(start)
                    while not receiver._over.is_set():
                        self.wfile.write(more)
                except OSError:
                    pass

            def _dribble(self) -> None:
                try:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    while not receiver._over.wait(0.02):
                        self.wfile.write(b"X-More: x\r\n"[:1])
                except OSError:
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
