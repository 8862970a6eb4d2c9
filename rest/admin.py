"""/api/v1/admin: what an administrator sees of the process that answers, and of the jobs of all."""

from __future__ import annotations

from contract import admin
from models.jobs.actions import Jobs
from models.processes.actions import Processes
from models.users.actions import Users
from rest.endpoint import Rest


def add_admin(rest: Rest, processes: Processes, jobs: Jobs, users: Users) -> None:
    rest.mirror(admin.STATS, processes.stats)
    rest.mirror(admin.CONNECTIONS, processes.list_connections)
    rest.mirror(admin.CONNECTION_CLOSE, processes.close_connection)
    rest.mirror(admin.DEAD_JOBS, jobs.list_dead)
    rest.mirror(admin.JOB_REPLAY, jobs.replay)
    rest.mirror(admin.USER_DISABLED, users.set_disabled)
