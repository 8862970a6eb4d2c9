"""Payment providers: what is asked of one. The ledger moves only when a provider has confirmed, never here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Charge:
    """A payment that a provider is asked for. `id` is ours and makes asking safe to repeat; `amount` in minor units."""

    id: str
    user_id: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Started:
    """What a provider made of it: its own name for it, and the page where the user completes it, if that is one."""

    reference: str
    checkout_url: str | None = None


class PaymentProvider(Protocol):
    name: str

    async def start(self, charge: Charge) -> Started:
        """Asks for the money. The same `charge.id` is the same payment, however often it is asked for."""
        ...
