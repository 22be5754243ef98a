"""The geometry of an incident's timeline: plain numbers for a drawing 1000 units wide, whatever renders it.

One lane per clock with its reminders, one row of events below, one row of dates above. Where one clock runs 20 minutes
and another 48 hours an even scale would draw the short one as a hair; the scale then gives every stretch between two
key instants a share of its own (``even`` is False and the drawing says so). Labels are placed into slots: a label that
finds no slot is left out of the drawing, never cut and never laid over another; its mark stays.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

WIDTH = 1000.0
#: Where the names of the lanes end and the drawing begins and ends.
LEFT, RIGHT = 212.0, 984.0
_EDGE = 10.0
_ROW, _LANE = 17.0, 46.0
_DATE_ROWS, _EVENT_ROWS = 2, 4
_TEXT, _GAP = 12.0, 8.0
#: A clock narrower than this on an even scale is too thin to be read.
_READABLE = 64.0
#: What of the width is dealt out evenly between key instants when the scale is not even.
_EQUAL_SHARE = 0.55
_AS_ONE = 2.5
_NAME_SIZE = 14.0
_NARROW = frozenset(" .,:;!|'()[]ijlftrI")
_SHANGHAI = ZoneInfo("Asia/Shanghai")

Happened = Literal["sent", "suppressed", "planned"]
_LOUDNESS = {"sent": 2, "planned": 1, "suppressed": 0}


@dataclass(frozen=True, slots=True)
class Span:
    """One clock: ``end`` is when it was satisfied or taken away; ``text`` is the line printed in its lane."""

    key: str
    name: str
    start: datetime
    due: datetime
    state: str
    is_open: bool
    text: str = ""
    end: datetime | None = None
    internal: bool = False
    binding: bool = True


@dataclass(frozen=True, slots=True)
class Tick:
    """A reminder or escalation of a clock: sent, not needed, or still planned."""

    key: str
    at: datetime
    happened: Happened
    text: str
    escalation: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to the whole incident: a release, a stage, a grading."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text in its slot; ``x`` is its left end, ``y`` its base line, ``width`` what it may take."""

    text: str
    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class PlacedTick:
    """Ticks that would cover each other are one, with their texts together."""

    x: float
    happened: Happened
    escalation: bool
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lane:
    """A clock as it is drawn: the whole allowance, the part that has passed, what went over, and its ticks."""

    span: Span
    name: str
    top: float
    start_x: float
    due_x: float
    used_x: float
    over_x: float
    end_x: float | None
    label: Label
    ticks: tuple[PlacedTick, ...]


@dataclass(frozen=True, slots=True)
class PlacedMark:
    """An event below the lanes; without a label where no slot was free."""

    mark: Mark
    x: float
    outside: bool
    label: Label | None


@dataclass(frozen=True, slots=True)
class Grid:
    """A key instant with its line through all lanes; without a label where no slot was free."""

    x: float
    label: Label | None


@dataclass(frozen=True, slots=True)
class Chart:
    """The whole drawing. ``now_outside`` says that now lies beyond the right edge (everything has ended long ago)."""

    height: float
    lanes_top: float
    lanes_bottom: float
    events_y: float
    now_x: float
    now_outside: bool
    now_label: Label
    even: bool
    lanes: tuple[Lane, ...]
    marks: tuple[PlacedMark, ...]
    grid: tuple[Grid, ...]
    width: float = WIDTH
    left: float = LEFT
    right: float = RIGHT


# -- the scale ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """From instants to units, never decreasing; what lies outside is drawn at the edge."""

    instants: tuple[datetime, ...]
    positions: tuple[float, ...]
    even: bool

    def x(self, at: datetime) -> float:
        """Where an instant is drawn."""
        if at <= self.instants[0]:
            return self.positions[0]
        if at >= self.instants[-1]:
            return self.positions[-1]
        left = bisect_right(self.instants, at) - 1
        whole = (self.instants[left + 1] - self.instants[left]).total_seconds()
        part = (at - self.instants[left]).total_seconds() / whole
        return self.positions[left] + part * (self.positions[left + 1] - self.positions[left])

    def shows(self, at: datetime) -> bool:
        """Whether an instant lies inside the window."""
        return self.instants[0] <= at <= self.instants[-1]


