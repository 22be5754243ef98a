"""Who is on duty, and which way a message takes to whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from huiying.domain.kinds import Audience, Band, ChannelKind, Role
from huiying.domain.roster import UNASSIGNED, Addressee, Duty, Roster, Shift, call, on_duty, unit_chain
from huiying.domain.routes import (
    NOBODY_IN_PERSON,
    PHONE_MISSING,
    Failed,
    Reach,
    Route,
    Way,
    Ways,
    choose,
    fall_back,
    serving,
)
from tests.builders import at

CHAIN = ("water", "office")
MORNING = at("2026-03-10 08:30")
DAY = Shift("day", Role.DUTY_OFFICER, "office", at("2026-03-10 08:30"), at("2026-03-10 20:30"))
NIGHT = Shift("night", Role.DUTY_OFFICER, "office", at("2026-03-09 20:30"), at("2026-03-10 08:30"))
STANDING = Duty("standing", Role.DUTY_OFFICER, "office")
ROSTER = Roster((STANDING, Duty("liaison", Role.LIAISON, "water")), (DAY, NIGHT), ("admin",))


# -- the roster --------------------------------------------------------------------------------------------------------


def test_the_unit_chain_walks_up_and_survives_a_loop():
    assert unit_chain({"water": "office", "office": None}, "water") == CHAIN
    assert unit_chain({"a": "b", "b": "a"}, "a") == ("a", "b")
    assert unit_chain({}, "alone") == ("alone",)


def test_at_the_very_moment_of_the_change_the_new_shift_is_on_duty():
    assert on_duty(ROSTER, Role.DUTY_OFFICER, CHAIN, MORNING) == ("day",)
    assert on_duty(ROSTER, Role.DUTY_OFFICER, CHAIN, MORNING - timedelta(seconds=1)) == ("night",)


def test_without_a_shift_the_standing_duty_holds():
    assert on_duty(ROSTER, Role.DUTY_OFFICER, CHAIN, at("2026-03-10 21:00")) == ("standing",)


def test_the_nearer_unit_comes_first_even_when_only_the_one_above_has_a_shift():
    near = replace(STANDING, person_id="near", unit_id="water")
    roster = replace(ROSTER, duties=(*ROSTER.duties, near))
    assert on_duty(roster, Role.DUTY_OFFICER, CHAIN, MORNING) == ("near",)


def test_nobody_is_nobody():
    assert on_duty(ROSTER, Role.PRINCIPAL, CHAIN, MORNING) == ()


def test_each_person_is_called_once_by_the_highest_role():
    roster = Roster((Duty("both", Role.LIAISON, "office"), Duty("both", Role.PRINCIPAL, "office")))
    called = call(roster, (Role.LIAISON, Role.PRINCIPAL), (), ("office",), MORNING)
    assert called.people == (Addressee("both", Role.PRINCIPAL),)
    assert called.missing == ()


def test_a_vacant_role_is_told_to_the_administrators_in_its_place():
    called = call(ROSTER, (Role.LIAISON, Role.PRINCIPAL), (), CHAIN, MORNING)
    assert called.people == (Addressee("liaison", Role.LIAISON), Addressee("admin", None, stand_in=True))
    assert called.missing == (Role.PRINCIPAL,)


def test_with_neither_duty_nor_administrator_it_stays_unassigned():
    called = call(Roster(), (Role.LIAISON,), (), CHAIN, MORNING)
    assert called.people == (Addressee(UNASSIGNED, None, stand_in=True),)


def test_people_named_outright_need_no_role():
    assert call(ROSTER, (), ("handler",), CHAIN, MORNING).people == (Addressee("handler", None),)


# -- the ways out ------------------------------------------------------------------------------------------------------

INBOX = Way("inbox", ChannelKind.INBOX, Audience.PERSONAL, rank=0)
ROBOT = Way("robot", ChannelKind.DINGTALK, Audience.GROUP, rank=10)
OTHER_ROBOT = Way("robot2", ChannelKind.WECOM, Audience.GROUP, rank=20)
MAIL = Way("mail", ChannelKind.EMAIL, Audience.PERSONAL, rank=20)
HOOK = Way("hook", ChannelKind.WEBHOOK, Audience.PERSONAL, rank=10)
REACH = {"officer": Reach(email=True), "principal": Reach(email=True), "poor": Reach()}
OFFICER, PRINCIPAL = Addressee("officer", Role.DUTY_OFFICER), Addressee("principal", Role.PRINCIPAL)
BOTH = (OFFICER, PRINCIPAL)
BOTH_ROLES = (Role.DUTY_OFFICER, Role.PRINCIPAL)
P, G, PHONE = Audience.PERSONAL, Audience.GROUP, Audience.PHONE


def ways(*chosen: Way) -> Ways:
    return Ways(serving(chosen, CHAIN), REACH)


def pairs(routes: tuple[Route, ...]) -> list[tuple[str, str]]:
    return sorted((route.person_id, route.channel_id) for route in routes)


def routes_of(audience: tuple[Audience, ...], *chosen: Way, **more: Any) -> tuple[Route, ...]:
    roles, people = more.pop("roles", BOTH_ROLES), more.pop("people", BOTH)
    return choose(roles, people, audience, more.pop("band", Band.NOTICE), ways(*chosen), MORNING, **more)


def test_a_channel_serves_its_unit_and_what_lies_below():
    elsewhere, own = replace(MAIL, unit_id="health"), replace(ROBOT, unit_id="office")
    assert serving((elsewhere, own, INBOX), CHAIN) == (INBOX, own)
    assert serving((own,), ("health",)) == ()


def test_the_inbox_always_gets_it():
    assert pairs(routes_of((G,), INBOX, ROBOT)) == [("", "robot"), ("officer", "inbox"), ("principal", "inbox")]


def test_leaders_are_never_addressed_in_a_group():
    group = next(route for route in routes_of((P, G), INBOX, ROBOT, MAIL) if route.channel_id == "robot")
    assert group.people == (OFFICER,)
    only_leaders = routes_of((P, G), INBOX, ROBOT, MAIL, roles=(Role.PRINCIPAL,), people=(PRINCIPAL,))
    assert pairs(only_leaders) == [("principal", "inbox"), ("principal", "mail")]


def test_a_group_is_told_even_while_nobody_is_on_the_roster():
    stand_in = (Addressee("admin", None, stand_in=True),)
    routes = routes_of((G,), INBOX, ROBOT, roles=(Role.DUTY_OFFICER,), people=stand_in)
    assert pairs(routes) == [("", "robot"), ("admin", "inbox")]


def test_the_best_rank_carries_it_and_what_is_overdue_takes_every_channel():
    assert ("officer", "mail") not in pairs(routes_of((P,), INBOX, MAIL, HOOK))
    assert {("officer", "mail"), ("officer", "hook")} <= set(
        pairs(routes_of((P,), INBOX, MAIL, HOOK, band=Band.OVERDUE))
    )


def test_a_stand_in_hears_in_the_inbox_only_unless_there_is_nobody_else():
    stand_in = Addressee("admin", None, stand_in=True)
    assert ("admin", "hook") not in pairs(routes_of((P,), INBOX, HOOK, people=(OFFICER, stand_in)))
    assert ("admin", "hook") in pairs(routes_of((P,), INBOX, HOOK, people=(stand_in,)))


def test_without_a_telephone_channel_every_other_class_is_taken_and_says_so():
    routes = routes_of((PHONE,), INBOX, ROBOT, MAIL)
    assert pairs(routes) == [
        ("", "robot"), ("officer", "inbox"), ("officer", "mail"), ("principal", "inbox"), ("principal", "mail"),
    ]  # fmt: skip
    assert {route.note for route in routes if route.channel_id != "inbox"} == {PHONE_MISSING}


def test_a_group_step_without_a_robot_reaches_people_in_person():
    assert ("officer", "mail") in pairs(routes_of((G,), INBOX, MAIL))


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ((INBOX, ROBOT), True),  # a robot alone: without this a breach would reach nobody
        ((INBOX, ROBOT, replace(HOOK, kind=ChannelKind.CONSOLE)), True),  # nobody stands before a console
        ((INBOX, ROBOT, MAIL), False),
        ((INBOX, ROBOT, HOOK), False),  # declared personal by the office: its other end passes it on
        ((INBOX, ROBOT, replace(MAIL, parked_until=MORNING + timedelta(minutes=10))), True),
    ],
)
def test_where_nobody_is_reached_in_person_the_group_hears_it_as_a_last_resort(left: tuple[Way, ...], told: bool):
    routes = routes_of((P,), *left, band=Band.OVERDUE)
    group = [route for route in routes if route.channel_id == "robot"]
    assert bool(group) is told
    # Leaders stay unnamed even then.
    assert all(route.people == (OFFICER,) and route.note == NOBODY_IN_PERSON for route in group)


def test_leaders_alone_are_told_through_the_group_only_when_nothing_else_is_left_and_never_in_a_drill():
    leaders = {"roles": (Role.PRINCIPAL,), "people": (PRINCIPAL,)}
    assert ("", "robot") in pairs(routes_of((P,), INBOX, ROBOT, **leaders))
    assert ("", "robot") not in pairs(routes_of((P,), INBOX, ROBOT, MAIL, **leaders))
    assert ("", "robot") not in pairs(routes_of((P,), INBOX, ROBOT, drill=True, **leaders))


def test_what_is_meant_for_named_persons_alone_never_goes_to_a_group():
    assert ("", "robot") not in pairs(routes_of((P,), INBOX, ROBOT, roles=()))


def test_a_drill_never_leaves_the_house():
    assert pairs(routes_of((P, G, PHONE), INBOX, ROBOT, MAIL, drill=True)) == [
        ("officer", "inbox"), ("principal", "inbox"),
    ]  # fmt: skip


def test_a_channel_parked_for_long_is_passed_over_and_a_short_pause_is_waited_out():
    away = replace(HOOK, parked_until=MORNING + timedelta(minutes=10))
    assert ("officer", "mail") in pairs(routes_of((P,), INBOX, away, MAIL))
    soon = replace(HOOK, parked_until=MORNING + timedelta(seconds=30))
    assert ("officer", "hook") in pairs(routes_of((P,), INBOX, soon, MAIL))


# -- another way -------------------------------------------------------------------------------------------------------


def test_a_persons_message_goes_to_their_next_channel_once():
    failed = Failed("officer", "hook", "duty_officer")
    used = {("officer", "hook"), ("officer", "inbox")}
    assert pairs(fall_back(failed, used, (), ways(INBOX, HOOK, MAIL), MORNING)) == [("officer", "mail")]
    assert fall_back(failed, {*used, ("officer", "mail")}, (), ways(INBOX, HOOK, MAIL), MORNING) == ()


def test_a_persons_last_failure_goes_to_the_group_only_while_nobody_at_all_was_reached():
    failed = Failed("officer", "mail", "duty_officer")
    used = {("officer", "mail"), ("officer", "inbox")}
    there = ways(INBOX, MAIL, ROBOT)
    assert pairs(fall_back(failed, used, (), there, MORNING)) == [("", "robot")]
    assert fall_back(failed, used, ("principal",), there, MORNING) == ()
    assert fall_back(failed, {*used, ("", "robot")}, (), there, MORNING) == ()
    assert fall_back(Failed("officer", "mail", ""), used, (), there, MORNING) == ()


def test_a_robots_message_goes_to_the_next_robot_then_to_the_people_it_stood_for():
    failed = Failed("", "robot", "", (OFFICER,))
    there = ways(INBOX, ROBOT, OTHER_ROBOT, MAIL)
    assert pairs(fall_back(failed, {("", "robot")}, (), there, MORNING)) == [("", "robot2")]
    assert pairs(fall_back(failed, {("", "robot"), ("", "robot2")}, (), there, MORNING)) == [("officer", "mail")]


@pytest.mark.parametrize(("reached", "expected"), [((), [("officer", "mail")]), (("officer",), [])])
def test_who_hears_of_it_elsewhere_is_not_told_twice(reached: tuple[str, ...], expected: list[tuple[str, str]]):
    failed = Failed("", "robot", "", (OFFICER,))
    assert pairs(fall_back(failed, {("", "robot")}, reached, ways(INBOX, ROBOT, MAIL), MORNING)) == expected
