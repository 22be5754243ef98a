"""From what was typed to what the use cases take: every wrong field is found at once, nothing typed is lost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from huiying.domain.errors import InvalidInput
from huiying.domain.kinds import Kind, Severity, TimeKind
from huiying.domain.plan import SHANGHAI
from huiying.domain.text import moment
from huiying.service.requests import RegisterRequest, TimeInput, TransferInput
from huiying.web.pages.words import Say, words_of

#: The times an officer states, in the order in which they come to pass.
STATED = (TimeKind.OCCURRED, TimeKind.EXPOSED, TimeKind.CAPTURED, TimeKind.DETECTED, TimeKind.NOTIFIED)
#: How exact a stated time is: (precision, estimated).
EXACTNESS = {"minute": ("minute", False), "second": ("second", False), "about": ("minute", True)}
SUPERIOR = "superior_transfer"
_LOCAL = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?")
_W = TypeVar("_W", bound=StrEnum)


class InvalidForm(InvalidInput):
    """Several fields at once; ``fields`` gives each its sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        first = next(iter(errors))
        super().__init__(first, errors[first])
        self.fields = dict(errors)


def errors_of(error: InvalidInput) -> dict[str, str]:
    """Field by field what is wrong."""
    return error.fields if isinstance(error, InvalidForm) else {error.field: error.message}


class Fields:
    """The fields of a form as the browser sent them; ``errors`` gathers what cannot be read, said by ``say``."""

    def __init__(self, pairs: Sequence[tuple[str, str]], say: Say = str) -> None:
        self.pairs = list(pairs)
        self.say = say
        self.errors: dict[str, str] = {}

    def text(self, name: str) -> str:
        """What was typed, blanks at the ends removed and line ends as ours."""
        found = next((value for key, value in self.pairs if key == name), "")
        return found.replace("\r\n", "\n").strip()

    def many(self, name: str) -> tuple[str, ...]:
        """All values chosen of a list."""
        return tuple(dict.fromkeys(value for key, value in self.pairs if key == name and value))

    def flag(self, name: str) -> bool:
        """Whether a box was ticked."""
        return self.text(name) not in {"", "0"}

    def at(self, name: str, label: str, *, required: bool = False) -> datetime | None:
        """A time of the office's wall clock, Asia/Shanghai."""
        text = self.text(name)
        if not text:
            if required:
                self.errors[name] = self.say("请填写{label}。").format(label=label)
            return None
        if _LOCAL.fullmatch(text):
            text = _with_offset(text)
        try:
            return moment(name, text)
        except InvalidInput:
            sentence = self.say("{label}「{text}」不是时间，请写成 2026-11-22 08:30。")
            self.errors[name] = sentence.format(label=label, text=text[:40])
            return None

    def word(self, name: str, words: type[_W], label: str) -> _W | None:
        """One of our own words; None for nothing chosen, an error for a foreign one."""
        text = self.text(name)
        try:
            return words(text) if text else None
        except ValueError:
            self.errors[name] = self.say("{label}不在可选范围内，请重新选择。").format(label=label)
            return None

    def chosen(self, name: str, words: type[_W], label: str, default: _W) -> _W:
        """One of our own words; nothing chosen is an error (``default`` then only keeps the types honest)."""
        found = self.word(name, words, label)
        if found is None:
            self.errors.setdefault(name, self.say("请选择{label}。").format(label=label))
            return default
        return found

    def whole(self, name: str, label: str) -> int:
        """A whole number."""
        text = self.text(name)
        if not re.fullmatch(r"\d{1,9}", text):
            self.errors[name] = self.say("{label}须为整数。").format(label=label)
            return 0
        return int(text)

    def check(self) -> None:
        """Raise when a field could not be read."""
        if self.errors:
            raise InvalidForm(self.errors)

    def typed(self) -> dict[str, Any]:
        """Everything as it was typed, for showing the form again; several values of one name as a list."""
        found: dict[str, Any] = {}
        for name, value in self.pairs:
            if name in {"csrf", "key"}:
                continue
            found[name] = [*found[name], value] if isinstance(found.get(name), list) else value
            if name == "co_units":
                found[name] = [v for k, v in self.pairs if k == name]
        return found


