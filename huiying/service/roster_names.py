"""Units and people as a roster names them: by id, by name, or by both as the screens write them, 张三(zhang).

A name that several bear is never guessed: the refusal says whom it could mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from huiying.domain.errors import InvalidInput
from huiying.domain.sentences import Sentence, listed, said
from huiying.service.actor import Actor
from huiying.service.scope import visible_units
from huiying.store import tables as t
from huiying.store.db import Tx

_BOTH = re.compile(r"(?P<name>.+?)\s*[（(](?P<id>[A-Za-z0-9._-]+)[）)]")
_MOST_NAMED = 6


@dataclass(frozen=True, slots=True)
class Names:
    """Every unit and every person in use, ids before names; names are looked for where the actor may look."""

    units: Mapping[str, str]
    people: Mapping[str, tuple[str, str]]  # name and unit by id
    seen: frozenset[str]  # units in whose names, and in whose people's names, the actor may look
    closed: frozenset[str]

    def unit(self, text: str) -> str:
        """The id of a unit; refused when there is none or more than one."""
        if text in self.units:
            return text
        both = _BOTH.fullmatch(text)
        if both and self.units.get(both["id"]) == both["name"]:
            return both["id"]
        found = [key for key, name in self.units.items() if text and name == text and key in self.seen - self.closed]
        if not found:
            raise InvalidInput("unit_id", said("没有编号或名称为「%(name)s」的单位。", name=text[:64]))
        if len(found) > 1:
            raise InvalidInput(
                "unit_id",
                said("名为「%(name)s」的单位不止一个：%(found)s。请改写编号。", name=text[:64], found=_some(found)),
            )
        return found[0]

    def person(self, text: str) -> str:
        """The id of a person in use; refused when there is none or more than one."""
        if text in self.people:
            return text
        both = _BOTH.fullmatch(text)
        if both and self.people.get(both["id"], ("", ""))[0] == both["name"]:
            return both["id"]
        found = [key for key, (name, unit_id) in self.people.items() if text and name == text and unit_id in self.seen]
        if not found:
            raise InvalidInput("person_id", said("没有编号或姓名为「%(name)s」的在用人员。", name=text[:64]))
        if len(found) > 1:
            named = [f"{key}（{self.units.get(self.people[key][1], '')}）" for key in found]
            raise InvalidInput(
                "person_id",
                said("名为「%(name)s」的人员不止一个：%(found)s。请改写编号。", name=text[:64], found=_some(named)),
            )
        return found[0]


def _some(found: list[str]) -> Sentence:
    named = listed(found[:_MOST_NAMED])
    return said("%(names)s等", names=named) if len(found) > _MOST_NAMED else named


def read_names(tx: Tx, actor: Actor) -> Names:
    """What a table may name at this moment."""
    unit, person = t.unit.c, t.person.c
    units = tx.all(sa.select(unit.id, unit.name, unit.active).order_by(unit.id))
    seen = visible_units(tx, actor)
    people = tx.all(sa.select(person.id, person.name, person.unit_id).where(person.active).order_by(person.id))
    return Names(
        {row.id: row.name for row in units},
        {row.id: (row.name, row.unit_id) for row in people},
        frozenset(row.id for row in units) if seen is None else seen,
        frozenset(row.id for row in units if not row.active),
    )
