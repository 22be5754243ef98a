"""Style sheets and scripts: read from the package, addressed by their content, kept by browsers for a year.

Only files that stand in ``huiying/web/static`` are served, found by listing the folder: an address is never a path.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from huiying.web.pages.policy import SAME_FOR_ALL

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent.parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_FOR_A_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent; ``tag`` names its content."""

    body: bytes
    media_type: str
    tag: str


def static(name: str) -> str:
    """The address of a file below ``static``; changes with its content, so that nobody ever sees an old one."""
    return f"/static/{name}?v={_asset(name).tag}"


@router.get("/static/{name:path}", dependencies=[SAME_FOR_ALL])
async def serve(name: str, request: Request) -> Response:
    """A file; kept for a year when asked for by its content, asked for again otherwise."""
    if name not in _names():
        raise HTTPException(404)
    asset = _asset(name)
    fresh = request.query_params.get("v") == asset.tag
    headers = {"Cache-Control": _FOR_A_YEAR if fresh else "no-cache", "ETag": f'"{asset.tag}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(asset.body, media_type=asset.media_type, headers=headers)


def _names() -> frozenset[str]:
    """Every file that may be served; licence texts and check sums are for people who have the source."""
    return frozenset(p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*") if p.suffix in TYPES)


def _asset(name: str) -> Asset:
    path = FOLDER / name
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, _changed_at: int) -> Asset:
    body = path.read_bytes()
    return Asset(body, TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:12])
