"""Where a message may go, with which certificate, and what may be seen of it: cases 46, 47 and 48 of the channels."""

from __future__ import annotations

import io
import json
import logging
import socket
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from loguru import logger

from config.logging import configure_logging
from config.secrets import Secret
from huiying.domain.kinds import ChannelKind
from huiying.domain.outcome import Permanent, Transient
from notifiers.contract import Address
from notifiers.guard import BadAddress, Guard, SystemResolver, Target, parse_cidrs, parse_target
from notifiers.http import HttpClient, Reply
from notifiers.sockets import SocketAddress
from tests.fakes.authority import Authority
from tests.fakes.dingtalk import FakeDingTalk
from tests.fakes.http_server import HttpServer, hang, html_login_page, raw, redirect, reset_at_once, says, status
from tests.fakes.notices import a_notice, a_notifier
from tests.fakes.proxy import FakeProxy
from tests.fakes.smtp import RawTcp, silent

REFUSED = "refused before any connection"


def addresses_of(rows: list[str], port: int) -> tuple[SocketAddress, ...]:
    """What a resolver made up by a test answers."""
    return tuple((socket.AF_INET6 if ":" in row else socket.AF_INET, (row, port)) for row in rows)


# Every way known to us in which an address leads into the house, past a naive check, or to nowhere a message belongs.
BAD_ADDRESSES = [
    # loopback, in every spelling getaddrinfo understands
    "https://127.0.0.1/",
    "https://127.0.0.1:8443/x",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.255.255.254/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://0x7F.0x0.0x0.0x1/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://localhost/",
    "https://LOCALHOST./",
    # this network, broadcast, multicast, reserved
    "https://0.0.0.0/",
    "https://0/",
    "https://0.1.2.3/",
    "https://255.255.255.255/",
    "https://224.0.0.1/",
    "https://239.255.255.250/",
    "https://240.0.0.1/",
    "https://[::]/",
    "https://[ff02::1]/",
    # private
    "https://10.0.0.1/",
    "https://10.1/",
    "https://167772161/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://192.168.257/",
    "https://198.18.0.1/",
    "https://[fc00::1]/",
    "https://[fd12:3456::1]/",
    # carrier-grade NAT and metadata services
    "https://100.64.0.1/",
    "https://100.127.255.255/",
    "https://100.100.100.200/latest/meta-data/",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.0.23/",
    "https://0xA9FEA9FE/",
    "https://2852039166/",
    "https://192.0.0.192/",
    "https://168.63.129.16/",
    "https://[fd00:ec2::254]/",
    "https://[fd20:ce::254]/",
    "https://[fe80::1]/",
    "https://[fec0::1]/",
    # the same addresses in translated and mapped forms
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[::127.0.0.1]/",
    "https://[::ffff:0:127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::127.0.0.1]/",
    "https://[64:ff9b:1::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::]/",
    "https://[2001:0:7f00:1::]/",
    # documentation, discard, benchmark
    "https://192.0.2.1/",
    "https://198.51.100.7/",
    "https://203.0.113.9/",
    "https://192.88.99.1/",
    "https://[2001:db8::1]/",
    "https://[100::1]/",
    "https://[3fff::1]/",
    "https://[5f00::1]/",
    "https://[4000::1]/",
    # two parsers, two hosts
    "http://127.0.0.1\\@good.example/",
    "https://good.example\\@127.0.0.1/",
    "https://good.example@127.0.0.1/",
    "https://user:secret@good.example/",
    "https://good.example#@127.0.0.1/",
    "https://127.0.0.1#good.example/",
    "https://good.example /",
    "https://good.example\t/",
    "https://good.example\r\nHost: evil/",
    "https://goo\x00d.example/",
    "https://[fe80::1%25eth0]/",
    "https://[::1",
    "https://good.example:0/",
    "https://good.example:99999/",
    "https://good.example:-1/",
    "https:///path",
    "https://",
    "https://[]/",
    "https://example.com:443:443/",
    # not HTTP
    "ftp://good.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:25/",
    "javascript:alert(1)",
    "//good.example/",
    "good.example/path",
    "",
    "https://" + "a" * 3000 + "/",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES, ids=lambda address: ascii(address)[:60])