def _with_offset(text: str) -> str:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).isoformat()
    except ValueError:
        return text


async def _read(request: Request) -> Fields:
    form = await request.form()
    pairs = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return Fields(pairs, words_of(request))


Form = Annotated[Fields, Depends(_read)]


# -- registering -------------------------------------------------------------------------------------------------------


def grade_of(fields: Fields) -> tuple[Kind, Severity | None]:
    """Kind and severity from one choice: ``emergency:major``, ``emergency:`` (not graded yet) or ``opinion:``."""
    kind, _, severity = fields.text("grade").partition(":")
    try:
        return Kind(kind), Severity(severity) if severity else None
    except ValueError:
        fields.errors["grade"] = fields.say("请选择级别；尚未研判的突发事件选「未定级」。")
        return Kind.OPINION, None


def stated_time(fields: Fields, name: str, label: str, *, required: bool = False) -> TimeInput | None:
    """A time with where it is known from and how exact it is."""
    value = fields.at(name, label, required=required)
    exact = EXACTNESS.get(fields.text(f"{name}_exact") or "minute")
    if exact is None:
        sentence = fields.say("{label}的精确程度不在可选范围内。")
        fields.errors[f"{name}_exact"] = sentence.format(label=label)
    if value is None or exact is None:
        return None
    return TimeInput(value, fields.text(f"{name}_source"), *exact)


def times_of(fields: Fields) -> dict[TimeKind, TimeInput]:
    """Every time that was stated."""
    found = {kind: stated_time(fields, str(kind), fields.say(kind.zh)) for kind in STATED}
    return {kind: value for kind, value in found.items() if value is not None}


def transfer_of(fields: Fields) -> TransferInput | None:
    """The superior's notice; None where its block was left empty."""
    names = ("transfer_no", "transfer_from", "transfer_received", "transfer_due")
    if not any(fields.text(name) for name in names):
        return None
    if not fields.text("transfer_no"):
        fields.errors["transfer_no"] = fields.say("请填写来文号；不是上级转办的，请把转办一栏清空。")
    received = fields.at("transfer_received", fields.say("转办通知接收时间"), required=True)
    due = fields.at("transfer_due", fields.say("反馈时限"))
    if received is None:
        return None
    if due is not None and due <= received:
        fields.errors["transfer_due"] = fields.say("反馈时限早于接收时间，请核对来文。")
    return TransferInput(fields.text("transfer_no"), received, due, fields.text("transfer_from"))


def register_request(fields: Fields) -> RegisterRequest:
    """The new incident; raises ``InvalidForm`` with everything that is wrong."""
    kind, severity = grade_of(fields)
    times, transfer = times_of(fields), transfer_of(fields)
    if not fields.text("title"):
        fields.errors["title"] = fields.say("请填写标题。")
    if severity is not None and not fields.text("criterion"):
        fields.errors["criterion"] = fields.say("定级需写明依据（例如对照哪一条分级标准）。")
    if not fields.text("unit_id"):
        fields.errors["unit_id"] = fields.say("请选择主办单位。")
    fields.check()
    return RegisterRequest(
        title=fields.text("title"),
        kind=kind,
        unit_id=fields.text("unit_id"),
        severity=severity,
        criterion=fields.text("criterion"),
        times=times,
        body=fields.text("body"),
        notice_title=fields.text("notice_title"),
        source=SUPERIOR if transfer else fields.text("source"),
        source_detail={name: text for name in ("platform", "url", "author") if (text := fields.text(name))},
        co_units=fields.many("co_units"),
        region_code=fields.text("region_code"),
        category=fields.text("category"),
        late_exposure=fields.flag("late_exposure"),
        transfer=transfer,
        drill=fields.flag("drill"),
    )
