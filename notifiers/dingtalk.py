"""DingTalk group robots: signature in the address, markdown, mentions by mobile."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote

from huiying.domain.message import Notice
from notifiers.guard import Target
from notifiers.http import HttpClient, to_json
from notifiers.options import Option, Options
from notifiers.retrying import RetryPolicy
from notifiers.robot import CHECK_TIME, ROBOT_OPTIONS, Code, Robot, robot_target
from notifiers.templates import Form, json_size, render, title_of
from notifiers.window import RateLimits

BASE_URL = "https://oapi.dingtalk.com"
OPTIONS = (Option("access_token", "secret"), Option("secret", "secret"), *ROBOT_OPTIONS)
# 20 a minute are allowed, the 21st silences the robot for ten minutes.
LIMITS = RateLimits(per_minute=18, reserve_for_overdue=4, park_seconds=600)
BODY_LIMIT = 20_000

CODES: Mapping[int, Code] = {
    -1: Code("retry", "钉钉系统繁忙。"),
    130101: Code("park", "发送过快，机器人被限流。"),
    410100: Code("park", "发送过快，机器人被限流。"),
    310000: Code("refuse", "钉钉安全校验未通过：签名、关键词或来源 IP 不符。" + CHECK_TIME),
    400013: Code("refuse", "群已解散，请更换机器人。"),
    400101: Code("refuse", "access_token 不存在，请核对机器人地址。"),
    400102: Code("refuse", "机器人已停用。"),
    400105: Code("refuse", "不支持的消息类型。"),
    430101: Code("refuse", "消息含有不安全的外链，被钉钉拦截。"),
    430102: Code("refuse", "消息含有不合适的文字，被钉钉拦截。"),
    430103: Code("refuse", "消息含有不合适的图片，被钉钉拦截。"),
    430104: Code("refuse", "消息含有不合适的内容，被钉钉拦截。"),
    460101: Code("refuse", "消息超过 20000 字节。"),
}


def signed_query(secret: str, now: datetime) -> str:
    """``timestamp`` in milliseconds and the signature, percent-encoded exactly once."""
    milliseconds = int(now.timestamp() * 1000)
    digest = hmac.digest(secret.encode(), f"{milliseconds}\n{secret}".encode(), sha256)
    return f"timestamp={milliseconds}&sign={quote(base64.b64encode(digest), safe='')}"


class DingTalkNotifier(Robot):
    """A custom robot of one group."""

    codes = CODES
    park_seconds = LIMITS.park_seconds

    def __init__(self, options: Options, client: HttpClient, policy: RetryPolicy) -> None:
        super().__init__(options, client, policy)
        self._target = robot_target(options, BASE_URL, "/robot/send?access_token=", "access_token")
        self._secret = options.secret("secret")

    def address(self, now: datetime) -> tuple[Target, str]:
        if not self._secret:
            return self._target, self._target.path
        joint = "&" if "?" in self._target.path else "?"
        return self._target, self._target.path + joint + signed_query(self._secret, now)

    def payload(self, notice: Notice, now: datetime) -> Mapping[str, object]:
        room = BODY_LIMIT - len(to_json(_body(notice, title_of(notice), "")))
        message = render(notice, Form.DINGTALK, room, json_size)
        return _body(notice, message.title, message.body)


def _body(notice: Notice, title: str, text: str) -> dict[str, object]:
    mobiles = [mobile for mobile in notice.mentions if mobile.isdigit()]
    return {
        "msgtype": "markdown",
        "markdown": {"title": title, "text": text},
        # Never isAtAll: whom a message concerns is the roster's decision.
        "at": {"atMobiles": mobiles, "isAtAll": False},
    }
