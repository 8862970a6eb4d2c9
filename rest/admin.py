"""/api/v1/admin: what an administrator sees of the process that answers."""

from __future__ import annotations

from contract import admin
from models.processes.actions import Processes
from rest.endpoint import Rest


def add_admin(rest: Rest, processes: Processes) -> None:
    rest.mirror(admin.STATS, processes.stats)
    rest.mirror(admin.CONNECTIONS, processes.list_connections)
    rest.mirror(admin.CONNECTION_CLOSE, processes.close_connection)
