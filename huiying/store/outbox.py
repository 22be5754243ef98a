"""The outbox: timed actions that are due, deliveries that want to leave, and what became of them.

Every change of hands is a conditional UPDATE: whoever comes second finds nothing to do. No decision is taken here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.kinds import ActionState, DeliveryState
from huiying.domain.plan import SHANGHAI
from huiying.store import tables as t
from huiying.store.db import Tx
from huiying.store.incidents import count_up
from huiying.store.prepared import Prepared

_A, _D = t.timed_action.c, t.delivery.c
_LIVE = (str(DeliveryState.PENDING), str(DeliveryState.SENDING))
# Written out because the partial indexes are chosen by their words: a bound parameter would hide them.
_PENDING_ACTION = sa.text("timed_action.state = 'pending'")
_LIVE_DELIVERY = sa.text("delivery.state IN ('pending','sending')")


# -- what is due -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outlook:
    """The next moments at which there is something to do, whether anything may be done, and how the runner is."""

    next_action_at: datetime | None
    next_delivery_at: datetime | None
    held: bool
    runner_at: datetime | None = None
    runner_healthy: bool = False


def _one(column: sa.ColumnElement[Any], *where: sa.ColumnElement[bool] | sa.TextClause) -> Any:
    return sa.select(column).where(*where).scalar_subquery()


_RUNNER = t.heartbeat.c.process == sa.bindparam("runner")
_OUTLOOK_QUERY = sa.select(
    _one(sa.func.min(_A.due_at), _PENDING_ACTION).label("next_action_at"),
    _one(sa.func.min(_D.visible_at), _LIVE_DELIVERY).label("next_delivery_at"),
    _one(t.setting.c.value, t.setting.c.key == "dispatch_held").label("held"),
    _one(t.heartbeat.c.at, _RUNNER).label("runner_at"),
    _one(t.heartbeat.c.detail, _RUNNER).label("runner"),
)
_OUTLOOK = Prepared(_OUTLOOK_QUERY)


def outlook(tx: Tx, runner: str = "") -> Outlook:
    """One look at the queues; costs the same with a hundred rows and with a million."""
    row = tx.rows(_OUTLOOK, {"runner": runner})[0]
    healthy = bool((row.runner or {}).get("healthy"))
    return Outlook(row.next_action_at, row.next_delivery_at, bool(row.held), row.runner_at, healthy)


_HELD = Prepared(sa.select(t.setting.c.value).where(t.setting.c.key == "dispatch_held"))


def is_held(tx: Tx) -> bool:
    """True while dispatch is held (after a restore, until somebody has confirmed what had been sent)."""
    return bool(_HELD.value(tx.conn))


#: What deciding about an action and composing its messages needs of it.
ACTION_COLUMNS = (
    _A.id,
    _A.kind,
    _A.incident_id,
    _A.clock_id,
    _A.step_id,
    _A.generation,
    _A.repetition,
    _A.urgency,
    _A.due_at,
    _A.detail,
)
# Asked inside the very statement that takes actions: holding dispatch takes effect between two transactions.
_NOT_HELD = sa.text(
    "NOT EXISTS (SELECT 1 FROM setting WHERE setting.key = 'dispatch_held'"
    " AND setting.value NOT IN ('null', 'false', '{}'))"
)
_DUE = Prepared(
    sa.select(*ACTION_COLUMNS)
    .where(_PENDING_ACTION, _A.due_at <= sa.bindparam("until"), _NOT_HELD)
    .order_by(_A.urgency, _A.due_at, _A.id)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
)
_DUE_OF_CLOCKS = Prepared(
    sa.select(*ACTION_COLUMNS)
    .where(
        _A.clock_id.in_(sa.bindparam("clocks", expanding=True)),
        _A.state == str(ActionState.PENDING),
        _A.due_at <= sa.bindparam("until"),
    )
    .with_for_update(skip_locked=True)
)
_ONE_DUE = Prepared(
    sa.select(*ACTION_COLUMNS)
    .where(_A.id == sa.bindparam("id"), _A.state == str(ActionState.PENDING), _NOT_HELD)
    .with_for_update(skip_locked=True)
)


def due_actions(tx: Tx, until: datetime, most: int) -> list[Any]:
    """Pending actions due by ``until``, most urgent first, locked where the database locks rows; none while held."""
    return tx.rows(_DUE, {"until": until, "most": most})


_ACTIONS = Prepared(sa.select(*ACTION_COLUMNS).where(_A.id.in_(sa.bindparam("ids", expanding=True))))


def actions(tx: Tx, ids: Sequence[int]) -> list[Any]:
    """Actions by id, whatever became of them."""
    return tx.rows(_ACTIONS, {"ids": list(ids)})


def due_beside(tx: Tx, rows: Iterable[Any], until: datetime) -> list[Any]:
    """The other due actions of the same clocks: what is due together is decided together."""
    found = {row.id for row in rows}
    clocks = sorted({row.clock_id for row in rows if row.clock_id is not None})
    if not clocks:
        return []
    return [row for row in tx.rows(_DUE_OF_CLOCKS, {"clocks": clocks, "until": until}) if row.id not in found]


def one_pending(tx: Tx, action_id: int) -> Any | None:
    """That action, if nobody has taken it yet and dispatch is not held."""
    rows = tx.rows(_ONE_DUE, {"id": action_id})
    return rows[0] if rows else None


_FEW = (
    sa.select(_A.id).where(_PENDING_ACTION, _A.due_at <= sa.bindparam("until")).limit(sa.bindparam("most")).subquery()
)
_COUNT_DUE = Prepared(sa.select(sa.func.count()).select_from(_FEW))


def count_due(tx: Tx, until: datetime, most: int) -> int:
    """How many actions are due, counted no further than ``most``."""
    return int(_COUNT_DUE.value(tx.conn, {"until": until, "most": most}))


_FINISH = Prepared(
    t.timed_action.update()
    .where(_A.id == sa.bindparam("key"), _A.state == str(ActionState.PENDING))
    .values(
        state=sa.bindparam("new_state"),
        claimed_at=sa.bindparam("at"),
        done_at=sa.bindparam("at"),
        mode=sa.bindparam("new_mode"),
        owner=sa.bindparam("new_owner"),
        history=sa.bindparam("new_history"),
    )
)


@dataclass(frozen=True, slots=True)
class Finish:
    """The last word on an action."""

    action_id: int
    state: ActionState
    history: str


def finish_actions(tx: Tx, finished: Sequence[Finish], mode: str, owner: str) -> None:
    """Close the actions; all of them must still be pending, which the caller's locks guarantee."""
    if not finished:
        return
    rows = [
        {
            "key": item.action_id,
            "new_state": str(item.state),
            "at": tx.now,
            "new_mode": mode,
            "new_owner": owner,
            "new_history": item.history,
        }
        for item in finished
    ]
    done = tx.change(_FINISH, rows)
    if done not in {len(rows), -1}:
        raise RuntimeError(f"{len(rows) - done} actions changed hands inside our transaction")


