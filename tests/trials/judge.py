"""The verdict on what a trial left behind: our tables, the receiver's memory and the registrars' notes side by side.

Nothing here trusts the engine: what has to exist is planned anew by the pure core, and what has to have arrived is
looked up at the receiver.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from huiying.domain.clock import Clock
from huiying.domain.kinds import ClockOrigin, ClockState, EventKind, LimitStatus
from huiying.domain.plan import plan_actions
from huiying.domain.policy import policy_from_dict
from huiying.service import audit as audit_service
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Tx
from tests.trials.processes import read_lines
from tests.trials.receiver import Log, Post
from tests.trials.stage import Stage

_SHOWN = 4
_LIVE = ("pending", "sending")
_TELLING = ("hook", "robot")


@dataclass
class Verdict:
    """Figures for the table, and everything that is wrong; no faults means passed."""

    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def blame(self, what: str, which: Iterable[Any]) -> None:
        """Note a fault with the first of its cases, if there are any."""
        found = list(which)
        if found:
            shown = ", ".join(str(case) for case in found[:_SHOWN])
            self.faults.append(f"{len(found)} × {what}: {shown}{' …' if len(found) > _SHOWN else ''}")


@dataclass(frozen=True, slots=True)
class Acks:
    """What registrars were told: clocks by incident number, and how often they were told to come again."""

    clocks: dict[str, dict[str, str]]
    keys: dict[str, str]
    busy: int
    refused: tuple[str, ...]
    took: tuple[float, ...]


def read_acks(folder: Path) -> Acks:
    """Every registrar's notes."""
    clocks: dict[str, dict[str, str]] = {}
    keys: dict[str, str] = {}
    busy, refused, took = 0, [], []
    for path in sorted(folder.glob("*.acks")):
        for line in map(json.loads, read_lines(path)):
            if "busy" in line:
                busy += 1
            elif "refused" in line:
                refused.append(line["refused"])
            else:
                clocks.setdefault(line["no"], {}).update(line["clocks"])
                if "key" in line:
                    keys[line["key"]] = line["no"]
                    took.append(line["took"])
    return Acks(clocks, keys, busy, tuple(refused), tuple(took))


# -- waiting for the end -------------------------------------------------------------------------------------------------


def open_work(services: Services) -> int:
    """How much is due and not yet settled."""
    with services.store.reading() as tx:
        a, d = t.timed_action.c, t.delivery.c
        actions = sa.select(sa.func.count()).select_from(t.timed_action).where(a.state == "pending", a.due_at <= tx.now)
        letters = sa.select(sa.func.count()).select_from(t.delivery).where(d.state.in_(_LIVE))
        return int(tx.value(actions)) + int(tx.value(letters))


def next_due_soon(services: Services, seconds: float) -> bool:
    """Whether something falls due within so many seconds."""
    with services.store.reading() as tx:
        found = tx.value(sa.select(sa.func.min(t.timed_action.c.due_at)).where(t.timed_action.c.state == "pending"))
        return found is not None and (found - tx.now).total_seconds() <= seconds


def drain(services: Services, patience: float, soon: float = 0.0) -> float:
    """Wait until nothing that is due (or will be very soon) is unsettled; gives the seconds it took."""
    began = time.monotonic()
    quiet = 0
    while time.monotonic() - began < patience:
        quiet = quiet + 1 if not open_work(services) and not (soon and next_due_soon(services, soon)) else 0
        if quiet >= 3:
            break
        time.sleep(0.1)
    return time.monotonic() - began


# -- judging -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a trial may cost: duplicates beyond those the receiver provoked, and copies of one 通知号."""

    duplicates: int
    copies: int = 3


