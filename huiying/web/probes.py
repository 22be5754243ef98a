"""What machines ask: alive, ready, numbers; and the description of the API, all without the outside world."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials

from huiying.domain.errors import Forbidden
from huiying.service import health, tokens
from huiying.web.callers import House, bearer, client_of
from huiying.web.guard import Counts

router = APIRouter(include_in_schema=False)

_LOOPBACK = frozenset({"127.0.0.1", "::1", "testclient"})
_PAGE_STYLE = (
    "body{font:15px/1.6 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1a1a1a;background:#fff}"
    "h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse;width:100%}"
    "td,th{border-bottom:1px solid #ccc;padding:.35em .6em;text-align:left}code{font-size:.95em}"
)


@router.api_route("/livez", methods=["GET", "HEAD"])
async def livez() -> Response:
    """The process answers; nothing else is asked."""
    return JSONResponse({"live": True})


@router.api_route("/readyz", methods=["GET", "HEAD"])
def readyz(services: House) -> Response:
    """200 when reminders will leave on time, 503 with the reasons otherwise."""
    checks = health.readiness(services)
    ready = all(check.ok for check in checks)
    body = {
        "ready": ready,
        "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks],
        "reasons": [check.detail for check in checks if not check.ok],
    }
    return JSONResponse(body, 200 if ready else 503)


@router.get("/metrics")
def metrics(
    services: House,
    request: Request,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Response:
    """Prometheus' text format; from this machine without a token, from elsewhere with one."""
    if given is not None:
        tokens.authenticate(services, given.credentials)
    elif client_of(request) not in _LOOPBACK:
        raise Forbidden("从其他机器读取指标需要访问令牌。")
    text = exposition(health.samples(services), request.app.state.counts)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def exposition(samples: Iterable[health.Sample], counts: Counts) -> str:
    """Samples and request counts as Prometheus reads them."""
    found = list(samples)
    lines = []
    for name, kind, says in health.FAMILIES:
        lines += [f"# HELP {name} {says}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{_labels(s.labels)} {_number(s.value)}" for s in found if s.name == name]
    lines += ["# HELP huiying_http_requests_total Requests answered.", "# TYPE huiying_http_requests_total counter"]
    for (method, status), number in counts.items():
        lines.append(f"huiying_http_requests_total{_labels((('method', method), ('status', status)))} {number}")
    return "\n".join(lines) + "\n"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    written = [f'{name}="{_quoted(value)}"' for name, value in pairs]
    return "{" + ",".join(written) + "}" if written else ""


def _quoted(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.3f}"


@router.get("/docs")
def docs(request: Request) -> Response:
    """A plain page about the API: no script, nothing from outside."""
    schema: dict[str, Any] = request.app.openapi()
    groups: dict[str, list[str]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            row = f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
            row += f"<td>{escape(operation.get('summary', ''))}</td></tr>"
            groups.setdefault((operation.get("tags") or ["其他"])[0], []).append(row)
    tables = "".join(f"<h2>{escape(tag)}</h2><table>{''.join(rows)}</table>" for tag, rows in groups.items())
    page = (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>回应系统接口说明</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_PAGE_STYLE}</style></head><body><h1>回应系统接口说明</h1>"
        "<p>本系统不得登记涉密信息。所有接口用个人访问令牌：<code>Authorization: Bearer 令牌</code>;"
        '字段与返回格式见 <a href="/openapi.json">openapi.json</a>。</p>'
        f"{tables}</body></html>"
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"})