def insert_action(tx: Tx, values: dict[str, Any]) -> int | None:
    """Write an action unless one of the same identity exists; gives its id, None when it did."""
    statement = sa.text(
        "INSERT INTO timed_action (dedup_key, kind, incident_id, clock_id, step_id, generation, repetition, urgency,"
        " due_at, state, detail, created_at) VALUES (:dedup_key, :kind, :incident_id, :clock_id, :step_id, :generation,"
        " :repetition, :urgency, :due_at, :state, :detail, :created_at)"
        " ON CONFLICT (dedup_key) DO NOTHING RETURNING id"
    ).bindparams(
        sa.bindparam("due_at", type_=_A.due_at.type),
        sa.bindparam("created_at", type_=_A.created_at.type),
        sa.bindparam("detail", type_=_A.detail.type),
    )
    plain = {
        "incident_id": None,
        "clock_id": None,
        "generation": 1,
        "repetition": 0,
        "state": str(ActionState.PENDING),
        "created_at": tx.now,
    }
    found = tx.run(statement, plain | values).scalar()
    return None if found is None else int(found)


# -- deliveries --------------------------------------------------------------------------------------------------------


def allot_numbers(tx: Tx, count: int) -> list[str]:
    """Fresh 通知号 of the Shanghai day, one after the other."""
    if not count:
        return []
    day = f"{tx.now.astimezone(SHANGHAI):%Y%m%d}"
    last = count_up(tx, f"notice:{day}", count)
    return [f"N-{day}-{number:04d}" for number in range(last - count + 1, last + 1)]