def judge(stage: Stage, services: Services, log: Log, bounds: Bounds) -> Verdict:
    """Everything that must hold after a trial of registrars and engines."""
    verdict = Verdict()
    acks = read_acks(stage.folder)
    with services.store.reading() as tx:
        _judge_incidents(tx, acks, verdict)
        _judge_actions(tx, log, acks, verdict)
    _judge_copies(log, bounds, verdict)
    judge_database(stage, services, verdict)
    verdict.blame("refused by the product", acks.refused)
    verdict.figures |= {"acknowledged": len(acks.keys), "told to come again": acks.busy}
    return verdict


def _judge_incidents(tx: Tx, acks: Acks, verdict: Verdict) -> None:
    """All or nothing: whoever was acknowledged is there, and whatever is there is complete."""
    incidents = {row.no: row for row in tx.all(sa.select(t.incident))}
    verdict.blame("acknowledged incident lost", acks.clocks.keys() - incidents.keys())
    by_title = Counter(row.title for row in incidents.values())
    verdict.blame("registered twice under one key", (title for title, count in by_title.items() if count > 1))
    verdict.blame("key answered with another incident", _crossed(acks, incidents))
    clocks: dict[int, dict[str, Any]] = {}
    for row in tx.all(sa.select(t.clock)):
        clocks.setdefault(row.incident_id, {})[row.key] = row
    for no, wanted in acks.clocks.items():
        if no in incidents:
            have = {key: row.due_at for key, row in clocks.get(incidents[no].id, {}).items()}
            verdict.blame(f"acknowledged clock of {no} lost or moved", _moved(wanted, have))
    registered = {row.subject for row in tx.all(sa.select(t.audit).where(t.audit.c.action == "incident.registered"))}
    verdict.blame("incident without audit entry", (no for no in incidents if f"incident:{no}" not in registered))
    missing = registered - {f"incident:{no}" for no in incidents}
    verdict.blame("audit entry without incident", missing)
    verdict.blame("incident without clocks", (no for no, row in incidents.items() if row.id not in clocks))
    _judge_plans(tx, {row.id: no for no, row in incidents.items()}, verdict)
    verdict.figures["incidents"] = len(incidents)


def _crossed(acks: Acks, incidents: dict[str, Any]) -> Iterable[str]:
    return (no for key, no in acks.keys.items() if no in incidents and incidents[no].title != key)


def _moved(wanted: dict[str, str], have: dict[str, datetime]) -> Iterable[str]:
    return (key for key, due in wanted.items() if have.get(key) != datetime.fromisoformat(due))


def _judge_plans(tx: Tx, numbers: dict[int, str], verdict: Verdict) -> None:
    """Every clock has the actions that the pure core plans for it; every incident has told that it was registered."""
    policies = {row.hash: policy_from_dict(row.body) for row in tx.all(sa.select(t.policy))}
    started = {
        row.clock_id: row.at for row in tx.all(sa.select(t.clock_event).where(t.clock_event.c.what == "started"))
    }
    actions: dict[int | None, set[tuple[str, int, datetime]]] = {}
    told: set[int] = set()
    for row in tx.all(sa.select(t.timed_action)):
        actions.setdefault(row.clock_id, set()).add((row.step_id, row.repetition, row.due_at))
        if row.kind == "registered":
            told.add(row.incident_id)
    missing = []
    for row in tx.all(sa.select(t.clock)):
        since = started[row.id]
        planned = {
            (p.step_id, p.repetition, p.due_at)
            for p in plan_actions(_as_planned(row), policies[row.policy_hash], since, since)
        }
        missing += [(numbers[row.incident_id], row.key, *lost[:2]) for lost in planned - actions.get(row.id, set())]
    verdict.blame("planned action missing", missing)
    verdict.blame("incident that was never to be announced", (no for key, no in numbers.items() if key not in told))


def _as_planned(row: Any) -> Clock:
    """The clock as it was when it was planned: running."""
    return Clock(
        key=row.key,
        origin=ClockOrigin(row.origin),
        rule_id=row.rule_id,
        name=row.name,
        status=LimitStatus(row.status),
        anchor_field=row.anchor_field,
        anchor_stated=row.anchor_stated,
        anchor_estimated=row.anchor_estimated,
        started_at=row.started_at,
        due_at=row.due_at,
        state=ClockState.RUNNING,
        binding=row.binding,
        on_receipt=row.on_receipt,
    )


