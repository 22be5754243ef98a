"""Who is on duty: the shift of that moment first, else the standing duty, walking up the unit tree.

Resolved when an action falls due, never earlier: a reminder planned before the shift change reaches the new shift.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from huiying.domain.kinds import Role

#: Stands for "nobody": the message waits in this inbox, which administrators see.
UNASSIGNED = "unassigned"
_DEEPEST_TREE = 64


@dataclass(frozen=True, slots=True)
class Duty:
    """A standing duty of a person in a unit."""

    person_id: str
    role: Role
    unit_id: str


@dataclass(frozen=True, slots=True)
class Shift:
    """A person's turn; ``ends_at`` is exclusive, so that the next shift takes over at that very moment."""

    person_id: str
    role: Role
    unit_id: str
    starts_at: datetime
    ends_at: datetime

    def covers(self, at: datetime) -> bool:
        """Tell whether the shift is on at that moment."""
        return self.starts_at <= at < self.ends_at


@dataclass(frozen=True, slots=True)
class Roster:
    """Active people's duties and shifts, and who administers the system; in the order the operator entered them."""

    duties: Sequence[Duty] = ()
    shifts: Sequence[Shift] = ()
    administrators: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Addressee:
    """A person a message is meant for, with the role that brought them here.

    ``stand_in``: an administrator who only hears of it because a role is vacant.
    """

    person_id: str
    role: Role | None
    stand_in: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    """Whom a step reaches; ``missing`` are the roles nobody holds anywhere up the tree."""

    people: tuple[Addressee, ...]
    missing: tuple[Role, ...] = ()


def unit_chain(parents: Mapping[str, str | None], unit_id: str) -> tuple[str, ...]:
    """The unit and everything above it, nearest first; a loop in the data ends the walk."""
    chain: list[str] = []
    current: str | None = unit_id
    while current is not None and current not in chain and len(chain) < _DEEPEST_TREE:
        chain.append(current)
        current = parents.get(current)
    return tuple(chain)


def on_duty(roster: Roster, role: Role, chain: Sequence[str], at: datetime) -> tuple[str, ...]:
    """The people who hold a role for a unit at that moment; empty when nobody does, all the way up."""
    for unit_id in chain:
        turn = [s.person_id for s in roster.shifts if s.role is role and s.unit_id == unit_id and s.covers(at)]
        if turn:
            return tuple(dict.fromkeys(turn))
        standing = [d.person_id for d in roster.duties if d.role is role and d.unit_id == unit_id]
        if standing:
            return tuple(dict.fromkeys(standing))
    return ()


def call(roster: Roster, roles: Iterable[Role], named: Iterable[str], chain: Sequence[str], at: datetime) -> Called:
    """Everybody a step speaks to: people named outright, then each role; one message per person.

    Whoever holds several of the roles is addressed by the highest, so that a leader never hears of it in a group only
    because of also being the liaison. When a role is vacant the administrators are told in its place.
    """
    people: dict[str, Role | None] = dict.fromkeys(named)
    missing = []
    for role in sorted(roles, key=lambda role: not role.is_leader):
        holders = on_duty(roster, role, chain, at)
        if not holders:
            missing.append(role)
        for person_id in holders:
            people.setdefault(person_id, role)
    found = [Addressee(person_id, role) for person_id, role in people.items()]
    if missing or not people:
        others = [person_id for person_id in roster.administrators or (UNASSIGNED,) if person_id not in people]
        found += [Addressee(person_id, None, stand_in=True) for person_id in others]
    return Called(tuple(found), tuple(missing))
