"""What a rate-limited robot may send now: single messages, bundles of waiting ones, or nothing until a given moment.

The window slides, because nobody knows where the provider's minute begins. When it is half full, reminders are gathered
for a few seconds and travel in one message; what is overdue never waits for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from huiying.domain.compose import MOST_LINES
from huiying.domain.kinds import Band

#: How long reminders are gathered once half of a window is used up.
GATHER = timedelta(seconds=3)
#: A window of fewer places is never called crowded: with four a second nobody has to gather.
_WIDE = 10


@dataclass(frozen=True, slots=True)
class Window:
    """At most ``count`` messages within any stretch of ``per``; the last ``reserve`` places are for what is overdue."""

    count: int
    per: timedelta
    reserve: int = 0

    def places(self, *, overdue: bool) -> int:
        """How many messages of this urgency may stand in the window."""
        return self.count if overdue else max(self.count - self.reserve, 1)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that wants to leave through the robot. A carrier already has others aboard and travels alone."""

    notice_no: str
    urgency: int
    due_at: datetime
    since: datetime
    is_carrier: bool = False


@dataclass(frozen=True, slots=True)
class Departures:
    """What leaves now, each a list whose first is the carrier; the rest waits until ``again_at``."""

    loads: tuple[tuple[str, ...], ...] = ()
    again_at: datetime | None = None


def _recent(sent: Sequence[datetime], window: Window, now: datetime) -> list[datetime]:
    # A sending that lies ahead was recorded before the clock was set back; it must not block the robot for hours.
    return sorted((at for at in sent if now - window.per < at <= now), reverse=True)


def _opens_at(sent: Sequence[datetime], windows: Sequence[Window], now: datetime, *, overdue: bool) -> datetime:
    """When the first place becomes free in every window."""
    opening = now
    for window in windows:
        recent, places = _recent(sent, window, now), window.places(overdue=overdue)
        if len(recent) >= places:
            opening = max(opening, recent[places - 1] + window.per)
    return opening


def depart(
    waiting: Sequence[Waiting], sent: Sequence[datetime], windows: Sequence[Window], now: datetime
) -> Departures:
    """Decide what leaves now. ``sent`` are the robot's sendings of the longest window, by whichever process."""
    queue = sorted(waiting, key=lambda w: (not w.is_carrier, w.urgency, w.due_at, w.notice_no))
    if not queue:
        return Departures()
    overdue = any(item.urgency == Band.OVERDUE.urgency for item in queue)
    places = min(w.places(overdue=overdue) - len(_recent(sent, w, now)) for w in windows)
    opens_at = _opens_at(sent, windows, now, overdue=overdue)
    if places <= 0:
        return Departures((), opens_at)
    loads: list[tuple[str, ...]] = []
    loads += [(item.notice_no,) for item in queue if item.is_carrier][:places]
    rest = [item for item in queue if not item.is_carrier]
    gathered = _gathering_until(rest, sent, windows, now) if not overdue else None
    if gathered is not None:
        return Departures(tuple(loads), gathered)
    loads += _load(rest, places - len(loads), together=_is_crowded(sent, windows, now))
    if sum(map(len, loads)) == len(queue):
        return Departures(tuple(loads))
    return Departures(tuple(loads), max(opens_at, now + timedelta(seconds=1)))


def _is_crowded(sent: Sequence[datetime], windows: Sequence[Window], now: datetime) -> bool:
    return any(2 * len(_recent(sent, w, now)) >= w.count for w in windows if w.count >= _WIDE)


def _gathering_until(
    rest: Sequence[Waiting], sent: Sequence[datetime], windows: Sequence[Window], now: datetime
) -> datetime | None:
    if not rest or not _is_crowded(sent, windows, now):
        return None
    until = min(item.since for item in rest) + GATHER
    return until if now < until <= now + GATHER else None


def _load(rest: Sequence[Waiting], places: int, *, together: bool) -> list[tuple[str, ...]]:
    """Single messages while there is room for all of them, else as many full bundles as may leave."""
    if places <= 0:
        return []
    if len(rest) <= places and not together:
        return [(item.notice_no,) for item in rest]
    chunks = [rest[start : start + MOST_LINES] for start in range(0, len(rest), MOST_LINES)]
    return [tuple(item.notice_no for item in chunk) for chunk in chunks[:places]]
