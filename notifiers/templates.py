"""From a notice to the words of one channel: escaped for it, cut to its size by bytes, never losing what matters.

The words stand in ``config/messages/*.j2``, one file per format, one logical line per line. A template marks a line
as expendable with ``spare(rank)``; when a message is too long, lines go from the highest rank downwards (the last one
shortened on a code-point boundary), and the unmarked ones (title, deadline, acknowledge link, 通知号) always stay.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TypeAlias
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import config
from huiying.domain.duration import words_left
from huiying.domain.kinds import Band
from huiying.domain.message import Notice

SHANGHAI = ZoneInfo("Asia/Shanghai")
#: A digest longer than this is not read in a chat or a mail client; what is left out is counted.
MOST_LINES = 25
_FOLDER = Path(config.__file__).parent / "messages"
_WEEKDAYS = "一二三四五六日"
_CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳"
# Starts an expendable line; a control character, so no text of a notice can carry it.
_SPARE = "\x1f"
_WHOLE = "!"
# A line cut to less than this says nothing any more.
_SHORTEST_REST = 12
# Bytes; longer subjects and list titles are cut by whoever shows them, at the wrong place.
_TITLE_LIMIT = 180
_ELLIPSIS = "…"

Measure: TypeAlias = Callable[[str], int]
Escape: TypeAlias = Callable[[str], str]


def utf8_size(text: str) -> int:
    """Bytes of the text itself, as WeCom counts."""
    return len(text.encode())


def json_size(text: str) -> int:
    """Bytes of the text inside a JSON body, as DingTalk and Feishu count."""
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


# Vendors differ in (and do not document) what a backslash escapes, so characters with a meaning in markdown, and the @
# and < of mentions, become their full-width twins, which look the same to a reader and mean nothing to a renderer.
_FULL_WIDTH = str.maketrans({character: chr(ord(character) + 0xFEE0) for character in "*_[]<>`#~|!\\@$"})


# Controls, line separators, and what hides or reorders text: zero-width characters, bidirectional overrides, lone
# surrogates, private use, tags.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HIDDEN = re.compile(
    "[\xad\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ue000-\uf8ff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)


def visible(text: str) -> str:
    """One line without anything that hides or reorders what stands in it (shown as □)."""
    if not text.isprintable():
        text = _HIDDEN.sub("□", _CONTROLS.sub(" ", text))
    return " ".join(text.split()) if "  " in text or text != text.strip() else text


def inert(text: str) -> str:
    """Text that no robot's markdown takes for anything but text: no styles, links, mentions, headings."""
    return visible(text).translate(_FULL_WIDTH).replace("://", "：//")


def escaped_html(text: str) -> str:
    """Text inside HTML, attribute values included."""
    return html.escape(visible(text))


class Form(Enum):
    """The formats: template file, how its lines are joined, how texts are made harmless in it."""

    PLAIN = ("plain.j2", "\n", visible)
    DINGTALK = ("dingtalk.j2", "\n\n", inert)
    WECOM_MARKDOWN = ("wecom_markdown.j2", "\n", inert)
    FEISHU = ("feishu.j2", "\n", inert)
    EMAIL_HTML = ("email_html.j2", "\n", escaped_html)
    SHORT = ("short.j2", "", visible)

    def __init__(self, file: str, newline: str, escape: Escape) -> None:
        self.file = file
        self.newline = newline
        self.escape = escape


@dataclass(frozen=True, slots=True)
class Message:
    """A rendered notice. ``title`` is one plain line: e-mail subject, robot title, lock screen."""

    title: str
    body: str


_environment = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=False,  # noqa: S701  # every text is escaped by its format before a template sees it
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def _spare(rank: int, *, whole: bool = False) -> str:
    """Mark a line as expendable; the highest rank goes first. ``whole``: half of it (a link) would be of no use."""
    return f"{_SPARE}{rank}{_WHOLE if whole else _SPARE}"


_environment.globals["spare"] = _spare


