"""Sockets that keep one total deadline per call, whatever the other side does.

A timeout in ``requests``, ``urllib3`` or ``smtplib`` bounds each single read: a server that drips one byte a second
holds the caller for ever. Here the thread states once until when it is willing to wait (``deadline``), and every read
of every socket it uses, plain or TLS, gets only what is left of that.
"""

from __future__ import annotations

import contextlib
import functools
import math
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

from requests.utils import DEFAULT_CA_BUNDLE_PATH

#: ``(family, sockaddr)`` as getaddrinfo gives them.
SocketAddress: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]

# Re-arming a timeout is a system call that hands the interpreter lock over; overshooting by this much is cheaper.
_SLACK_SECONDS = 0.05


class _Patience(threading.local):
    until: float = math.inf


_patience = _Patience()


@contextlib.contextmanager
def deadline(until: float) -> Iterator[None]:
    """Let no socket operation of this thread last beyond ``until`` on the monotonic clock."""
    before = _patience.until
    _patience.until = min(before, until)
    try:
        yield
    finally:
        _patience.until = before


def seconds_left() -> float:
    """What is left of this thread's deadline; infinite outside of one."""
    return _patience.until - monotonic()


def _tighten(sock: socket.socket) -> None:
    left = _patience.until - monotonic()
    if left <= 0:
        raise TimeoutError("total deadline exceeded")
    timeout = sock.gettimeout()
    if timeout is None or left < timeout - _SLACK_SECONDS:
        sock.settimeout(left)


class DeadlineSocket(socket.socket):
    """A plain socket whose every read respects the thread's deadline."""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        _tighten(self)
        return super().recv(bufsize, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        _tighten(self)
        return super().recv_into(buffer, nbytes, flags)


class DeadlineTLSSocket(ssl.SSLSocket):
    """The same on top of TLS (``recv`` and ``recv_into`` of the base class end up in ``read``)."""

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002  # the base class names it so
        _tighten(self)
        return super().read(len, buffer)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # the base class's signature
        # The interpreter itself keeps the timeout over the whole handshake.
        _tighten(self)
        super().do_handshake(block)


def tls_context(ca_bundle: str = "") -> ssl.SSLContext:
    """A context that always verifies, against the channel's own bundle where it names one."""
    path = Path(ca_bundle or DEFAULT_CA_BUNDLE_PATH)
    return _tls_context(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _tls_context(path: Path, _changed_at: int) -> ssl.SSLContext:
    """One for all channels with the same bundle: reading the public authorities takes 50 ms and a megabyte."""
    context = ssl.create_default_context(cafile=path)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = DeadlineTLSSocket
    return context


def dial(addresses: Sequence[SocketAddress], timeout: float) -> DeadlineSocket:
    """Connect to the first address that answers; ``timeout`` bounds all attempts together."""
    until = monotonic() + min(timeout, seconds_left())
    last: OSError = OSError("no address to connect to")
    for family, address in addresses:
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError("connecting took too long")
        sock = DeadlineSocket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(left)
            sock.connect(address)
        except OSError as error:
            sock.close()
            last = error
        else:
            return sock
    raise last
