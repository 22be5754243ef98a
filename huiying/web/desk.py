"""Everything over HTTP that is not one incident: clocks, messages, runs, the desk, rules, second persons, tokens, audit."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from huiying.domain.errors import Refused
from huiying.domain.kinds import TimeKind
from huiying.service import audit_view, first_run, incidents, queries, second_person, tokens
from huiying.service.requests import TimeInput
from huiying.web import bodies
from huiying.web.callers import Auditor, Caller, House, Reader, client_of
from huiying.web.guard import Throttle

router = APIRouter(prefix="/api/v1")

View = dict[str, Any]
Limit = Annotated[int, Query(ge=1, le=1000)]
_EXCHANGES = Throttle(20)


# -- looking across incidents ------------------------------------------------------------------------------------------


@router.get("/clocks", tags=["值班"], summary="时钟，最紧急的在前")
def clocks(
    services: House,
    actor: Reader,
    state: str = "open",
    binding: bool = True,  # noqa: FBT001, FBT002 - a query parameter
    limit: Limit = 200,
    after: Annotated[int, Query(ge=0)] = 0,
) -> View:
    return queries.clocks(services, state, actor, binding=binding, limit=limit, after=after)


@router.get("/notifications", tags=["值班"], summary="通知送达情况")
def notifications(
    services: House, actor: Reader, incident: str = "", person: str = "", state: str = "", limit: Limit = 100
) -> View:
    return queries.notifications(services, incident, person, state, limit, actor)


@router.get("/runs", tags=["值班"], summary="运行记录")
def runs(services: House, actor: Reader, incident: str = "", day: date | None = None, limit: Limit = 200) -> View:
    return queries.runs(services, incident, day, limit, actor)


@router.get("/duty/now", tags=["值班"], summary="值班台：此刻最紧急的、未签收的、谁在岗")
def duty_now(services: House, actor: Reader) -> View:
    return queries.duty_now(services, actor)


@router.get("/inbox", tags=["值班"], summary="本人的站内收件箱")
def inbox(services: House, actor: Caller, limit: Limit = 50) -> View:
    return queries.inbox(services, actor.person_id, limit)


# -- a second person ---------------------------------------------------------------------------------------------------


@router.get("/requests", tags=["二次确认"], summary="待第二人确认的变更")
def requests(services: House, actor: Reader) -> View:
    return second_person.list_pending(services, actor)


@router.get("/requests/{request_id}", tags=["二次确认"], summary="一项申请：申请人的话、前后截止时间、谁可复核")
def request_show(services: House, actor: Reader, request_id: int) -> View:
    return second_person.show_request(services, actor, request_id)


@router.post("/requests/{request_id}/withdraw", tags=["二次确认"], summary="申请人撤回申请")
def request_withdraw(services: House, actor: Caller, request_id: int, body: bodies.DecisionBody) -> View:
    return second_person.withdraw(services, actor, request_id, body.note)


@router.post("/requests/{request_id}/approve", tags=["二次确认"], summary="确认变更")
def approve(services: House, actor: Caller, request_id: int, body: bodies.DecisionBody) -> View:
    return incidents.approve(services, actor, request_id, body.note)


@router.post("/requests/{request_id}/reject", tags=["二次确认"], summary="不同意变更")
def reject(services: House, actor: Caller, request_id: int, body: bodies.DecisionBody) -> View:
    return incidents.reject(services, actor, request_id, body.note)


# -- rules -------------------------------------------------------------------------------------------------------------


@router.post("/preview", tags=["规则"], summary="预览：这样的事项会启动哪些时钟（不写入）")
def preview(services: House, actor: Caller, body: bodies.PreviewBody) -> View:
    _ = actor
    times: dict[TimeKind, TimeInput] = {kind: stated.parsed() for kind, stated in body.times.items()}
    return queries.preview(
        services,
        tuple(body.packs),
        body.kind,
        body.severity,
        times,
        body.registered_at,
        body.region_code,
        body.unit_id,
        ahead=True,
    )


@router.get("/workdays", tags=["规则"], summary="工作日推算")
def workdays(
    services: House, actor: Caller, start: Annotated[date, Query(alias="from")], add: Annotated[int, Query()]
) -> View:
    _ = actor
    return queries.workdays(services, start, add)


@router.get("/rules", tags=["规则"], summary="在用规则包")
def rules(services: House, actor: Caller) -> View:
    _ = actor
    return queries.rules_list(services)


@router.get("/rules/{pack}", tags=["规则"], summary="规则包逐条说明")
def explain(services: House, actor: Caller, pack: str, rule: str = "") -> View:
    _ = actor
    return queries.rules_explain(services, pack, rule)


@router.get("/obligations", tags=["规则"], summary="规则包中的其他定期任务")
def obligations(services: House, actor: Caller, pack: str, year: Annotated[int, Query(ge=2000, le=2100)]) -> View:
    _ = actor
    return queries.obligations(services, pack, year)


# -- accounts ----------------------------------------------------------------------------------------------------------


@router.get("/me", tags=["账号"], summary="当前令牌代表谁、能做什么")
def me(actor: Caller) -> View:
    return {"person_id": actor.person_id, "permissions": sorted(actor.permissions), "units": sorted(actor.units or ())}


@router.post("/tokens/exchange", status_code=201, tags=["账号"], summary="用本人密码或一次性密码换取令牌")
def exchange(services: House, body: bodies.ExchangeBody, request: Request) -> View:
    # The lock per person stands in the database; this one spares the machine the hashing.
    if not _EXCHANGES.allows(client_of(request)):
        refusal = Refused("操作过于频繁，请一分钟后再试。")
        refusal.code, refusal.status = "too_many", 429
        raise refusal
    made = tokens.exchange_password(
        services, body.person_id, body.password, name=body.name, code=body.code, scopes=body.scopes, days=body.days
    )
    first_run.forget_password(services, body.password)
    return made


@router.get("/tokens", tags=["账号"], summary="令牌列表（不含令牌本身）")
def token_list(services: House, actor: Caller, person: str = "") -> View:
    return {"tokens": tokens.list_tokens(services, actor, person)}


@router.post("/tokens", status_code=201, tags=["账号"], summary="为本人再办一个令牌")
def token_create(services: House, actor: Caller, body: bodies.TokenBody) -> View:
    return tokens.create_token(services, actor, name=body.name, scopes=body.scopes, days=body.days)


@router.delete("/tokens/{token_id}", tags=["账号"], summary="撤销令牌")
def token_revoke(services: House, actor: Caller, token_id: str) -> View:
    return tokens.revoke_token(services, actor, token_id)


# -- audit -------------------------------------------------------------------------------------------------------------


@router.get("/audit", tags=["审计"], summary="审计记录")
def audit(
    services: House,
    actor: Auditor,
    after: Annotated[int, Query(ge=0)] = 0,
    subject: Annotated[str, Query(max_length=120)] = "",
    limit: Limit = 200,
) -> View:
    return audit_view.entries(services, actor, after=after, subject=subject, limit=limit)
