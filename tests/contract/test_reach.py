"""How far an actor reaches: without a unit nowhere, and everywhere only where no person stands behind the change."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from huiying.domain.access import GRANTS, LOCAL_PERMISSIONS, AccessRole, Permission
from huiying.domain.errors import Forbidden, NotFound
from huiying.service import channels, people, roster_admin, sessions, tokens
from huiying.service.actor import EVERYWHERE, Actor
from huiying.service.changes import in_scope
from huiying.service.scope import concerned, covers, parents, require_house, require_unit, visible_units
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store
from tests.fakes.house import OPERATOR, acting, cheap_passwords, furnish, make_services

__all__ = ["cheap_passwords"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")
#: What a token made by an account reaches after the last role of that account is gone, and whatever it may do.
NOWHERE = Actor("person:zhang", "zhang", LOCAL_PERMISSIONS | {Permission.APPROVE.value})


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    made = make_services(store, tmp_path)
    furnish(made)
    return made


def token_of(services: Services, person_id: str, *scopes: str) -> str:
    password = tokens.issue_password(services, OPERATOR, person_id)["password"]
    return str(tokens.exchange_password(services, person_id, password, scopes=scopes)["token"])


def test_everywhere_is_never_said_of_a_person():
    with pytest.raises(ValueError, match="reach"):
        Actor("person:zhang", "zhang", LOCAL_PERMISSIONS, EVERYWHERE)
    assert Actor("system:tests", units=EVERYWHERE).is_everywhere
    assert not Actor("system:tests").is_everywhere


def test_a_person_whose_roles_have_no_unit_reaches_nothing(services: Services):
    with services.store.reading() as tx:
        tree = parents(tx)
        assert len(tree) == 3
        assert not [unit_id for unit_id in tree if covers(NOWHERE, tree, unit_id)]
        assert visible_units(tx, NOWHERE) == frozenset()
        assert not in_scope(tx, NOWHERE, tree)
        assert not tx.all(sa.select(t.incident).where(concerned(tx, NOWHERE)))
        with pytest.raises(Forbidden):
            require_unit(tx, NOWHERE, "office")
        with pytest.raises(Forbidden, match="全部单位"):
            require_house(tx, NOWHERE)
    assert people.list_units(services, NOWHERE) == []
    assert people.list_people(services, NOWHERE) == []
    # A channel without a unit serves everybody.
    assert [row["id"] for row in channels.list_channels(services, NOWHERE)] == ["inbox"]
    with pytest.raises(Forbidden):
        people.edit_person(services, NOWHERE, "li", name="改名")
    for parent in ("", "office"):
        with pytest.raises((Forbidden, NotFound), match="单位"):
            people.add_unit(services, NOWHERE, "new", name="新单位", parent_id=parent)
    with pytest.raises((Forbidden, NotFound), match="单位"):
        channels.add_channel(services, NOWHERE, "screen", kind="console")


def test_the_local_command_line_reaches_what_is_built_later_too(services: Services):
    people.add_unit(services, OPERATOR, "second-root", name="另一单位")
    with services.store.reading() as tx:
        assert visible_units(tx, OPERATOR) is None
        require_house(tx, OPERATOR)
        with pytest.raises(Forbidden):
            require_house(tx, acting("boss", AccessRole.ADMINISTRATOR, units=("office",)))


def test_taking_the_last_role_away_leaves_a_token_that_reaches_nothing(services: Services):
    roster_admin.grant_access(services, OPERATOR, "zhang", "administrator", "water")
    roster_admin.grant_access(services, OPERATOR, "li", "administrator", "office")
    token = token_of(services, "zhang")
    assert tokens.authenticate(services, token).units == frozenset({"water"})
    roster_admin.revoke_access(services, OPERATOR, "zhang", "administrator", "water")
    left = tokens.authenticate(services, token)
    assert (left.units, left.permissions) == (frozenset(), frozenset())
    assert people.list_people(services, left) == []
    # One's own stays one's own; everybody else's is out of reach.
    assert [row["person_id"] for row in tokens.list_tokens(services, left)] == ["zhang"]
    assert sessions.list_sessions(services, left) == []


def test_a_wall_shows_its_persons_unit_only_where_that_persons_roles_are_held(services: Services):
    roster_admin.grant_access(services, OPERATOR, "zhang", "duty", "water")
    secret, session = sessions.wall_session(services, token_of(services, "zhang", "read"), "10.1.2.3")
    assert (session.unit_id, session.actor.units) == ("office", frozenset())
    roster_admin.grant_access(services, OPERATOR, "zhang", "duty", "office")
    found = sessions.look(services, secret)
    assert found is not None
    assert found.actor.units == frozenset({"office"})


def test_every_role_without_a_unit_sees_no_incident_anywhere(services: Services):
    for role in AccessRole:
        actor = acting("zhang", role, units=())
        assert actor.permissions == {permission.value for permission in GRANTS[role]}
        with services.store.reading() as tx:
            assert visible_units(tx, actor) == frozenset()
