"""Signed webhooks after the Standard Webhooks specification: ``webhook-id`` is the 通知号.

During a rotation two secrets are active and every post carries both signatures, so receivers change over one by one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

from huiying.domain.message import Notice
from huiying.domain.outcome import Outcome, Permanent
from notifiers.contract import Address
from notifiers.guard import BadAddress, Target, parse_target
from notifiers.http import HttpClient, Reply, outcome_of_status, to_json
from notifiers.options import HTTP_OPTIONS, RATE_OPTIONS, Option, Options
from notifiers.retrying import Attempt, RetryPolicy, attempt_within

OPTIONS = (
    Option("url", "url", required=True),
    Option("secret", "secret", required=True),
    Option("secret_previous", "secret"),
    *HTTP_OPTIONS,
    *RATE_OPTIONS,
)


class BadSecret(ValueError):
    """A signing secret is not base64 (with or without ``whsec_`` before it)."""


def signing_key(secret: str) -> bytes:
    """The bytes behind ``whsec_…``; raises BadSecret."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise BadSecret("签名密钥应为 whsec_ 加 base64。") from None
    if len(key) < 16:
        raise BadSecret("签名密钥过短，至少 16 个字节。")
    return key


def signatures(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``: one ``v1`` signature for each active key."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(key, content, sha256)).decode() for key in keys)


def body_of(notice: Notice) -> bytes:
    """The notice's facts as JSON: numbers, clock and ``notice_title``; no telephone number and no free-text title."""
    data = {
        "notice_no": notice.notice_no,
        "band": notice.band.value,
        "incident_no": notice.incident_no,
        "notice_title": notice.notice_title,
        "headline": notice.headline,
        "grade": notice.grade_text,
        "clock": notice.clock_name,
        "status": notice.status_text,
        "due_at": _iso(notice.due_at),
        "remaining_seconds": notice.remaining_seconds,
        "share_used": notice.share_used,
        "responsible": notice.responsible,
        "state": notice.state_text,
        "must_do": notice.must_do,
        "next_step": notice.next_step,
        "basis": notice.basis,
        "content_rule": notice.content_rule,
        "ordinal": notice.ordinal,
        "composed_at": _iso(notice.composed_at),
        "ack_url": notice.ack_url,
        "detail_url": notice.detail_url,
        "lines": notice.lines,
        "hidden_lines": notice.hidden_lines,
        "layout": notice.layout,
        "drill": notice.drill,
        "resend": notice.resend,
        "previous_failed": notice.previous_failed,
    }
    event = {"type": "huiying.notice", "timestamp": _iso(notice.composed_at), "data": data}
    return to_json(event)


class WebhookNotifier:
    """Posts a notice's facts, signed, to the configured address or to the recipient's own."""

    def __init__(self, options: Options, client: HttpClient, policy: RetryPolicy) -> None:
        self._target = parse_target(options.text("url"))
        secrets = (options.secret("secret"), options.secret("secret_previous"))
        self._keys = [signing_key(secret) for secret in secrets if secret]
        self._client = client
        self._policy = policy

    def send(self, notice: Notice, to: Address, now: datetime, deadline_seconds: float) -> Outcome:
        try:
            target = parse_target(to.url) if to.url else self._target
        except BadAddress as bad:
            return Permanent(str(bad), code="address")
        return attempt_within(deadline_seconds, now, self._policy, lambda attempt: self._once(notice, target, attempt))

    def close(self) -> None:
        self._client.close()

    def _once(self, notice: Notice, target: Target, attempt: Attempt) -> Outcome:
        body = body_of(replace(notice, resend=True) if attempt.resend else notice)
        timestamp = int(attempt.now.timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": notice.notice_no,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures(self._keys, notice.notice_no, timestamp, body),
        }
        result = self._client.post(target, body, headers, attempt.seconds)
        if isinstance(result, Reply) and result.status == 410:
            return Permanent("接收方声明该地址已停用（HTTP 410），请停用此渠道。", code="410")
        return outcome_of_status(result, attempt.now)


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
