"""What is to be done for each kind of job: an action of a noun, and nothing more."""

from __future__ import annotations

from domain import Domain
from models.conversations.actions import RENAME
from models.ledger.actions import EXPIRE
from workers.runner import Task

# Kind → how often, in seconds.
SCHEDULE = {"upkeep.migrations": 20.0, "upkeep.sessions": 3600.0, "upkeep.words": 60.0}
# A worker that stops waits for its jobs, so a run of migrations is short; the next goes on where it ended.
MIGRATE_FOR_S = 10.0


def tasks(domain: Domain) -> dict[str, Task]:
    return {
        EXPIRE: domain.finance.expire,
        RENAME: domain.renaming.spread,
        "offer.answer": domain.offers.answer,
        "offer.expire": domain.offers.expire,
        "payment.confirm": domain.payments.confirm,
        "payment.expire": domain.payments.expire,
        "upkeep.migrations": lambda _: domain.migrations.work(MIGRATE_FOR_S),
        "upkeep.sessions": domain.sessions.forget_old,
        "upkeep.words": lambda _: domain.indexing.tidy(),
    }
