"""Refusals as pages: what happened, what was kept, what to do; programs go on getting problem details.

A request is a page's when its endpoint lives in ``huiying.web.pages`` or, where no endpoint was found, when a browser
asks for HTML outside the API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from huiying.domain.errors import HuiyingError, InvalidInput, NotAuthenticated
from huiying.web.pages import kept, shell, sign_in
from huiying.web.pages.policy import Locked, SignInNeeded
from huiying.web.pages.words import words_of
from huiying.web.problems import problem, sentences_of

_PAGES = "huiying.web.pages"
_MACHINES = ("/api/", "/a/", "/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/static/")
#: Addresses of parts of a page: nobody wants to be led back to one.
_PARTS = ("/desk/", "/live/")


def _(text: str) -> str:
    """Mark a text for the catalogue; it is translated where the page is made."""
    return text


_TITLES = {
    400: _("请求无法读取"),
    403: _("没有权限"),
    404: _("没有找到"),
    405: _("不能这样操作"),
    409: _("当前状态下不能这样做"),
    413: _("提交内容过大"),
    422: _("填写内容不正确"),
    429: _("操作过于频繁"),
    500: _("系统内部出错"),
    503: _("系统暂时不可用"),
    507: _("系统暂时不可用"),
}
_SENTENCES = {
    400: _("请求无法读取，未作任何改动。请回到值班台重新操作。"),
    404: _("没有这个地址。可能链接已经失效，或地址输入有误。请从值班台进入。"),
    405: _("这个地址不支持这种操作，未作任何改动。请从页面上的按钮操作。"),
    413: _("提交的内容过大，未予处理。请减少内容后重试。"),
}
#: What the fields of our forms are called; any other is shown by the name that it was sent with.
LABELS = {
    "title": _("标题"),
    "body": _("情况说明"),
    "reason": _("理由"),
    "note": _("说明"),
    "notes": _("交班说明"),
    "remark": _("接班意见"),
    "criterion": _("定级依据"),
    "evidence": _("事实依据"),
    "name": _("名称"),
    "url": _("网址"),
    "text": _("发布内容"),
    "channel": _("发布渠道"),
    "clock": _("时钟"),
    "day": _("日期"),
}
_NOT_DONE = _("请求未被接受，未作任何改动。")
_REFUSED = _("请求未被接受")


def install(app: FastAPI) -> None:
    """Pages get pages; everything else keeps the handlers that are already there."""
    for kind in (HuiyingError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _page_or(app.exception_handlers[kind]))
    app.add_exception_handler(SignInNeeded, _to_sign_in)
    app.add_exception_handler(Locked, _to_alarm_view)
    app.add_exception_handler(shell.StaleForm, _stale)


def wants_page(scope: Scope) -> bool:
    """Whether the answer will be looked at by a person in a browser."""
    if scope["path"].startswith(_MACHINES):
        return False
    endpoint = scope.get("endpoint")
    if endpoint is not None and getattr(endpoint, "__module__", "").startswith(_PAGES):
        return True
    accepted = dict(scope["headers"]).get(b"accept", b"")
    return b"text/html" in accepted


def answer(scope: Scope, status: int, code: str, detail: str, **extra: Any) -> Response:
    """What the outermost layer says when a request gets no further: a page for people, a problem for programs."""
    if not wants_page(scope):
        return problem(status, code, detail, **extra)
    return _page(Request(scope), status, detail, trace=extra.get("trace", ""))


def _page_or(otherwise: Callable[..., Any]) -> Callable[..., Any]:
    def handle(request: Request, error: Exception) -> Response:
        if not wants_page(request.scope):
            response: Response = otherwise(request, error)
            return response
        return _spoken(request, error)

    return handle


def _spoken(request: Request, error: Exception) -> Response:
    if isinstance(error, NotAuthenticated):
        return _to_sign_in(request, error)
    if isinstance(error, HuiyingError):
        request.state.store_failed = error.status >= 500
        field = str(error.field) if isinstance(error, InvalidInput) else ""
        return _page(request, error.status, error.message, fields=[(field, error.message)] if field else [])
    if isinstance(error, RequestValidationError):
        found = sentences_of(error)
        return _page(request, 422, _("填写内容不正确，未登记。请按下面的提示修改后重新提交。"), fields=found)
    assert isinstance(error, HTTPException)
    status = error.status_code
    return _page(request, status, _SENTENCES.get(status, _NOT_DONE), headers=error.headers)


def _page(
    request: Request,
    status: int,
    sentence: str,
    *,
    fields: list[tuple[str, str]] | None = None,
    trace: str = "",
    headers: Any = None,
) -> Response:
    """The error page, or for a part of a page a notice that goes to the page's place for notices."""
    part = bool(request.headers.get("hx-request"))
    say = words_of(request)
    response = shell.render(
        request,
        "fault_part.html" if part else "fault.html",
        status,
        title=say(_TITLES.get(status, _REFUSED)),
        sentence=say(sentence),
        fields=[(field, say(message)) for field, message in fields or []],
        typed=shell.typed_by(request),
        labels=LABELS,
        trace=trace,
        number=status,
        now=None if status < 500 else _host_now(),
    )
    if part:
        response.headers["HX-Retarget"] = "#notices"
        response.headers["HX-Reswap"] = "innerHTML"
    for name, value in (headers or {}).items():
        response.headers.setdefault(name, value)
    return response


