"""Pages of a list that is ordered by a moment, newest first: each reads about as much as it returns.

A list needs an index of what it asks for by equality, then the moment and `_id`, both rising:

    IndexModel([("party_ids", 1), ("status", 1), ("updated_at", 1), ("_id", 1)])

MongoDB walks such an index backwards and stops at the limit. The embedded database sorts all that is in the range and
cuts the result afterwards, so there the range itself is kept small: windows of time that grow until the page is full.
It also needs three things of every query here, each measured (docs/decisions/0023-paging.md): the index has every field
of the query, the bounds of a window are `$gte` below and `$lt` above, and the index does not fall.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from storage.mongo import Database, Document

Place = tuple[datetime, str]  # (the moment, the _id) of a document in such a list

WINDOW = timedelta(minutes=10)
WINDOW_GROWTH = 8
WINDOW_MAX = timedelta(days=366)


async def newest(
    database: Database, collection: str, query: Mapping[str, Any], limit: int, *, before: Place | None = None,
    since: datetime | None = None, fields: Mapping[str, int] | None = None, by: str = "updated_at",
) -> list[Document]:  # fmt: skip
    """Of the documents that match, those with the highest (`by`, `_id`), falling: `limit` at most.

    `before` is where the page before ended, and is not among them; `since` is the lowest moment of any. A document
    that moves up meanwhile may be missed, as in any list that is read in pages, and none comes twice in a page.
    """
    documents = database.collection(collection)

    async def find(moment: Any, **more: Any) -> list[Document]:
        asked = {**query, **({by: moment} if moment else {}), **more}
        cursor = documents.find(asked, fields).sort([(by, -1), ("_id", -1)]).limit(limit - len(found))
        answer: list[Document] = await cursor.to_list(None)
        return answer

    found: list[Document] = []
    top = None
    if before is not None:
        top, identifier = before
        found += await find(top, _id={"$lt": identifier})  # of the same moment as the last of the page before
    for bottom in _bottoms(database.embedded, top, since):
        if len(found) >= limit:
            break
        window = {**({"$gte": bottom} if bottom else {}), **({"$lt": top} if top else {})}
        found += await find(window)
        top = bottom
    return found


def _bottoms(small: bool, top: datetime | None, since: datetime | None) -> Iterator[datetime | None]:
    """Where each window begins, each further back than the one before; None is the beginning of time."""
    bottom, span = datetime.now(UTC), WINDOW
    if top is not None:
        bottom = min(top, bottom)
    while small and span <= WINDOW_MAX and bottom - datetime.min.replace(tzinfo=UTC) > span:
        bottom -= span
        if since is not None and bottom <= since:
            break
        yield bottom
        span *= WINDOW_GROWTH
    yield since
