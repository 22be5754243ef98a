"""WeCom group robots: the address is the secret; markdown, or text where somebody is to be mentioned.

Only ``text`` can mention by mobile, and ``markdown_v2`` cannot mention at all and is never used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from config.secrets import mask
from huiying.domain.masking import mask_phone
from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome, Partial
from notifiers.guard import Target
from notifiers.http import HttpClient
from notifiers.options import Option, Options
from notifiers.retrying import RetryPolicy
from notifiers.robot import ROBOT_OPTIONS, Code, Robot, robot_target
from notifiers.templates import Form, render
from notifiers.window import RateLimits

BASE_URL = "https://qyapi.weixin.qq.com"
OPTIONS = (
    Option("key", "secret"),
    Option("format", "text", choices=("auto", "markdown", "text")),
    *ROBOT_OPTIONS,
)
LIMITS = RateLimits(per_minute=18, reserve_for_overdue=4, park_seconds=60)
MARKDOWN_LIMIT = 4096
TEXT_LIMIT = 2048

CODES: Mapping[int, Code] = {
    -1: Code("retry", "企业微信系统繁忙。"),
    45009: Code("park", "发送过快，机器人被限流。"),
    40058: Code("refuse", "消息超过长度上限。"),
    44004: Code("refuse", "消息内容为空。"),
    93000: Code("refuse", "机器人地址无效或已被移除，请核对 key。"),
}


class WeComNotifier(Robot):
    """A robot (消息推送) of one group."""

    codes = CODES
    park_seconds = LIMITS.park_seconds

    def __init__(self, options: Options, client: HttpClient, policy: RetryPolicy) -> None:
        super().__init__(options, client, policy)
        self._target = robot_target(options, BASE_URL, "/cgi-bin/webhook/send?key=", "key")
        self._format = options.text("format", "auto")

    def address(self, now: datetime) -> tuple[Target, str]:
        return self._target, self._target.path

    def payload(self, notice: Notice, now: datetime) -> Mapping[str, object]:
        mobiles = [mobile for mobile in notice.mentions if mobile.isdigit()]
        if self._format == "text" or (self._format == "auto" and mobiles):
            text = render(notice, Form.PLAIN, TEXT_LIMIT).body
            return {"msgtype": "text", "text": {"content": text, "mentioned_mobile_list": mobiles}}
        text = render(notice, Form.WECOM_MARKDOWN, MARKDOWN_LIMIT).body
        return {"msgtype": "markdown", "markdown": {"content": text}}

    def accepted(self, answer: Mapping[str, Any]) -> Outcome:
        """Code 0 may still name recipients who got nothing."""
        refused: list[str] = []
        for key in ("invaliduser", "invalidparty", "invalidtag", "unlicenseduser"):
            refused += _names(answer.get(key))
        if refused:
            return Partial(tuple(map(_masked, refused)), "企业微信未送达部分成员。")
        return Accepted(str(answer.get("msgid", "")))


def _names(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return [name for name in value.split("|") if name]
    return [str(item) for item in value] if isinstance(value, list) else []


def _masked(name: str) -> str:
    return mask_phone(name) if name.isdigit() else mask(name)
