"""Whether two incidents may be the same: a hint for the officer who registers, never a decision.

Titles are compared by their pairs of neighbouring characters (Chinese has no blanks between words), addresses as a
browser would read them. Measures are between 0 and 1.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

#: From this likeness of titles on an incident is worth a look; within the same region already from the lower one.
ALIKE, ALIKE_NEARBY = 0.5, 0.34
_NOISE = re.compile(r"[\W_]+")
_URL = re.compile(r"https?://[^\s<>\"'\u3000-\u303f\uff00-\uffef]+", re.IGNORECASE)
_TRACKING = re.compile(r"^(utm_\w+|from|spm|share\w*|timestamp)=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is compared of an incident; ``text`` is where addresses are looked for."""

    no: str
    title: str
    region_code: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Likeness:
    """An incident that may be the same, with the reasons in the officer's words."""

    no: str
    title: str
    score: float
    reasons: tuple[str, ...]


def title_likeness(one: str, other: str) -> float:
    """Twice the shared pairs of characters over all pairs (Dice); 1 for equal titles, 0 where either is empty."""
    left, right = _plain(one), _plain(other)
    if not left or not right:
        return 0.0
    if left == right:
        return 1.0
    pairs, others = _pairs(left), _pairs(right)
    if not pairs or not others:
        return 0.0
    return 2 * len(pairs & others) / (len(pairs) + len(others))


def _plain(text: str) -> str:
    return _NOISE.sub("", unicodedata.normalize("NFKC", text)).casefold()


def _pairs(text: str) -> frozenset[str]:
    return frozenset(text[at : at + 2] for at in range(len(text) - 1))


def addresses(text: str) -> frozenset[str]:
    """The web addresses in a text, without scheme, fragment, trailing slash and tracking marks."""
    found = set()
    for match in _URL.findall(text):
        try:
            parts = urlsplit(match.rstrip(".,;:!?)"))
        except ValueError:  # a bracket that is no IPv6 address: no address that could be compared
            continue
        query = "&".join(part for part in parts.query.split("&") if part and not _TRACKING.match(part))
        host = parts.netloc.casefold().removeprefix("www.").removeprefix("m.")
        if host:
            found.add(host + parts.path.rstrip("/") + (f"?{query}" if query else ""))
    return frozenset(found)


def alike(new: Candidate, others: Iterable[Candidate], most: int = 5) -> list[Likeness]:
    """The incidents that may be the same as the new one, most alike first."""
    mine = addresses(f"{new.title} {new.text}")
    found = []
    for other in others:
        score = title_likeness(new.title, other.title)
        nearby = bool(new.region_code) and new.region_code == other.region_code
        same_page = bool(mine & addresses(f"{other.title} {other.text}"))
        if not same_page and score < (ALIKE_NEARBY if nearby else ALIKE):
            continue
        reasons = [
            *(["链接相同"] if same_page else []),
            *(["标题相同"] if score == 1 else ["标题相近"] if score >= ALIKE_NEARBY else []),
            *(["属地相同"] if nearby else []),
        ]
        found.append(Likeness(other.no, other.title, max(score, 1.0 if same_page else 0.0), tuple(reasons)))
    return sorted(found, key=lambda likeness: (-likeness.score, likeness.no))[:most]
