"""One of several channels takes every message and never answers: the others do not notice."""

from __future__ import annotations

import time

import sqlalchemy as sa

from huiying.service.services import Services
from huiying.store import tables as t
from tests.trials.judge import drain, share
from tests.trials.processes import Cast, wait_until
from tests.trials.receiver import Faults, Receiver
from tests.trials.setting import Setting
from tests.trials.stage import add_hook, furnish, staged
from tests.trials.table import Row

_OTHERS = ("h2", "h3", "h4", "h5", "h6")
_HUNG = "h1"
_LONGEST_P95 = 5.0


def hanging_channel(setting: Setting) -> Row:
    """Six personal channels; first all are well, then one hangs."""
    seconds = 60.0 if setting.is_long else 14.0
    with Receiver() as receiver, staged(setting.folder) as stage, Cast(stage) as cast:
        furnish(stage, None)
        services = stage.services()
        for name in (_HUNG, *_OTHERS):
            add_hook(services, name, f"http://127.0.0.1:{receiver.port}/{name}")
        engine = cast.engine().start()
        load = ("--pause", "0.6", "--seed", str(setting.seed), "--shortest", "2", "--longest", "4", "--tasks", "0")
        cast.registrar("desk", *load).start()
        wait_until(lambda: bool(receiver.log.posts), 30.0)
        time.sleep(seconds / 2)
        well = _late(services, receiver, 0.0, _OTHERS)
        setting.say(f"one channel hangs from now on; so far p95 {share(well, 0.95):.2f} s")
        receiver.faults = Faults(hang=f"/{_HUNG}")
        since = time.time()
        time.sleep(seconds)
        cast.members[-1].kill()
        failures, parked = _breaker(services)
        ill = _late(services, receiver, since, _OTHERS)
        hung = sum(post.answer == "hung" for post in list(receiver.log.posts))
        receiver.faults = Faults()
        open_elsewhere = _wait_for_others(services)
        if setting.is_long:
            drain(services, 120.0, soon=5.0)
        code = engine.end()
        services.store.close()
    faults = []
    if not ill or share(ill, 0.95) > _LONGEST_P95:
        faults.append(f"the other channels were late: p95 {share(ill, 0.95):.2f} s over {len(ill)} messages")
    if not hung:
        faults.append("nothing was tried: no message met the hanging channel")
    if not parked:
        faults.append(f"the breaker did not open after {failures} failures")
    if open_elsewhere:
        faults.append(f"{open_elsewhere} messages of other channels were not settled")
    if code:
        faults.append(f"the engine ended with {code}")
    return setting.row(
        f"{len(_OTHERS)} others: p95 {share(well, 0.95):.2f} s before, {share(ill, 0.95):.2f} s while one hangs"
        f" ({len(ill)} messages, worst {ill[-1] if ill else 0:.2f} s); {hung} posts hung, then parked: {parked}",
        faults,
    )


def _late(services: Services, receiver: Receiver, since: float, channels: tuple[str, ...]) -> list[float]:
    """Seconds from due to arrival on these channels for what fell due after ``since``."""
    with services.store.reading() as tx:
        rows = tx.all(
            sa.select(t.delivery.c.notice_no, t.timed_action.c.due_at)
            .join(t.timed_action, t.timed_action.c.id == t.delivery.c.action_id)
            .where(t.delivery.c.channel_id.in_(channels))
        )
    due = {row.notice_no: row.due_at.timestamp() for row in rows if row.due_at.timestamp() >= since}
    return sorted(post.at - due[post.notice_no] for post in receiver.log.taken() if post.notice_no in due)


def _breaker(services: Services) -> tuple[int, bool]:
    with services.store.reading() as tx:
        row = tx.one(sa.select(t.channel).where(t.channel.c.id == _HUNG))
        return (0, False) if row is None else (row.failures, row.parked_until is not None)


def _wait_for_others(services: Services) -> int:
    """What is unsettled on the healthy channels after a moment."""

    def unsettled() -> int:
        d = t.delivery.c
        with services.store.reading() as tx:
            waiting = sa.select(sa.func.count()).select_from(t.delivery)
            return int(tx.value(waiting.where(d.state.in_(("pending", "sending")), d.channel_id.in_(_OTHERS))))

    wait_until(lambda: not unsettled(), 10.0)
    return unsettled()
