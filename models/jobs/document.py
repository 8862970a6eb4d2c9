"""The job document.

    {_id, kind, payload, state: waiting | dead, run_at, attempts, taken, worker, error, created_at, again_at?}

A job that is done is not there any more. `run_at` says when it is to be done next, and while a worker has it, until
when nobody else may take it: a worker that dies loses its jobs when that moment comes. `taken` counts how often it was
taken and only rises: who has the job with the newest number may end it, nobody else. `attempts` counts the tries.
`again_at` is there when it was asked for again since it was taken: then it is not over when it is done.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pymongo import IndexModel

from contract.admin import Job
from contract.types import format_time
from storage.mongo import Document

INDEXES = {"jobs": [IndexModel([("state", 1), ("run_at", 1)])]}
ERROR_CHARS = 500


def new_job(identifier: str, kind: str, payload: dict[str, Any], run_at: datetime, at: datetime) -> Document:
    return {
        "_id": identifier, "kind": kind, "payload": payload, "state": "waiting", "run_at": run_at, "attempts": 0,
        "taken": 0, "worker": None, "error": None, "created_at": at,
    }  # fmt: skip


def to_job(document: Document) -> Job:
    return Job(
        id=document["_id"],
        kind=document["kind"],
        payload=document["payload"],
        attempts=document["attempts"],
        error=document["error"],
        created_at=format_time(document["created_at"]),
        run_at=format_time(document["run_at"]),
    )
