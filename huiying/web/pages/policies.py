"""提醒方案: who is told when, step by step; looked at here, changed on the command line."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from huiying.service import policies
from huiying.web.callers import House
from huiying.web.pages.shell import Viewer, render

router = APIRouter(include_in_schema=False)


@router.get("/rules/policies")
def listing(request: Request, services: House, session: Viewer) -> Response:
    """Every policy in use."""
    _ = session
    return render(request, "rules/policies.html", policies=policies.list_policies(services))


@router.get("/rules/policies/{policy}")
def one(request: Request, services: House, session: Viewer, policy: str) -> Response:
    """One policy with its steps."""
    _ = session
    return render(request, "rules/policy.html", policy=policies.show_policy(services, policy))