def render(notice: Notice, form: Form, limit: int = 0, measure: Measure = utf8_size) -> Message:
    """The notice in this format, at most ``limit`` bytes long by ``measure`` (0: as long as it is)."""
    view = _view(notice, form.escape)
    template = _environment.get_template(form.file)
    # The inbox scrolls: how many lines it gets is the composer's decision alone.
    lines = notice.lines if form is Form.PLAIN else notice.lines[:MOST_LINES]
    shown = [form.escape(line) for line in lines]
    total = len(notice.lines) + notice.hidden_lines
    while True:
        text = template.render(view, lines=shown, hidden_lines=total - len(shown), total=total)
        body, fits = _fit([line for line in text.splitlines() if line], form.newline, limit, measure)
        if fits or not shown:
            return Message(title_of(notice), body if fits else cut(body, limit, measure))
        # The count of what is left out is part of the text, so a shorter list is rendered anew.
        shown.pop()


def title_of(notice: Notice) -> str:
    """Which state and how long left, then the number: the sixty characters a lock screen shows."""
    number = visible(notice.incident_no)
    title = _heading(notice, visible)
    room = _TITLE_LIMIT - utf8_size(number)
    return f"{cut(title, room)} {number}" if number and number not in title else cut(title, _TITLE_LIMIT)


def _heading(notice: Notice, escape: Escape) -> str:
    drill = "【演练】" if notice.drill else ""
    resend = "（重发）" if notice.resend else ""
    return f"{drill}【{_mark(notice)}】{_gist(notice, escape)}{resend}"


def _mark(notice: Notice) -> str:
    if notice.layout == "digest":
        return "时限汇总"
    if notice.layout == "brief" and notice.band is Band.INFO:
        return "每日简报"
    return notice.band.zh


def _gist(notice: Notice, escape: Escape) -> str:
    if notice.headline:
        return escape(notice.headline)
    if notice.layout == "digest":
        return f"共 {len(notice.lines) + notice.hidden_lines} 项"
    if notice.layout == "brief":
        return _date(notice.composed_at)
    if notice.band is Band.NOTICE or notice.remaining_seconds is None:
        return "请按时回应" if notice.band is Band.NOTICE else escape(notice.state_text or notice.clock_name)
    return words_left(notice.remaining_seconds)


def _view(notice: Notice, escape: Escape) -> Mapping[str, object]:
    due = notice.due_at
    return {
        "heading": _heading(notice, escape),
        "band": notice.band.value,
        "layout": notice.layout,
        "incident_no": escape(notice.incident_no),
        "matter": _matter(notice, escape),
        "clock": _clock(notice, escape),
        "share_used": notice.share_used,
        "due": _due(due, notice.composed_at) if due else "",
        "left": words_left(notice.remaining_seconds) if notice.remaining_seconds is not None else "",
        "responsible": escape(notice.responsible),
        "state": escape(notice.state_text),
        "must_do": "".join(f"{_bullet(index)}{escape(item)} " for index, item in enumerate(notice.must_do)).strip(),
        "next_step": escape(notice.next_step),
        "basis": escape(notice.basis),
        "content_rule": escape(notice.content_rule),
        "previous_failed": escape(notice.previous_failed),
        "ack_url": link(notice.ack_url),
        "detail_url": link(notice.detail_url),
        "mentions": [mobile for mobile in notice.mentions if mobile.isdigit()],
        "footer": footer_of(notice, escape),
        "notice_no": escape(notice.notice_no),
        "clock_name": escape(notice.clock_name),
        "due_short": _due_short(due, notice.composed_at) if due else "",
        "ack_label": link_labels(notice)[0],
        "detail_label": link_labels(notice)[1],
        "drill": notice.drill,
        "resend": notice.resend,
    }


def _matter(notice: Notice, escape: Escape) -> str:
    """What leaves the house is the number and the separate ``notice_title``, never the free-text title."""
    number = f"编号 {escape(notice.incident_no)}" if notice.incident_no else ""
    facts = "，".join(part for part in (number, escape(notice.grade_text)) if part)
    title = escape(notice.notice_title)
    if title and facts:
        return f"{title}（{facts}）"
    return title or facts


