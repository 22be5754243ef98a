"""Everything one transaction reads to decide and to compose, each row once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from huiying.domain.compose import Ground
from huiying.domain.errors import NotFound
from huiying.domain.expansion import Ack, Action, ClockView, IncidentView, Scene, Step
from huiying.domain.kinds import ClockState, EventKind, IncidentState, Role
from huiying.domain.roster import Roster, unit_chain
from huiying.domain.routes import Ways, serving
from huiying.service.rulebook import pack_of
from huiying.store import outbox, scenes
from huiying.store.db import Tx

_NO_REPOST = "no_repost"


class Sources:
    """The rows of one transaction by key. ``need_*`` reads what is missing; the rest only looks up."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.actions: dict[int, Any] = {}
        self.incidents: dict[int, Any] = {}
        self.clocks: dict[int, Any] = {}
        self.people: dict[str, Any] = {}
        self.subjects: dict[int, tuple[Any, Any]] = {}
        self.roster = Roster()
        self.acks: dict[int, tuple[Ack, ...]] = {}
        self._channels: dict[str, Any] | None = None
        self._units = scenes.Units({}, {})
        self._ways: dict[tuple[str, ...], Ways] = {}
        self._grounds: dict[tuple[str, str, str], Ground] = {}

    # -- reading -----------------------------------------------------------------------------------------------------

    def need_actions(self, ids: Iterable[int]) -> None:
        """Actions by id."""
        missing = sorted(set(ids) - self.actions.keys())
        if missing:
            self.actions.update({row.id: row for row in outbox.actions(self.tx, missing)})

    def need_matters(self, incident_ids: Iterable[int | None], clock_ids: Iterable[int | None]) -> None:
        """Clocks, incidents (those of the clocks as well) and their units with everything above."""
        wanted = {key for key in clock_ids if key is not None} - self.clocks.keys()
        found = scenes.clocks(self.tx, wanted)
        self.clocks.update(found)
        incidents = {key for key in incident_ids if key is not None} | {row.incident_id for row in found.values()}
        new = scenes.incidents(self.tx, incidents - self.incidents.keys())
        self.incidents.update(new)
        self.need_units([row.unit_id for row in new.values()] + [row.unit_id for row in found.values()])

    def need_units(self, ids: Iterable[str | None]) -> None:
        """Units with everything above them."""
        missing = {key for key in ids if key} - self._units.parents.keys()
        if missing:
            more = scenes.units(self.tx, missing)
            self._units = scenes.Units({**self._units.parents, **more.parents}, {**self._units.names, **more.names})

    def need_people(self, ids: Iterable[str]) -> None:
        """People by id."""
        self.people.update(scenes.people(self.tx, set(ids) - self.people.keys()))

    @property
    def channels(self) -> dict[str, Any]:
        """All channels in use."""
        if self._channels is None:
            self._channels = scenes.channels(self.tx)
        return self._channels

    # -- looking up --------------------------------------------------------------------------------------------------

    def chain(self, unit_id: str | None) -> tuple[str, ...]:
        """A unit and everything above it."""
        return unit_chain(self._units.parents, unit_id) if unit_id else ()

    def unit_name(self, unit_id: str | None) -> str:
        """A unit's name."""
        return self._units.names.get(unit_id or "", "")

    def unit_of(self, incident: Any | None, clock: Any | None) -> str | None:
        """Whose duty it is: a department's own task clock names its unit, else the incident's."""
        if clock is not None and clock.unit_id:
            return str(clock.unit_id)
        return None if incident is None else str(incident.unit_id)

    def ways(self, chain: tuple[str, ...]) -> Ways:
        """The channels that serve these units, with the reach of everybody read so far."""
        known = self._ways.get(chain)
        if known is None:
            all_ways = [scenes.to_way(row) for row in self.channels.values()]
            known = self._ways[chain] = Ways(serving(all_ways, chain), _LazyReach(self))
        return known

    def ground(self, clock: Any) -> Ground:
        """Document, clause and words behind a clock; empty for the house's own."""
        if not clock.pack_id or not clock.pack_version:
            return Ground()
        key = (clock.pack_id, clock.pack_version, clock.rule_id)
        if key not in self._grounds:
            self._grounds[key] = self._read_ground(*key)
        return self._grounds[key]

    def _read_ground(self, pack_id: str, version: str, rule_id: str) -> Ground:
        try:
            pack = pack_of(self.tx, pack_id, version)
        except NotFound:
            return Ground()
        rule = next((rule for rule in pack.clocks if rule.rule_id == rule_id), None)
        if rule is None:
            return Ground(pack.title)
        return Ground(pack.title, rule.clause, rule.quote, _NO_REPOST in rule.content_rules)

    def scene(self, action: Action, unit_id: str | None = None) -> Scene:
        """What one action is judged by. ``unit_id`` is for actions without an incident."""
        incident = self.incidents.get(action.incident_id or 0)
        clock = self.clocks.get(action.clock_id or 0)
        chain = self.chain(self.unit_of(incident, clock) or unit_id)
        return Scene(
            roster=self.roster,
            ways=self.ways(chain),
            now=self.tx.now,
            incident=None if incident is None else to_incident(incident, chain),
            clock=None if clock is None else to_clock(clock),
            acks=self.acks.get(action.incident_id or 0, ()),
            chain=chain,
        )


class _LazyReach(dict[str, Any]):
    """Reach by person, made from the rows that the transaction has read."""

    def __init__(self, sources: Sources) -> None:
        super().__init__()
        self._sources = sources

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key)
        if found is None:
            row = self._sources.people.get(key)
            if row is None:
                return default
            found = self[key] = scenes.reach_of({key: row})[key]
        return found


def to_incident(row: Any, chain: tuple[str, ...]) -> IncidentView:
    """The incident as a decision sees it."""
    return IncidentView(row.id, row.no, IncidentState(row.state), bool(row.drill), chain)


def to_clock(row: Any) -> ClockView:
    """The clock as a decision sees it."""
    return ClockView(row.id, ClockState(row.state), row.due_at)


def to_action(row: Any) -> Action:
    """The action as a decision sees it; raises ValueError for a step that cannot be read."""
    return Action(
        row.id,
        EventKind(row.kind),
        row.incident_id,
        row.clock_id,
        row.step_id,
        row.generation,
        row.repetition,
        row.due_at,
        Step.read(row.detail),
    )


def gather(tx: Tx, rows: Sequence[Any]) -> Sources:
    """Read everything a batch of due actions is judged by."""
    sources = Sources(tx)
    sources.actions.update({row.id: row for row in rows})
    sources.need_matters([row.incident_id for row in rows], [row.clock_id for row in rows])
    sources.need_units(row.detail.get("unit") for row in rows)
    if any(row.detail.get("when") == "unacknowledged" for row in rows):
        sources.acks = scenes.acks(tx, sources.incidents)
    units, roles, named = set(), set(), set()
    for row in rows:
        incident, clock = sources.incidents.get(row.incident_id), sources.clocks.get(row.clock_id)
        units |= set(sources.chain(sources.unit_of(incident, clock) or row.detail.get("unit")))
        roles |= set(row.detail.get("to", ()))
        named |= set(row.detail.get("persons") or ())
    sources.roster, found = scenes.roster(tx, units, _known_roles(roles))
    sources.people.update(found)
    sources.need_people(named)
    return sources


def _known_roles(names: Iterable[Any]) -> list[Role]:
    known: Callable[[Any], bool] = set(Role).__contains__
    return [Role(name) for name in names if known(name)]
