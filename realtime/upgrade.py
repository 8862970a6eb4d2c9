"""The second half of an upgrade: a WebSocket that asks to replace the polling of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.packets import Outgoing
from realtime.polling import PollingLink

if TYPE_CHECKING:
    from realtime.session import Session

PROBED = Outgoing(b"3probe")
UPGRADE_TIMEOUT_S = 10.0


class Upgrade:
    """Probe, then upgrade, or nothing happens."""

    __slots__ = ("_probed", "_session", "link")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._probed = False
        self.link = session.server.make_link(self, session.link.offsets)
        session.server.wheel.after(UPGRADE_TIMEOUT_S, self.abandon)

    def frame_received(self, data: str | bytes) -> None:
        session, polling = self._session, self._session.link
        if session.closed or session.upgraded or not isinstance(polling, PollingLink):
            self.link.close()
        elif data == "2probe" and not self._probed and not session.upgrading:
            self._probed = session.upgrading = True
            self.link.send(PROBED)
            polling.hold()
        elif data == "5" and self._probed:
            session.upgraded, session.upgrading, session.upgrade = True, False, None
            polling.gather()
            self.link.listener = session
            session.link = self.link
            if session.inbox is not None and session.inbox.full:
                self.link.pause_reading()
            for waiting in polling.packets:
                self.link.send(waiting)
            polling.discard()
            polling.close()
        else:
            self._give_up()
            self.link.close()

    def transport_lost(self) -> None:
        self._give_up()

    def transport_failed(self) -> None:
        self._give_up()

    def too_slow(self) -> None:
        self._give_up()
        self.link.close()

    def spend(self, cost: float) -> float:
        return self._session.spend(cost)

    def behind(self, unread: int) -> None:
        self._session.behind(unread)

    def abandon(self) -> None:
        """It takes too long, another one came, or the session has ended."""
        if self._session.link is not self.link:
            self._give_up()
            self.link.close()

    def _give_up(self) -> None:
        if self._probed and self._session.upgrading:
            self._session.upgrading = False
            if isinstance(self._session.link, PollingLink):
                self._session.link.release()
