"""Whether this process should get traffic, and how each part it depends on is doing."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from contract.catalogue import VERSION
from contract.system import ComponentHealth, DetailedHealth, HealthStatus, Liveness, Readiness
from contract.types import format_time

PROBE_TIMEOUT_S = 2.0
SERVING = ("ready", "degraded")  # with any other status a process should get no traffic
CACHE_S = 1.0
Probe = Callable[[], Awaitable[float]]


class Health:
    """`probes` measure a component in milliseconds or raise; `figures` are the process's own numbers."""

    def __init__(self, probes: dict[str, Probe | None], figures: dict[str, Callable[[], float]]) -> None:
        self._probes = probes
        self._figures = figures
        self.started_at = datetime.now(UTC)
        self._cached: tuple[float, dict[str, ComponentHealth]] | None = None
        self._asking = asyncio.Lock()
        self.draining = False

    async def live(self) -> Liveness:
        return Liveness(status="ok")

    async def ready(self) -> Readiness:
        components = await self._components()
        return Readiness(status=self._status(components), components=components)

    async def detailed(self) -> DetailedHealth:
        components = await self._components()
        uptime_s = (datetime.now(UTC) - self.started_at).total_seconds()
        return DetailedHealth(
            status=self._status(components),
            version=VERSION,
            started_at=format_time(self.started_at),
            uptime_s=int(uptime_s),
            components=components,
            performance={
                "cpu_s": round(time.process_time(), 3),
                "memory_mib": round(_memory_mib(), 1),
                "open_files_max": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
                **{name: float(figure()) for name, figure in self._figures.items()},
            },
        )

    def _status(self, components: dict[str, ComponentHealth]) -> HealthStatus:
        if self.draining:
            return "draining"
        if components["database"].status != "up":
            return "not_ready"
        return "degraded" if components["redis"].status == "down" else "ready"

    async def _components(self) -> dict[str, ComponentHealth]:
        """Asked at most once a second, however many probes come: a health check must not be a load."""
        async with self._asking:
            if self._cached is not None and time.monotonic() - self._cached[0] < CACHE_S:
                return self._cached[1]
            names = list(self._probes)
            answers = await asyncio.gather(*[self._ask(self._probes[name]) for name in names])
            components = dict(zip(names, answers, strict=True))
            self._cached = (time.monotonic(), components)
            return components

    @staticmethod
    async def _ask(probe: Probe | None) -> ComponentHealth:
        if probe is None:
            return ComponentHealth(status="not_configured", latency_ms=None, detail=None)
        try:
            latency_ms = await asyncio.wait_for(probe(), PROBE_TIMEOUT_S)
        except Exception as error:  # a probe's every failure means the same: down
            return ComponentHealth(status="down", latency_ms=None, detail=type(error).__name__)
        return ComponentHealth(status="up", latency_ms=round(latency_ms, 2), detail=None)


def _memory_mib() -> float:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:  # not Linux: the peak is what there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