def test_case47_bad_addresses_are_never_connected_to(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("notifiers.http.dial", lambda *_: pytest.fail(REFUSED))
    target = _target_or_none(address)
    if target is None:
        return
    client = HttpClient(guard=Guard())
    outcome = client.post(target, b"{}", {}, 2.0)
    assert isinstance(outcome, Permanent), outcome
    assert outcome.code == "blocked"


def _target_or_none(address: str) -> Target | None:
    try:
        return parse_target(address)
    except BadAddress:
        return None


def test_the_list_is_long_enough():
    assert len(set(BAD_ADDRESSES)) >= 60


@pytest.mark.parametrize(
    "literal", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::1]", "localhost", "169.254.169.254"]
)
def test_case47_a_proxy_is_not_asked_for_them_either(literal: str):
    with FakeProxy({}) as proxy:
        client = HttpClient(guard=Guard(), proxy=proxy.base_url)
        for scheme in ("http", "https"):
            outcome = client.post(parse_target(f"{scheme}://{literal}/"), b"{}", {}, 2.0)
            assert isinstance(outcome, Permanent)
            assert outcome.code == "blocked"
        assert not proxy.seen
        assert not proxy.requests


@pytest.mark.parametrize(
    "answers",
    [
        ["93.184.216.34", "127.0.0.1"],
        ["10.0.0.1", "93.184.216.34"],
        ["93.184.216.34", "::1"],
        ["2606:2800::1", "fe80::1"],
    ],
    ids=str,
)
def test_case47_one_bad_address_among_good_ones_refuses_the_name(answers: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("notifiers.http.dial", lambda *_: pytest.fail(REFUSED))
    client = HttpClient(guard=Guard(), resolve=lambda host, port, timeout: addresses_of(answers, port))
    outcome = client.post(parse_target("https://rebind.example/"), b"{}", {}, 2.0)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "blocked"


class RebindingResolver:
    """Answers with a public address first and with loopback ever after."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, host: str, port: int, timeout: float) -> Sequence[SocketAddress]:
        self.asked += 1
        return addresses_of(["93.184.216.34"] if self.asked == 1 else ["127.0.0.1"], port)


def test_case47_rebinding_name_is_resolved_once_and_the_vetted_address_is_dialled(monkeypatch: pytest.MonkeyPatch):
    dialled: list[object] = []

    def dial(addresses: Sequence[SocketAddress], timeout: float) -> socket.socket:
        dialled.extend(address for _, address in addresses)
        raise ConnectionRefusedError

    monkeypatch.setattr("notifiers.http.dial", dial)
    resolver = RebindingResolver()
    client = HttpClient(guard=Guard(), resolve=resolver)
    first = client.post(parse_target("https://rebind.example/"), b"{}", {}, 2.0)
    assert isinstance(first, Transient)
    assert resolver.asked == 1
    assert dialled == [("93.184.216.34", 443)]
    second = client.post(parse_target("https://rebind.example/"), b"{}", {}, 2.0)
    assert isinstance(second, Permanent)
    assert len(dialled) == 1


@pytest.mark.parametrize(
    ("cidr", "address", "opened"),
    [
        ("10.20.0.0/16", "10.20.1.1", True),
        ("10.20.0.0/16", "10.21.1.1", False),
        ("100.64.0.0/10", "100.70.0.1", True),
        ("100.64.0.0/10", "100.100.100.200", False),
        ("fd00::/8", "fd00::5", True),
        ("fd00::/8", "fd00:ec2::254", False),
        ("127.0.0.0/8", "127.0.0.1", False),
        ("169.254.0.0/16", "169.254.169.254", False),
        ("fe80::/10", "fe80::1", False),
        ("::/1", "::1", False),
        ("0.0.0.0/1", "0.0.0.0", False),
    ],
)
def test_networks_are_opened_by_cidr_but_never_loopback_link_local_or_metadata(cidr: str, address: str, opened: bool):
    guard = Guard(parse_cidrs([cidr]))
    assert (guard.refusal(address) == "") is opened


def test_loopback_opens_only_by_the_process_wide_switch():
    assert Guard(allow_loopback=True).refusal("127.0.0.1") == ""
    assert Guard(allow_loopback=True).refusal("::1") == ""
    assert Guard(allow_loopback=True).refusal("169.254.169.254")
    assert Guard(allow_loopback=True).refusal("10.0.0.1")


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "::/0", "10.0.0.1/8", "nonsense"])
def test_cidrs_that_open_everything_or_nothing_are_refused(cidr: str):
    with pytest.raises(ValueError, match="allow_cidrs"):
        parse_cidrs([cidr])


def test_public_addresses_need_https_and_opened_networks_do_not():
    guard = Guard(parse_cidrs(["10.0.0.0/8"]))
    client = HttpClient(guard=guard, resolve=lambda host, port, timeout: addresses_of(["93.184.216.34"], port))
    outcome = client.post(parse_target("http://plain.example/"), b"{}", {}, 2.0)
    assert isinstance(outcome, Permanent)
    assert "https" in outcome.reason
    guard.vet("http", addresses_of(["10.1.2.3"], 80))


def test_case39_dead_name_server_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch):
    import threading
    import time

    gate = threading.Event()

    def never(*_: object, **__: object) -> list[object]:
        gate.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "dead")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    client = HttpClient(guard=Guard(), resolve=SystemResolver(most_hanging=1))
    start = time.monotonic()
    first = client.post(parse_target("https://a.example/"), b"{}", {}, 0.5)
    second = client.post(parse_target("https://b.example/"), b"{}", {}, 0.5)
    gate.set()
    assert time.monotonic() - start < 4.0
    for outcome in (first, second):
        assert isinstance(outcome, Transient)
        assert not outcome.ambiguous


def test_case39_unknown_name_is_transient(monkeypatch: pytest.MonkeyPatch):
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    outcome = HttpClient(guard=Guard(), resolve=SystemResolver()).post(parse_target("https://a.example/"), b"", {}, 1.0)
    assert isinstance(outcome, Transient)
    assert (outcome.code, outcome.ambiguous) == ("dns", False)


def test_names_are_remembered_for_a_short_time(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def once(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))]

    monkeypatch.setattr(socket, "getaddrinfo", once)
    resolver = SystemResolver()
    assert resolver("a.example", 443, 1.0) == resolver("a.example", 443, 1.0)
    assert asked == ["a.example"]


def test_headers_that_break_the_line_are_our_own_mistake():
    client = HttpClient(guard=Guard(allow_loopback=True))
    with pytest.raises(ValueError, match="header"):
        client.post(parse_target("http://127.0.0.1:1/"), b"", {"X": "a\r\nEvil: b"}, 1.0)


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def _post(server: HttpServer, host: str = "127.0.0.1", **options: object) -> object:
    resolve = lambda _host, port, _timeout: addresses_of(["127.0.0.1"], port)  # noqa: E731
    client = HttpClient(guard=Guard(allow_loopback=True), resolve=resolve, **options)  # type: ignore[arg-type]
    return client.post(parse_target(f"https://{host}:{server.port}/x"), b"{}", {}, 3.0)


def test_case48_private_authority_is_trusted_only_where_it_is_named(authority: Authority):
    with HttpServer(authority.issue("127.0.0.1", "duty.example").context()) as server:
        good = _post(server, ca_bundle=str(authority.bundle))
        by_name = _post(server, "duty.example", ca_bundle=str(authority.bundle))
        bad = _post(server)
    assert isinstance(good, Reply)
    assert isinstance(by_name, Reply)
    assert isinstance(bad, Permanent)
    assert bad.code == "tls"


def test_case48_wrong_name_is_refused_although_the_address_is_pinned(authority: Authority):
    with HttpServer(authority.issue("other.example").context()) as server:
        outcome = _post(server, "duty.example", ca_bundle=str(authority.bundle))
        assert not server.requests
    assert isinstance(outcome, Permanent)
    assert outcome.code == "tls"


def test_case48_expired_certificate_is_refused(authority: Authority):
    with HttpServer(authority.issue("duty.example", expired=True).context()) as server:
        outcome = _post(server, "duty.example", ca_bundle=str(authority.bundle))
    assert isinstance(outcome, Permanent)
    assert outcome.code == "tls"


def test_keep_alive_works_over_tls(authority: Authority):
    with HttpServer(authority.issue("127.0.0.1").context()) as server:
        client = HttpClient(guard=Guard(allow_loopback=True), ca_bundle=str(authority.bundle))
        target = parse_target(f"https://127.0.0.1:{server.port}/x")
        outcomes = [client.post(target, b"{}", {}, 3.0) for _ in range(5)]
        assert [outcome for outcome in outcomes if not isinstance(outcome, Reply)] == []
        assert len(server.requests) == 5


def test_plain_http_server_behind_https_is_permanent_and_silent_one_keeps_the_deadline():
    with HttpServer() as server:
        outcome = _post(server)
    assert isinstance(outcome, Permanent | Transient)
    assert not getattr(outcome, "ambiguous", False)
    import time

    with RawTcp(silent) as server:
        client = HttpClient(guard=Guard(allow_loopback=True))
        start = time.monotonic()
        outcome = client.post(parse_target(f"https://127.0.0.1:{server.port}/"), b"", {}, 0.7)
        assert time.monotonic() - start < 4.0
    assert isinstance(outcome, Transient)
    assert not outcome.ambiguous


# --- proxy -----------------------------------------------------------------------------------------------------------


def test_proxy_tunnels_https_and_the_certificate_is_still_the_targets(authority: Authority):
    with (
        HttpServer(authority.issue("duty.example").context()) as server,
        FakeProxy({"duty.example": server.port}) as proxy,
    ):
        address = proxy.base_url.replace("//", "//officer:pr0xy-c4n4ry@")
        client = HttpClient(guard=Guard(), proxy=address, ca_bundle=str(authority.bundle))
        outcome = client.post(parse_target(f"https://duty.example:{server.port}/x"), b"{}", {}, 3.0)
    assert isinstance(outcome, Reply)
    path, headers = proxy.seen[0]
    assert path == f"duty.example:{server.port}"
    assert headers["Proxy-Authorization"].startswith("Basic ")
    assert "Proxy-Authorization" not in server.requests[0].headers


def test_proxy_html_is_a_failure_for_robots(authority: Authority):
    with FakeProxy({}) as proxy:
        proxy.fail_with(html_login_page())
        notifier = a_notifier(
            ChannelKind.WECOM,
            base_url="http://10.9.8.7",
            key="k-c4n4ry-1",
            proxy=proxy.base_url,
            allow_cidrs=["10.0.0.0/8"],
        )
        outcome = notifier.send(a_notice(), Address(), datetime.now(UTC), 3.0)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "not_json"
    assert proxy.requests[0].path.startswith("http://10.9.8.7/")


def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with HttpServer() as server:
        client = HttpClient(guard=Guard(allow_loopback=True))
        assert isinstance(client.post(parse_target(f"{server.base_url}/"), b"", {}, 3.0), Reply)


# --- 46: secrets stay secret -----------------------------------------------------------------------------------------

CANARY = "SECc4n4ry-9f8e7d6c5b4a+/="
TOKEN = "tokenc4n4ry0123456789abcdef"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    yield from _captured(json=False)


@pytest.fixture
def json_log() -> Iterator[io.StringIO]:
    yield from _captured(json=True)


def _captured(*, json: bool) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handlers, level = logging.root.handlers[:], logging.root.level
    configure_logging("DEBUG", sink=stream, json=json)
    yield stream
    logger.remove()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def _no_canary(text: str) -> None:
    assert "c4n4ry" not in text, text[max(text.find("c4n4ry") - 200, 0) :][:400]


STEPS = [
    status(500),
    redirect(f"https://evil.example/?token={TOKEN}"),
    html_login_page(),
    reset_at_once(),
    hang(),
    says({"errcode": 310000, "errmsg": f"sign {CANARY} token {TOKEN}"}),
    says({"errcode": 4, "errmsg": TOKEN}),
    raw(f"HTTP/1.1 999 {TOKEN}\r\n\r\n".encode()),
    raw(f"{TOKEN}\r\n\r\n".encode()),
]


def test_case46_canary_is_in_no_log_outcome_or_repr(log: io.StringIO):
    with FakeDingTalk(TOKEN, CANARY) as fake:
        fake.fail_with(*STEPS)
        notifier = a_notifier(ChannelKind.DINGTALK, url=Secret(fake.url), secret=Secret(CANARY), attempts=1)
        for _ in STEPS:
            outcome = notifier.send(a_notice(), Address(), datetime.now(UTC), 0.5)
            logger.warning("delivery failed: {}", outcome)
            _no_canary(repr(outcome))
        logger.info("{!r} {} {}", notifier, vars(notifier), notifier.__dict__)
    _no_canary(log.getvalue())


@pytest.mark.parametrize("style", ["log", "json_log"])
def test_case46_canary_is_in_no_traceback(style: str, request: pytest.FixtureRequest):
    stream: io.StringIO = request.getfixturevalue(style)
    secret = Secret(CANARY)
    Secret(TOKEN)

    def fails() -> None:
        clear = secret.reveal()
        address = f"https://oapi.dingtalk.com/robot/send?access_token={TOKEN}&sign={clear}"
        raise ConnectionError(f"HTTPSConnectionPool(host='oapi'): Max retries exceeded with url: {address}")

    for log_it in (logger.exception, logging.getLogger("somewhere").exception):
        with suppress(ConnectionError):
            try:
                fails()
            except ConnectionError:
                log_it("cannot send")
                raise
    logging.getLogger("urllib3.connectionpool").debug("POST /robot/send?access_token=%s", TOKEN)
    _no_canary(stream.getvalue())
    assert stream.getvalue().count("\n") == 2


def test_case46_requests_own_exceptions_are_masked(log: io.StringIO):
    import requests

    Secret(TOKEN)
    try:
        requests.post(f"http://127.0.0.1:9/robot/send?access_token={TOKEN}", timeout=1)
    except requests.RequestException:
        logger.opt(exception=True).error("requests failed")
    assert "ConnectionError" in log.getvalue()
    _no_canary(log.getvalue())


def test_case46_bind_and_format_arguments_are_masked(json_log: io.StringIO):
    Secret(CANARY)
    logger.bind(settings={"secret": CANARY}).info("channel {} saved", {"url": f"https://x/hook/{TOKEN}"})
    _no_canary(json_log.getvalue())
    assert json.loads(json_log.getvalue())["message"].startswith("channel")


def test_case46_secret_objects_show_nothing():
    secret = Secret(CANARY)
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{[secret]}",
        secret.last4,
        json.dumps(secret, default=str),
    ):
        _no_canary(text)
    with pytest.raises(TypeError):
        json.dumps(secret)
    import copy
    import pickle

    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.copy(secret)


def test_case46_findings_and_build_errors_name_no_secret():
    with pytest.raises(ValueError, match="设置有误") as caught:
        a_notifier(ChannelKind.WEBHOOK, url=f"https://u:{TOKEN}@x/", secret=CANARY, nonsense=1)
    _no_canary(str(caught.value))
    _no_canary("".join(traceback.format_exception(caught.value)))


def test_targets_show_their_origin_only():
    assert (
        repr(parse_target(f"https://oapi.dingtalk.com/robot/send?access_token={TOKEN}"))
        == "Target(https://oapi.dingtalk.com/…)"
    )


def test_system_certificates_exist():
    assert Path(__import__("certifi").where()).is_file()
