"""E-mail against a real SMTP server that insists on TLS, and against ones that misbehave: cases 9, 26, 48 and 52."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from loguru import logger

from config.logging import configure_logging
from huiying.domain.kinds import Band, ChannelKind
from huiying.domain.outcome import Accepted, Outcome, Partial, Permanent, Transient
from notifiers.contract import Address
from notifiers.email import is_mail_address
from tests.fakes.authority import Authority
from tests.fakes.notices import a_notice, a_notifier
from tests.fakes.smtp import PASSWORD, USER, FakeSmtp, RawTcp, dripping_greeting, silent, without_starttls


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def smtp(authority: Authority) -> Iterator[FakeSmtp]:
    with FakeSmtp(authority.issue("127.0.0.1", "localhost").context()) as server:
        yield server


def _send(
    port: int, to: str, authority: Authority, *, seconds: float = 5.0, notice: Any = None, **settings: Any
) -> Outcome:
    options: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "from": "duty@example.gov.cn",
        "username": USER,
        "password": PASSWORD,
        "ca_bundle": str(authority.bundle),
    } | settings
    notifier = a_notifier(ChannelKind.EMAIL, **{key: value for key, value in options.items() if value is not None})
    return notifier.send(notice or a_notice(), Address(email=to), datetime.now(UTC), seconds)


def test_message_is_delivered_encrypted_with_its_headers(smtp: FakeSmtp, authority: Authority):
    assert isinstance(_send(smtp.port, "zhang@example.gov.cn", authority), Accepted)
    message = smtp.messages[0]
    assert message["Subject"] == "【临期预警】剩余 1 小时 58 分 2026-0117"
    assert message["Message-ID"] == "<N-20261122-0107@example.gov.cn>"
    assert message["References"] == "<incident-2026-0117@example.gov.cn>"
    assert message["In-Reply-To"] == message["References"]
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Huiying-Notification-Id"] == "N-20261122-0107"
    assert "duty@example.gov.cn" in message["From"]
    assert message["To"] == "zhang@example.gov.cn"
    text, page = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert page is not None
    assert "剩余 1 小时 58 分" in text.get_content()
    assert 'href="https://duty.example.gov.cn/a/' in page.get_content()


def test_messages_of_one_incident_form_a_thread_and_differ(smtp: FakeSmtp, authority: Authority):
    for number in ("N-1", "N-2"):
        _send(smtp.port, "zhang@example.gov.cn", authority, notice=a_notice(notice_no=number))
    first, second = smtp.messages
    assert first["References"] == second["References"]
    assert first["Message-ID"] != second["Message-ID"]


def test_implicit_tls_works(authority: Authority):
    with FakeSmtp(authority.issue("127.0.0.1").context(), implicit=True) as server:
        assert isinstance(_send(server.port, "a@example.gov.cn", authority, tls="implicit"), Accepted)
        assert len(server.messages) == 1


def test_case09_partial_refusal_is_partial_with_masked_addresses(smtp: FakeSmtp, authority: Authority):
    outcome = _send(smtp.port, "zhang@example.gov.cn, 550-gone@example.gov.cn", authority)
    assert isinstance(outcome, Partial)
    assert outcome.refused == ("5***@example.gov.cn",)
    assert len(smtp.messages) == 1


@pytest.mark.parametrize(
    ("recipients", "kind", "code"),
    [
        ("451-grey@example.gov.cn", Transient, "451"),
        ("550-gone@example.gov.cn", Permanent, "550"),
        ("550-a@example.gov.cn,551-b@example.gov.cn", Permanent, "550"),
        ("550-a@example.gov.cn,451-b@example.gov.cn", Transient, "451"),
    ],
    ids=["greylisted", "gone", "both-gone", "one-greylisted"],
)
def test_case09_when_nobody_is_accepted_the_code_decides(smtp, authority, recipients: str, kind: type, code: str):
    outcome = _send(smtp.port, recipients, authority)
    assert isinstance(outcome, kind)
    assert getattr(outcome, "code", None) == code
    assert not smtp.messages


@pytest.mark.parametrize(
    ("answer", "kind"), [("452 full", Transient), ("554 spam", Permanent), ("552 too big", Permanent)], ids=str
)
def test_refusal_after_data_is_not_ambiguous(smtp, authority, answer: str, kind: type):
    smtp.answers_to_data.append(answer)
    outcome = _send(smtp.port, "a@example.gov.cn", authority)
    assert isinstance(outcome, kind)
    assert getattr(outcome, "code", None) == answer[:3]
    assert not getattr(outcome, "ambiguous", False)


def test_case35_lost_answer_after_data_is_ambiguous(smtp: FakeSmtp, authority: Authority):
    smtp.drop_after_data = True
    outcome = _send(smtp.port, "a@example.gov.cn", authority)
    assert isinstance(outcome, Transient)
    assert outcome.ambiguous
    assert len(smtp.messages) == 1


def test_wrong_password_is_permanent_and_not_shown(smtp: FakeSmtp, authority: Authority):
    outcome = _send(smtp.port, "a@example.gov.cn", authority, password="smtp-c4n4ry-wrong")
    assert isinstance(outcome, Permanent)
    assert outcome.code == "535"
    assert "c4n4ry" not in repr(outcome)


def test_case48_self_signed_and_wrong_name_are_refused(smtp: FakeSmtp, authority: Authority):
    outcome = _send(smtp.port, "a@example.gov.cn", authority, ca_bundle=None)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "tls"
    with FakeSmtp(authority.issue("other.example").context()) as wrong:
        outcome = _send(wrong.port, "a@example.gov.cn", authority)
        assert isinstance(outcome, Permanent)
        assert outcome.code == "tls"
        assert not wrong.messages


def test_server_without_starttls_gets_nothing(authority: Authority):
    with RawTcp(without_starttls) as server:
        outcome = _send(server.port, "a@example.gov.cn", authority)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "starttls"


@pytest.mark.parametrize("script", [dripping_greeting, silent], ids=["drip", "silent"])
def test_case36_total_deadline_holds_for_smtp(authority: Authority, script: Any):
    with RawTcp(script) as server:
        start = time.monotonic()
        outcome = _send(server.port, "a@example.gov.cn", authority, seconds=1.0)
        assert time.monotonic() - start < 4.0
    assert isinstance(outcome, Transient)
    assert not outcome.ambiguous


def test_refused_connection_is_transient(authority: Authority):
    outcome = _send(9, "a@example.gov.cn", authority)
    assert isinstance(outcome, Transient)
    assert outcome.code == "connect"


def test_case52_line_breaks_in_texts_make_no_header(smtp: FakeSmtp, authority: Authority):
    evil = "标题\r\nBcc: everybody@example.com\r\n\r\nbody"
    notice = a_notice(band=Band.INFO, headline=evil, notice_title=evil, incident_no="2026-0117\r\nX-Evil: 1")
    assert isinstance(_send(smtp.port, "a@example.gov.cn", authority, notice=notice), Accepted)
    message = smtp.messages[0]
    assert message["Bcc"] is None
    assert message["X-Evil"] is None
    assert "\n" not in message["Subject"]


def test_html_is_escaped(smtp: FakeSmtp, authority: Authority):
    notice = a_notice(notice_title="<script>alert(1)</script>\"'", detail_url='https://x.example/?a=1&b="><script>')
    _send(smtp.port, "a@example.gov.cn", authority, notice=notice)
    page = smtp.messages[0].get_body(("html",))
    assert page is not None
    assert "<script" not in page.get_content()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "  ",
        "no-at",
        "a@b",
        "a@b.example\r\nRCPT TO:<x@y>",
        "a b@c.example",
        "<a@b.example>",
        "a@b.example>",
        "值班@例.example",
    ],
    ids=ascii,
)
def test_addresses_that_are_none_are_permanent(authority: Authority, address: str):
    outcome = _send(9, address, authority)
    assert isinstance(outcome, Permanent)


def test_ordinary_addresses_are_addresses():
    assert all(map(is_mail_address, ["a@b.example", "zhang.san+x@office.example.gov.cn", "0@1-2.cn"]))


def test_retry_keeps_the_message_id(smtp: FakeSmtp, authority: Authority):
    smtp.answers_to_data.append("451 later")
    options: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": smtp.port,
        "from": "d@example.gov.cn",
        "ca_bundle": str(authority.bundle),
    }
    notifier = a_notifier(ChannelKind.EMAIL, attempts=2, username=USER, password=PASSWORD, **options)
    outcome = notifier.send(a_notice(), Address(email="a@example.gov.cn"), datetime.now(UTC), 8.0)
    assert isinstance(outcome, Accepted)
    assert len({message["Message-ID"] for message in smtp.messages}) == 1


def test_case46_smtp_password_is_in_no_log(smtp: FakeSmtp, authority: Authority):
    stream = io.StringIO()
    handlers, level = logging.root.handlers[:], logging.root.level
    configure_logging("DEBUG", sink=stream)
    try:
        outcome = _send(smtp.port, "a@example.gov.cn", authority)
        logger.info("{} password={}", outcome, PASSWORD)
        assert PASSWORD not in stream.getvalue()
    finally:
        logger.remove()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
