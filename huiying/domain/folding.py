"""From the append-only history of an incident to its facts.

Every entry says what was recorded, when and by whom; folding them in order gives the facts that hold now. Entries are
never changed: a correction is a later entry, an un-merge restores by folding again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from huiying.domain.incident import (
    Continuous,
    Ending,
    Facts,
    Grading,
    Publication,
    Task,
    TimeFact,
    Transfer,
)
from huiying.domain.kinds import GradeBasis, Kind, Severity, TimeKind
from huiying.domain.rules import ClockRule


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an incident's history. ``detail`` holds JSON values; instants in it are RFC 3339 texts."""

    what: str
    recorded_at: datetime
    recorded_by: str
    detail: dict[str, Any]
    approved_by: str | None = None


def instant(text: str) -> datetime:
    """Parse an RFC 3339 text with offset."""
    return datetime.fromisoformat(text)


def _severity(value: str | None) -> Severity | None:
    return Severity(value) if value else None


def _registered(_facts: Facts | None, entry: Entry) -> Facts:
    detail = entry.detail
    return Facts(
        kind=Kind(detail["kind"]),
        severity=_severity(detail.get("severity")),
        source=detail.get("source", ""),
        registered_at=entry.recorded_at.replace(microsecond=0),  # anchors are kept to the second
        unit_id=detail.get("unit_id", ""),
    )


def _time_fact(facts: Facts, entry: Entry) -> Facts:
    detail = entry.detail
    fact = TimeFact(
        TimeKind(detail["kind"]),
        instant(detail["value"]),
        detail.get("source", ""),
        detail.get("precision", "second"),
        bool(detail.get("estimated")),
    )
    others = tuple(known for known in facts.times if known.kind is not fact.kind)
    return replace(facts, times=(*others, fact))


def _grading(facts: Facts, entry: Entry) -> Facts:
    detail = entry.detail
    grading = Grading(
        Kind(detail["kind"]),
        _severity(detail.get("severity")),
        GradeBasis(detail["basis"]),
        instant(detail["effective_at"]),
        entry.recorded_at,
        detail.get("criterion", ""),
    )
    return replace(facts, gradings=(*facts.gradings, grading))


def _late_exposure(facts: Facts, entry: Entry) -> Facts:
    return replace(facts, late_exposure=bool(entry.detail["confirmed"]))


def _ending(facts: Facts, entry: Entry) -> Facts:
    return replace(facts, ending=Ending(entry.what, entry.recorded_at, entry.detail["reason"]))


def _merged(facts: Facts, entry: Entry) -> Facts:
    return replace(facts, merged_into=entry.detail["into"], merged_at=entry.recorded_at)


def _unmerged(facts: Facts, _entry: Entry) -> Facts:
    return replace(facts, merged_into="", merged_at=None)


def _transfer(facts: Facts, entry: Entry) -> Facts:
    detail = entry.detail
    due = instant(detail["due_at"]) if detail.get("due_at") else None
    made = Transfer(detail["key"], detail["notice_no"], instant(detail["received_at"]), due)
    return replace(facts, transfers=(*facts.transfers, made))


def _transfer_feedback(facts: Facts, entry: Entry) -> Facts:
    at, key = instant(entry.detail["at"]), entry.detail["key"]
    return replace(facts, transfers=tuple(replace(t, feedback_at=at) if t.key == key else t for t in facts.transfers))


def _transfers_returned(facts: Facts, entry: Entry) -> Facts:
    gone = set(entry.detail["keys"])
    return replace(facts, transfers=tuple(t for t in facts.transfers if t.key not in gone))


def _task(facts: Facts, entry: Entry) -> Facts:
    detail = entry.detail
    made = Task(detail["key"], detail["name"], detail["unit_id"], entry.recorded_at, instant(detail["due_at"]))
    return replace(facts, tasks=(*facts.tasks, made))


def _task_done(facts: Facts, entry: Entry) -> Facts:
    at, key = instant(entry.detail["at"]), entry.detail["key"]
    return replace(facts, tasks=tuple(replace(t, done_at=at) if t.key == key else t for t in facts.tasks))


def _continuous(facts: Facts, entry: Entry) -> Facts:
    hours = entry.detail["every_hours"]
    if not hours:
        plan = facts.continuous and replace(facts.continuous, until=entry.recorded_at)
        return replace(facts, continuous=plan)
    earlier: tuple[Continuous, ...] = ()
    if (old := facts.continuous) is not None:
        ended = old if old.until is not None else replace(old, until=entry.recorded_at, replaced=True)
        earlier = (*old.earlier, replace(ended, earlier=()))
    return replace(facts, continuous=Continuous(timedelta(hours=hours), entry.recorded_at, earlier=earlier))


def _reassigned(facts: Facts, entry: Entry) -> Facts:
    return replace(facts, unit_id=entry.detail["unit_id"])


_FOLDS: dict[str, Callable[[Facts, Entry], Facts]] = {
    "time_fact": _time_fact,
    "grading": _grading,
    "late_exposure": _late_exposure,
    "voided": _ending,
    "waived": _ending,
    "handed_over": _ending,
    "closed": _ending,
    "merged": _merged,
    "unmerged": _unmerged,
    "transfer": _transfer,
    "transfer_feedback": _transfer_feedback,
    "transfers_returned": _transfers_returned,
    "task": _task,
    "task_done": _task_done,
    "continuous": _continuous,
    "reassigned": _reassigned,
}

#: Entries that are part of the record and change no clock by themselves (publications have a table of their own).
RECORD_ONLY = frozenset(
    {
        "publication",
        "review",
        "reclassify",
        "withdraw",
        "credit",
        "confirm_publication",
        "acknowledged",
        "stage",
        "absorbed",
        "released",
        "attribution",
        "replanned",
        "details",
        "reopened_as",
        "leader_voice",
        "packs",
    }
)


def fold(entries: Iterable[Entry], publications: Iterable[Publication], rules: Iterable[ClockRule]) -> Facts:
    """The facts that hold after these entries of one cycle (in order; the first is ``registered``)."""
    facts: Facts | None = None
    told = list(entries)
    for entry in told:
        if entry.what == "registered":
            facts = _registered(facts, entry)
        elif facts is not None and entry.what in _FOLDS:
            facts = _FOLDS[entry.what](facts, entry)
        elif entry.what not in RECORD_ONLY:
            message = f"history entry {entry.what!r} is unknown or stands before the registration"
            raise ValueError(message)
    if facts is None:
        message = "an incident without a registration entry"
        raise ValueError(message)
    early = _entered_before_a_correction(told)
    judged = (replace(p, as_published=True) if p.id in early else p for p in publications)
    return replace(facts, publications=tuple(judged), rules=tuple(rules))


def _entered_before_a_correction(entries: Iterable[Entry]) -> frozenset[int]:
    """The publications that stood in the record when a time was corrected; a correction says what the time was before."""
    seen: set[int] = set()
    judged: set[int] = set()
    for entry in entries:
        if entry.what == "publication":
            seen.add(entry.detail["id"])
        elif entry.what == "time_fact" and "was" in entry.detail:
            judged |= seen
    return frozenset(judged)


def unite(primary: Facts, children: Iterable[Facts]) -> Facts:
    """A merged incident: the primary takes the earliest times and everybody's publications (domain.md §6 "Merge")."""
    members = tuple(children)
    if not members:
        return primary
    return replace(
        primary,
        members=(*primary.members, *members, *(inner for member in members for inner in member.members)),
        publications=primary.publications + tuple(p for member in members for p in member.publications),
        registered_at=min(facts.registered_at for facts in (primary, *members)),
    )
