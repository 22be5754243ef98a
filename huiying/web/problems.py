"""Refusals as RFC 9457 problem details, in Chinese for the person who reads them and with a code for the program."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials
from starlette.exceptions import HTTPException

from huiying.domain.errors import HuiyingError, InvalidInput, NotAuthenticated
from huiying.domain.sentences import listed, said
from huiying.web.callers import bearer_of, caller

MEDIA_TYPE = "application/problem+json"

_TITLES = {
    "refused": "当前状态下不能这样做",
    "not_found": "没有找到",
    "forbidden": "没有权限",
    "needs_second_person": "需要第二人确认",
    "conflict": "与已有内容冲突",
    "invalid_input": "填写内容不正确",
    "not_authenticated": "未通过身份验证",
    "bad_rule_pack": "文件未被采用",
    "unavailable": "系统暂时不可用",
    "too_large": "提交内容过大",
    "too_many": "操作过于频繁",
    "bad_request": "请求无法理解",
    "method_not_allowed": "不支持这种请求方法",
    "internal": "系统内部出错",
}
#: Where nobody has a token yet.
_OPEN_TO_ALL = frozenset({"/api/v1/tokens/exchange"})
_RETRY_AFTER = {429: "60", 503: "5"}
_BY_STATUS = {
    400: ("bad_request", "请求无法读取，请检查格式。"),
    404: ("not_found", "没有这个地址。"),
    405: ("method_not_allowed", "此地址不支持这种请求方法。"),
    413: ("too_large", "请求正文过大，未予处理。"),
    415: ("bad_request", "请求正文须为 application/json。"),
    422: ("invalid_input", "填写内容不正确。"),
}

_QUOTED = re.compile(r"'([^']*)'")
_SENTENCES = {
    "missing": "缺少必填项。",
    "extra_forbidden": "没有这一项，请核对名称。",
    "string_type": "应为文字。",
    "string_unicode": "含有无法保存的字符（不成对的代理项）。",
    "int_type": "应为整数。",
    "int_parsing": "应为整数。",
    "int_from_float": "应为整数。",
    "bool_type": "应为 true 或 false。",
    "bool_parsing": "应为 true 或 false。",
    "list_type": "应为列表。",
    "dict_type": "应为键值组。",
    "model_type": "应为键值组。",
    "model_attributes_type": "应为键值组。",
    "date_from_datetime_parsing": "应为日期，如 2026-11-22。",
    "date_parsing": "应为日期，如 2026-11-22。",
    "date_type": "应为日期，如 2026-11-22。",
    "json_invalid": "请求正文不是合法的 JSON。",
}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> JSONResponse:
    """A problem detail; extra members that are empty are left out."""
    body = {
        "type": f"urn:huiying:problem:{code}",
        "title": _TITLES.get(code, _TITLES["refused"]),
        "status": status,
        "detail": clean(detail),
        "code": code,
        **{key: jsonable_encoder(value) for key, value in extra.items() if value not in (None, "", [], {})},
    }
    return JSONResponse(body, status, dict(headers or {}), media_type=MEDIA_TYPE)


def clean(text: str) -> str:
    """A text that can be sent whatever came in: lone surrogates would break the answer itself."""
    return text.encode("utf-8", "replace").decode()


def install(app: FastAPI) -> None:
    """Let every refusal leave as a problem detail."""
    app.add_exception_handler(HuiyingError, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def _refusal(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HuiyingError):
        raise error
    headers = {}
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="huiying"'
    if error.status in _RETRY_AFTER:
        headers["Retry-After"] = _RETRY_AFTER[error.status]
    field = error.field if isinstance(error, InvalidInput) else ""
    return problem(
        error.status, error.code, error.message, headers=headers, field=clean(str(field)), **_safe(error.details)
    )


def _safe(details: Mapping[str, object]) -> dict[str, Any]:
    """Details as extension members; our own members keep their meaning."""
    taken = {"type", "title", "status", "detail", "code", "field", "headers"}
    return {clean(key): value for key, value in details.items() if key not in taken}


def _invalid(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    try:
        _know_caller(request)
    except NotAuthenticated as unknown:
        return _refusal(request, unknown)
    found = [{"field": field, "message": message} for field, message in sentences_of(error)]
    first = found[0] if found else {"field": "", "message": "填写内容不正确。"}
    named = f"{first['field']}：{first['message']}" if first["field"] else first["message"]
    return problem(422, "invalid_input", f"{named}内容未登记。", field=first["field"], errors=found)


def _know_caller(request: Request) -> None:
    """Who may not come in is not told what is wrong with what they brought: broken JSON is found before any token is."""
    path = request.url.path
    if path.startswith("/api/") and path not in _OPEN_TO_ALL:
        given = HTTPAuthorizationCredentials(scheme="Bearer", credentials=bearer_of(request))
        caller(request.app.state.services, given)


def sentences_of(error: RequestValidationError) -> list[tuple[str, str]]:
    """What is wrong where, in Chinese; a long list is cut short."""
    return [(_field(item), _sentence(item)) for item in error.errors()[:20]]


def _field(item: Mapping[str, Any]) -> str:
    """Where it was given, as a path without the part of the request; broken JSON has no field."""
    loc: Sequence[Any] = () if item["type"] == "json_invalid" else item["loc"]
    parts = [str(part) for part in loc[1:]] if loc and loc[0] in {"body", "query", "path", "header"} else map(str, loc)
    return clean(".".join(part for part in parts if part != "[key]"))[:120]


def _sentence(item: Mapping[str, Any]) -> str:
    kind, context = item["type"], item.get("ctx") or {}
    if kind == "value_error":
        return clean(str(context.get("error", "填写内容不正确。")))
    if kind in {"enum", "literal_error"}:
        known = _QUOTED.findall(clean(str(context.get("expected", ""))))
        return said("不在允许的取值中，可用：%(words)s。", words=listed(known))
    if kind in {"string_too_long", "too_long"}:
        return (
            said("最多 %(most)s 字。", most=context.get("max_length", ""))
            if kind == "string_too_long"
            else said("最多 %(most)s 项。", most=context.get("max_length", ""))
        )
    if kind in {"string_too_short", "too_short"}:
        return "不能为空。"
    if kind in {"greater_than_equal", "greater_than"}:
        return said("不能小于 %(least)s。", least=context.get("ge", context.get("gt")))
    if kind in {"less_than_equal", "less_than"}:
        return said("不能大于 %(most)s。", most=context.get("le", context.get("lt")))
    if kind == "string_pattern_mismatch":
        return "格式不正确。"
    return _SENTENCES.get(kind, "格式不正确。")


def _http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    code, detail = _BY_STATUS.get(error.status_code, ("refused", "请求未被接受。"))
    return problem(error.status_code, code, detail, headers=error.headers)
