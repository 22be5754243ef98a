"""The one HTTP client of all channels: ``requests`` without a Session, a total deadline, and typed faults.

``requests.Session.send`` costs as much as the post itself (redirect handling, cookies, netrc and proxy lookups that
must not happen here anyway), and urllib3's pool as much again. So prepared requests go straight into an HTTPAdapter of
our own, whose connections are urllib3's (TLS, host name check, CONNECT tunnels) and whose exchange on them is one write
and the standard library's response parser. What each exception would have meant is known where it happens: in which
phase the call was. That decides whether a message may have arrived (``ambiguous``).

No redirect is followed, no cookie kept, no environment variable read, nothing decoded, at most 64 KiB read.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import socket
import ssl
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, TypeAlias, cast

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.auth import _basic_auth_str
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, SSLError
from urllib3.util import Timeout, parse_url

from huiying.domain.outcome import Accepted, Outcome, Permanent, RateLimited, Transient
from huiying.domain.sentences import said
from notifiers.guard import BadAddress, Blocked, Guard, Resolve, SystemResolver, Target
from notifiers.sockets import deadline, dial, seconds_left, tls_context

CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 5.0
BODY_CAP = 64 * 1024
# Firewalls drop idle connections silently; a message on such a connection would wait for its whole read timeout.
_IDLE_SECONDS = 30.0
_MOST_ORIGINS = 256
_MOST_HEADERS = 100
_MOST_INTERIM = 5
_LONGEST_LINE = 8192
_FIRST_BYTES = 4096
#: No provider may send us away for longer than this.
RETRY_AFTER_CAP = 600.0

_RETRIED_STATUS = frozenset({408, 425, 500, 502, 503, 504})
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_USER_AGENT = "huiying"

_default_resolver = SystemResolver()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came: at most 64 KiB of body, ``complete`` False where it broke off or was longer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool

    def json_object(self) -> dict[str, Any] | None:
        """The body as a JSON object; None for everything else (HTML, list, null, nothing, broken)."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


#: What a post comes to: an answer, or why there is none.
PostResult: TypeAlias = Reply | Transient | Permanent


class _Fault(Exception):
    """Ends an exchange; deliberately no OSError, so that ``requests`` lets it through unwrapped."""

    def __init__(self, outcome: Transient | Permanent) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class _Fresh:
    """What both kinds of connection share: they dial vetted addresses and know when they have idled too long."""

    origin: _Origin
    idle_since: float

    def _new_conn(self) -> socket.socket:
        return self.origin.dial()


class _Plain(_Fresh, HTTPConnection):
    pass


class _TLS(_Fresh, HTTPSConnection):
    pass


_Link: TypeAlias = _Plain | _TLS