def scale_for(spans: Sequence[Span], now: datetime) -> Scale:
    """The window: from the first start to the last due or end, with now while anything is open."""
    keys = _key_instants(spans, now)
    even = _positions(keys, 0.0)
    straight = Scale(keys, even, even=True)
    if all(straight.x(span.due) - straight.x(span.start) >= _READABLE for span in spans if span.due > span.start):
        return straight
    return Scale(keys, _positions(keys, _EQUAL_SHARE), even=False)


def _key_instants(spans: Sequence[Span], now: datetime) -> tuple[datetime, ...]:
    found = {moment for span in spans for moment in (span.start, span.due, span.end) if moment is not None}
    if not found:
        return (now - timedelta(hours=1), now + timedelta(hours=1))
    first, last = min(found), max(found)
    if any(span.is_open for span in spans) or first <= now <= last + (last - first) / 4:
        found.add(now)
    if len(found) == 1:
        found.add(first + timedelta(hours=1))
    return tuple(sorted(found))


def _positions(keys: Sequence[datetime], equal: float) -> tuple[float, ...]:
    room, whole = RIGHT - LEFT - 2 * _EDGE, (keys[-1] - keys[0]).total_seconds()
    x, found = LEFT + _EDGE, [LEFT + _EDGE]
    for before, after in itertools.pairwise(keys):
        share = (after - before).total_seconds() / whole
        x += room * ((1 - equal) * share + equal / (len(keys) - 1))
        found.append(min(x, RIGHT - _EDGE))
    return tuple(found)


# -- texts -------------------------------------------------------------------------------------------------------------


def text_width(text: str, size: float = _TEXT) -> float:
    """What a text takes at most: a Chinese character is square, a Latin one little more than half as wide."""
    return size * sum(_share(character) for character in text)


def _share(character: str) -> float:
    """Of the size of the letters; rather too much than too little."""
    if ord(character) > 0x2E7F or character in "→…":
        return 1
    return 0.4 if character in _NARROW else 0.62


def shorten(text: str, room: float, size: float = _TEXT) -> str:
    """The text, ended with … where it does not fit."""
    if text_width(text, size) <= room:
        return text
    while text and text_width(text + "…", size) > room:
        text = text[:-1]
    return text + "…"


@dataclass
class _Rows:
    """Slots for labels: each row knows what is taken; a label goes into the first row with room."""

    tops: Sequence[float]
    taken: dict[float, list[tuple[float, float]]] = field(default_factory=dict)

    def place(self, text: str, near: float) -> Label | None:
        width = text_width(text)
        x = _inside(near - width / 2, width)
        for y in self.tops:
            busy = self.taken.setdefault(y, [])
            if all(x + width + _GAP <= left or right + _GAP <= x for left, right in busy):
                busy.append((x, x + width))
                return Label(text, x, y, width)
        return None


def _inside(x: float, width: float) -> float:
    return max(LEFT, min(x, RIGHT - width))


def _short_time(at: datetime) -> str:
    return f"{at.astimezone(_SHANGHAI):%m-%d %H:%M}"


# -- the drawing -------------------------------------------------------------------------------------------------------


