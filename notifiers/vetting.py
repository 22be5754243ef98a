"""The guard's word on a channel's addresses at the moment they are saved, without asking any name server.

What a name leads to is vetted again with every connection (``notifiers.guard``): it may change at any time. Here an
address that can never be right is refused while the operator still looks at it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from notifiers.guard import BadAddress, Blocked, Guard, Target, parse_cidrs, parse_target
from notifiers.options import Finding, Options
from notifiers.sockets import SocketAddress

#: Options that say where messages are posted to.
POSTED_TO = ("url", "base_url")


def vet_addresses(settings: Mapping[str, object], *, allow_loopback: bool) -> list[Finding]:
    """A finding for each resolved address of posts (``url``, a robot's ``base_url``) that the guard would always refuse.

    A proxy may well stand inside (most do); what it is asked for is vetted when sending.
    """
    options = Options(settings)
    guard = Guard(parse_cidrs(options.texts("allow_cidrs")), allow_loopback=allow_loopback)
    refusals = ((name, _refusal(guard, options.text(name))) for name in POSTED_TO)
    return [Finding(name, refusal) for name, refusal in refusals if refusal]


def _refusal(guard: Guard, address: str) -> str:
    if not address:
        return ""
    try:
        vet_target(guard, parse_target(address))
    except (BadAddress, Blocked) as refused:
        return str(refused)
    return ""


def vet_target(guard: Guard, target: Target) -> None:
    """Raise Blocked where the host is written as an address (in any spelling) or is this machine's own name."""
    guard.vet(target.scheme, _written_out(target))


def _written_out(target: Target) -> list[SocketAddress]:
    if target.host == "localhost" or target.host.endswith(".localhost"):
        return [(socket.AF_INET, ("127.0.0.1", target.port))]
    try:
        # Understands 127.1, 0x7f.1 and 2130706433 as a connection would; AI_NUMERICHOST asks nobody.
        rows = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [(row[0], row[4]) for row in rows]