class _Answer:
    """The little that ``build_response`` needs."""

    __slots__ = ("body", "complete", "headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: dict[str, str], body: bytes, *, complete: bool) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.complete = complete


class _Origin:
    """The keep-alive connections to one scheme, host and port; stands where requests expects a urllib3 pool."""

    def __init__(self, target: Target, settings: _Settings) -> None:
        self._target = target
        self._settings = settings
        self._proxy = parse_url(settings.proxy) if settings.proxy else None
        # Appending and popping are atomic; queue.LifoQueue costs ten times as much. The warmest connection goes first.
        self._idle: deque[_Link] = deque()
        self._closed = False

    def dial(self) -> socket.socket:
        """Resolve, vet and connect; with a proxy, connect to the proxy, which is the administrator's choice."""
        settings, target = self._settings, self._target
        if self._proxy is not None:
            addresses = settings.resolve(self._proxy.host or "", self._proxy.port or 8080, self._connect_seconds())
        else:
            addresses = settings.resolve(target.host, target.port, self._connect_seconds())
            if settings.guard is not None:
                settings.guard.vet(target.scheme, addresses)
        return dial(addresses, settings.connect_timeout)

    def urlopen(self, *, url: str, body: bytes, headers: Mapping[str, str], **_: object) -> _Answer:
        """One exchange; the signature is the part of urllib3's that ``HTTPAdapter.send`` uses."""
        message = self._head(url, headers, len(body)) + body
        link = self._take() or self._open()
        try:
            answer, reusable = self._exchange(link, message)
        except BaseException:
            link.close()
            raise
        self._give_back(link, reusable=reusable)
        return answer

    def close(self) -> None:
        """Close the idle connections; those in use close themselves when they come back."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _connect_seconds(self) -> float:
        left = min(self._settings.connect_timeout, seconds_left())
        if left <= 0:
            raise TimeoutError("no time left to connect")
        return left

    def _head(self, url: str, headers: Mapping[str, str], length: int) -> bytes:
        lines = [f"POST {url} HTTP/1.1", f"Host: {self._target.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {length}", "", ""]
        return "\r\n".join(lines).encode("ascii")

    def _take(self) -> _Link | None:
        with contextlib.suppress(IndexError):
            while True:
                link = self._idle.pop()
                if monotonic() - link.idle_since < _IDLE_SECONDS and link.is_connected:
                    return link
                link.close()
        return None

    def _give_back(self, link: _Link, *, reusable: bool) -> None:
        link.idle_since = monotonic()
        if reusable and not self._closed and len(self._idle) < self._settings.threads:
            self._idle.append(link)
        else:
            link.close()

    def _open(self) -> _Link:
        try:
            return self._connected(self._link())
        except (ssl.SSLError, SSLError) as error:
            raise _Fault(_tls_outcome(error)) from None
        except TimeoutError:
            raise _Fault(Transient("连接超时，请求未发出。", code="connect_timeout")) from None
        except socket.gaierror:
            raise _Fault(Transient("域名解析失败，请求未发出。", code="dns")) from None
        except (OSError, HTTPError, http.client.HTTPException):
            what = said("代理服务器或对方") if self._proxy is not None else said("对方")
            raise _Fault(Transient(said("%(what)s拒绝连接，请求未发出。", what=what), code="connect")) from None

    def _connected(self, link: _Link) -> _Link:
        try:
            link.connect()
        except BaseException:
            link.close()
            raise
        return link

    def _link(self) -> _Link:
        settings, target = self._settings, self._target
        host, port = target.host, target.port
        if self._proxy is not None:
            host, port = self._proxy.host or "", self._proxy.port or 8080
        timeout = self._connect_seconds()
        link: _Link
        if target.scheme == "https":
            link = _TLS(host, port, timeout=timeout, ssl_context=settings.context)
            if self._proxy is not None:
                link.set_tunnel(target.host, target.port, headers=settings.proxy_headers)
        else:
            link = _Plain(host, port, timeout=timeout)
        link.origin = self
        return link

    def _exchange(self, link: _Link, message: bytes) -> tuple[_Answer, bool]:
        sock = link.sock
        assert sock is not None  # connect() has just succeeded
        try:
            left = seconds_left()
            if left <= 0:
                raise _Fault(Transient("已到总时限，请求未发出。", code="deadline"))
            sock.settimeout(min(self._settings.read_timeout, left))
            # A server may answer and close before it has read everything; its answer still counts.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(message)
            return _read_answer(sock)
        except (TimeoutError, ssl.SSLWantReadError):
            raise _Fault(Transient("等待应答超时，消息可能已送达。", code="read_timeout", ambiguous=True)) from None
        except (OSError, http.client.HTTPException):
            raise _Fault(Transient("连接中断，消息可能已送达。", code="reset", ambiguous=True)) from None


class _QuickResponse(http.client.HTTPResponse):
    """The standard library's response without its e-mail parser, which takes longer than everything else together."""

    _read_status: Callable[[], tuple[str, int, str]]
    fields: dict[str, str]
    chunked: bool
    length: int | None
    will_close: bool

    def begin(self) -> None:
        version, status, reason = self._status_line()
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version.startswith("HTTP/1.0") else 11
        self.fields = self._header_fields()
        self.chunked = self.fields.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        connection = self.fields.get("connection", "").lower()
        self.will_close = "close" in connection or (self.version == 10 and "keep-alive" not in connection)
        self.length = self._announced_length()
        if self.length is None and not self.chunked:
            self.will_close = True

    def _status_line(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM):
            version, status, reason = self._read_status()
            if status >= 200:
                return version, status, reason
            self._header_fields()
        raise http.client.BadStatusLine("only interim answers")

    def _header_fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for _ in range(_MOST_HEADERS):
            line = self.fp.readline(_LONGEST_LINE + 1)
            if len(line) > _LONGEST_LINE:
                raise http.client.LineTooLong("header line")
            if line in {b"\r\n", b"\n", b""}:
                return fields
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or name != name.strip():
                raise http.client.BadStatusLine("not a header line")
            fields[name.lower()] = value.strip()
        raise http.client.LineTooLong("too many headers")

    def _announced_length(self) -> int | None:
        text = self.fields.get("content-length")
        if self.status in {204, 304}:
            return 0
        if self.chunked or "transfer-encoding" in self.fields or text is None:
            return None
        if not (text.isascii() and text.isdigit()):
            raise http.client.BadStatusLine("not a length")
        return int(text)


def _read_answer(sock: socket.socket) -> tuple[_Answer, bool]:
    first = sock.recv(_FIRST_BYTES)
    whole = _whole_answer(first)
    if whole is not None:
        return whole, True
    source = _QuickResponse(cast("socket.socket", _Rewound(first, sock)), method="POST")
    try:
        source.begin()
        body, complete = _read_body(source)
        answer = _Answer(source.status, source.reason, source.fields, body, complete=complete)
        return answer, complete and source.isclosed() and not source.will_close
    finally:
        source.close()


class _Rewound(io.RawIOBase):
    """A socket whose first bytes have been looked at already."""

    def __init__(self, first: bytes, sock: socket.socket) -> None:
        super().__init__()
        self._first = first
        self._sock = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What the standard library's response reads from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._first:
            return self._sock.recv_into(buffer)
        size = min(len(buffer), len(self._first))
        buffer[:size], self._first = self._first[:size], self._first[size:]
        return size


_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: ([\x20-\x7e]*))?")
_FIELD = re.compile(rb"([A-Za-z0-9-]+):[ \t]*([\x21-\x7e]?(?:[\x20-\x7e]*[\x21-\x7e])?)[ \t]*")