def lay_out(
    now: datetime,
    spans: Sequence[Span],
    ticks: Iterable[Tick] = (),
    marks: Iterable[Mark] = (),
    now_word: str = "现在",
) -> Chart:
    """The drawing of these clocks as they stand at ``now``; lanes keep the order they are given in."""
    scale = scale_for(spans, now)
    top = _ROW * (_DATE_ROWS + 1) + 6
    by_key: dict[str, list[Tick]] = {}
    for tick in ticks:
        by_key.setdefault(tick.key, []).append(tick)
    lanes = tuple(
        _lane(scale, span, top + number * _LANE, now, by_key.get(span.key, [])) for number, span in enumerate(spans)
    )
    bottom = top + len(lanes) * _LANE
    events_y = bottom + 14
    now_text = f"{now_word} {_short_time(now)}"
    width = text_width(now_text)
    now_x = scale.x(now)
    placed = _marks(scale, sorted(marks, key=lambda mark: mark.at), events_y)
    return Chart(
        height=events_y + 10 + _ROW * (_EVENT_ROWS if any(mark.label for mark in placed) else 0) + 6,
        lanes_top=top,
        lanes_bottom=bottom,
        events_y=events_y,
        now_x=now_x,
        now_outside=not scale.shows(now),
        now_label=Label(now_text, _inside(now_x - width / 2, width), _ROW - 4, width),
        even=scale.even,
        lanes=lanes,
        marks=placed,
        grid=_grid(scale, spans),
    )


def _lane(scale: Scale, span: Span, top: float, now: datetime, ticks: Sequence[Tick]) -> Lane:
    start_x, due_x = scale.x(span.start), scale.x(span.due)
    until = span.end if span.end is not None else now if span.is_open else span.due
    reached = scale.x(until)
    text = shorten(span.text, RIGHT - LEFT)
    width = text_width(text)
    return Lane(
        span=span,
        name=shorten(span.name, LEFT - 24, _NAME_SIZE),
        top=top,
        start_x=start_x,
        due_x=due_x,
        used_x=max(start_x, min(reached, due_x)),
        over_x=max(due_x, reached) if until > span.due else due_x,
        end_x=scale.x(span.end) if span.end is not None else None,
        label=Label(text, _inside(start_x, width), top + 40, width),
        ticks=_ticks(scale, ticks),
    )


def _ticks(scale: Scale, ticks: Sequence[Tick]) -> tuple[PlacedTick, ...]:
    """In order of place; of several at one place the loudest gives the look. Outside the window nothing is drawn."""
    found: list[PlacedTick] = []
    for tick in sorted((tick for tick in ticks if scale.shows(tick.at)), key=lambda tick: tick.at):
        x, last = scale.x(tick.at), found[-1] if found else None
        if last is None or x - last.x >= _AS_ONE:
            found.append(PlacedTick(x, tick.happened, tick.escalation, (tick.text,)))
            continue
        louder = max(last.happened, tick.happened, key=lambda word: _LOUDNESS[word])
        found[-1] = PlacedTick(last.x, louder, last.escalation or tick.escalation, (*last.texts, tick.text))
    return tuple(found)


def _marks(scale: Scale, marks: Sequence[Mark], events_y: float) -> tuple[PlacedMark, ...]:
    rows = _Rows([events_y + 10 + _ROW * (number + 0.8) for number in range(_EVENT_ROWS)])
    longest = (RIGHT - LEFT) / 3
    return tuple(
        PlacedMark(mark, scale.x(mark.at), not scale.shows(mark.at), rows.place(shorten(mark.text, longest), scale.x(mark.at)))
        for mark in marks
    )  # fmt: skip


def _grid(scale: Scale, spans: Sequence[Span]) -> tuple[Grid, ...]:
    """Lines at the dues first, then at the starts: what does not fit of the dates is what matters less."""
    rows = _Rows([_ROW * (number + 2) - 4 for number in range(_DATE_ROWS)])
    wanted = list(dict.fromkeys([*sorted(span.due for span in spans), *sorted(span.start for span in spans)]))
    placed = [Grid(scale.x(at), rows.place(_short_time(at), scale.x(at))) for at in wanted]
    return tuple(sorted(placed, key=lambda line: line.x))
