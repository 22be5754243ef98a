"""Checking a pack or a policy before it is taken in: the page of both, with what was sent and what was found."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from huiying.web.pages.fields import Form
from huiying.web.pages.shell import render


def upload_page(
    request: Request,
    form: Form,
    template: str,
    field: str,
    status: int = 200,
    *,
    text: str = "",
    name: str = "",
    fault: Any = None,
    looked: dict[str, Any] | None = None,
) -> Response:
    """``field`` is the form's name for the document; ``text`` is what was sent, ``looked`` what the check says of it."""
    name = name or form.text(f"{field}_name")
    return render(request, template, status, text=text, name=name, fault=fault, looked=looked)