def _whole_answer(data: bytes) -> _Answer | None:
    """An ordinary answer that has come in one piece on a connection that stays open; None for everything else.

    Nearly every answer is of this kind, and reading it line by line takes as long as all other work of a post.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if not end or status is None or status[1] in {b"204", b"304"} or len(lines) > _MOST_HEADERS:
        return None
    fields = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        fields[field[1].decode().lower()] = field[2].decode()
    length = fields.get("content-length", "")
    if not length.isdigit() or int(length) != len(body) or "transfer-encoding" in fields:
        return None
    if "close" in fields.get("connection", "").lower():
        return None
    return _Answer(int(status[1]), (status[2] or b"").decode().strip(), fields, body, complete=True)


def _read_body(source: _QuickResponse) -> tuple[bytes, bool]:
    """At most 64 KiB; a body that breaks off is handed over as incomplete, its status line having been heard."""
    try:
        body = source.read(BODY_CAP + 1)
    except (OSError, http.client.HTTPException):
        return b"", False
    if len(body) > BODY_CAP:
        return body[:BODY_CAP], False
    return body, not source.length


def _tls_outcome(error: Exception) -> Transient | Permanent:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Transient("加密连接在建立时中断，请求未发出。", code="tls_interrupted")
    return Permanent(
        "对方证书或加密连接未通过验证（自签名、域名不符、已过期或协议过旧），请核对 ca_bundle。", code="tls"
    )


class _Prepared(PreparedRequest):
    """A prepared request that knows where it goes, so that nobody parses the address a second time."""

    def __init__(self, target: Target, path: str, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__()
        self.method = "POST"
        self.url = target.origin + path
        self.target = target
        self.path = path
        self.headers = CaseInsensitiveDict(headers)
        self.body = body


@dataclass(frozen=True, slots=True)
class _Settings:
    threads: int
    guard: Guard | None
    proxy: str
    proxy_headers: dict[str, str]
    context: ssl.SSLContext
    connect_timeout: float
    read_timeout: float
    resolve: Resolve


class _DirectAdapter(HTTPAdapter):
    """``requests``' adapter with our origins in place of urllib3's pools, used without a Session."""

    def __init__(self, settings: _Settings) -> None:
        self._settings = settings
        self._origins: OrderedDict[tuple[str, str, int], _Origin] = OrderedDict()
        self._lock = threading.Lock()
        super().__init__()

    def get_connection_with_tls_context(self, request: Any, *_: object, **__: object) -> Any:
        target: Target = request.target
        key = (target.scheme, target.host, target.port)
        origin = self._origins.get(key)
        return origin if origin is not None else self._new_origin(key, target)

    def cert_verify(self, *_: object, **__: object) -> None:
        """Nothing to arrange: every connection is made with a context that verifies, and no call can say otherwise."""

    def request_url(self, request: Any, proxies: object) -> str:
        if self._settings.proxy and request.target.scheme == "http":
            return str(request.url)
        return str(request.path)

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """As the base class's, without cookies and without a stream: the body is already here."""
        response = Response()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers)
        response.reason = resp.reason
        response.url = req.url or ""
        response.request = req
        response.raw = resp
        response._content = resp.body  # noqa: SLF001  # as requests itself does after reading
        return response

    def close(self) -> None:
        super().close()
        with self._lock:
            for origin in self._origins.values():
                origin.close()
            self._origins.clear()

    def _new_origin(self, key: tuple[str, str, int], target: Target) -> _Origin:
        with self._lock:
            origin = self._origins.get(key)
            if origin is None:
                origin = self._origins[key] = _Origin(target, self._settings)
                if len(self._origins) > _MOST_ORIGINS:
                    self._origins.popitem(last=False)[1].close()
            return origin


