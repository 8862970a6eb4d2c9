"""The default provider: an operator sees the money come, and says so (`python -m models.payments confirm ID`)."""

from __future__ import annotations

import logging

from providers.payments import Charge, Started

log = logging.getLogger("parley.payments")


class ConsolePayments:
    name = "console"

    async def start(self, charge: Charge) -> Started:
        log.info("%s wants to pay %d %s: confirm %s", charge.user_id, charge.amount, charge.currency, charge.id)
        return Started(reference=f"console-{charge.id}")
