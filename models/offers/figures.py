"""How someone answers proposals, and what comes of their offers: counted from the histories. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from statistics import fmean, median

from contract.rules import Figures
from models.offers.document import status_at
from models.offers.machine import SYSTEM
from storage.mongo import Document

_PROPOSALS = ("create", "counter")


def figures(offers: Iterable[Document], user_id: str, at: datetime, complete: bool) -> Figures:
    received = answered = automatic = lapsed = concluded = accepted = 0
    took_ms: list[float] = []
    rounds: list[int] = []
    for offer in offers:
        history = offer["history"]
        received += sum(step["action"] in _PROPOSALS and step["by"] != user_id for step in history)
        for proposal, answer in pairwise(history):
            if proposal["action"] not in _PROPOSALS or proposal["by"] == user_id:
                continue
            if answer["by"] == user_id:
                answered += 1
                if answer.get("rule_ids") is not None:
                    automatic += 1
                else:
                    took_ms.append((answer["at"] - proposal["at"]).total_seconds() * 1000)
            lapsed += answer["by"] == SYSTEM
        status = status_at(offer, at)
        lapsed += status == "expired" != offer["status"] and offer["awaiting_user_id"] == user_id
        concluded += status != "pending"
        if any(step["action"] == "accept" for step in history):
            accepted += 1
            rounds.append(sum(step["action"] in _PROPOSALS for step in history))
    return Figures(
        received=received,
        answered=answered,
        automatic=automatic,
        lapsed=lapsed,
        response_ms_median=round(median(took_ms)) if took_ms else None,
        concluded=concluded,
        accepted=accepted,
        conversion=round(accepted / concluded, 4) if concluded else None,
        rounds_mean=round(fmean(rounds), 2) if rounds else None,
        complete=complete,
    )
