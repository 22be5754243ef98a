"""E-mail over SMTP, always encrypted and verified: STARTTLS, or TLS from the first byte (``tls: implicit``).

The Message-ID is made of the 通知号, so a second copy of an ambiguous message is the same message to every mail client;
``References`` ties one incident's messages into a thread.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Sequence
from datetime import datetime
from email.headerregistry import Address as MailAddress
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from time import monotonic
from typing import Any

from huiying.domain.masking import mask_email
from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome, Partial, Permanent, Transient
from huiying.domain.sentences import said
from notifiers.contract import Address
from notifiers.guard import Resolve, SystemResolver
from notifiers.options import RATE_OPTIONS, Option, Options
from notifiers.retrying import Attempt, RetryPolicy, attempt_within
from notifiers.sockets import deadline, dial, seconds_left, tls_context
from notifiers.templates import Form, render

OPTIONS = (
    Option("host", "text", required=True),
    Option("port", "number", low=1, high=65535),
    Option("tls", "text", choices=("starttls", "implicit")),
    Option("username", "text"),
    Option("password", "secret"),
    Option("from", "text", required=True),
    Option("from_name", "text"),
    Option("domain", "text"),
    Option("ca_bundle", "file"),
    *RATE_OPTIONS,
)
_CONNECT_TIMEOUT = 3.0
# Mail servers greet slowly on purpose; the call's own deadline still holds.
_READ_TIMEOUT = 10.0
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_ID_CHARACTERS = re.compile(r"[^A-Za-z0-9._-]")

_default_resolver = SystemResolver()


def is_mail_address(text: str) -> bool:
    """Plain ASCII ``local@domain``: nothing that could add a header or a command."""
    return len(text) <= 254 and _ADDRESS.fullmatch(text) is not None


class _Ended(Exception):  # carries an outcome
    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class _Connection(smtplib.SMTP):
    """smtplib on sockets that keep the call's deadline."""

    def __init__(
        self, host: str, port: int, helo: str, context: ssl.SSLContext, *, implicit: bool, resolve: Resolve
    ) -> None:
        self._context = context
        self._implicit = implicit
        self._resolve = resolve
        super().__init__(host, port, local_hostname=helo, timeout=_READ_TIMEOUT)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        left = min(_CONNECT_TIMEOUT, seconds_left())
        if left <= 0:
            raise TimeoutError("no time left to connect")
        sock: socket.socket = dial(self._resolve(host, port, left), _CONNECT_TIMEOUT)
        sock.settimeout(min(timeout, max(seconds_left(), 0.01)))
        return self._context.wrap_socket(sock, server_hostname=host) if self._implicit else sock


class EmailNotifier:
    """Sends to one person's address or to several of a unit's, separated by commas."""

    def __init__(self, options: Options, policy: RetryPolicy, resolve: Resolve = _default_resolver) -> None:
        self._implicit = options.text("tls", "starttls") == "implicit"
        self._host = options.text("host")
        self._port = int(options.number("port", 465 if self._implicit else 587))
        self._username = options.text("username")
        self._password = options.secret("password")
        self._sender = options.text("from")
        self._sender_name = options.text("from_name", "舆情回应时限提醒")
        self._domain = options.text("domain") or self._sender.rpartition("@")[2]
        self._context = tls_context(options.text("ca_bundle"))
        self._policy = policy
        self._resolve = resolve

    def send(self, notice: Notice, to: Address, now: datetime, deadline_seconds: float) -> Outcome:
        recipients = [part.strip() for part in re.split(r"[,;]", to.email) if part.strip()]
        if not recipients:
            return Permanent("收件人没有电子邮件地址。", code="no_recipient")
        if not all(map(is_mail_address, recipients)):
            return Permanent("收件人的电子邮件地址格式不正确。", code="address")
        message = self.compose(notice, recipients, now).as_bytes(policy=SMTP_POLICY)
        return attempt_within(
            deadline_seconds, now, self._policy, lambda attempt: self._once(message, notice, recipients, attempt)
        )

    def close(self) -> None:
        """Every message has its own connection; nothing is held open."""

    def compose(self, notice: Notice, recipients: Sequence[str], now: datetime) -> EmailMessage:
        """The whole message; subjects are one line since rendering."""
        text = render(notice, Form.PLAIN)
        message = EmailMessage(policy=SMTP_POLICY)
        message["Subject"] = text.title
        message["From"] = MailAddress(self._sender_name, addr_spec=self._sender)
        message["To"] = [MailAddress(addr_spec=recipient) for recipient in recipients]
        message["Date"] = format_datetime(now)
        message["Message-ID"] = self._message_id(notice.notice_no)
        if notice.incident_no:
            thread = self._message_id(f"incident-{notice.incident_no}")
            message["In-Reply-To"] = thread
            message["References"] = thread
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        message["X-Huiying-Notification-Id"] = _ID_CHARACTERS.sub("-", notice.notice_no)
        message.set_content(text.body + "\n", cte="base64")
        message.add_alternative(render(notice, Form.EMAIL_HTML).body, subtype="html", cte="base64")
        return message

    def _message_id(self, name: str) -> str:
        return f"<{_ID_CHARACTERS.sub('-', name)}@{self._domain}>"

    def _once(self, message: bytes, notice: Notice, recipients: Sequence[str], attempt: Attempt) -> Outcome:
        with deadline(monotonic() + attempt.seconds):
            try:
                connection = self._connect()
            except _Ended as ended:
                return ended.outcome
            try:
                refused = self._hand_over(connection, message, recipients)
            except _Ended as ended:
                return ended.outcome
            finally:
                _leave(connection)
        if refused:
            return Partial(tuple(map(mask_email, refused)), "邮件服务器拒收部分收件人。")
        return Accepted(_ID_CHARACTERS.sub("-", notice.notice_no))

    def _connect(self) -> _Connection:
        """A connection that is encrypted, verified and signed in, or the outcome that says why not."""
        connection: _Connection | None = None
        try:
            connection = _Connection(
                self._host, self._port, self._domain, self._context, implicit=self._implicit, resolve=self._resolve
            )
            if not self._implicit:
                _encrypt(connection, self._context)
            connection.ehlo_or_helo_if_needed()
            if self._username:
                connection.login(self._username, self._password)
        except (smtplib.SMTPException, OSError, _Ended) as error:
            if connection is not None:
                connection.close()
            raise _Ended(_before_the_message(error)) from None
        return connection

    def _hand_over(self, connection: _Connection, message: bytes, recipients: Sequence[str]) -> list[str]:
        try:
            _expect_ok(connection.mail(self._sender))
            refused = self._name_recipients(connection, recipients)
        except (smtplib.SMTPException, OSError) as error:
            raise _Ended(_before_the_message(error)) from None
        try:
            code, text = connection.data(message)
        except smtplib.SMTPDataError as error:
            raise _Ended(_of_code(error.smtp_code, error.smtp_error)) from None
        except (smtplib.SMTPException, OSError):
            raise _Ended(Transient("提交邮件时连接中断或超时，邮件可能已送达。", code="data", ambiguous=True)) from None
        if code != 250:
            raise _Ended(_of_code(code, text))
        return refused

    def _name_recipients(self, connection: _Connection, recipients: Sequence[str]) -> list[str]:
        """Whom the server refuses, when it takes the others; if it takes nobody, the mildest of its reasons."""
        options = ["NOTIFY=FAILURE,DELAY"] if connection.has_extn("dsn") else []
        answers = [(recipient, *connection.rcpt(recipient, options)) for recipient in recipients]
        refused = [(recipient, code, text) for recipient, code, text in answers if code not in {250, 251}]
        if len(refused) == len(recipients):
            _, code, text = min(refused, key=lambda row: row[1])
            raise _Ended(_of_code(code, text))
        return [recipient for recipient, _, _ in refused]


