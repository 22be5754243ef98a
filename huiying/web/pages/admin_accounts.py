"""系统管理: a person's account: unlocking, resetting what was lost, an identity of the provider. Secrets show once."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from huiying.domain.errors import HuiyingError
from huiying.service import account_view, accounts, tokens
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.admin_people import Manager, done, person_page
from huiying.web.pages.fields import Form, Typed, fault_of
from huiying.web.pages.shell import Guarded, Session, back, words_of

router = APIRouter(include_in_schema=False)


@router.post("/admin/people/{person}/password", dependencies=[Guarded])
def password(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """A one-time password beside whatever the person has; nothing of it ends."""
    return _shown_once(request, services, session, person, form, tokens.issue_password, "issued")


@router.post("/admin/people/{person}/account/password", dependencies=[Guarded])
def reset_password(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """After a loss: the old password, every sign-in and every token end."""
    return _shown_once(request, services, session, person, form, accounts.reset_password, "reset")


def _shown_once(
    request: Request, services: Services, session: Session, person: str, form: Form, make: Any, how: str
) -> Response:
    """A password is shown on this page and nowhere again: therefore no way over a redirect."""
    try:
        made = make(services, session.actor, person)
    except HuiyingError as error:
        return person_page(request, services, session, person, error.status, form=form, fault=fault_of(error))
    return person_page(request, services, session, person, password={**made, "how": how})


@router.post("/admin/people/{person}/account/unlock", dependencies=[Guarded])
def unlock(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """Open the name's door before its quarter of an hour is over."""
    return done(
        request, services, session, person, form,
        lambda: accounts.unlock_account(services, session.actor, person),
        words_of(request)("已解锁，本人可以立即再次登录。"),
    )  # fmt: skip


@router.post("/admin/people/{person}/account/code", dependencies=[Guarded])
def reset_code(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """Take a lost authenticator away; the next sign-in sets up another one where the roles need it."""
    return done(
        request, services, session, person, form,
        lambda: accounts.reset_second_factor(services, session.actor, person),
        words_of(request)("动态口令和恢复码已作废，该人员的登录已全部退出。"),
    )  # fmt: skip


@router.post("/admin/people/{person}/account/subject", dependencies=[Guarded])
def subject(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """Which identity of the organisation's provider this person is; an empty field takes it away."""
    say, wanted = words_of(request), form.text("oidc_subject")
    if wanted == account_view.show_account(services, session.actor, person)["oidc_subject"]:
        # What stays the same is no handing out, and must not count as one.
        return back(request, f"/admin/people/{person}", say("统一身份标识与原来相同，未作改动。"), "warn")
    return done(
        request, services, session, person, form,
        lambda: accounts.set_subject(services, session.actor, person, wanted),
        say("已登记统一身份标识。") if wanted else say("已取消统一身份对应关系。"),
    )  # fmt: skip