def _host_now() -> Any:
    """The host's time: a page about a store that cannot answer must not ask it."""
    from huiying.now import utc_now  # noqa: PLC0415 - only for pages about failures

    return utc_now()


def _to_sign_in(request: Request, _error: Exception) -> Response:
    """To the sign-in page and from there back; a lost form is answered with a sentence instead."""
    if request.method not in {"GET", "HEAD"}:
        target = "/login"
    else:
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target = "/login" if here == "/" else f"/login?next={quote(here, safe='')}"
    if request.headers.get("hx-request"):
        return Response(headers={"HX-Redirect": "/login", **shell.page_headers()})
    return RedirectResponse(target, 303, shell.page_headers())


def _to_alarm_view(request: Request, _error: Exception) -> Response:
    """A locked desk shows its alarm view; what asked for a part of a page is told, and the page goes there by itself."""
    session: shell.Session = request.state.session
    if request.headers.get("hx-request"):
        # Not a redirect: the page may hold a form that somebody was writing, and knows how to keep it.
        return Response(status_code=204, headers={"HX-Trigger": "huiying:locked", **shell.page_headers()})
    if request.method in {"GET", "HEAD"}:
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        part = request.url.path.startswith(_PARTS)
        return RedirectResponse(sign_in.place_of(session, "/" if part else here), 303, shell.page_headers())
    return kept.locked_page(request, request.app.state.services, session, kept.of_request(request))


def _stale(request: Request, error: Exception) -> Response:
    """A form from before an unlocking, perhaps in another tab: its person sends it again by one press of a button."""
    assert isinstance(error, shell.StaleForm)
    session: shell.Session | None = request.state.session
    if not error.was_ours or session is None or session.read_only or request.headers.get("hx-request"):
        return _spoken(request, error)
    services = request.app.state.services
    carried = next((value for name, value in request.state.sent if name == "kept"), "")
    form = kept.unseal(services, session, carried) if carried else kept.of_request(request)
    if session.stage == "locked":
        return kept.locked_page(request, services, session, form)
    if not session.is_open:  # halfway through a sign-in nobody reads what was kept
        return _spoken(request, error)
    if form is None and request.url.path == sign_in.UNLOCK:
        return sign_in.elsewhere(session)  # it has been unlocked already
    return _spoken(request, error) if form is None else kept.review_page(request, form, 409)
