"""A sender that sleeps through its lease (SIGSTOP, a suspended machine): somebody else sends, and its late word is void."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime

import sqlalchemy as sa

from huiying.service import incidents
from huiying.service.services import Services
from huiying.store import tables as t
from tests.trials.judge import Bounds, drain, judge
from tests.trials.processes import Cast, wait_until
from tests.trials.receiver import Faults, Receiver
from tests.trials.setting import Setting
from tests.trials.stage import OPERATOR, furnish, opinion, staged
from tests.trials.table import Row

_LEASE = 5
_COUNT = 6


def stopped_sender(setting: Setting) -> Row:
    """Two nodes; one is stopped for twice its lease with messages on the wire."""
    faults: list[str] = []
    with (
        Receiver(faults=Faults(delay=1.0)) as receiver,
        staged(setting.folder, lease_seconds=_LEASE) as stage,
        Cast(stage) as cast,
    ):
        furnish(stage, receiver)
        services = stage.services()
        sleeper = cast.engine("sleeper", {"HUIYING_NODE": "sleeper"}).start()
        if not wait_until(lambda: _beats(services, "sleeper/engine"), 20.0):
            faults.append(f"the engine did not come up: {sleeper.said()}")
        for number in range(_COUNT):
            incidents.register(services, OPERATOR, opinion(f"停顿{number}", datetime.now(UTC), 3600.0), f"k{number}")
        wait_until(lambda: len(receiver.log.posts) >= 4, 20.0, every=0.002)
        sleeper.pause()
        held = _held(services)
        setting.say(f"stopped with {len(held)} messages in its hands")
        cast.engine("other", {"HUIYING_NODE": "other"}).start()
        time.sleep(2 * _LEASE)
        taken_over = {number for number, token in _held_tokens(services, held).items() if token > held[number]}
        after_lease = _attempts(services)
        sleeper.go_on()
        time.sleep(3.0)
        drain(services, 30.0)
        faults += _late_words(services, held, taken_over, after_lease)
        rejected = sleeper.output.read_text(encoding="utf-8", errors="replace").count("the lease has passed")
        for member in cast.members:
            member.end()
        verdict = judge(stage, services, receiver.log, Bounds(duplicates=len(held), copies=2))
        services.store.close()
    if not held or not taken_over:
        faults.append(f"nothing was tried: {len(held)} held, {len(taken_over)} taken over")
    figures = verdict.figures
    return setting.row(
        f"stopped for {2 * _LEASE} s with {len(held)} in hand, {len(taken_over)} taken over, {rejected} late words refused,"
        f" {figures['duplicates']} duplicates, most copies {figures['copies']}",
        [*faults, *verdict.faults],
    )


def _beats(services: Services, process: str) -> bool:
    with services.store.reading() as tx:
        return tx.one(sa.select(t.heartbeat).where(t.heartbeat.c.process == process)) is not None


def _held(services: Services) -> dict[str, int]:
    """通知号 and token of everything on its way through the sleeper."""
    d = t.delivery.c
    with services.store.reading() as tx:
        rows = tx.all(sa.select(d.notice_no, d.token).where(d.state == "sending", d.owner.startswith("sleeper/")))
        return {row.notice_no: row.token for row in rows}


def _held_tokens(services: Services, held: dict[str, int]) -> dict[str, int]:
    d = t.delivery.c
    with services.store.reading() as tx:
        rows = tx.all(sa.select(d.notice_no, d.token).where(d.notice_no.in_(list(held))))
        return {row.notice_no: row.token for row in rows}


def _attempts(services: Services) -> Counter[str]:
    with services.store.reading() as tx:
        return Counter(row.notice_no for row in tx.all(sa.select(t.delivery_attempt.c.notice_no)))


def _late_words(services: Services, held: dict[str, int], taken_over: set[str], before: Counter[str]) -> list[str]:
    """After the sleeper has woken, what others had finished must read as it did."""
    after = _attempts(services)
    moved = [number for number in taken_over if after[number] > max(before[number], 1)]
    found = [f"{number}: {after[number]} attempts recorded" for number in moved]
    d = t.delivery.c
    with services.store.reading() as tx:
        rows = tx.all(sa.select(d.notice_no, d.state, d.attempts).where(d.notice_no.in_(list(held))))
    return found + [f"{row.notice_no} ended as {row.state}" for row in rows if row.state != "sent"]
