"""Settings of channels: what is accepted, what is refused and how it is said; golden signatures; in-house channels."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks

from config.secrets import Secret
from huiying.domain.kinds import ChannelKind
from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome, Permanent, Transient
from notifiers.contract import Address, ChannelConfig
from notifiers.dingtalk import signed_query
from notifiers.feishu import signature
from notifiers.http import retry_after_seconds
from notifiers.registry import Services, build, validate_settings
from notifiers.retrying import Attempt, RetryPolicy, attempt_within
from notifiers.webhook import signatures, signing_key
from tests.fakes.notices import a_notice
from tests.fakes.webhook import SECRET

NOW = datetime(2026, 11, 22, 8, 42, tzinfo=UTC)

GOOD: list[tuple[ChannelKind, dict[str, Any]]] = [
    (ChannelKind.INBOX, {}),
    (ChannelKind.CONSOLE, {}),
    (ChannelKind.WEBHOOK, {"url": "https://hook.example/x", "secret": SECRET}),
    (ChannelKind.WEBHOOK, {"url": "env:HOOK", "secret": "file:/run/secrets/hook"}),
    (ChannelKind.WEBHOOK, {"url": Secret("https://hook.example/x"), "secret": Secret(SECRET), "allow_cidrs": ["10.0.0.0/8"]}),
    (ChannelKind.DINGTALK, {"url": "https://oapi.dingtalk.com/robot/send?access_token=abc", "secret": "SECabc"}),
    (ChannelKind.DINGTALK, {"access_token": "env:DINGTALK_TOKEN"}),
    (ChannelKind.WECOM, {"key": "abc", "format": "text", "per_minute": 10}),
    (ChannelKind.FEISHU, {"token": "abc", "base_url": "https://open.example.gov.cn", "proxy": "http://10.0.0.1:3128"}),
    (ChannelKind.EMAIL, {"host": "mail.example.gov.cn", "from": "duty@example.gov.cn"}),
    (ChannelKind.EMAIL, {"host": "m.example", "from": "d@example.gov.cn", "tls": "implicit", "username": "u", "password": "env:P"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "settings"), GOOD, ids=str)
def test_good_settings_have_no_findings(kind: ChannelKind, settings: dict[str, Any]):
    assert validate_settings(kind, settings) == []


@pytest.mark.parametrize(
    ("kind", "settings", "key"),
    [
        (ChannelKind.WEBHOOK, {"secret": SECRET}, "url"),
        (ChannelKind.WEBHOOK, {"url": "https://x.example/"}, "secret"),
        (ChannelKind.WEBHOOK, {"url": "ftp://x.example/", "secret": SECRET}, "url"),
        (ChannelKind.WEBHOOK, {"url": "https://u:p@x.example/", "secret": SECRET}, "url"),
        (ChannelKind.WEBHOOK, {"url": "https://x.example/", "secret": "not base64!"}, "secret"),
        (ChannelKind.WEBHOOK, {"url": "https://x.example/", "secret": "whsec_c2hvcnQ="}, "secret"),
        (
            ChannelKind.WEBHOOK,
            {"url": "https://x.example/", "secret": SECRET, "secret_previous": "%"},
            "secret_previous",
        ),
        (
            ChannelKind.WEBHOOK,
            {"url": "https://x.example/", "secret": SECRET, "allow_cidrs": ["0.0.0.0/0"]},
            "allow_cidrs",
        ),
        (ChannelKind.WEBHOOK, {"url": "https://x.example/", "secret": SECRET, "verify": False}, "verify"),
        (ChannelKind.WEBHOOK, {"url": "https://x.example/", "secret": SECRET, "proxy": "socks5://x"}, "proxy"),
        (
            ChannelKind.WEBHOOK,
            {"url": "https://x.example/", "secret": SECRET, "ca_bundle": "/no/such/file"},
            "ca_bundle",
        ),
        (ChannelKind.WEBHOOK, {"url": 5, "secret": SECRET}, "url"),
        (ChannelKind.DINGTALK, {}, "url"),
        (ChannelKind.DINGTALK, {"access_token": "a b"}, "access_token"),
        (ChannelKind.DINGTALK, {"access_token": "a", "per_minute": 0}, "per_minute"),
        (ChannelKind.DINGTALK, {"access_token": "a", "per_minute": "many"}, "per_minute"),
        (ChannelKind.DINGTALK, {"access_token": "a", "per_minute": True}, "per_minute"),
        (ChannelKind.WECOM, {"key": "a", "format": "markdown_v2"}, "format"),
        (ChannelKind.FEISHU, {"secret": "a"}, "url"),
        (ChannelKind.EMAIL, {"from": "a@example.gov.cn"}, "host"),
        (ChannelKind.EMAIL, {"host": "h", "from": "not an address"}, "from"),
        (ChannelKind.EMAIL, {"host": "h", "from": "a@example.gov.cn", "tls": "none"}, "tls"),
        (ChannelKind.EMAIL, {"host": "h", "from": "a@example.gov.cn", "username": "u"}, "password"),
        (ChannelKind.EMAIL, {"host": "h", "from": "a@example.gov.cn", "port": 99999}, "port"),
        (ChannelKind.INBOX, {"url": "https://x"}, "url"),
    ],
    ids=str,
)
def test_bad_settings_are_named_in_chinese(kind: ChannelKind, settings: dict[str, Any], key: str):
    findings = validate_settings(kind, settings)
    assert [finding.key for finding in findings] == [key]
    assert findings[0].message.endswith("。")
    with pytest.raises(ValueError, match="设置有误"):
        build(ChannelConfig("c", kind, "渠道", settings), Services(store_message=lambda *_: None))


def test_every_kind_can_be_built():
    services = Services(store_message=lambda *_: None)
    for kind, settings in GOOD:
        if not any(isinstance(value, str) and value.startswith(("env:", "file:")) for value in settings.values()):
            build(ChannelConfig("c", kind, "渠道", settings), services).close()


def test_inbox_stores_the_text_for_its_reader():
    stored: list[tuple[str, Notice, str]] = []
    services = Services(store_message=lambda person, notice, text: stored.append((person, notice, text)))
    inbox = build(ChannelConfig("c", ChannelKind.INBOX, "站内", {}), services)
    assert inbox.send(a_notice(), Address(person_id="p-1"), NOW, 5.0) == Accepted("N-20261122-0107")
    assert isinstance(inbox.send(a_notice(), Address(), NOW, 5.0), Permanent)
    assert [(person, notice.notice_no) for person, notice, _ in stored] == [("p-1", "N-20261122-0107")]
    assert "剩余 1 小时 58 分" in stored[0][2]


def test_inbox_lets_the_stores_own_failure_pass():
    def fails(*_: object) -> None:
        raise RuntimeError("database is gone")

    inbox = build(ChannelConfig("c", ChannelKind.INBOX, "站内", {}), Services(store_message=fails))
    with pytest.raises(RuntimeError):
        inbox.send(a_notice(), Address(person_id="p-1"), NOW, 5.0)


def test_console_prints_without_terminal_codes():
    written: list[str] = []
    services = Services(store_message=lambda *_: None, write=written.append)
    console = build(ChannelConfig("c", ChannelKind.CONSOLE, "控制台", {}), services)
    assert isinstance(
        console.send(a_notice(notice_title="\x1b[2J坏标题"), Address(name="张三\x1b["), NOW, 5.0), Accepted
    )
    assert "剩余 1 小时 58 分" in written[0]
    assert "\x1b" not in written[0]


# --- golden signatures -----------------------------------------------------------------------------------------------


def test_golden_dingtalk_signature():
    moment = datetime.fromtimestamp(1_764_000_000.123, UTC)
    assert signed_query("SECgolden0001", moment) == GOLDEN_DINGTALK


def test_golden_feishu_signature():
    assert signature("golden-secret", 1_764_000_000) == GOLDEN_FEISHU


# Computed once with OpenSSL on the command line:
# printf '1764000000123\nSECgolden0001' | openssl dgst -sha256 -hmac SECgolden0001 -binary | base64, then percent-encoded
GOLDEN_DINGTALK = "timestamp=1764000000123&sign=5Mj5niKjRY0LB1xXZbfmfEzPfE7PUEN%2B7yNKQMp5Bf4%3D"
# printf '' | openssl dgst -sha256 -hmac "$(printf '1764000000\ngolden-secret')" -binary | base64
GOLDEN_FEISHU = "2sh8KEF2LhRtpiZ/ng19bmm3hltZDy5E5KO55fQtM9A="


def test_webhook_signature_of_the_specification():
    # The example of the Standard Webhooks reference implementations.
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    value = signatures([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert value == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_webhook_signature_equals_the_foreign_library():
    moment = datetime.fromtimestamp(1_764_000_000, UTC)
    ours = signatures([signing_key(SECRET)], "N-1", 1_764_000_000, b'{"a":1}')
    assert ours == standardwebhooks.Webhook(SECRET).sign("N-1", moment, '{"a":1}')


def test_two_active_secrets_give_two_signatures():
    other = base64.b64encode(b"another-key-of-enough-length").decode()
    value = signatures([signing_key(SECRET), signing_key(other)], "N-1", 1, b"x")
    expected = base64.b64encode(hmac.new(b"another-key-of-enough-length", b"N-1.1.x", hashlib.sha256).digest()).decode()
    assert value.split(" ")[1] == f"v1,{expected}"
    assert len(value.split(" ")) == 2


# --- retrying --------------------------------------------------------------------------------------------------------


class Script:
    """Outcomes in order; remembers what each attempt was told."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.attempts: list[Attempt] = []

    def __call__(self, attempt: Attempt) -> Outcome:
        self.attempts.append(attempt)
        return self.outcomes.pop(0)


