"""What the group robots share: one JSON post per message, and an answer whose body, not whose status, is the verdict.

Every vendor answers HTTP 200 with an error code in the body. Only the code counts, never the text beside it; a code
that is missing, no integer or unknown is a failure, loudly, never a success.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from config.secrets import remember
from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome, Permanent, RateLimited, Transient
from huiying.domain.sentences import said, together
from notifiers.contract import Address
from notifiers.guard import Target, parse_target
from notifiers.http import BODY_CAP, HttpClient, PostResult, Reply, refusal_of_status, retry_after_seconds, to_json
from notifiers.options import HTTP_OPTIONS, RATE_OPTIONS, Option, Options
from notifiers.retrying import Attempt, RetryPolicy, attempt_within

_HEADERS = {"Content-Type": "application/json; charset=utf-8"}
_WORRYING_SKEW = timedelta(minutes=5)

#: Understood by every robot: the pasted webhook address, or a token with a base address of one's own.
ROBOT_OPTIONS = (Option("url", "url"), Option("base_url", "url"), *HTTP_OPTIONS, *RATE_OPTIONS)


@dataclass(frozen=True, slots=True)
class Code:
    """What a vendor's error code means. ``wait_header`` names the header that says for how long to stay away."""

    verdict: Literal["retry", "park", "refuse"]
    reason: str
    wait_header: str = ""


Codes: TypeAlias = Mapping[int, Code]
CHECK_TIME: Final = "若密钥无误，请检查本机时间是否准确（NTP）。"


class Robot(ABC):
    """One robot in one group: composes, signs, posts, reads the verdict. Subclasses say how."""

    #: Keys under which the verdict may stand, the one that counts first.
    code_keys: tuple[str, ...] = ("errcode",)
    codes: Codes
    park_seconds: float

    def __init__(self, options: Options, client: HttpClient, policy: RetryPolicy) -> None:
        self._options = options
        self._client = client
        self._policy = policy

    def send(self, notice: Notice, to: Address, now: datetime, deadline_seconds: float) -> Outcome:
        return attempt_within(deadline_seconds, now, self._policy, lambda attempt: self._once(notice, attempt))

    def close(self) -> None:
        self._client.close()

    @abstractmethod
    def address(self, now: datetime) -> tuple[Target, str]:
        """Where to post now: the target and the path, signed anew for every attempt."""

    @abstractmethod
    def payload(self, notice: Notice, now: datetime) -> Mapping[str, object]:
        """The JSON body, within the vendor's limits."""

    def _once(self, notice: Notice, attempt: Attempt) -> Outcome:
        shown = replace(notice, resend=True) if attempt.resend else notice
        target, path = self.address(attempt.now)
        body = to_json(self.payload(shown, attempt.now))
        return self.verdict(self._client.post(target, body, _HEADERS, attempt.seconds, path=path), attempt.now)

    def verdict(self, result: PostResult, now: datetime) -> Outcome:
        """What the answer means."""
        if not isinstance(result, Reply):
            return result
        answer = result.json_object()
        code = self._code(answer) if answer is not None else None
        if code is not None and code != 0:
            return self._refusal(code, result, now)
        if not 200 <= result.status < 300:
            return refusal_of_status(result, now, self.park_seconds)
        if not result.complete and len(result.body) < BODY_CAP:
            return Transient("应答中途断开，消息可能已送达。", code="reset", ambiguous=True)
        if answer is None:
            return Permanent("对方的应答不是 JSON 对象，可能被认证网关或代理拦截，或地址填错。", code="not_json")
        if code is None:
            return Permanent("对方的应答没有可识别的结果码，按失败处理。", code="no_code")
        return self.accepted(answer)

    def accepted(self, answer: Mapping[str, Any]) -> Outcome:
        """The code says yes."""
        return Accepted()

    def _code(self, answer: Mapping[str, Any]) -> int | None:
        for key in self.code_keys:
            if key in answer:
                value = answer[key]
                # True == 1 and "0" is no number: neither is what the vendor documents.
                return value if type(value) is int else None
        return None

    def _refusal(self, code: int, reply: Reply, now: datetime) -> Outcome:
        known = self.codes.get(code)
        if known is None:
            return Permanent(said("对方返回未知错误码 %(code)s，按失败处理。", code=code), code=str(code))
        if known.verdict == "retry":
            return Transient(known.reason, code=str(code), retry_after=retry_after_seconds(reply.headers, now))
        if known.verdict == "park":
            wait = retry_after_seconds(reply.headers, now, known.wait_header) if known.wait_header else None
            return RateLimited(now + timedelta(seconds=self.park_seconds if wait is None else wait), code=str(code))
        skew = clock_skew(reply.headers, now) if CHECK_TIME in known.reason else ""
        return Permanent(together(known.reason, skew), code=str(code))


def robot_target(options: Options, default_base: str, path: str, token_key: str) -> Target:
    """The pasted address (its token taken for a secret), or the token under the vendor's or one's own base address."""
    address = options.secret("url")
    if address:
        for _, value in parse_qsl(urlsplit(address).query):
            remember(value)
        remember(urlsplit(address).path.rpartition("/")[2])
        return parse_target(address)
    base = options.text("base_url", default_base).rstrip("/")
    return parse_target(base + path + options.secret(token_key))


def clock_skew(headers: Mapping[str, str], now: datetime) -> str:
    """By how much our clock differs from the answer's Date header, as a sentence; empty when it hardly does."""
    try:
        theirs = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return ""
    skew = now - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))
    if abs(skew) < _WORRYING_SKEW:
        return ""
    minutes = abs(skew) // timedelta(minutes=1)
    return (
        said("本机时间比对方快约 %(minutes)s 分钟。", minutes=minutes)
        if skew > timedelta(0)
        else said("本机时间比对方慢约 %(minutes)s 分钟。", minutes=minutes)
    )