def _judge_actions(tx: Tx, log: Log, acks: Acks, verdict: Verdict) -> None:
    """Whatever was due was settled; what was to be told is at the receiver, and nothing came early."""
    actions = {row.id: row for row in tx.all(sa.select(t.timed_action))}
    deliveries = tx.all(sa.select(t.delivery))
    due = [row for row in actions.values() if row.due_at <= tx.now]
    verdict.blame("due action unsettled", (_name(row) for row in due if row.state in {"pending", "claimed"}))
    verdict.blame("delivery unsettled", (row.notice_no for row in deliveries if row.state in _LIVE))
    verdict.blame("delivery given up", (row.notice_no for row in deliveries if row.state in {"failed", "dead"}))
    arrived = {post.notice_no for post in log.taken()}
    _judge_arrivals(actions, deliveries, arrived, verdict)
    known = {row.notice_no: row for row in deliveries}
    verdict.blame("message nobody has written", (post.notice_no for post in log.taken() if post.notice_no not in known))
    verdict.blame("message not genuine", (post.notice_no for post in log.taken() if not post.genuine))
    verdict.blame("message before it was due", _early(log.taken(), known, actions))
    _judge_breaches(tx, verdict)
    _judge_from_outside(tx, log, acks, verdict)
    verdict.figures |= {"actions": len(due), "messages": len(arrived)}


def _name(row: Any) -> str:
    return f"{row.kind}/{row.step_id}#{row.id}"


def _judge_arrivals(actions: dict[int, Any], deliveries: list[Any], arrived: set[str], verdict: Verdict) -> None:
    reached: dict[int, set[str]] = {}
    lost = []
    for row in deliveries:
        carrier = row.bundle_no or row.notice_no
        if row.channel_id in _TELLING and row.state in {"sent", "partial", "bundled"}:
            if carrier in arrived:
                reached.setdefault(row.action_id, set()).add(row.channel_id)
            else:
                lost.append(row.notice_no)
    verdict.blame("message recorded as sent and never received", lost)
    unheard = (
        _name(row)
        for row in actions.values()
        if row.state == "done" and row.clock_id is not None and row.id not in reached
    )
    verdict.blame("done action that nobody outside has heard of", unheard)
    later = {(row.clock_id, row.due_at) for row in actions.values() if row.state in {"done", "bundled"}}
    silent = (
        _name(row)
        for row in actions.values()
        if row.state == "superseded"
        and row.clock_id is not None
        and not any(clock == row.clock_id and at >= row.due_at for clock, at in later)
    )
    verdict.blame("step passed over without a later one speaking", silent)


def _early(posts: Iterable[Post], known: dict[str, Any], actions: dict[int, Any]) -> Iterable[str]:
    """The host's own clock is read with the receiver's: a message may not be there before its action is due."""
    for post in posts:
        row = known.get(post.notice_no)
        if row is not None and post.at < actions[row.action_id].due_at.timestamp() - 0.002:
            yield f"{post.notice_no} by {actions[row.action_id].due_at.timestamp() - post.at:.3f} s"


def _judge_breaches(tx: Tx, verdict: Verdict) -> None:
    event = t.clock_event
    became = sa.select(event).where(event.c.state_to == "breached", event.c.state_from.is_distinct_from("breached"))
    counted = Counter(row.clock_id for row in tx.all(became))
    late = [row for row in tx.all(sa.select(t.clock)) if row.due_at < tx.now and not row.on_receipt]
    open_still = [row for row in late if row.state in {"running", "breached"}]
    verdict.blame("breach not recorded", (row.key for row in open_still if row.noticed_at is None))
    verdict.blame("breach recorded more or less than once", (row.key for row in open_still if counted[row.id] != 1))
    verdict.figures["breaches"] = sum(counted.values())


