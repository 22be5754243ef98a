"""Who may do what: the separation of the three administrators as a table."""

from __future__ import annotations

import itertools

import pytest

from huiying.domain.access import (
    GRANTS,
    LOCAL_PERMISSIONS,
    AccessRole,
    Permission,
    permissions_of,
    separation_conflict,
)

_CONTENT = {
    Permission.READ,
    Permission.REGISTER,
    Permission.GRADE,
    Permission.RELEASE,
    Permission.REVIEW,
    Permission.ACKNOWLEDGE,
    Permission.CORRECT,
    Permission.MERGE,
    Permission.END,
    Permission.ASSIGN,
    Permission.ATTRIBUTE,
    Permission.REPLAN,
    Permission.EVALUATE,
    Permission.CALL,
}


def test_every_role_has_its_grants_and_every_permission_a_holder():
    assert set(GRANTS) == set(AccessRole)
    assert permissions_of(AccessRole) == set(Permission)


def test_the_administrator_neither_reads_content_nor_approves():
    held = GRANTS[AccessRole.ADMINISTRATOR]
    assert not held & _CONTENT
    assert Permission.APPROVE not in held
    assert Permission.AUDIT not in held


def test_the_auditor_and_the_assessor_only_read():
    reading = {Permission.READ, Permission.AUDIT, Permission.EVALUATE}
    assert GRANTS[AccessRole.AUDITOR] <= reading
    assert GRANTS[AccessRole.ASSESSOR] <= reading - {Permission.AUDIT}


def test_nobody_may_edit_the_audit():
    assert not [permission for permission in Permission if "audit" in permission and permission != Permission.AUDIT]


def test_the_local_command_line_is_never_a_second_person():
    assert Permission.APPROVE.value not in LOCAL_PERMISSIONS
    assert set(Permission) - {Permission.APPROVE} == set(LOCAL_PERMISSIONS)


def test_who_sets_up_audits_or_assesses_does_nothing_else():
    apart = {AccessRole.ADMINISTRATOR, AccessRole.AUDITOR, AccessRole.ASSESSOR}
    for pair in itertools.combinations(AccessRole, 2):
        assert bool(separation_conflict(pair)) == bool(set(pair) & apart), pair


@pytest.mark.parametrize("role", list(AccessRole))
def test_one_role_alone_is_always_allowed(role: AccessRole):
    assert separation_conflict([role]) == ""
    assert separation_conflict([role, role]) == ""
