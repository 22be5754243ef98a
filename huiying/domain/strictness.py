"""The same limit counted from each of an incident's times, and the verdict by the strictest of them.

Late reporting and late responding are told apart by the lines beside each other; an auditor reads the strict one first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from huiying.domain.clock import counts_at
from huiying.domain.incident import Facts, resolve_anchor
from huiying.domain.kinds import ClockState, TimeKind, Word


class LineKind(Word):
    """From which of the times a line counts."""

    OCCURRED = "occurred_at", "按事发"
    EXPOSED = "first_exposed_at", "按首发"
    KNOWN = "first_known_at", "按知悉"


@dataclass(frozen=True, slots=True)
class Line:
    """When the limit would end, counted from that time."""

    kind: LineKind
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the strict line says; ``margin`` is what was, or is, left of it and negative when it was missed."""

    line: Line
    state: ClockState
    margin: timedelta


def lines_of(facts: Facts, limit: timedelta) -> tuple[Line, ...]:
    """The lines whose time was stated, the strict one first; of merged incidents the earliest time counts."""
    found = [
        Line(kind, at + limit)
        for kind in (LineKind.OCCURRED, LineKind.EXPOSED)
        if (at := _stated(facts, TimeKind(kind.value))) is not None
    ]
    found.append(Line(LineKind.KNOWN, resolve_anchor("first_known_at", facts).at + limit))
    # Nobody has said when it happened: then the earliest that is known is the strict line.
    return tuple(found if found[0].kind is LineKind.OCCURRED else sorted(found, key=lambda line: line.due_at))


def _stated(facts: Facts, kind: TimeKind) -> datetime | None:
    times = [fact.value for member in (facts, *facts.members) if (fact := member.time(kind)) is not None]
    return min(times, default=None)


def strict_verdict(
    facts: Facts,
    limit: timedelta,
    state: ClockState,
    fulfilled_at: datetime | None,
    publication_id: int | None,
    now: datetime,
) -> Verdict | None:
    """How a clock stands by its strict line; none where a grading, a merge or an ending took the clock away."""
    line = lines_of(facts, limit)[0]
    published = next((p for p in facts.publications if p.id == publication_id), None)
    done = counts_at(published, line.due_at) if published is not None else fulfilled_at
    if done is not None:
        late = done > line.due_at
        return Verdict(line, ClockState.SATISFIED_LATE if late else ClockState.SATISFIED, line.due_at - done)
    if not state.is_open:
        return None
    over = now > line.due_at
    return Verdict(line, ClockState.BREACHED if over else ClockState.RUNNING, line.due_at - now)