def _judge_from_outside(tx: Tx, log: Log, acks: Acks, verdict: Verdict) -> None:
    """What an outsider sees, without looking into our tables: every acknowledged incident and every missed limit."""
    heard: set[str] = set()
    alarmed: set[str] = set()
    for post in log.taken(["/hook"]):
        data = post.data["data"]
        named = {data["incident_no"]} if data["incident_no"] else set(data["lines"])
        heard |= named
        if data["band"] == "overdue":
            alarmed |= named
    now = tx.now
    verdict.blame("acknowledged incident nobody heard of", _absent(acks.clocks, heard))
    breached = [
        no for no, clocks in acks.clocks.items() if any(datetime.fromisoformat(due) < now for due in clocks.values())
    ]
    verdict.blame("missed limit nobody was told of", _absent(breached, alarmed))


def _absent(numbers: Iterable[str], heard: set[str]) -> Iterable[str]:
    together = "\n".join(heard)
    return (no for no in numbers if no not in together)


def _judge_copies(log: Log, bounds: Bounds, verdict: Verdict) -> None:
    """A dropped answer provokes a second copy by itself; everything beyond that is ours."""
    copies = log.copies()
    extra = sum(count - 1 for count in copies.values())
    dropped = Counter(post.notice_no for post in log.taken() if post.answer == "dropped")
    provoked = dropped.total()
    own = {no: count - dropped[no] for no, count in copies.items()}
    highest = max(copies.values(), default=0)
    verdict.figures |= {
        "duplicates": extra,
        "provoked": provoked,
        "copies": highest,
        "own copies": max(own.values(), default=0),
    }
    if extra - provoked > bounds.duplicates:
        verdict.faults.append(f"{extra} duplicates, {provoked} provoked, more than {bounds.duplicates} of our own")
    verdict.blame(f"more than {bounds.copies} copies", (no for no, count in own.items() if count > bounds.copies))


def judge_copies_alone(log: Log, verdict: Verdict) -> None:
    """Where nothing was killed and nothing failed, every message came once."""
    verdict.blame("message received twice", (no for no, count in log.copies().items() if count > 1))


def judge_database(stage: Stage, services: Services, verdict: Verdict) -> None:
    """The file is sound and the chain is whole."""
    if stage.is_sqlite:
        with services.store.reading() as tx:
            found = [row[0] for row in tx.conn.exec_driver_sql("PRAGMA integrity_check")]
            orphans = list(tx.conn.exec_driver_sql("PRAGMA foreign_key_check"))
        verdict.blame("database damaged", [] if found == ["ok"] else found)
        verdict.blame("reference into nothing", orphans)
    checked = audit_service.verify(services.store)
    if not checked.ok:
        verdict.faults.append(f"audit chain: {checked}")
    verdict.figures["audit"] = checked.count


def lateness(services: Services, log: Log) -> list[float]:
    """Seconds from due to the receiver's hand, first copies only.

    A daily brief counts from its being written: it is due at half past eight, whenever the house first came to life.
    """
    action = t.timed_action.c
    with services.store.reading() as tx:
        statement = sa.select(t.delivery.c.notice_no, action.due_at, action.kind, action.created_at).join(
            t.timed_action, action.id == t.delivery.c.action_id
        )
        due = {
            row.notice_no: (row.created_at if row.kind == EventKind.DAILY_BRIEF else row.due_at).timestamp()
            for row in tx.all(statement)
        }
    first: dict[str, float] = {}
    for post in log.taken():
        first.setdefault(post.notice_no, post.at)
    return sorted(at - due[number] for number, at in first.items() if number in due)


def share(values: list[float], part: float) -> float:
    """A quantile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def now_utc() -> datetime:
    """The wall clock of the trial."""
    return datetime.now(UTC)