BUSY = Transient("忙", retry_after=0.01)
MAYBE = Transient("可能已送达", ambiguous=True, retry_after=0.01)


@pytest.mark.parametrize(
    ("policy", "outcomes", "attempts", "resends"),
    [
        (RetryPolicy(1), [BUSY], 1, [False]),
        (RetryPolicy(2), [BUSY, BUSY], 2, [False, False]),
        (RetryPolicy(3), [BUSY, BUSY, Accepted()], 3, [False, False, False]),
        (RetryPolicy(2), [Accepted()], 1, [False]),
        (RetryPolicy(5), [Permanent("不")], 1, [False]),
        (RetryPolicy(5), [MAYBE], 1, [False]),
        (RetryPolicy(5, retry_ambiguous=True), [MAYBE, MAYBE], 2, [False, True]),
        (RetryPolicy(5, retry_ambiguous=True), [MAYBE, BUSY, Accepted()], 3, [False, True, True]),
        (RetryPolicy(5, retry_ambiguous=True), [BUSY, MAYBE, Accepted()], 3, [False, False, True]),
    ],
)
def test_attempts(policy: RetryPolicy, outcomes: list[Outcome], attempts: int, resends: list[bool]):
    script = Script(*outcomes)
    assert attempt_within(5.0, NOW, policy, script) == outcomes[-1]
    assert len(script.attempts) == attempts
    assert [attempt.resend for attempt in script.attempts] == resends


def test_each_attempt_knows_what_is_left_and_what_time_it_is():
    script = Script(Transient("忙", retry_after=0.2), Accepted())
    attempt_within(5.0, NOW, RetryPolicy(2), script)
    first, second = script.attempts
    assert second.seconds <= first.seconds - 0.2
    assert second.now - first.now >= timedelta(seconds=0.2)


def test_no_attempt_is_made_that_cannot_fit():
    script = Script(Transient("忙", retry_after=60))
    assert isinstance(attempt_within(1.0, NOW, RetryPolicy(5), script), Transient)
    assert len(script.attempts) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("1000000", 600),
        (" 7 ", 7),
        ("Sun, 22 Nov 2026 08:43:00 GMT", 60),
        ("Sun, 22 Nov 2026 08:41:00 GMT", 0),
        ("Sun, 22 Nov 2099 08:41:00 GMT", 600),
        ("Sun, 22 Nov 2026 08:43:00 -0000", 60),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("", None),
    ],
)
def test_case34_retry_after(value: str, seconds: float | None):
    assert retry_after_seconds({"Retry-After": value}, NOW) == seconds
