"""Logins over HTTP: the Authorization header, and what a handler's answer means (KumoMTA, sections 3.1, 5.1, D7)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from kumoaudit.access.identity import auth_info_of
from kumoaudit.core.errors import ConfigError, UsageError
from kumoaudit.core.event import AuthInfo, Identity
from kumoaudit.core.options import kind

UNREADABLE = "Malformed Authorization header"
UNSUPPORTED = "Malformed or unsupported Authorization header"


class Credentials(msgspec.Struct, frozen=True):
    """What a caller shows. `secret` is a password (None when there was no colon) or a token; it goes into no record."""

    context: str
    user: str
    secret: str | None

    @property
    def event(self) -> str:
        """The event whose handler checks them."""
        return "http_server_validate_auth_basic" if self.context == "HttpBasicAuth" else BEARER

    @property
    def arguments(self) -> tuple[str | None, ...]:
        """What that handler gets."""
        return (self.user, self.secret) if self.context == "HttpBasicAuth" else (self.secret,)


BEARER = "http_server_validate_auth_bearer"


class Malformed(Exception):
    """An Authorization header that cannot be understood; the text is the reply's body. `context`: as far as known."""

    def __init__(self, body: str, context: str = "GenericAuth") -> None:
        super().__init__(body)
        self.context = context


class Login(msgspec.Struct, frozen=True):
    """How a login came out. `gained` are the identities and groups that join what the connection is known by,
    `attempted` is who the caller claims to be; `reason` says why it failed, `warning` what the operator should know."""

    ok: bool
    attempted: Identity
    gained: AuthInfo = AuthInfo()
    reason: str = ""
    warning: str = ""


def parse_authorization(header: bytes) -> Credentials:
    """The credentials of a header's value. Schemes are `Basic` and `Bearer`, exactly so written. Raises Malformed."""
    try:
        text = header.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(UNREADABLE) from None
    if any(c < " " and c != "\t" for c in text):
        raise Malformed(UNREADABLE)
    scheme, _, rest = text.partition(" ")
    rest = rest.strip(" ")
    if scheme == "Bearer":
        if not rest or " " in rest:
            raise Malformed(UNSUPPORTED, "BearerToken")
        return Credentials("BearerToken", "", rest)
    if scheme != "Basic":
        raise Malformed(UNSUPPORTED)
    try:
        user, colon, password = base64.b64decode(rest, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        raise Malformed(UNSUPPORTED, "HttpBasicAuth") from None
    return Credentials("HttpBasicAuth", user, password if colon else None)


def login_of(credentials: Credentials, answer: Sequence[Any]) -> Login:
    """What the results of the policy's handler mean.

    true: the claimed identity joins; an AuthInfo: its identities and groups do, its peer is ignored; false: failed; an
    AuthInfo without identity: failed, with a warning (KumoMTA lets it in, D7). Raises UsageError for anything else.
    """
    attempted = Identity(credentials.user, credentials.context)
    value = answer[0] if answer else None
    if value is True:
        return Login(True, attempted, AuthInfo(None, (attempted,), ()))
    if value is False:
        return Login(False, attempted, reason="refused by the handler")
    if isinstance(value, (dict, list)):
        try:
            info = auth_info_of(value, f"the answer of '{credentials.event}'")
        except ConfigError as e:
            raise UsageError(str(e)) from None
        if not info.identities:
            warning = f"the handler of '{credentials.event}' returned an AuthInfo without identity: the login failed"
            return Login(False, attempted, reason="the handler returned no identity", warning=warning)
        if credentials.context == "BearerToken":
            attempted = info.identities[0]
        return Login(True, attempted, info)
    got = "nothing" if not answer else kind(value)
    raise UsageError(
        f"the handler of '{credentials.event}' must return true, false or an AuthInfo, got {got}\n"
        "  write: return users[user] ~= nil and kumo.secrets.check_password(password, users[user].hash)"
    )
