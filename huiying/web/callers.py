"""Who calls: the person behind the bearer token, and what that person may look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from huiying.domain.access import Permission
from huiying.domain.errors import NotAuthenticated
from huiying.service import tokens
from huiying.service.actor import Actor
from huiying.service.services import Services

_LONGEST_TOKEN = 200
bearer = HTTPBearer(
    auto_error=False, description="个人访问令牌：用本人密码或一次性密码换取（huiying token exchange）。"
)


def services_of(request: Request) -> Services:
    """The outfit of this process."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


House = Annotated[Services, Depends(services_of)]


def caller(services: House, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Actor:
    """The person behind the token; refused with one sentence whatever is wrong with it."""
    if given is None or not given.credentials or len(given.credentials) > _LONGEST_TOKEN:
        raise NotAuthenticated("请在请求头中提供个人访问令牌：Authorization: Bearer 令牌。")
    return tokens.authenticate(services, given.credentials)


def bearer_of(request: Request) -> str:
    """The token as it stands in a request's header; empty where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


Caller = Annotated[Actor, Depends(caller)]


def _holding(permission: Permission) -> Callable[[Actor], Actor]:
    def check(actor: Caller) -> Actor:
        actor.require(permission)
        return actor

    return check


Reader = Annotated[Actor, Depends(_holding(Permission.READ))]
Auditor = Annotated[Actor, Depends(_holding(Permission.AUDIT))]
Key = Annotated[
    str,
    Header(alias="Idempotency-Key", description="同一个键、同一份内容只生效一次；换了内容须换用新的键。"),
]


def client_of(request: Request) -> str:
    """The caller's network address, for rate limits."""
    return request.client.host if request.client else ""
