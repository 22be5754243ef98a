"""Switching between Chinese and English."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Response

from huiying.domain.errors import InvalidInput
from huiying.service import sessions
from huiying.web.callers import House
from huiying.web.pages.policy import PUBLIC
from huiying.web.pages.shell import Guarded, back
from huiying.web.pages.words import LANGUAGE_COOKIE, LANGUAGES

router = APIRouter(include_in_schema=False)

_A_YEAR = 365 * 24 * 3600


@router.post("/language", dependencies=[PUBLIC, Guarded])
def switch(
    request: Request,
    services: House,
    language: Annotated[str, Form(max_length=8)],
    to: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Keep the language with the session and in this browser, then show the same page again."""
    if language not in LANGUAGES:
        raise InvalidInput("language", "没有这种语言，未作改动。可用：中文、English。")
    session = request.state.session
    if session is not None:
        sessions.set_language(services, session, language)
    response = back(request, _inside(to))
    secure = request.url.scheme == "https"
    response.set_cookie(
        LANGUAGE_COOKIE, language, max_age=_A_YEAR, path="/", httponly=True, samesite="lax", secure=secure
    )
    return response


def _inside(to: str) -> str:
    """Only the path and the question of the page that was left."""
    parts = urlsplit(to)
    return parts.path + (f"?{parts.query}" if parts.query else "")
