"""Feishu group robots: signature in the body, an interactive card whose buttons only link."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from huiying.domain.kinds import Band
from huiying.domain.message import Notice
from notifiers.guard import Target
from notifiers.http import HttpClient, to_json
from notifiers.options import Option, Options
from notifiers.retrying import RetryPolicy
from notifiers.robot import CHECK_TIME, ROBOT_OPTIONS, Code, Robot, robot_target
from notifiers.templates import Form, footer_of, inert, json_size, link, link_labels, render, title_of
from notifiers.window import RateLimits

BASE_URL = "https://open.feishu.cn"
OPTIONS = (
    Option("token", "secret"),
    Option("secret", "secret"),
    Option("format", "text", choices=("card", "text")),
    *ROBOT_OPTIONS,
)
# 100 a minute and 5 a second are allowed.
LIMITS = RateLimits(per_minute=90, per_second=4, reserve_for_overdue=4, park_seconds=60)
BODY_LIMIT = 20_000
_COLOURS = {Band.OVERDUE: "red", Band.WARNING: "orange", Band.NOTICE: "blue", Band.INFO: "grey"}

CODES: Mapping[int, Code] = {
    11232: Code("retry", "飞书系统限流（整点、半点常见）。"),
    99991400: Code("park", "发送过快，机器人被限流。", wait_header="x-ogw-ratelimit-reset"),
    9499: Code("refuse", "飞书认为请求不正确。"),
    19001: Code("refuse", "机器人地址不正确，请核对 token。"),
    19021: Code("refuse", "飞书签名校验未通过。" + CHECK_TIME),
    19022: Code("refuse", "来源 IP 不在机器人的白名单内。"),
    19024: Code("refuse", "消息不含机器人要求的关键词。"),
}


def signature(secret: str, timestamp: int) -> str:
    """Feishu signs nothing with a key made of timestamp and secret (sic)."""
    return base64.b64encode(hmac.digest(f"{timestamp}\n{secret}".encode(), b"", sha256)).decode()


class FeishuNotifier(Robot):
    """A custom robot of one group."""

    # Old robots answer StatusCode only; one of the two is required.
    code_keys = ("code", "StatusCode")
    codes = CODES
    park_seconds = LIMITS.park_seconds

    def __init__(self, options: Options, client: HttpClient, policy: RetryPolicy) -> None:
        super().__init__(options, client, policy)
        self._target = robot_target(options, BASE_URL, "/open-apis/bot/v2/hook/", "token")
        self._secret = options.secret("secret")
        self._format = options.text("format", "card")

    def address(self, now: datetime) -> tuple[Target, str]:
        return self._target, self._target.path

    def payload(self, notice: Notice, now: datetime) -> Mapping[str, object]:
        compose = _text if self._format == "text" else _card
        form = Form.PLAIN if self._format == "text" else Form.FEISHU
        signed = self._signature(now)
        room = BODY_LIMIT - len(to_json(signed | compose(notice, "", "")))
        message = render(notice, form, room - json_size(title_of(notice)), json_size)
        return signed | compose(notice, message.title, message.body)

    def _signature(self, now: datetime) -> dict[str, object]:
        if not self._secret:
            return {}
        timestamp = int(now.timestamp())
        return {"timestamp": str(timestamp), "sign": signature(self._secret, timestamp)}


def _text(_notice: Notice, _title: str, body: str) -> dict[str, object]:
    # In plain text Feishu reads <at user_id="all"> as a mention, so brackets lose their meaning here too.
    return {"msg_type": "text", "content": {"text": body.replace("<", "＜").replace(">", "＞")}}


def _card(notice: Notice, title: str, body: str) -> dict[str, object]:
    elements: list[dict[str, object]] = [{"tag": "div", "text": {"tag": "lark_md", "content": body}}]
    labels = link_labels(notice)
    buttons = [
        {"tag": "button", "text": {"tag": "plain_text", "content": label}, "type": look, "url": link(url)}
        for label, look, url in ((labels[0], "primary", notice.ack_url), (labels[1], "default", notice.detail_url))
        if link(url)
    ]
    if buttons:
        elements.append({"tag": "action", "actions": buttons})
    elements.append({"tag": "note", "elements": [{"tag": "plain_text", "content": footer_of(notice, inert)}]})
    return {
        "msg_type": "interactive",
        "card": {
            "config": {"wide_screen_mode": True},
            "header": {"template": _COLOURS[notice.band], "title": {"tag": "plain_text", "content": title}},
            "elements": elements,
        },
    }