def _expect_ok(answer: tuple[int, bytes]) -> None:
    code, text = answer
    if code != 250:
        raise _Ended(_of_code(code, text))


def _of_code(code: int, _text: Any) -> Outcome:
    """4xx is «not now» (greylisting among it), everything else «no». The server's text may name people: not repeated."""
    if 400 <= code < 500:
        return Transient(said("邮件服务器暂不接收（%(code)s）。", code=code), code=str(code))
    return Permanent(said("邮件服务器拒收（%(code)s）。", code=code), code=str(code))


# The first type that fits counts; nothing had been handed over yet, so nothing here is ambiguous.
_BEFORE_THE_MESSAGE: tuple[tuple[type[Exception], Outcome], ...] = (
    (smtplib.SMTPNotSupportedError, Permanent("邮件服务器不支持登录。", code="auth")),
    (
        ssl.SSLCertVerificationError,
        Permanent("邮件服务器的证书未通过验证（自签名、域名不符或已过期），请核对 ca_bundle。", code="tls"),
    ),
    (TimeoutError, Transient("连接邮件服务器超时，邮件未提交。", code="connect_timeout")),
    (socket.gaierror, Transient("邮件服务器的域名解析失败，邮件未提交。", code="dns")),
    (ssl.SSLEOFError, Transient("加密连接在建立时中断，邮件未提交。", code="tls_interrupted")),
    (ssl.SSLError, Permanent("与邮件服务器的加密连接无法建立。", code="tls")),
    (Exception, Transient("无法连接邮件服务器，邮件未提交。", code="connect")),
)


def _before_the_message(error: Exception) -> Outcome:
    if isinstance(error, _Ended):
        return error.outcome
    if isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= 500:
        return Permanent("邮件服务器不接受用户名或口令。", code=str(error.smtp_code))
    if isinstance(error, smtplib.SMTPResponseException):
        return _of_code(error.smtp_code, error.smtp_error)
    return next(outcome for kind, outcome in _BEFORE_THE_MESSAGE if isinstance(error, kind))


def _encrypt(connection: _Connection, context: ssl.SSLContext) -> None:
    connection.ehlo_or_helo_if_needed()
    if not connection.has_extn("starttls"):
        raise _Ended(Permanent("邮件服务器不支持 STARTTLS，为免明文传送，未发送。", code="starttls"))
    # Without a context of ours smtplib would accept any certificate.
    connection.starttls(context=context)


def _leave(connection: _Connection) -> None:
    """Say goodbye, but do not wait for long: the message is out or refused already."""
    with contextlib.suppress(Exception), deadline(monotonic() + 1.0):
        connection.quit()
    connection.close()
