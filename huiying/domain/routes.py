"""Which way a message takes to which person, and which other way when that one fails.

Everybody's inbox always gets it. Beyond that a step asks for classes of channels; of the channels that serve the
incident's unit those of the best rank carry it, the others are the fallback. What is overdue takes every channel.
Leaders are informed in person, never in a group; but where nobody at all can be reached in person the group hears of it
as a last resort, without a name. A drill never leaves the house.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from huiying.domain.kinds import Audience, Band, ChannelKind, Role
from huiying.domain.retry import SHORT_WAIT
from huiying.domain.roster import UNASSIGNED, Addressee

PHONE_MISSING = "电话短信渠道未配置"
NOBODY_IN_PERSON = "无人可由个人渠道送达，改发工作群"


@dataclass(frozen=True, slots=True)
class Way:
    """A configured channel as far as choosing needs to know it; ``unit_id`` None serves everybody."""

    channel_id: str
    kind: ChannelKind
    audience: Audience
    unit_id: str | None = None
    rank: int = 100
    name: str = ""
    parked_until: datetime | None = None

    def is_out(self, now: datetime) -> bool:
        """True while the channel is known to be unusable for longer than a message can wait."""
        return self.parked_until is not None and self.parked_until - now > SHORT_WAIT


@dataclass(frozen=True, slots=True)
class Reach:
    """What is known of a person's addresses: an e-mail address, and the channels with a user id of theirs."""

    email: bool = False
    im: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Route:
    """One delivery to be made. A group robot's ``person_id`` is empty; ``people`` are those it stands for."""

    person_id: str
    channel_id: str
    role: str
    people: tuple[Addressee, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ways:
    """The channels that serve a unit, best rank first, and how its people can be reached."""

    ways: tuple[Way, ...]
    reach: Mapping[str, Reach]

    def of(self, audience: Audience) -> list[Way]:
        """The channels of one class."""
        return [way for way in self.ways if way.audience is audience and way.kind is not ChannelKind.INBOX]

    @property
    def inbox(self) -> Way | None:
        """The inbox of the house; always there once a channel of that kind exists."""
        return next((way for way in self.ways if way.kind is ChannelKind.INBOX), None)

    def personal(self, person_id: str) -> list[Way]:
        """The personal channels on which this person has an address."""
        if person_id == UNASSIGNED:
            return []
        return [way for way in self.of(Audience.PERSONAL) if _has_address(way, self.reach.get(person_id, Reach()))]

    def in_person(self, person_id: str) -> list[Way]:
        """The personal channels behind which there is somebody: a console stands in the server's room."""
        return [way for way in self.personal(person_id) if way.kind is not ChannelKind.CONSOLE]

    def robots(self, now: datetime) -> list[Way]:
        """The group channels that can be used now."""
        return [way for way in self.of(Audience.GROUP) if not way.is_out(now)]


def serving(ways: Iterable[Way], chain: Sequence[str]) -> tuple[Way, ...]:
    """The channels that serve a unit: its own, those of the units above it and those of everybody, best rank first."""
    found = [way for way in ways if way.unit_id is None or way.unit_id in chain]
    return tuple(sorted(found, key=lambda way: (way.rank, way.channel_id)))


def _has_address(way: Way, reach: Reach) -> bool:
    if way.kind is ChannelKind.EMAIL:
        return reach.email
    if way.kind in {ChannelKind.WEBHOOK, ChannelKind.CONSOLE}:
        return True
    return way.channel_id in reach.im


def _best(ways: list[Way], band: Band, now: datetime) -> list[Way]:
    """All of the best rank that is not out; everything for what is overdue; parked ones only when nothing else is left."""
    usable = [way for way in ways if not way.is_out(now)] or ways
    if band is Band.OVERDUE or not usable:
        return usable
    return [way for way in usable if way.rank == usable[0].rank]


def choose(
    roles: Collection[Role],
    people: Sequence[Addressee],
    audience: Collection[Audience],
    band: Band,
    ways: Ways,
    now: datetime,
    *,
    drill: bool = False,
) -> tuple[Route, ...]:
    """All deliveries of a step: inboxes, personal channels and group robots, each pair once.

    There is no telephone channel yet: a step that asks for one takes every other class and says so.
    """
    routes = [Route(a.person_id, ways.inbox.channel_id, str(a.role or "")) for a in people if ways.inbox is not None]
    if drill:
        return tuple(routes)
    note = PHONE_MISSING if Audience.PHONE in audience else ""
    grouped: list[Route] = []
    if (Audience.GROUP in audience or note) and any(not role.is_leader for role in roles):
        grouped = _group_routes(people, ways, band, now, note)
    if Audience.PERSONAL in audience or note or not grouped:
        routes += _personal_routes(people, ways, band, now, note)
    if roles and not grouped and not reaches_somebody(people, ways, now):
        told = "；".join(text for text in (note, NOBODY_IN_PERSON) if text)
        grouped = _group_routes(people, ways, band, now, told)
    return (*routes, *grouped)


def reaches_somebody(people: Collection[Addressee], ways: Ways, now: datetime) -> bool:
    """Whether one of these can be told in person at this moment, outside the house; stand-ins only where nobody else is."""
    meant = [addressee for addressee in people if not addressee.stand_in] or list(people)
    return any(not way.is_out(now) for addressee in meant for way in ways.in_person(addressee.person_id))


def _group_routes(people: Sequence[Addressee], ways: Ways, band: Band, now: datetime, note: str) -> list[Route]:
    """A group is told even while nobody is on the roster: somebody reads it."""
    addressed = tuple(a for a in people if not a.stand_in and a.role is not None and not a.role.is_leader)
    return [Route("", way.channel_id, "", addressed, note) for way in _best(ways.robots(now), band, now)]


def _personal_routes(people: Sequence[Addressee], ways: Ways, band: Band, now: datetime, note: str) -> list[Route]:
    alone = all(a.stand_in for a in people)
    return [
        Route(a.person_id, way.channel_id, str(a.role or ""), (), note)
        for a in people
        if alone or not a.stand_in
        for way in _best(ways.personal(a.person_id), band, now)
    ]


@dataclass(frozen=True, slots=True)
class Failed:
    """A delivery that will not arrive, as the fallback needs to know it."""

    person_id: str
    channel_id: str
    role: str
    people: tuple[Addressee, ...] = ()


def fall_back(
    failed: Failed, used: Collection[tuple[str, str]], reached: Collection[str], ways: Ways, now: datetime
) -> tuple[Route, ...]:
    """The other ways of one action after a delivery failed for good; empty when nothing is left.

    ``used`` are all (person, channel) pairs of the action, ``reached`` the people another channel than the inbox still
    carries it to ("" for a group). A person's message goes to their next personal channel and, where nobody is left
    whom it reaches, to a group as a last resort; a robot's to the next robot, else to the personal channels of the
    people it stood for.
    """
    robots = [way for way in ways.robots(now) if ("", way.channel_id) not in used]
    if failed.person_id:
        found = _next_personal(failed.person_id, failed.role, used, ways, now)
        if found or reached or not failed.role:
            return found
        return tuple(Route("", way.channel_id, "", (), NOBODY_IN_PERSON) for way in robots[:1])
    if robots:
        return (Route("", robots[0].channel_id, "", failed.people),)
    routes: list[Route] = []
    for person in failed.people:
        if person.person_id not in reached:
            routes += _next_personal(person.person_id, str(person.role or ""), used, ways, now)
    return tuple(routes)


def _next_personal(
    person_id: str, role: str, used: Collection[tuple[str, str]], ways: Ways, now: datetime
) -> tuple[Route, ...]:
    left = [way for way in ways.personal(person_id) if (person_id, way.channel_id) not in used]
    left.sort(key=lambda way: way.is_out(now))
    return (Route(person_id, left[0].channel_id, role),) if left else ()
