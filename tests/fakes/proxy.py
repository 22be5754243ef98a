"""A forward proxy: absolute addresses for http, CONNECT for https. ``seen`` is what it was asked for."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from tests.fakes.http_server import Exchange, HttpServer, Received


class FakeProxy(HttpServer):
    """Forwards by port on the loopback address, whatever the name: it is the one who resolves names."""

    def __init__(self, port_of: Mapping[str, int]) -> None:
        super().__init__()
        self.seen: list[tuple[str, Mapping[str, str]]] = []
        self._port_of = port_of

    def usual(self, exchange: Exchange, received: Received) -> None:
        self.seen.append((received.path, received.headers))
        exchange.answer(200, b'{"errcode":0}')

    def tunnel(self, path: str, headers: Mapping[str, str], exchange: Exchange) -> None:
        self.seen.append((path, headers))
        host = urlsplit(f"//{path}").hostname or ""
        with socket.create_connection(("127.0.0.1", self._port_of[host])) as upstream:
            exchange.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(upstream, exchange.connection), daemon=True)
            back.start()
            _copy(exchange.connection, upstream)
            back.join(5)
        exchange.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
