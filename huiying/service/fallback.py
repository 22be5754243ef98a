"""Another way for what a channel will not carry: at once, to the same people, and never into silence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from huiying.domain.kinds import Band, ChannelKind, DeliveryState, Role
from huiying.domain.roster import UNASSIGNED, Addressee
from huiying.domain.routes import Failed, Route, fall_back
from huiying.domain.sentences import said
from huiying.service.drafts import Draft, write_drafts
from huiying.service.services import Services
from huiying.service.sources import Sources
from huiying.store import outbox, scenes

_GIVEN_UP = {str(DeliveryState.FAILED), str(DeliveryState.DEAD), str(DeliveryState.SUPERSEDED)}

_NOBODY_IS_CALLED = frozenset({ChannelKind.INBOX, ChannelKind.CONSOLE})


@dataclass
class Fallen:
    """The outcome: which deliveries found another way (or need none), and for which nothing is left."""

    rerouted: set[str] = field(default_factory=set)
    stranded: set[str] = field(default_factory=set)


class Rerouting:
    """Plans other ways for failed deliveries within one transaction; nothing is written before ``write``."""

    def __init__(self, services: Services, sources: Sources, rows: Sequence[Any]) -> None:
        self._services = services
        self._sources = sources
        self._drafts: list[Draft] = []
        tx = sources.tx
        members = outbox.deliveries(tx, [no for row in rows for no in row.detail.get("bundle", ())])
        self._members = {row.notice_no: row for row in members}
        everything = [*rows, *members]
        sources.need_actions(row.action_id for row in everything)
        sources.need_matters((row.incident_id for row in everything), (row.clock_id for row in everything))
        sources.need_units(sources.actions[row.action_id].detail.get("unit") for row in everything)
        sources.need_people(_people_of(everything))
        self._pairs: dict[int, dict[tuple[str, str], str]] = {}
        for row in outbox.of_action(tx, sorted({row.action_id for row in everything})):
            self._pairs.setdefault(row.action_id, {})[row.person_id, row.channel_id] = row.state

    def plan(self, row: Any, reason: str, *, waits: bool = False) -> bool:
        """Look for other ways for this delivery and all it carries; False when there is none and nobody was reached.

        ``waits``: without another way it stays and leaves later, so that a group is no reason to give it up.
        """
        carried = [row, *(self._members[no] for no in row.detail.get("bundle", ()) if no in self._members)]
        found = [self._plan_one(item, row.channel_id, reason, waits=waits) for item in carried]
        return all(found)

    def _plan_one(self, row: Any, channel_id: str, reason: str, *, waits: bool) -> bool:
        pairs = self._pairs.setdefault(row.action_id, {})
        pairs[row.person_id, row.channel_id] = str(DeliveryState.FAILED)
        reached = self._reached(pairs)
        failed = Failed(row.person_id, row.channel_id, row.role, _addressees(row))
        routes = fall_back(failed, pairs.keys(), reached, self._ways(row), self._sources.tx.now)
        if waits and row.person_id:
            routes = tuple(route for route in routes if route.person_id)
        channel = self._sources.channels.get(channel_id)
        told = said("前一渠道「%(name)s」未送达", name=channel.name if channel is not None else channel_id)
        for route in routes:
            pairs[route.person_id, route.channel_id] = str(DeliveryState.PENDING)
            # Why a person's channel refused may hold their address: a group is not told.
            into_a_group = bool(row.person_id) and not route.person_id
            self._drafts.append(self._draft(row, route, told if into_a_group else f"{told}：{reason}"))
        return bool(routes) or self._is_covered(row, pairs, reached)

    def _is_covered(self, row: Any, pairs: dict[tuple[str, str], str], reached: set[str]) -> bool:
        """Nothing more is needed where the same people still hear of it on another channel than the inbox."""
        if row.person_id:
            return row.person_id in reached
        robots = any(not person and state not in _GIVEN_UP for (person, _), state in pairs.items())
        return robots or any(person in reached for person, _ in row.detail.get("people", ()))

    def _reached(self, pairs: dict[tuple[str, str], str]) -> set[str]:
        # The inbox is always there and a console reaches nobody: neither is another way to a person.
        inboxes = {key for key, row in self._sources.channels.items() if row.kind in _NOBODY_IS_CALLED}
        return {
            person for (person, channel), state in pairs.items() if channel not in inboxes and state not in _GIVEN_UP
        }

    def _ways(self, row: Any) -> Any:
        sources = self._sources
        incident, clock = sources.incidents.get(row.incident_id or 0), sources.clocks.get(row.clock_id or 0)
        unit = sources.unit_of(incident, clock) or sources.actions[row.action_id].detail.get("unit")
        return sources.ways(sources.chain(unit))

    def _draft(self, row: Any, route: Route, told: str) -> Draft:
        kept = {key: row.detail[key] for key in ("clocks", "events") if key in row.detail}
        detail = {**kept, "previous_failed": told}
        return Draft(row.action_id, row.incident_id, row.clock_id, route, Band(row.band), detail, row.notice_no)

    def strand(self, row: Any, reason: str) -> None:
        """Nothing is left for this delivery: the administrators' inboxes are told, and the chain keeps it."""
        tx, inbox = self._sources.tx, self._inbox()
        tx.audit(
            "delivery.undeliverable",
            f"delivery:{row.notice_no}",
            {"notice": row.notice_no, "channel": row.channel_id, "action": row.action_id, "reason": reason},
        )
        pairs = self._pairs.setdefault(row.action_id, {})
        for person in scenes.administrators(tx) or (UNASSIGNED,):
            if inbox is not None and (person, inbox) not in pairs:
                pairs[person, inbox] = str(DeliveryState.PENDING)
                told = f"通知 {row.notice_no} 未能送达任何渠道，请用电话告知：{reason}"
                self._drafts.append(self._draft(row, Route(person, inbox, ""), told))

    def _inbox(self) -> str | None:
        return next((key for key, row in self._sources.channels.items() if row.kind == ChannelKind.INBOX), None)

    def write(self) -> int:
        """Write the deliveries that were planned; gives their number."""
        return len(write_drafts(self._services, self._sources, self._drafts))


def _people_of(rows: Iterable[Any]) -> Iterable[str]:
    for row in rows:
        yield row.person_id
        for person, _ in row.detail.get("people", ()):
            yield person


def _addressees(row: Any) -> tuple[Addressee, ...]:
    return tuple(Addressee(person, Role(role) if role else None) for person, role in row.detail.get("people", ()))


def reroute(services: Services, sources: Sources, rows: Sequence[tuple[Any, str]], *, keep: bool) -> Fallen:
    """Give up these waiting deliveries (row, reason) and take other ways.

    ``keep``: what has no other way stays where it is and waits; otherwise the administrators are told.
    """
    fallen = Fallen()
    if not rows:
        return fallen
    routing = Rerouting(services, sources, [row for row, _ in rows])
    by_reason: dict[str, list[str]] = {}
    for row, reason in rows:
        if routing.plan(row, reason, waits=keep):
            fallen.rerouted.add(row.notice_no)
            by_reason.setdefault(reason, []).append(row.notice_no)
        else:
            fallen.stranded.add(row.notice_no)
            if not keep:
                routing.strand(row, reason)
                by_reason.setdefault(reason, []).append(row.notice_no)
    for reason, numbers in by_reason.items():
        outbox.close_deliveries(sources.tx, numbers, DeliveryState.FAILED, reason)
    if by_reason:
        sources.tx.audit("deliveries.rerouted", "deliveries", {"notices": by_reason})
    routing.write()
    return fallen
