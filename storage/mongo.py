"""One MongoDB client a process, with the guarantees every write and read of ours relies on.

Writes are acknowledged by a majority and journalled before an action goes on (`w: majority, j: true`; the embedded
database needs both said); reads see only what cannot be rolled back. Every call has a time limit, since a frozen
server would otherwise hang it for ever. Changes of several documents go through `transact`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from bson import Binary, Int64
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo import IndexModel, WriteConcern
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    CursorNotFound,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern

from contract.errors import ParleyError
from storage.abandoned import Abandoned

CALL_TIMEOUT_MS = 10_000
Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]
Transaction = AsyncIOMotorClientSession
Result = TypeVar("Result")

TRANSACTION_S = 8.0
LEAVE_S = 1.0
RETRY_MIN_S = 0.002
RETRY_MAX_S = 0.1

# By a shutdown, a step-down or an operator: ShutdownInProgress, PrimarySteppedDown, Interrupted*.
_INTERRUPTED = (91, 189, 11600, 11601, 11602)


class _Integers(TypeDecoder):
    """Integers beyond 32 bits come as a class of the driver's own, which nothing of ours can encode."""

    bson_type = Int64

    def transform_bson(self, value: int) -> int:
        return int(value)


CODECS: CodecOptions[Document] = CodecOptions(tz_aware=True, type_registry=TypeRegistry([_Integers()]))


class Again(Exception):
    """Raised by what runs in a transaction when it met what only a fresh look can settle: it is run again."""


class DatabaseError(RuntimeError):
    """No database answers at the given address; the text is for the operator."""


class Database:
    """Collections by name, index creation and a health probe. `embedded` tells which server answers.

    `single`: on a replica set a call is worth repeating until its time is over, since another member takes over. A
    single server has no other, so its callers should hear within `serverSelectionTimeoutMS` that it is gone.
    """

    def __init__(self, url: str, name: str, single: bool = False) -> None:
        limits: dict[str, Any] = (
            {"socketTimeoutMS": CALL_TIMEOUT_MS, "waitQueueTimeoutMS": CALL_TIMEOUT_MS, "retryReads": False}
            if single
            else {"timeoutMS": CALL_TIMEOUT_MS}
        )
        self._client: Any = AsyncIOMotorClient(url, tz_aware=True, appname="parley", maxPoolSize=64, **limits)
        self._db = self._client.get_database(
            name, CODECS, write_concern=WriteConcern("majority", j=True), read_concern=ReadConcern("majority")
        )
        beats = self._db.get_collection(
            "transacting", read_concern=ReadConcern("local"), write_concern=WriteConcern(1)
        )  # a majority that lags must not make the living look dead
        self._abandoned = Abandoned(beats, self._kill)
        self.embedded = False

    async def connect(self, wait_s: float = 30.0) -> None:
        """Waits for the server; raises DatabaseError with what it last said when the time is over."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                hello = await self._client.admin.command("hello")
            except PyMongoError as error:
                if time.monotonic() > deadline:
                    text = str(error).partition(",")[0][:200]
                    raise DatabaseError(f"the database at MONGO_URL does not answer: {text}") from None
                await asyncio.sleep(0.2)
            else:
                self.embedded = hello.get("setName") == "secantus"
                return

    def collection(self, name: str) -> Collection:
        return self._db[name]

    async def transact(self, work: Callable[[Transaction], Awaitable[Result]]) -> Result:
        """Does `work` in a transaction, which is durable when this returns; again if others were in its way.

        `work` passes the transaction to each call of the driver as `session`, has no effect elsewhere, and may run
        several times.
        What it raises undoes it. A failure of the commit itself can leave it done or not, as with any write.
        Raises conflict if it was in the way of others for TRANSACTION_S.
        """
        deadline = time.monotonic() + TRANSACTION_S
        wait_s = RETRY_MIN_S
        async with await self._client.start_session() as tx:
            await self._abandoned.use(_key(tx))
            while True:
                try:
                    tx.start_transaction(
                        read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority", j=True)
                    )
                    result = await work(tx)
                    await _commit(tx, deadline)
                    return result
                except (PyMongoError, Again) as error:
                    await _abort(tx)
                    final = isinstance(error, PyMongoError) and not error.has_error_label("TransientTransactionError")
                    if final or time.monotonic() > deadline:
                        if isinstance(error, ConnectionFailure):  # the driver does not say that it could not abort
                            self._abandoned.not_ended(_key(tx))
                        if final:
                            raise
                        raise ParleyError("conflict") from error
                except BaseException:
                    await _abort(tx)
                    raise
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))
                wait_s = min(wait_s * 2, RETRY_MAX_S)

    async def tend_forever(self) -> None:
        """Ends what processes that died left open; for as long as the process lives."""
        await self._abandoned.tend_forever()

    async def leave(self) -> None:
        """Before `close`, where transactions were: nobody need wonder whether the process has died."""
        with contextlib.suppress(PyMongoError, TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._abandoned.leave()

    async def _kill(self, sessions: list[Binary]) -> None:
        await self._client.admin.command({"killSessions": [{"id": key} for key in sessions]})

    async def create_indexes(self, declared: Mapping[str, Sequence[IndexModel]]) -> None:
        """Creates what is missing; one that exists is left alone by the server."""
        for name, indexes in declared.items():
            await self._db[name].create_indexes(list(indexes))

    async def ping_ms(self) -> float:
        started = time.perf_counter()
        await self._client.admin.command("ping")
        return (time.perf_counter() - started) * 1000

    def close(self) -> None:
        self._client.close()

    def array_range(self, low: str, high: str) -> Document:
        """Matches an array with an element in [low, high), as far as an index can.

        MongoDB needs $elemMatch to bound both ends; the embedded database scans on $elemMatch and uses the index for
        the plain form, which alone also matches two elements on either side: callers check the hits.
        """
        bounds = {"$gte": low, "$lt": high}
        return bounds if self.embedded else {"$elemMatch": bounds}


async def _commit(tx: Transaction, deadline: float) -> None:
    while True:
        try:
            await tx.commit_transaction()
            return
        except PyMongoError as error:
            # Committed or not: asking again is safe, and answers.
            if not error.has_error_label("UnknownTransactionCommitResult") or time.monotonic() > deadline:
                raise
            await asyncio.sleep(RETRY_MAX_S)


def _key(tx: Transaction) -> Binary:
    key: Binary = tx.delegate.session_id["id"]
    return key


async def _abort(tx: Transaction) -> None:
    """Even if the task is being cancelled: an open transaction would keep its locks."""
    if tx.delegate.in_transaction:
        with contextlib.suppress(PyMongoError):
            await asyncio.shield(asyncio.ensure_future(tx.abort_transaction()))


def as_parley_error(error: Exception) -> ParleyError | None:
    """What the network and the server do to us, as the contract's errors; None for anything else."""
    if not isinstance(error, PyMongoError):
        return None
    if isinstance(error, NetworkTimeout | WTimeoutError):
        known = ParleyError("timeout", retry_after_ms=1000)
    elif isinstance(error, AutoReconnect | ConnectionFailure | ServerSelectionTimeoutError):
        known = ParleyError("unavailable", "The database cannot be reached right now.", retry_after_ms=1000)
    elif isinstance(error, CursorNotFound) or (isinstance(error, OperationFailure) and error.code in _INTERRUPTED):
        known = ParleyError("unavailable", "The database was restarted in the middle of this.", retry_after_ms=1000)
    elif error.timeout:
        known = ParleyError("timeout", retry_after_ms=1000)
    else:
        return None
    known.__cause__ = error
    return known
