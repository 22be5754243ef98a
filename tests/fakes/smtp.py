"""An SMTP server (aiosmtpd) that insists on TLS, and raw ones that misbehave before TLS can begin."""

from __future__ import annotations

import contextlib
import email
import email.policy
import socket
import ssl
import threading
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "duty", "smtp-canary-pass-0001"


class FakeSmtp:
    """Refuses recipients whose local part starts with a code (``550-…``, ``451-…``); keeps what it accepts.

    ``answer_to_data`` replaces the verdict on the next messages; ``drop_after_data`` takes a message and hangs up.
    """

    def __init__(self, context: ssl.SSLContext, *, implicit: bool = False) -> None:
        self.messages: list[EmailMessage] = []
        self.answers_to_data: list[str] = []
        self.drop_after_data = False
        self.port = _free_port()
        options: dict[str, Any] = {"authenticator": _authenticate, "auth_required": True}
        if implicit:
            options |= {"auth_require_tls": False}
            self._controller = Controller(self, "127.0.0.1", self.port, ssl_context=context, **options)
            # The controller's own check uses the server's context on the client's side, which cannot work.
            self._controller._trigger_server = self._knock  # type: ignore[method-assign]
        else:
            options |= {"tls_context": context, "require_starttls": True}
            self._controller = Controller(self, "127.0.0.1", self.port, **options)

    def _knock(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.port), 2) as plain, context.wrap_socket(plain) as secured:
            secured.recv(100)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._controller.stop()

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        code = address.partition("-")[0]
        if code.isdigit() and len(code) == 3:
            return f"{code} refused"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        if self.drop_after_data:
            server.transport.abort()
            return "250 never sent"
        return self.answers_to_data.pop(0) if self.answers_to_data else "250 OK"


def _authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    if not isinstance(data, LoginPassword):
        return AuthResult(success=False, handled=False)
    good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


class RawTcp:
    """A server that does with each connection whatever ``script`` says; for SMTP gone wrong and TLS that is none."""

    def __init__(self, script: Callable[[socket.socket, threading.Event], None]) -> None:
        self._script = script
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        self._socket.settimeout(0.05)
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._script(connection, self._stopping)


def dripping_greeting(connection: socket.socket, stopping: threading.Event) -> None:
    """One byte of a greeting at a time, for ever."""
    while not stopping.is_set():
        connection.sendall(b"2")
        stopping.wait(0.2)


def without_starttls(connection: socket.socket, stopping: threading.Event) -> None:
    """A server (or somebody in between) that offers no encryption."""
    connection.sendall(b"220 mail.example ESMTP\r\n")
    while data := connection.recv(4096):
        connection.sendall(b"221 bye\r\n" if data.startswith(b"QUIT") else b"250-mail.example\r\n250 8BITMIME\r\n")


def silent(connection: socket.socket, stopping: threading.Event) -> None:
    """Accepts the connection and never says a word."""
    stopping.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
