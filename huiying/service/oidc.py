"""Signing in through the organisation's own identity provider (OpenID Connect, authorization code with PKCE).

Optional: needs the extra ``oidc``. The provider says who somebody is; whether that is a person here stands in the
account (``huiying account subject``). Nobody is made or guessed, and what a role needs (a second factor) it needs all
the same. The local sign-in stays for the day on which the provider does not answer.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import requests
import sqlalchemy as sa
from loguru import logger

from config.sealed import CannotOpen
from config.secrets import UnresolvedSecret, resolve
from config.settings import secure_address
from huiying.domain.errors import NotAuthenticated, NotFound, Refused, Unavailable
from huiying.domain.sentences import said, sentence_in, term
from huiying.service import device_marks, lockout, sessions
from huiying.service.services import Services
from huiying.service.session_rows import Session
from huiying.store import tables as t
from huiying.store.types import to_micros

CALLBACK = "/login/oidc/back"
#: How long somebody may take at the provider.
PATIENCE = timedelta(minutes=10)
_TIMEOUT = (5, 10)  # seconds to connect, to answer
_LARGEST = 256 * 1024
_SCOPE = "openid profile"
#: Signatures by the provider's private key; nothing that a shared secret or nobody could have made.
_ALGORITHMS = ["RS256", "PS256", "ES256"]

OFF = "本系统未启用统一身份登录，请用本系统的用户编号和密码登录。"
NOT_INSTALLED = "统一身份登录所需的组件未安装（安装时须选 oidc 附加项）。请用本系统的用户编号和密码登录。"
DOWN = "统一身份平台暂时没有正确应答，未登录。请稍后重试，或改用本系统的用户编号和密码登录。"
REFUSED = "统一身份平台返回的凭据未通过核验，未登录。请重新登录；若持续出现，请联系管理员。"
EXPIRED = "本次统一身份登录已超时或不是从本浏览器发起的，未登录。请从登录页重新开始。"
UNKNOWN = "统一身份已核验，但未对应到本系统的人员，未登录。请联系管理员登记对应关系。"


@dataclass(frozen=True, slots=True)
class Departure:
    """Where the browser is sent, and what it must bring back (sealed, for a cookie)."""

    address: str
    ticket: str


def is_on(services: Services) -> bool:
    """Whether a provider is configured."""
    return bool(services.settings.oidc_issuer)


def depart(services: Services, redirect_uri: str, wanted: str) -> Departure:
    """Begin: the provider's address with state, nonce and code challenge."""
    provider = _provider(services)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    with _client(services, redirect_uri) as client:
        address, _ = client.create_authorization_url(
            provider["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
        )
    kept = {"state": state, "nonce": nonce, "verifier": verifier, "wanted": wanted, "at": to_micros(_now(services))}
    return Departure(address, services.sealer.seal(json.dumps(kept)))


def come_back(
    services: Services, redirect_uri: str, ticket: str, state: str, code: str, client: str, agent: str, mark: str = ""
) -> tuple[str, Session, str]:
    """End: exchange the code, check the identity, open a session; gives its secret, itself and where to go."""
    kept = _open_ticket(services, ticket, state)
    provider = _provider(services)
    claims = _claims(services, provider, redirect_uri, code, kept)
    subject = str(claims.get(services.settings.oidc_claim) or "")
    secret, session = sign_in_as(services, subject, client, agent, mark)
    return secret, session, str(kept["wanted"])


def sign_in_as(services: Services, subject: str, client: str, agent: str, mark: str = "") -> tuple[str, Session]:
    """Open a session for the person whose account names this subject."""
    statement = (
        sa.select(t.person.c.id)
        .join(t.account, t.account.c.person_id == t.person.c.id)
        .where(t.account.c.oidc_subject == subject, t.person.c.active)
    )
    with services.store.transaction("system:login") as tx:
        shut = lockout.crowd(tx, client)
        person_id = tx.value(statement) if subject and shut is None else None
        if person_id is not None:
            tx.actor = f"person:{person_id}"
            browser = device_marks.browser_of(tx, mark)
            return sessions.start(services, tx, person_id, client, agent, by="oidc", browser=browser)
        if shut is None:
            lockout.note_failure(tx, lockout.client_key(client), lockout.CLIENT_FAILURES)
            tx.audit("session.refused", f"client:{client}"[:120], {"what": "oidc", "client": client[:64]})
    raise shut or NotAuthenticated(UNKNOWN, locked=False)


# -- the provider ------------------------------------------------------------------------------------------------------


def _provider(services: Services) -> dict[str, Any]:
    """What the provider says about itself; every address it names is as secure as its own."""
    issuer = services.settings.oidc_issuer
    if not issuer:
        raise NotFound(OFF)
    found = _read(issuer.rstrip("/") + "/.well-known/openid-configuration")
    addresses = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
    if found.get("issuer") != issuer or not all(isinstance(one, str) and secure_address(one) for one in addresses):
        logger.warning("the identity provider's description does not fit its issuer {}", urlsplit(issuer).netloc)
        raise Unavailable(DOWN)
    return found


def _read(address: str) -> dict[str, Any]:
    """A JSON object from the provider."""
    try:
        with requests.get(address, timeout=_TIMEOUT, allow_redirects=False, stream=True) as response:
            body = response.raw.read(_LARGEST + 1, decode_content=True)
            found = json.loads(body) if response.status_code == 200 and len(body) <= _LARGEST else None
    except (requests.RequestException, OSError, ValueError) as error:
        logger.warning("the identity provider did not answer: {}", type(error).__name__)
        raise Unavailable(DOWN) from error
    if not isinstance(found, dict):
        raise Unavailable(DOWN)
    return found


def _client(services: Services, redirect_uri: str) -> Any:
    try:
        from authlib.integrations.requests_client import OAuth2Session  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise Refused(NOT_INSTALLED) from None
    settings = services.settings
    try:
        secret = resolve(settings.oidc_client_secret, services.sealer.open).reveal()
    except (UnresolvedSecret, CannotOpen) as error:
        raise Refused(said("统一身份登录的客户端密钥无法读取：%(error)s", error=term(sentence_in(error)))) from None
    return OAuth2Session(
        settings.oidc_client_id,
        secret,
        scope=_SCOPE,
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
        default_timeout=_TIMEOUT[1],
    )


def _claims(
    services: Services, provider: dict[str, Any], redirect_uri: str, code: str, kept: dict[str, Any]
) -> dict[str, Any]:
    from authlib.common.errors import AuthlibBaseError  # noqa: PLC0415 - an optional extra

    with _client(services, redirect_uri) as client:
        try:
            answer = client.fetch_token(
                provider["token_endpoint"], code=code, code_verifier=kept["verifier"], allow_redirects=False
            )
        except AuthlibBaseError as error:
            logger.warning("the identity provider refused the code: {}", error.error)
            raise NotAuthenticated(REFUSED, locked=False) from None
        except (requests.RequestException, OSError, ValueError) as error:
            logger.warning("the identity provider did not answer: {}", type(error).__name__)
            raise Unavailable(DOWN) from error
    return _checked(services, provider, str(answer.get("id_token") or ""), str(kept["nonce"]))


def _checked(services: Services, provider: dict[str, Any], id_token: str, nonce: str) -> dict[str, Any]:
    """The claims of an identity token with the provider's signature, for us, in time, from this very sign-in."""
    from joserfc import jwt  # noqa: PLC0415 - comes with the optional extra
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import KeySet  # noqa: PLC0415

    settings = services.settings
    keys: Any = _read(provider["jwks_uri"])
    try:
        token = jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=_ALGORITHMS)
        registry = jwt.JWTClaimsRegistry(
            now=int(_now(services).timestamp()),
            leeway=60,
            iss={"essential": True, "value": settings.oidc_issuer},
            aud={"essential": True, "value": settings.oidc_client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        registry.validate(token.claims)
    except (JoseError, ValueError, KeyError, TypeError) as error:
        logger.warning("an identity token was refused: {}", type(error).__name__)
        raise NotAuthenticated(REFUSED, locked=False) from None
    party = token.claims.get("azp")
    if party not in {None, settings.oidc_client_id}:
        raise NotAuthenticated(REFUSED, locked=False)
    return dict(token.claims)


def _open_ticket(services: Services, ticket: str, state: str) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(services.sealer.open(ticket))
    except (CannotOpen, ValueError):
        raise NotAuthenticated(EXPIRED, locked=False) from None
    late = to_micros(_now(services)) - kept["at"] > PATIENCE // timedelta(microseconds=1)
    if late or not secrets.compare_digest(state.encode(), str(kept["state"]).encode()):
        raise NotAuthenticated(EXPIRED, locked=False)
    return kept


def _now(services: Services) -> Any:
    return services.store.now()