class HttpClient:
    """Posts, within a total deadline, to vetted addresses; one per channel, shared by all sender threads."""

    def __init__(
        self,
        *,
        threads: int = 16,
        guard: Guard | None = None,
        proxy: str = "",
        ca_bundle: str = "",
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        resolve: Resolve = _default_resolver,
    ) -> None:
        address, headers = _read_proxy(proxy)
        settings = _Settings(
            threads=threads,
            guard=guard,
            proxy=address,
            proxy_headers=headers,
            context=tls_context(ca_bundle),
            connect_timeout=min(connect_timeout, CONNECT_TIMEOUT),
            read_timeout=min(read_timeout, READ_TIMEOUT),
            resolve=resolve,
        )
        self._settings = settings
        self._adapter = _DirectAdapter(settings)
        # A client that was replaced and forgotten still gives its connections back.
        weakref.finalize(self, self._adapter.close)
        # Made once: building it for every post costs as much as the post's own system calls.
        self._timeout = cast("Any", Timeout(connect=settings.connect_timeout, read=settings.read_timeout))

    def post(
        self, target: Target, body: bytes, headers: Mapping[str, str], seconds: float, *, path: str | None = None
    ) -> PostResult:
        """Post once; never raises for what the other side does. ``seconds`` bounds everything, name lookup included."""
        _check_headers(headers)
        request = _Prepared(target, target.path if path is None else path, {"User-Agent": _USER_AGENT, **headers}, body)
        try:
            self._refuse_by_proxy(target)
            with deadline(monotonic() + seconds):
                response = self._adapter.send(request, stream=True, timeout=self._timeout)
        except _Fault as fault:
            return fault.outcome
        except Blocked as blocked:
            return Permanent(str(blocked), code="blocked")
        answer = cast("_Answer", response.raw)
        return Reply(response.status_code, response.headers, response.content, answer.complete)

    def close(self) -> None:
        """Close idle connections."""
        self._adapter.close()

    def _refuse_by_proxy(self, target: Target) -> None:
        """A proxy resolves names itself, so only literal addresses can be vetted here."""
        settings = self._settings
        if not settings.proxy or settings.guard is None:
            return
        with contextlib.suppress(OSError):
            literal = socket.inet_ntoa(socket.inet_aton(target.host))
            settings.guard.vet("https", ((socket.AF_INET, (literal, target.port)),))
        if ":" in target.host:
            settings.guard.vet("https", ((socket.AF_INET6, (target.host, target.port)),))
        if target.host == "localhost" or target.host.endswith(".localhost"):
            settings.guard.vet("https", ((socket.AF_INET, ("127.0.0.1", target.port)),))


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"header {name!r} is not plain ASCII on one line")


def _read_proxy(proxy: str) -> tuple[str, dict[str, str]]:
    """Split credentials from a proxy's address, so that the address may be shown and the header is sent only to it."""
    if not proxy:
        return "", {}
    parsed = parse_url(proxy)
    if parsed.scheme != "http" or not parsed.host:
        raise BadAddress("proxy 必须是 http://主机：端口。")
    headers: dict[str, str] = {}
    if parsed.auth:
        user, _, password = parsed.auth.partition(":")
        headers["Proxy-Authorization"] = _basic_auth_str(user, password)
    return f"http://{parsed.host}:{parsed.port or 8080}", headers


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def to_json(value: object) -> bytes:
    """UTF-8, not escaped to ASCII: a Chinese text is 1.79 times longer with escapes, and vendors count bytes."""
    return _encode(value).encode("utf-8", "replace")


# --- from an answer to an outcome ------------------------------------------------------------------------------------


def retry_after_seconds(headers: Mapping[str, str], now: datetime, name: str = "Retry-After") -> float | None:
    """Seconds the provider asks us to wait, from seconds or an HTTP date; never negative, never above ten minutes."""
    text = headers.get(name, "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_CAP)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), RETRY_AFTER_CAP)


def refusal_of_status(reply: Reply, now: datetime, park_seconds: float = 60.0) -> Outcome:
    """What a status other than 2xx means, the same for every channel."""
    status = reply.status
    wait = retry_after_seconds(reply.headers, now)
    if status == 429:
        return RateLimited(_later(now, park_seconds if wait is None else wait), code="429")
    if status in _RETRIED_STATUS:
        return Transient(said("对方暂时不可用（HTTP %(status)s）。", status=status), code=str(status), retry_after=wait)
    if 300 <= status < 400:
        return Permanent(
            said("对方要求跳转（HTTP %(status)s），已拒绝：可能是认证网关或地址填错。", status=status), code=str(status)
        )
    return Permanent(said("对方拒绝（HTTP %(status)s）。", status=status), code=str(status))


def outcome_of_status(result: PostResult, now: datetime, park_seconds: float = 60.0) -> Outcome:
    """For channels where the status line is the whole verdict: any 2xx is acceptance, even with its body broken off."""
    if not isinstance(result, Reply):
        return result
    if 200 <= result.status < 300:
        return Accepted()
    return refusal_of_status(result, now, park_seconds)


def _later(now: datetime, seconds: float) -> datetime:
    return datetime.fromtimestamp(now.timestamp() + seconds, UTC)
