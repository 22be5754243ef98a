"""Who acts: a person with a token, the local command line, or the system itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from huiying.domain.errors import Forbidden

#: The whole house: said in so many words, and only of an actor behind whom no person stands.
EVERYWHERE: Final = None


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change.

    ``id`` is what the audit chain names: ``person:<id>``, ``local:<system user>`` or ``system:<process>``.
    ``person_id`` is empty for the local command line and the system, which can therefore never be a second person.
    ``permissions`` are those of ``huiying.domain.access``; ``units`` limits them to these units and what lies below.
    No unit means nowhere. ``EVERYWHERE`` is for the local command line and the system alone: a person whose last role
    was taken away must not come to reach the whole house by it. ``issues_tokens`` is for who has signed in at a desk, and
    for a token that was made for that.
    """

    id: str
    person_id: str = ""
    permissions: frozenset[str] = field(default_factory=frozenset)
    units: frozenset[str] | None = field(default_factory=frozenset)
    issues_tokens: bool = False

    def __post_init__(self) -> None:
        """A person acts where the roles of the account are held, and nowhere else."""
        if self.units is EVERYWHERE and self.person_id:
            raise ValueError("a person's reach is that of roles held for units")

    @property
    def is_everywhere(self) -> bool:
        """True for who reaches every unit there is and will be."""
        return self.units is EVERYWHERE

    @property
    def is_person(self) -> bool:
        """True when a human being with an own account stands behind the change."""
        return bool(self.person_id)

    def require(self, permission: str) -> None:
        """Raise ``Forbidden`` unless the actor holds the permission."""
        if permission not in self.permissions:
            raise Forbidden("您的账号没有此项权限，操作未执行。如需办理，请联系管理员。", permission=permission)
