"""提醒方案: who is told when, step by step; an office's own checked and taken in, and the way back to the shipped one."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from huiying.domain.errors import HuiyingError
from huiying.service import policies
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.fields import Form, Typed, fault_of, typed_text
from huiying.web.pages.rules import Keeper, may_change
from huiying.web.pages.shell import Guarded, Session, Viewer, back, render, words_of
from huiying.web.pages.uploads import upload_page

router = APIRouter(include_in_schema=False)
_upload_page = partial(upload_page, template="rules/policy_upload.html", field="policy")


@router.get("/rules/policies")
def listing(request: Request, services: House, session: Viewer) -> Response:
    """Every policy in use."""
    listed = policies.list_policies(services)
    return render(request, "rules/policies.html", policies=listed, may_change=may_change(session))


# -- taking in an own policy; stands before the addresses of policies --------------------------------------------------


@router.get("/rules/policies/upload")
def upload(request: Request, session: Keeper) -> Response:
    """The form for an office's own policy."""
    _ = session
    return _upload_page(request, Form())


@router.post("/rules/policies/upload", dependencies=[Guarded])
def uploaded(request: Request, services: House, session: Keeper, form: Typed) -> Response:
    """Check a policy, or take it in; of a bad one nothing is kept but the text in the form."""
    text, name, looked = form.values.get("policy_text", ""), "", None
    try:
        name, data = form.document("policy", words_of(request)("粘贴的内容.yaml"))
        text = typed_text(data)
        looked = policies.check_policy(services, data, name)
        if form.text("do") == "import" and looked["ok"]:
            made = policies.import_policy(services, session.actor, data, name)
            done = words_of(request)("已采用，只对此后起算的时钟生效；计时中的时钟沿用原方案，可在事件上更换督办方案。")
            return back(request, f"/rules/policies/{made['id']}", done)
    except HuiyingError as error:
        return _upload_page(request, form, status=error.status, text=text, name=name, fault=fault_of(error))
    return _upload_page(request, form, status=200 if looked["ok"] else 422, text=text, name=name, looked=looked)


# -- one policy --------------------------------------------------------------------------------------------------------


@router.get("/rules/policies/{policy}")
def one(request: Request, services: House, session: Viewer, policy: str) -> Response:
    """One policy with its steps."""
    return _policy_page(request, services, session, policy)


def _policy_page(
    request: Request, services: Services, session: Session, policy: str, status: int = 200, fault: Any = None
) -> Response:
    shown = policies.show_policy(services, policy)
    return render(request, "rules/policy.html", status, policy=shown, may_change=may_change(session), fault=fault)


@router.post("/rules/policies/{policy}/reset", dependencies=[Guarded])
def reset(request: Request, services: House, session: Keeper, policy: str) -> Response:
    """Back to the policy that came with the product."""
    try:
        done = policies.reset_policy(services, session.actor, policy)
    except HuiyingError as error:
        return _policy_page(request, services, session, policy, error.status, fault_of(error))
    say = words_of(request)
    if done["shipped"]:
        return back(request, f"/rules/policies/{policy}", say("已恢复系统自带的方案，只对此后起算的时钟生效。"))
    return back(request, "/rules/policies", say("已停用该方案；计时中的时钟沿用原方案。"))
