"""The one way in: what is asked before an operation's action runs, whatever door the request came through.

Still logged in? within the limit? permitted? valid? Then the action runs, and its result or its error becomes the
answer, counted once. All up to the action is synchronous, but for the limits that are counted across processes. The
doors (`handlers.base`, `rest.endpoint`) translate. docs/decisions/0033.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from contract.errors import ParleyError
from contract.identity import ADMINISTRATORS, AUTH_REFRESH
from contract.registry import ADMINISTRATOR, Operation
from contract.types import parse
from models.context import Action, Actions
from ops import audit
from ops.metrics import COMMANDS, ERRORS
from security.limits import OperationLimits, Verdict
from security.tokens import Identity
from storage.mongo import as_parley_error

log = logging.getLogger("parley.operations")

SLOW_S = 1.0


class Executor:
    """`running` tells how many operations are."""

    def __init__(self, limits: OperationLimits) -> None:
        self.limits = limits
        self.running = 0
        self._actions: dict[Operation, Action] = {}

    def bind(self, actions: Actions) -> None:
        """Each operation is this action, behind every door."""
        for operation, action in actions.items():
            assert operation not in self._actions, f"{operation.name} has two actions"
            self._actions[operation] = action

    async def run(self, work: Awaitable[Any]) -> Any:
        """One of `running` meanwhile."""
        self.running += 1
        try:
            return await work
        finally:
            self.running -= 1

    def action(self, operation: Operation) -> Action | None:
        """None for one that concerns a connection or a request: its door has something of its own."""
        return self._actions.get(operation)

    def is_immediate(self, operation: Operation) -> bool:
        """Whether `admit` may be asked, which does not wait for anything."""
        return not self.limits.is_shared(operation.name)

    def admit(self, operation: Operation, identity: Identity, fields: Callable[[], Any]) -> Any:
        """The payload, made of what `fields` gives. Raises what the operation may not be asked for."""
        self._require_login(operation, identity)
        if wait_ms := self.limits.retry_after_ms(operation.name, identity.user_id):
            raise ParleyError("rate_limited", retry_after_ms=wait_ms)
        self._permit(operation, identity)
        return parse(operation.payload, fields())

    async def admit_waiting(
        self,
        operation: Operation,
        identity: Identity | None,
        address: str,
        fields: Callable[[], Awaitable[Any]],
        counted: Callable[[Verdict], None] = lambda verdict: None,
        strict: bool = True,
    ) -> Any:
        """The same where there is time, and for who is not logged in: they count by their address."""
        self._require_login(operation, identity)
        key = identity.user_id if identity is not None else address
        if self.limits.is_shared(operation.name):
            verdict = await self.limits.check_shared(operation.name, key)
        else:
            verdict = self.limits.check(operation.name, key)
        if verdict is not None:
            counted(verdict)
            if not verdict.allowed:
                raise ParleyError("rate_limited", retry_after_ms=verdict.retry_after_ms)
        self._permit(operation, identity)
        return parse(operation.payload, await fields(), strict=strict)

    @staticmethod
    def _require_login(operation: Operation, identity: Identity | None) -> None:
        if not operation.needs_login:
            return
        if identity is None:
            raise ParleyError("unauthenticated")
        if identity.expires_at <= time.time() and operation is not AUTH_REFRESH:
            raise ParleyError("token_expired")

    @staticmethod
    def _permit(operation: Operation, identity: Identity | None) -> None:
        """After it was counted: asking in vain is asking too."""
        if operation.permission == ADMINISTRATOR and identity is not None and identity.role not in ADMINISTRATORS:
            audit.record("access_refused", user_id=identity.user_id, role=identity.role)
            raise ParleyError("forbidden", "This is for administrators.")

    def answered(self, what: str, code: str, started: float) -> None:
        """`what` took since `started` (`time.perf_counter`); `code` is an error's, or ok."""
        elapsed = time.perf_counter() - started
        COMMANDS.note(what, code, elapsed)
        if elapsed > SLOW_S and code not in ("cancelled", "refused"):  # which took as long as the client liked
            log.warning("slow operation %s: %.0f ms (%s)", what, elapsed * 1000, code)

    def known(self, what: str, error: Exception) -> ParleyError:
        """The error as the contract has it; what the contract does not know is logged once, with its trace."""
        if isinstance(error, ParleyError):
            return error
        if (known := as_parley_error(error)) is not None:
            return known
        ERRORS.inc()
        log.error("unexpected exception in %s", what, exc_info=error)
        return ParleyError("internal_error")
