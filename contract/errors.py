"""The one table of error codes, and the exception that carries a row of it to whoever asked.

A command's acknowledgement, a REST response and a refused connection show the same object (`ErrorBody`). Codes are
append-only: clients switch on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """One row: the stable code, its HTTP status, whether the same request may succeed later, and the default text."""

    code: str
    status: int
    retryable: bool
    message: str


_ROWS = (
    ErrorSpec("validation_failed", 422, False, "The request does not have the declared form; see details."),
    ErrorSpec("malformed_json", 400, False, "The body is not valid JSON."),
    ErrorSpec("unknown_command", 404, False, "There is no such command on this namespace."),
    ErrorSpec("not_found", 404, False, "There is nothing here under that name."),
    ErrorSpec("method_not_allowed", 405, False, "This path does not take that method."),
    ErrorSpec("payload_too_large", 413, False, "The request is larger than this server accepts."),
    ErrorSpec("unsupported_media_type", 415, False, "Send the body as application/json."),
    ErrorSpec("unauthenticated", 401, False, "Log in first: send a bearer token or the auth cookie."),
    ErrorSpec("token_invalid", 401, False, "The token is not valid here; log in again."),
    ErrorSpec("token_expired", 401, True, "The token has expired; refresh it and try again."),
    ErrorSpec("session_revoked", 401, False, "This session was revoked; log in again."),
    ErrorSpec("refresh_reused", 401, False, "This refresh token was already used; the session is revoked."),
    ErrorSpec("csrf_failed", 403, False, "Send the CSRF cookie's value as the X-CSRF-Token header too."),
    ErrorSpec("forbidden", 403, False, "You may not do this."),
    ErrorSpec("not_a_participant", 403, False, "You are not a participant of this conversation."),
    ErrorSpec("invalid_credentials", 401, False, "The e-mail or the password is wrong."),
    ErrorSpec("account_locked", 423, True, "Too many failed log-ins; wait before the next try."),
    ErrorSpec("email_taken", 409, False, "There already is an account with this e-mail."),
    ErrorSpec("idempotency_mismatch", 409, False, "This client_id was used before with a different payload."),
    ErrorSpec("message_deleted", 409, False, "The message was deleted."),
    ErrorSpec("message_version_stale", 409, False, "The message changed meanwhile; details carry the current one."),
    ErrorSpec("offer_version_stale", 409, False, "The offer changed meanwhile; details carry the current one."),
    ErrorSpec("offer_not_your_turn", 409, False, "It is the other party's turn."),
    ErrorSpec("offer_closed", 409, False, "The offer is not open to this any more; details carry it as it is."),
    ErrorSpec("offer_expired", 409, False, "The offer has expired; details carry it."),
    ErrorSpec("credit_limit_exceeded", 409, False, "This would exceed the buyer's credit limit."),
    ErrorSpec("hold_closed", 409, False, "The hold was posted, voided or has expired already."),
    ErrorSpec("amount_exceeded", 409, False, "That is more than there is to take; details say how much there is."),
    ErrorSpec("conflict", 409, True, "Someone changed this at the same moment; try again."),
    ErrorSpec("rate_limited", 429, True, "Too many requests; wait and try again."),
    ErrorSpec("too_many_connections", 429, False, "This user has the most connections allowed; close one first."),
    ErrorSpec("unavailable", 503, True, "The service cannot answer right now; try again."),
    ErrorSpec("timeout", 504, True, "This took too long; try again with the same client_id."),
    ErrorSpec("over_capacity", 503, True, "This server has all it can serve right now; wait and try again."),
    ErrorSpec(
        "token_not_yet_valid", 401, True, "The token comes from a clock ahead of this server's; try again in a moment."
    ),
    ErrorSpec("too_many_pending", 409, False, "There are too many that are not completed; complete one of them first."),
    ErrorSpec("limit_reached", 409, False, "There are as many as there may be; details say of what."),
    ErrorSpec("internal_error", 500, True, "Something failed on our side; quote the request id."),
)

ERRORS: dict[str, ErrorSpec] = {row.code: row for row in _ROWS}


class ErrorDetail(msgspec.Struct, frozen=True):
    """One field that was refused, and why."""

    field: str
    reason: str


class ErrorBody(msgspec.Struct, frozen=True):
    """What a client sees of an error. `retry_after_ms` is null when waiting does not help."""

    code: str
    message: str
    details: list[ErrorDetail] | dict[str, Any] | None
    retryable: bool
    retry_after_ms: int | None
    request_id: str


class ParleyError(Exception):
    """Raise it anywhere below a choke point; the client gets the row of the table with these particulars."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        details: list[ErrorDetail] | dict[str, Any] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        self.spec = ERRORS[code]
        self.message = message or self.spec.message
        self.details = details
        self.retry_after_ms = retry_after_ms
        super().__init__(f"{code}: {self.message}")

    @property
    def code(self) -> str:
        return self.spec.code

    def body(self, request_id: str) -> ErrorBody:
        return ErrorBody(
            self.spec.code, self.message, self.details, self.spec.retryable, self.retry_after_ms, request_id
        )


def invalid(field: str, reason: str) -> ParleyError:
    """A refusal of one field, for rules that a type cannot say."""
    return ParleyError("validation_failed", f"{field}: {reason}", details=[ErrorDetail(field, reason)])