_INSERT_DELIVERIES = Prepared(
    t.delivery.insert(),
    (
        "notice_no",
        "action_id",
        "incident_id",
        "clock_id",
        "person_id",
        "channel_id",
        "role",
        "band",
        "urgency",
        "state",
        "visible_at",
        "owner",
        "token",
        "attempts",
        "created_at",
        "ack_hash",
        "fallback_of",
        "ordinal",
        "detail",
    ),
)


def insert_deliveries(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Write deliveries; every row carries the columns of ``Written``."""
    tx.change(_INSERT_DELIVERIES, rows)


def _visible(excluding: bool) -> sa.Select[Any]:  # noqa: FBT001
    statement = sa.select(t.delivery).where(_LIVE_DELIVERY, _D.visible_at <= sa.bindparam("at"))
    if excluding:
        statement = statement.where(_D.channel_id.not_in(sa.bindparam("closed", expanding=True)))
    statement = statement.order_by(_D.urgency, _D.visible_at, _D.notice_no)
    return statement.limit(sa.bindparam("most")).with_for_update(skip_locked=True)


_VISIBLE, _VISIBLE_ELSEWHERE = Prepared(_visible(excluding=False)), Prepared(_visible(excluding=True))


def visible_deliveries(tx: Tx, most: int, closed: Sequence[str] = ()) -> list[Any]:
    """Deliveries anybody may claim now, most urgent first, leaving out these channels."""
    if closed:
        return tx.rows(_VISIBLE_ELSEWHERE, {"at": tx.now, "most": most, "closed": list(closed)})
    return tx.rows(_VISIBLE, {"at": tx.now, "most": most})


def waiting_on(tx: Tx, channel_id: str, most: int) -> list[Any]:
    """Deliveries of one channel that anybody may claim now."""
    statement = (
        sa.select(t.delivery)
        .where(_LIVE_DELIVERY, _D.channel_id == channel_id, _D.visible_at <= tx.now)
        .order_by(_D.urgency, _D.visible_at, _D.notice_no)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return tx.all(statement)


def pending_on(tx: Tx, channel_id: str, most: int) -> list[Any]:
    """Deliveries of one channel that nobody holds, whether they may be claimed now or later."""
    statement = (
        sa.select(t.delivery)
        .where(_LIVE_DELIVERY, _D.state == str(DeliveryState.PENDING), _D.channel_id == channel_id)
        .order_by(_D.urgency, _D.notice_no)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return tx.all(statement)


def one_delivery(tx: Tx, notice_no: str) -> Any | None:
    """That delivery if it is still to be sent, locked."""
    statement = sa.select(t.delivery).where(_D.notice_no == notice_no, _D.state.in_(_LIVE))
    return tx.one(statement.with_for_update(skip_locked=True))


_CLAIM = Prepared(
    t.delivery.update()
    .where(_D.notice_no == sa.bindparam("key"), _D.token == sa.bindparam("old_token"), _LIVE_DELIVERY)
    .values(
        state=str(DeliveryState.SENDING),
        token=_D.token + 1,
        owner=sa.bindparam("new_owner"),
        visible_at=sa.bindparam("until"),
        detail=sa.bindparam("new_detail"),
    )
)


def claim(tx: Tx, rows: Sequence[tuple[str, int, dict[str, Any]]], owner: str, until: datetime) -> None:
    """Take deliveries: (通知号, token seen, detail to keep). The token grows, so that an older holder cannot finish."""
    tx.change(
        _CLAIM,
        [
            {"key": number, "old_token": token, "new_owner": owner, "until": until, "new_detail": detail}
            for number, token, detail in rows
        ],
    )


def claimed_still(tx: Tx, numbers: Sequence[str]) -> dict[str, Any]:
    """The deliveries of these numbers as they stand, locked: token, state, attempts and what a fallback needs."""
    if not numbers:
        return {}
    return {row.notice_no: row for row in tx.rows(_STILL, {"numbers": list(numbers)})}


_STILL = Prepared(
    sa.select(t.delivery)
    .where(_D.notice_no.in_(sa.bindparam("numbers", expanding=True)))
    .order_by(_D.notice_no)
    .with_for_update()
)
_RECORD = Prepared(
    t.delivery.update()
    .where(_D.notice_no == sa.bindparam("key"), _D.token == sa.bindparam("held_token"))
    .values(
        state=sa.bindparam("new_state"),
        visible_at=sa.bindparam("new_visible_at"),
        owner="",
        attempts=sa.bindparam("new_attempts"),
        outcome=sa.bindparam("new_outcome"),
        reason=sa.bindparam("new_reason"),
        provider_id=sa.bindparam("new_provider_id"),
        first_sent_at=sa.func.coalesce(_D.first_sent_at, sa.bindparam("new_sent_at")),
        sent_at=sa.bindparam("new_sent_at"),
        detail=sa.bindparam("new_detail"),
    )
)


_ATTEMPTS = Prepared(
    t.delivery_attempt.insert(),
    ("notice_no", "number", "started_at", "ended_at", "outcome", "code", "reason", "mode"),
)


_ARRIVED = Prepared(
    t.delivery.update()
    .where(_D.notice_no == sa.bindparam("key"))
    .values(
        state=sa.bindparam("new_state"),
        visible_at=sa.bindparam("at"),
        owner="",
        attempts=1,
        outcome=sa.bindparam("new_outcome"),
        first_sent_at=sa.bindparam("at"),
        sent_at=sa.bindparam("at"),
    )
)


def record_arrived(tx: Tx, rows: Sequence[dict[str, Any]], attempts: Sequence[dict[str, Any]]) -> None:
    """Write that deliveries made in this very transaction have arrived at their first attempt."""
    tx.change(_ARRIVED, rows)
    tx.change(_ATTEMPTS, attempts)


def record(tx: Tx, rows: Sequence[dict[str, Any]], attempts: Sequence[dict[str, Any]]) -> None:
    """Write outcomes and attempts; only the holder of the present token changes anything."""
    tx.change(_RECORD, rows)
    tx.change(_ATTEMPTS, attempts)


_RELEASE = Prepared(
    t.delivery.update()
    .where(
        _D.notice_no == sa.bindparam("key"),
        _D.token == sa.bindparam("held_token"),
        _D.state == str(DeliveryState.SENDING),
    )
    .values(state=str(DeliveryState.PENDING), owner="", visible_at=sa.bindparam("new_visible_at"))
)


def release(tx: Tx, rows: Sequence[tuple[str, int, datetime]]) -> None:
    """Give claimed deliveries back unsent: (通知号, token, visible again at)."""
    tx.change(_RELEASE, [{"key": no, "held_token": token, "new_visible_at": at} for no, token, at in rows])


#: What may have arrived already and is lost once more: a process that dies again and again repeats it once a minute.
LOST_AGAIN_WAITS = timedelta(seconds=60)
# A resend says so in its detail, which is JSON with its keys in order and without spaces.
_MAY_HAVE_ARRIVED = sa.type_coerce(_D.detail, sa.Text).like('%"resend":true%')


def release_owned_before(tx: Tx, process: str, owner: str) -> int:
    """A process that starts voids what its former lives were holding; a lease need not run out for that."""
    instant = _D.visible_at.type
    again = sa.case(
        (_MAY_HAVE_ARRIVED, sa.literal(tx.now + LOST_AGAIN_WAITS, instant)), else_=sa.literal(tx.now, instant)
    )
    statement = (
        t.delivery.update()
        .where(_LIVE_DELIVERY, _D.state == str(DeliveryState.SENDING))
        .where(_D.owner.startswith(f"{process}/", autoescape=True), _D.owner != owner)
        .values(visible_at=again)
    )
    return int(tx.run(statement).rowcount)


def postpone(tx: Tx, numbers: Sequence[str], until: datetime) -> None:
    """Look at these pending deliveries again later."""
    if numbers:
        tx.run(
            t.delivery.update()
            .where(_D.notice_no.in_(list(numbers)), _D.state == str(DeliveryState.PENDING))
            .values(visible_at=until)
        )


def clamp_waits(tx: Tx, latest: datetime) -> None:
    """No pending delivery waits beyond this: a set-back clock would keep it for hours."""
    tx.run(
        t.delivery.update()
        .where(_LIVE_DELIVERY, _D.state == str(DeliveryState.PENDING), _D.visible_at > latest)
        .values(visible_at=tx.now)
    )


def close_deliveries(tx: Tx, numbers: Sequence[str], state: DeliveryState, reason: str, bundle_no: str = "") -> None:
    """End deliveries without an attempt: superseded, or carried by another."""
    if not numbers:
        return
    values: dict[str, Any] = {"state": str(state), "owner": "", "reason": reason}
    if bundle_no:
        values["bundle_no"] = bundle_no
    tx.run(t.delivery.update().where(_D.notice_no.in_(list(numbers)), _D.state.in_(_LIVE)).values(**values))


def of_action(tx: Tx, action_ids: Sequence[int]) -> list[Any]:
    """Every delivery of these actions, whatever became of it."""
    columns = (_D.notice_no, _D.action_id, _D.person_id, _D.channel_id, _D.state)
    return tx.all(sa.select(*columns).where(_D.action_id.in_(list(action_ids))))


_DELIVERIES = Prepared(
    sa.select(t.delivery)
    .where(_D.notice_no.in_(sa.bindparam("numbers", expanding=True)))
    .order_by(_D.urgency, _D.notice_no)
)


def deliveries(tx: Tx, numbers: Sequence[str]) -> list[Any]:
    """These deliveries, most urgent first."""
    if not numbers:
        return []
    return tx.rows(_DELIVERIES, {"numbers": list(numbers)})


_INSERT_INBOX = Prepared(t.inbox_message.insert(), ("notice_no", "person_id", "subject", "text", "created_at", "drill"))


def insert_inbox(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Put messages into people's inboxes."""
    tx.change(_INSERT_INBOX, rows)


_C = t.channel.c
_BREAKERS = Prepared(
    sa.select(_C.id, _C.failures, _C.parked_until, _C.parked_reason).where(
        _C.id.in_(sa.bindparam("ids", expanding=True))
    )
)


def breakers(tx: Tx, channel_ids: Sequence[str]) -> list[Any]:
    """How often in a row these channels have failed, and whether they are parked."""
    return tx.rows(_BREAKERS, {"ids": list(channel_ids)})


# -- the ledger of rate-limited robots ---------------------------------------------------------------------------------


def recent_sends(tx: Tx, channel_id: str, since: datetime) -> list[datetime]:
    """When this robot's window was used, by whichever process."""
    ledger = t.channel_send.c
    statement = sa.select(ledger.sent_at).where(ledger.channel_id == channel_id, ledger.sent_at > since)
    return [row.sent_at for row in tx.all(statement)]


def note_sends(tx: Tx, channel_id: str, count: int) -> None:
    """Use up places in the robot's window; failed posts count, because vendors count them."""
    if count:
        tx.run(t.channel_send.insert(), [{"channel_id": channel_id, "sent_at": tx.now}] * count)


def lock_channel(tx: Tx, channel_id: str) -> Any:
    """The channel's row, locked: two processes must not use the same place of a window."""
    return tx.one(sa.select(t.channel).where(t.channel.c.id == channel_id).with_for_update())


def sweep_ledger(tx: Tx, before: datetime) -> None:
    """Forget sendings that no window sees any more, and those that a set-back clock left in the future."""
    ledger = t.channel_send.c
    tx.run(t.channel_send.delete().where(sa.or_(ledger.sent_at < before, ledger.sent_at > tx.now)))


def rehearse(tx: Tx) -> None:
    """Run every frequent statement once on nothing, so that the first due action finds them compiled."""
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    outlook(tx)
    due_actions(tx, long_ago, 1)
    tx.change(_FINISH, [{"key": 0, "new_state": "", "at": tx.now, "new_mode": "", "new_owner": "", "new_history": ""}])
    claimed_still(tx, ["-"])
    nothing = {"key": "-", "held_token": -1, "new_state": "", "new_visible_at": tx.now, "new_attempts": 0}
    nothing |= {"new_outcome": "", "new_reason": "", "new_provider_id": "", "new_sent_at": None, "new_detail": {}}
    tx.change(_RECORD, [nothing])
