"""The failure cases that every channel must pin, by number (see docs: channels); each runs against a real little server.

A row is: case number, what happens, the channel, what the other side does, and what the outcome must be.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import standardwebhooks

from huiying.domain.kinds import Band, ChannelKind
from huiying.domain.outcome import Accepted, Outcome, Partial, Permanent, RateLimited, Transient
from notifiers.contract import Address, Notifier
from tests.fakes.dingtalk import FakeDingTalk
from tests.fakes.feishu import FakeFeishu
from tests.fakes.http_server import (
    HttpServer,
    Step,
    close_at_once,
    drip,
    hang,
    html_login_page,
    huge,
    raw,
    raw_body,
    redirect,
    reset_at_once,
    reset_mid_body,
    says,
    status,
)
from tests.fakes.notices import a_notice, a_notifier
from tests.fakes.webhook import SECRET, FakeWebhookReceiver
from tests.fakes.wecom import FakeWeCom

DINGTALK, WECOM, FEISHU, WEBHOOK = ChannelKind.DINGTALK, ChannelKind.WECOM, ChannelKind.FEISHU, ChannelKind.WEBHOOK
ROBOTS = (DINGTALK, WECOM, FEISHU)
EVERYBODY = (*ROBOTS, WEBHOOK)
NOBODY = Address()
# What has no deadline lasts for ever or half a minute here; the rest is room for a busy machine.
LATEST = 4.0


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Bench:
    """Starts fakes and closes them again."""

    stack: ExitStack

    def fake(self, kind: ChannelKind, **options: Any) -> Any:
        kinds = {DINGTALK: FakeDingTalk, WECOM: FakeWeCom, FEISHU: FakeFeishu, WEBHOOK: FakeWebhookReceiver}
        return self.stack.enter_context(kinds[kind](**options))

    def notifier(self, kind: ChannelKind, fake: Any, **options: Any) -> Notifier:
        settings: dict[str, Any] = {"url": fake.url}
        if kind is not WECOM:
            settings["secret"] = fake.secret
        notifier = a_notifier(kind, **(settings | options))
        self.stack.callback(notifier.close)
        return notifier

    def pair(self, kind: ChannelKind, *steps: Step, **options: Any) -> tuple[Any, Notifier]:
        fake = self.fake(kind)
        fake.fail_with(*steps)
        return fake, self.notifier(kind, fake, **options)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(stack)


Judge = Callable[[Outcome], bool]


def permanent(code: str) -> Judge:
    return lambda outcome: isinstance(outcome, Permanent) and outcome.code == code


def transient(code: str, *, ambiguous: bool = False) -> Judge:
    return lambda outcome: isinstance(outcome, Transient) and (outcome.code, outcome.ambiguous) == (code, ambiguous)


def parked(seconds: float, code: str) -> Judge:
    def judge(outcome: Outcome) -> bool:
        if not isinstance(outcome, RateLimited):
            return False
        return outcome.code == code and abs((outcome.until - now()).total_seconds() - seconds) < 5

    return judge


def accepted(outcome: Outcome) -> bool:
    return isinstance(outcome, Accepted)


HTTP_DATE_IN_50 = format_datetime(datetime.now(UTC) + timedelta(seconds=3000), usegmt=True)
HTTP_DATE_PAST = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)

ROWS: list[tuple[str, ChannelKind, Step, Judge]] = [
    # 1: an error code in HTTP 200 fails, for every vendor.
    ("01-sign-refused", DINGTALK, says({"errcode": 310000, "errmsg": "ok"}), permanent("310000")),
    ("01-too-long", DINGTALK, says({"errcode": 460101, "errmsg": "ok"}), permanent("460101")),
    ("01-group-gone", DINGTALK, says({"errcode": 400013, "errmsg": "ok"}), permanent("400013")),
    ("01-busy", DINGTALK, says({"errcode": -1, "errmsg": "ok"}), transient("-1")),
    ("01-unknown-code", DINGTALK, says({"errcode": 777777, "errmsg": "ok"}), permanent("777777")),
    ("01-bad-key", WECOM, says({"errcode": 93000, "errmsg": "ok"}), permanent("93000")),
    ("01-too-long", WECOM, says({"errcode": 40058, "errmsg": "ok"}), permanent("40058")),
    ("01-busy", WECOM, says({"errcode": -1, "errmsg": "ok"}), transient("-1")),
    ("01-unknown-code", WECOM, says({"errcode": 1, "errmsg": "ok"}), permanent("1")),
    ("01-sign-refused", FEISHU, says({"code": 19021, "msg": "success"}), permanent("19021")),
    ("01-ip-refused", FEISHU, says({"code": 19022, "msg": "success"}), permanent("19022")),
    ("01-keyword", FEISHU, says({"code": 19024, "msg": "success"}), permanent("19024")),
    ("01-bad-request", FEISHU, says({"code": 9499, "msg": "success"}), permanent("9499")),
    ("01-full-hour", FEISHU, says({"code": 11232, "msg": "success"}), transient("11232")),
    ("01-unknown-code", FEISHU, says({"code": 5, "msg": "success"}), permanent("5")),
    # 2: a login page is no success.
    *[("02-html-200", kind, html_login_page(), permanent("not_json")) for kind in ROBOTS],
    # 3: shapes that are no answer.
    *[("03-empty-body", kind, raw_body(b""), permanent("not_json")) for kind in ROBOTS],
    *[("03-null", kind, raw_body(b"null"), permanent("not_json")) for kind in ROBOTS],
    *[("03-list", kind, raw_body(b"[0]"), permanent("not_json")) for kind in ROBOTS],
    ("03-code-as-text", DINGTALK, says({"errcode": "0"}), permanent("no_code")),
    ("03-code-as-text", WECOM, says({"errcode": "0"}), permanent("no_code")),
    ("03-code-as-text", FEISHU, says({"code": "0"}), permanent("no_code")),
    ("03-code-false", DINGTALK, says({"errcode": False}), permanent("no_code")),
    ("03-code-float", DINGTALK, says({"errcode": 0.0}), permanent("no_code")),
    ("03-code-null", WECOM, says({"errcode": None}), permanent("no_code")),
    ("03-deep-json", DINGTALK, raw_body(b"[" * 30000), permanent("not_json")),
    ("03-broken-utf8", WECOM, raw_body(b'{"errcode":0,"errmsg":"\xff"}'), permanent("not_json")),
    # 4 and 5: the code's key.
    ("04-code", FEISHU, says({"code": 0, "msg": "success"}), accepted),
    ("04-legacy-StatusCode", FEISHU, says({"StatusCode": 0, "StatusMessage": "success"}), accepted),
    ("04-code-counts-first", FEISHU, says({"code": 19021, "StatusCode": 0}), permanent("19021")),
    ("04-legacy-failure", FEISHU, says({"StatusCode": 19021}), permanent("19021")),
    ("05-no-code", DINGTALK, says({"errmsg": "ok"}), permanent("no_code")),
    ("05-no-code", WECOM, says({"errmsg": "ok"}), permanent("no_code")),
    ("05-no-code", FEISHU, says({"msg": "success"}), permanent("no_code")),
    ("05-other-vendors-code", DINGTALK, says({"code": 0}), permanent("no_code")),
    # 6: accepted for some.
    (
        "06-partial",
        WECOM,
        says({"errcode": 0, "invaliduser": "zhang|li"}),
        lambda outcome: isinstance(outcome, Partial) and outcome.refused == ("zhang", "li"),
    ),
    ("06-nobody-refused", WECOM, says({"errcode": 0, "invaliduser": ""}), accepted),
    # 10: redirects.
    *[("10-302", kind, redirect("http://127.0.0.1:1/login"), permanent("302")) for kind in EVERYBODY],
    ("10-307", WEBHOOK, status(307, b"", Location="/elsewhere"), permanent("307")),
    # HTTP statuses.
    *[("34-503", kind, status(503), transient("503")) for kind in EVERYBODY],
    ("34-500", WEBHOOK, status(500), transient("500")),
    ("34-502", DINGTALK, status(502, b"<html>bad gateway</html>"), transient("502")),
    ("34-504", WECOM, status(504), transient("504")),
    ("34-408", WEBHOOK, status(408), transient("408")),
    ("34-425", WEBHOOK, status(425), transient("425")),
    ("34-404", WEBHOOK, status(404), permanent("404")),
    ("34-401", WEBHOOK, status(401), permanent("401")),
    ("34-410-disables", WEBHOOK, status(410), permanent("410")),
    ("34-200-html", WEBHOOK, html_login_page(), accepted),
    ("34-204", WEBHOOK, status(204), accepted),
    # 29, 33, 34: asked to stay away.
    ("29-130101-parks-ten-minutes", DINGTALK, says({"errcode": 130101, "wait": 5}), parked(600, "130101")),
    ("29-45009-parks-a-minute", WECOM, says({"errcode": 45009}), parked(60, "45009")),
    ("33-99991400-in-400", FEISHU, says({"code": 99991400}, 400, x_ogw_ratelimit_reset="37"), parked(37, "99991400")),
    ("33-99991400-in-429", FEISHU, says({"code": 99991400}, 429, x_ogw_ratelimit_reset="12"), parked(12, "99991400")),
    ("33-without-header", FEISHU, says({"code": 99991400}, 400), parked(60, "99991400")),
    ("34-retry-after-seconds", WEBHOOK, status(429, b"", Retry_After="42"), parked(42, "429")),
    ("34-retry-after-absurd-is-capped", WEBHOOK, status(429, b"", Retry_After="99999999999999"), parked(600, "429")),
    ("34-retry-after-date-is-capped", WEBHOOK, status(429, b"", Retry_After=HTTP_DATE_IN_50), parked(600, "429")),
    ("34-retry-after-past-date", WEBHOOK, status(429, b"", Retry_After=HTTP_DATE_PAST), parked(0, "429")),
    ("34-retry-after-nonsense", WEBHOOK, status(429, b"", Retry_After="soon"), parked(60, "429")),
    ("34-retry-after-negative", WEBHOOK, status(429, b"", Retry_After="-5"), parked(60, "429")),
    ("34-429-of-robot", DINGTALK, status(429), parked(600, "429")),
    (
        "34-503-with-retry-after",
        WEBHOOK,
        status(503, b"", Retry_After="7"),
        lambda outcome: isinstance(outcome, Transient) and outcome.retry_after == 7,
    ),
    # 37: the connection breaks after the request.
    *[("37-reset", kind, reset_at_once(), transient("reset", ambiguous=True)) for kind in EVERYBODY],
    *[("37-closed", kind, close_at_once(), transient("reset", ambiguous=True)) for kind in EVERYBODY],
    *[("37-reset-mid-body", kind, reset_mid_body(), transient("reset", ambiguous=True)) for kind in ROBOTS],
    ("37-reset-mid-body-after-200", WEBHOOK, reset_mid_body(), accepted),
    ("37-not-http", DINGTALK, raw(b"SSH-2.0-x\r\n"), transient("reset", ambiguous=True)),
    (
        "37-endless-header",
        DINGTALK,
        raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000),
        transient("reset", ambiguous=True),
    ),
    ("37-too-many-headers", WECOM, raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500), transient("reset", ambiguous=True)),
    # A body without end is read to the cap and is no answer.
    *[("36-ten-megabytes", kind, huge(), permanent("not_json")) for kind in ROBOTS],
    ("36-ten-megabytes", WEBHOOK, huge(), accepted),
]


@pytest.mark.parametrize(
    ("kind", "step", "judge"), [row[1:] for row in ROWS], ids=[f"case{row[0]}-{row[1].value}" for row in ROWS]
)
def test_outcome_of_what_the_other_side_does(bench: Bench, kind: ChannelKind, step: Step, judge: Judge):
    fake, notifier = bench.pair(kind, step)
    outcome = notifier.send(a_notice(), NOBODY, now(), 5.0)
    assert judge(outcome), outcome
    assert len(fake.requests) == 1


@pytest.mark.parametrize("kind", EVERYBODY, ids=str)
def test_healthy_servers_accept_what_we_send(bench: Bench, kind: ChannelKind):
    _, notifier = bench.pair(kind)
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))


def test_case04_old_feishu_robots_are_understood(bench: Bench):
    fake = bench.fake(FEISHU, legacy=True)
    assert accepted(bench.notifier(FEISHU, fake).send(a_notice(), NOBODY, now(), 5.0))


# --- signing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["+", "/", "="])
def test_case11_dingtalk_signature_is_encoded_exactly_once(bench: Bench, wanted: str):
    fake, notifier = bench.pair(DINGTALK)
    moment = now()
    for _ in range(200):
        moment += timedelta(milliseconds=1)
        if wanted in _dingtalk_sign(fake.secret, moment):
            break
    assert accepted(notifier.send(a_notice(), NOBODY, moment, 5.0))
    raw_sign = re.search(r"sign=([^&]*)", fake.requests[0].path)
    assert raw_sign
    assert "%25" not in raw_sign[1]
    assert {"+": "%2B", "/": "%2F", "=": "%3D"}[wanted] in raw_sign[1]


def _dingtalk_sign(secret: str, moment: datetime) -> str:
    import base64
    import hashlib
    import hmac

    milliseconds = int(moment.timestamp() * 1000)
    mac = hmac.new(secret.encode(), f"{milliseconds}\n{secret}".encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


def test_case12_dingtalk_counts_milliseconds_and_feishu_seconds(bench: Bench):
    dingtalk, to_dingtalk = bench.pair(DINGTALK)
    feishu, to_feishu = bench.pair(FEISHU)
    to_dingtalk.send(a_notice(), NOBODY, now(), 5.0)
    to_feishu.send(a_notice(), NOBODY, now(), 5.0)
    assert len(dingtalk.requests[0].query["timestamp"]) == 13
    assert len(feishu.requests[0].json["timestamp"]) == 10


def test_case13_feishu_signature_has_the_text_as_key(bench: Bench):
    fake, notifier = bench.pair(FEISHU)
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))
    swapped = bench.fake(FEISHU, token=fake.token, secret="another-secret")
    assert swapped.verdict(fake.requests[0])["code"] == 19021


@pytest.mark.parametrize("kind", [DINGTALK, FEISHU, WEBHOOK], ids=str)
def test_case14_every_attempt_is_signed_anew(bench: Bench, kind: ChannelKind):
    fake, notifier = bench.pair(kind, status(503, b"", Retry_After="1"), attempts=2)
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))
    first, second = fake.requests
    assert _signed_part(first) != _signed_part(second)


def _signed_part(received: Any) -> tuple[str, str, str]:
    body = received.json
    return received.path, str(body.get("sign")), received.headers.get("webhook-signature", "")


def test_case15_address_does_not_grow_between_sends(bench: Bench):
    fake, notifier = bench.pair(DINGTALK)
    for _ in range(5):
        assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))
    assert {request.path.count("sign=") for request in fake.requests} == {1}
    assert len({len(parse_qs(urlsplit(request.path).query)) for request in fake.requests}) == 1


@pytest.mark.parametrize("kind", [DINGTALK, FEISHU], ids=str)
def test_case16_clock_error_names_ntp_and_the_difference(bench: Bench, kind: ChannelKind):
    theirs = format_datetime(datetime.now(UTC), usegmt=True)
    _, notifier = bench.pair(kind)
    late = notifier.send(a_notice(), NOBODY, now() + timedelta(hours=2), 5.0)
    assert isinstance(late, Permanent)
    assert "NTP" in late.reason
    code = {DINGTALK: {"errcode": 310000}, FEISHU: {"code": 19021}}[kind]
    _, told = bench.pair(kind, says(code, Date=theirs))
    outcome = told.send(a_notice(), NOBODY, now() + timedelta(hours=2), 5.0)
    assert isinstance(outcome, Permanent)
    assert "快约 120 分钟" in outcome.reason or "快约 119 分钟" in outcome.reason


def test_case51_webhook_verifies_with_a_foreign_library(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK)
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))
    request = fake.requests[0]
    verifier = standardwebhooks.Webhook(SECRET)
    assert verifier.verify(request.body, dict(request.headers))["data"]["incident_no"] == "2026-0117"
    tampered = request.body.replace(b"2026-0117", b"2026-0118")
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(tampered, dict(request.headers))


def test_case51_webhook_old_timestamp_is_refused_by_the_receiver(bench: Bench):
    _, notifier = bench.pair(WEBHOOK)
    outcome = notifier.send(a_notice(), NOBODY, now() - timedelta(minutes=6), 5.0)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "401"


@pytest.mark.parametrize("known", ["old", "new"])
def test_case51_webhook_rotation_serves_receivers_with_either_secret(bench: Bench, known: str):
    new = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"
    fake = bench.fake(WEBHOOK, secret={"old": SECRET, "new": new}[known])
    notifier = a_notifier(WEBHOOK, url=fake.url, secret=new, secret_previous=SECRET)
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))


def test_webhook_carries_the_notice_number_and_no_telephone_number(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK)
    notifier.send(a_notice(mentions=("13800001234",), extra={"title": "某人的标题"}), NOBODY, now(), 5.0)
    request = fake.requests[0]
    assert {name.lower(): value for name, value in request.headers.items()}["webhook-id"] == "N-20261122-0107"
    assert b"13800001234" not in request.body
    assert "某人的标题" not in request.body.decode()


def test_webhook_goes_to_the_recipients_own_address(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK)
    other = bench.fake(WEBHOOK)
    assert accepted(notifier.send(a_notice(), Address(url=other.url), now(), 5.0))
    assert (len(fake.requests), len(other.requests)) == (0, 1)
    bad = notifier.send(a_notice(), Address(url="http://user:pw@x/"), now(), 5.0)
    assert permanent("address")(bad)


# --- size and content ------------------------------------------------------------------------------------------------


def _long_notice(**changes: Any) -> Any:
    return a_notice(
        state_text="现状说明" * 2000,
        next_step="下一步说明" * 2000,
        basis="依据说明🔴" * 2000,
        content_rule="提示" * 4000,
        responsible="责任单位" * 2000,
        **changes,
    )


@pytest.mark.parametrize("kind", ROBOTS, ids=str)
def test_case19_20_too_long_texts_fit_and_keep_what_matters(bench: Bench, kind: ChannelKind):
    fake, notifier = bench.pair(kind)
    assert accepted(notifier.send(_long_notice(), NOBODY, now(), 5.0))
    text = fake.requests[0].body.decode("utf-8")
    for kept in ("剩余 1 小时 58 分", "11月22日（周日）18:40", "/a/9Pd4rT2w", "N-20261122-0107", "48小时回应"):
        assert kept in text
    assert len(fake.requests[0].body) <= 20_000


def test_case19_wecom_text_keeps_within_2048_bytes(bench: Bench):
    fake, notifier = bench.pair(WECOM)
    assert accepted(notifier.send(_long_notice(mentions=("13800001234",)), NOBODY, now(), 5.0))
    message = fake.requests[0].json
    assert message["msgtype"] == "text"
    assert message["text"]["mentioned_mobile_list"] == ["13800001234"]
    assert len(message["text"]["content"].encode()) <= 2048


def test_case20_bodies_are_utf8_and_not_escaped_to_ascii(bench: Bench):
    fake, notifier = bench.pair(DINGTALK)
    notifier.send(a_notice(), NOBODY, now(), 5.0)
    assert "临期预警".encode() in fake.requests[0].body
    assert b"\\u" not in fake.requests[0].body


def test_case21_mentioned_mobile_stands_in_the_markdown_text(bench: Bench):
    fake, notifier = bench.pair(DINGTALK)
    assert accepted(notifier.send(a_notice(mentions=("13800001234", "all")), NOBODY, now(), 5.0))
    message = fake.requests[0].json
    assert message["at"] == {"atMobiles": ["13800001234"], "isAtAll": False}
    assert "@13800001234" in message["markdown"]["text"]


@pytest.mark.parametrize("mentions", [(), ("13800001234",)])
@pytest.mark.parametrize("form", ["auto", "markdown", "text"])
def test_case22_wecom_never_uses_markdown_v2(bench: Bench, mentions: tuple[str, ...], form: str):
    fake, notifier = bench.pair(WECOM, format=form)
    assert accepted(notifier.send(a_notice(mentions=mentions), NOBODY, now(), 5.0))
    assert fake.requests[0].json["msgtype"] in {"text", "markdown"}


INJECTION = '** [点我](https://evil.example) <at user_id="all"></at> @all <@all> `x` # h > q\n\n![i](http://e/x)\u202e'


@pytest.mark.parametrize("kind", ROBOTS, ids=str)
def test_case23_injected_markup_is_inert(bench: Bench, kind: ChannelKind):
    fake, notifier = bench.pair(kind)
    notice = a_notice(notice_title=INJECTION, headline=INJECTION, state_text=INJECTION, responsible=INJECTION)
    assert accepted(notifier.send(notice, NOBODY, now(), 5.0))
    shown = json.dumps(_texts_of(fake.requests[0].json), ensure_ascii=False)
    for harmful in ("](https://evil", "<at", "@all", "<@", "![", "\u202e", "https://evil", "`x`"):
        assert harmful not in shown, harmful


def _texts_of(message: dict[str, Any]) -> list[str]:
    """What a vendor would render as markup; plain_text elements are rendered by nobody."""
    if message.get("msgtype") == "markdown":
        return [message["markdown"].get("text") or message["markdown"]["content"]]
    return [element["text"]["content"] for element in message["card"]["elements"] if element["tag"] == "div"]


@pytest.mark.parametrize("kind", ROBOTS, ids=str)
def test_case24_two_reminders_of_one_step_differ(bench: Bench, kind: ChannelKind):
    fake, notifier = bench.pair(kind)
    later = datetime(2026, 11, 22, 8, 52, tzinfo=UTC)
    notifier.send(a_notice(), NOBODY, now(), 5.0)
    notifier.send(a_notice(notice_no="N-20261122-0108", ordinal=4, composed_at=later), NOBODY, now(), 5.0)
    assert fake.requests[0].body != fake.requests[1].body


# --- failure and ambiguity -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERYBODY, ids=str)
def test_case35_read_timeout_is_ambiguous(bench: Bench, kind: ChannelKind):
    _, notifier = bench.pair(kind, hang())
    start = time.monotonic()
    outcome = notifier.send(a_notice(), NOBODY, now(), 0.6)
    assert transient("read_timeout", ambiguous=True)(outcome)
    assert time.monotonic() - start < LATEST


def test_case35_ambiguous_is_sent_again_once_under_the_same_number_when_asked(bench: Bench):
    fake, notifier = bench.pair(DINGTALK, reset_at_once(), reset_at_once(), attempts=4, retry_ambiguous=True)
    outcome = notifier.send(a_notice(), NOBODY, now(), 10.0)
    assert transient("reset", ambiguous=True)(outcome)
    first, second = (request.json["markdown"] for request in fake.requests)
    assert "N-20261122-0107" in first["text"]
    assert "N-20261122-0107" in second["text"]
    assert "（重发）" not in first["title"]
    assert "（重发）" in second["title"]


def test_case35_ambiguous_is_not_repeated_unasked(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK, reset_at_once(), attempts=4)
    assert transient("reset", ambiguous=True)(notifier.send(a_notice(), NOBODY, now(), 10.0))
    assert len(fake.requests) == 1


def test_case35_resent_webhook_keeps_its_id(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK, reset_at_once(), attempts=2, retry_ambiguous=True)
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 10.0))
    assert fake.accepted == {"N-20261122-0107": 1}
    assert [request.json["data"]["resend"] for request in fake.requests] == [False, True]


@pytest.mark.parametrize("head_first", [True, False], ids=["body", "head"])
@pytest.mark.parametrize("kind", ROBOTS, ids=str)
def test_case36_dripping_server_is_left_at_the_deadline(bench: Bench, kind: ChannelKind, head_first: bool):
    _, notifier = bench.pair(kind, drip(0.1, head_first=head_first))
    start = time.monotonic()
    outcome = notifier.send(a_notice(), NOBODY, now(), 1.0)
    assert isinstance(outcome, Transient)
    assert outcome.ambiguous
    assert 0.8 <= time.monotonic() - start < LATEST


def test_case36_retries_keep_within_the_deadline(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK, status(503, b"", Retry_After="30"), attempts=5)
    start = time.monotonic()
    assert transient("503")(notifier.send(a_notice(), NOBODY, now(), 1.0))
    assert time.monotonic() - start < LATEST
    assert len(fake.requests) == 1


def test_case36_hanging_second_attempt_gets_only_what_is_left(bench: Bench):
    _, notifier = bench.pair(WEBHOOK, status(503), hang(), attempts=2)
    start = time.monotonic()
    outcome = notifier.send(a_notice(), NOBODY, now(), 1.5)
    assert isinstance(outcome, Transient)
    assert time.monotonic() - start < LATEST


def test_case39_refused_connection_is_not_ambiguous_and_quick(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK)
    fake.__exit__()
    start = time.monotonic()
    assert transient("connect")(notifier.send(a_notice(), NOBODY, now(), 5.0))
    assert time.monotonic() - start < LATEST


def test_case39_connect_timeout_is_not_ambiguous():
    # A listening socket whose queue is full swallows SYNs as a dead host does.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        try:
            notifier = a_notifier(WEBHOOK, url=f"http://127.0.0.1:{full.getsockname()[1]}/", secret=SECRET)
            start = time.monotonic()
            assert transient("connect_timeout")(notifier.send(a_notice(), NOBODY, now(), 0.7))
            assert time.monotonic() - start < LATEST
        finally:
            for filler in fillers:
                filler.close()


def test_case39_no_time_left_sends_nothing(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK)
    outcome = notifier.send(a_notice(), NOBODY, now(), 0.0)
    assert isinstance(outcome, Transient)
    assert not outcome.ambiguous
    assert not fake.requests


def test_case39_proxy_down_is_not_ambiguous(bench: Bench):
    fake = bench.fake(WEBHOOK)
    notifier = bench.notifier(WEBHOOK, fake, proxy="http://127.0.0.1:9")
    assert transient("connect")(notifier.send(a_notice(), NOBODY, now(), 5.0))
    assert not fake.requests


def test_transient_failure_is_repeated_once_by_default(bench: Bench):
    fake, notifier = bench.pair(WECOM, says({"errcode": -1}), attempts=2)
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))
    assert len(fake.requests) == 2
    assert "重发" not in fake.requests[1].body.decode()


def test_permanent_failure_is_never_repeated(bench: Bench):
    fake, notifier = bench.pair(WECOM, says({"errcode": 93000}), attempts=5)
    assert permanent("93000")(notifier.send(a_notice(), NOBODY, now(), 5.0))
    assert len(fake.requests) == 1


def test_stale_connection_is_not_used_again(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    fake, notifier = bench.pair(WEBHOOK)
    notifier.send(a_notice(), NOBODY, now(), 5.0)
    monkeypatch.setattr("notifiers.http._IDLE_SECONDS", 0.0)
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))
    assert len(fake.requests) == 2


def test_a_closed_notifier_still_finishes_what_others_began_with_it(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK)
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))
    notifier.close()
    notifier.close()
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))
    assert len(fake.requests) == 2


def test_connection_closed_meanwhile_is_noticed(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK, raw(b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n"))
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))
    time.sleep(0.1)
    assert accepted(notifier.send(a_notice(), NOBODY, now(), 5.0))
    assert len(fake.requests) == 2


def test_one_notifier_serves_many_threads(bench: Bench):
    fake, notifier = bench.pair(WEBHOOK)
    outcomes: list[Outcome] = []

    def work(number: int) -> None:
        for index in range(10):
            notice = a_notice(notice_no=f"N-20261122-{number:02}{index:02}")
            outcomes.append(notifier.send(notice, NOBODY, now(), 5.0))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(accepted, outcomes))
    assert len(fake.accepted) == 160
    assert set(fake.accepted.values()) == {1}


def test_bands_have_their_words(bench: Bench):
    fake, notifier = bench.pair(FEISHU)
    for band in Band:
        notifier.send(a_notice(band=band), NOBODY, now(), 5.0)
    colours = [request.json["card"]["header"]["template"] for request in fake.requests]
    assert colours == ["blue", "orange", "red", "grey"]


def test_feishu_text_form_is_accepted_and_inert(bench: Bench):
    fake, notifier = bench.pair(FEISHU, format="text")
    assert accepted(notifier.send(a_notice(notice_title='<at user_id="all">x</at>'), NOBODY, now(), 5.0))
    assert "<" not in fake.requests[0].json["content"]["text"]


def test_generic_server_without_a_script_says_ok():
    with HttpServer() as server:
        assert server.base_url.startswith("http://127.0.0.1:")