def _clock(notice: Notice, escape: Escape) -> str:
    status = f"（{escape(notice.status_text)}）" if notice.status_text else ""
    return f"{escape(notice.clock_name)}{status}" if notice.clock_name else ""


def footer_of(notice: Notice, escape: Escape) -> str:
    """The line that tells two messages apart: number, how many times by now, when."""
    sent = notice.composed_at.astimezone(SHANGHAI)
    nth = f" · 第{notice.ordinal}次" if notice.ordinal else ""
    return f"通知号 {escape(notice.notice_no)}{nth} · {sent:%m-%d %H:%M} 发出"


def _bullet(index: int) -> str:
    return _CIRCLED[index] if index < len(_CIRCLED) else f"{index + 1}."


def _due(due_at: datetime, composed_at: datetime) -> str:
    """11月22日（周日）18:40（北京时间）; midnight is 24:00 of the day that ends, the year stands where it is another."""
    day, time = _day_and_time(due_at)
    year = f"{day.year}年" if day.year != composed_at.astimezone(SHANGHAI).year else ""
    return f"{year}{day.month}月{day.day}日（周{_WEEKDAYS[day.weekday()]}）{time}（北京时间）"


def _due_short(due_at: datetime, composed_at: datetime) -> str:
    """As in a short message: the time alone where it is today, else with the day."""
    day, time = _day_and_time(due_at)
    today = composed_at.astimezone(SHANGHAI)
    if day.date() == today.date():
        return time
    year = f"{day.year}年" if day.year != today.year else ""
    return f"{year}{day.month}月{day.day}日{time}"


def _day_and_time(instant: datetime) -> tuple[datetime, str]:
    local = instant.astimezone(SHANGHAI)
    if (local.hour, local.minute, local.second) == (0, 0, 0):
        return datetime.fromtimestamp(local.timestamp() - 1, SHANGHAI), "24:00"
    return local, f"{local:%H:%M}" if local.second == 0 else f"{local:%H:%M:%S}"


def _date(instant: datetime) -> str:
    local = instant.astimezone(SHANGHAI)
    return f"{local.month}月{local.day}日（周{_WEEKDAYS[local.weekday()]}）"


def link_labels(notice: Notice) -> tuple[str, str]:
    """What the acknowledge link and the other link say."""
    if notice.band is Band.OVERDUE and not notice.layout:
        return "签收并说明原因", "查看全过程"
    return "签收", "登记回应" if notice.band is Band.WARNING and not notice.layout else "查看详情"


def link(url: str) -> str:
    """An address that stays an address inside markdown and HTML; anything that is not http(s) is dropped."""
    if not url.startswith(("https://", "http://")) or not url.isascii() or not url.isprintable():
        return ""
    for character in " ()<>[]\"'\\|`*":
        url = url.replace(character, f"%{ord(character):02X}")
    return url


# --- size ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    text: str
    rank: int = 0
    whole: bool = True


def _fit(lines: list[str], newline: str, limit: int, measure: Measure) -> tuple[str, bool]:
    """Shorten and drop expendable lines until the text fits, and tell whether it does."""
    kept = [_read_line(line) for line in lines]
    while True:
        text = newline.join(line.text for line in kept)
        excess = measure(text) - limit
        if not limit or excess <= 0:
            return text, True
        rank = max((line.rank for line in kept), default=0)
        if not rank:
            return text, False
        index = max(at for at, line in enumerate(kept) if line.rank == rank)
        line = kept[index]
        shortened = "" if line.whole else cut(line.text, measure(line.text) - excess, measure)
        if len(shortened) >= _SHORTEST_REST:
            kept[index] = _Line(shortened)
        else:
            del kept[index]


def _read_line(line: str) -> _Line:
    if not line.startswith(_SPARE):
        return _Line(line.strip())
    return _Line(line[3:].strip(), int(line[1]), line[2] == _WHOLE)


def cut(text: str, limit: int, measure: Measure = utf8_size) -> str:
    """The longest beginning that fits with an ellipsis, never half a character; the text itself where it fits."""
    if measure(text) <= limit:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if measure(text[:middle] + _ELLIPSIS) <= limit:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + _ELLIPSIS if low else ""
