"""Every metric of the process, declared in one place; `/metrics` shows them in Prometheus' text format.

What is counted for every frame or command is counted in plain numbers and turned into samples when someone asks: the
client library's own counters take a lock and a look-up each time, which was a tenth of a small command's cost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

HTTP_REQUESTS = Counter("parley_http_requests_total", "HTTP requests answered", ["method", "route", "status"])
HTTP_SECONDS = Histogram(
    "parley_http_request_seconds", "Time to answer an HTTP request", ["method", "route"], buckets=_FAST
)
CONNECTIONS = Gauge("parley_connections", "Open authenticated connections")
NAMESPACE_CONNECTIONS = Gauge("parley_namespace_connections", "Connected namespaces", ["namespace"])
LOG_INS = Gauge("parley_log_ins_running", "Connections whose first namespace is being logged in")
STRANGERS = Gauge("parley_strangers", "Connections and sessions of people who have not logged in")
CONNECTIONS_WAITING = Gauge("parley_connections_waiting", "Connections that were accepted and wait for their turn")
STRANGERS_CLOSED = Counter("parley_strangers_closed_total", "Those of them that were closed", ["reason"])
LOGIN_TRIES = Counter("parley_login_tries_total", "Passwords that someone wanted to try", ["outcome"])
HASHES = Counter("parley_password_hashes_total", "Passwords to be hashed: done, refused or abandoned", ["outcome"])
HASHES_WAITING = Gauge("parley_password_hashes_waiting", "Passwords that wait to be hashed")
SECURITY_EVENTS = Counter("parley_security_events_total", "Lines of the security log and those left out", ["event"])
RECHECKS_LATE = Counter(
    "parley_rechecks_late_total", "Ends of log-ins and departures that a look at the database found first", ["kind"]
)
ADMISSIONS_REFUSED = Counter("parley_admissions_refused_total", "Namespace connects over capacity", ["reason"])
LOOP_LAG = Gauge("parley_loop_lag_seconds", "How late the event loop is, smoothed over a second")
CONNECTS_REFUSED = Counter("parley_connects_refused_total", "Refused namespace connects", ["code"])
EVENTS_PUBLISHED = Counter("parley_events_published_total", "Events published, before fan-out", ["event"])
PUBLISH_FAILURES = Counter("parley_publish_failures_total", "Events that could not be published", ["event"])
ORDER_GAPS = Gauge(
    "parley_order_gaps_total", "Times a message's predecessor did not arrive in time from another process"
)
MESSAGES_SENT = Counter("parley_messages_sent_total", "Messages made durable", ["kind"])
SEQ_CONFLICTS = Counter("parley_seq_conflicts_total", "Sequence numbers another process took first")
HEADS_HELD = Gauge("parley_heads_held", "Conversations whose stored head could not be moved; they are tried again")
PRESENCE_USERS = Gauge("parley_present_users", "Users with a connection to this process")
JOBS = Counter("parley_jobs_total", "Jobs tried by this process", ["kind", "outcome"])
JOB_SECONDS = Histogram("parley_job_seconds", "Seconds a job took", ["kind"])
JOBS_DUE = Gauge("parley_jobs_due", "Jobs whose time has come, in all, up to 10,000")
JOBS_OLDEST = Gauge("parley_jobs_oldest_seconds", "For how long the oldest of them has been due")
JOBS_DEAD = Gauge("parley_jobs_dead", "Jobs that failed too often and wait for an operator, up to 10,000")
ERRORS = Counter("parley_internal_errors_total", "Unexpected exceptions answered with internal_error")


class Commands:
    """parley_commands_total and parley_command_seconds."""

    def __init__(self) -> None:
        self._results: dict[tuple[str, str], int] = {}
        self._seconds: dict[str, list[float]] = {}  # a count for each bucket and one for beyond, then the sum

    def note(self, command: str, result: str, seconds: float) -> None:
        key = (command, result)
        self._results[key] = self._results.get(key, 0) + 1
        row = self._seconds.get(command)
        if row is None:
            row = self._seconds[command] = [0.0] * (len(_FAST) + 2)
        row[bisect_left(_FAST, seconds)] += 1
        row[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        total = CounterMetricFamily("parley_commands", "Operations answered, by any door", labels=["command", "result"])
        for key, count in self._results.items():
            total.add_metric(key, float(count))
        yield total
        times = HistogramMetricFamily("parley_command_seconds", "Time to answer an operation", labels=["command"])
        for command, row in self._seconds.items():
            buckets, below = [], 0.0
            for bound, amount in zip([*map(str, _FAST), "+Inf"], row[:-1], strict=True):
                below += amount
                buckets.append((bound, below))
            times.add_metric([command], buckets, sum_value=row[-1])
        yield times


class Engine:
    """What the fan-out engine does. `backlog` gives (connections that do not read, bytes that wait for them)."""

    def __init__(self) -> None:
        self.deliveries = 0
        self.packets = 0
        self.writes = 0
        self.flushes = 0
        self.overflows = 0
        self.superseded = 0
        self.ended: Counts[str] = Counts()
        self.backlog: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def collect(self) -> Iterator[Metric]:
        for name, text, value in (
            ("parley_deliveries", "Events put into the outboxes of local connections", self.deliveries),
            ("parley_packets_written", "Engine.IO packets handed to transports", self.packets),
            ("parley_writes", "Writes to transports; packets per write is how well they coalesce", self.writes),
            ("parley_flushes", "Times that outboxes were flushed", self.flushes),
            ("parley_slow_connections_closed", "Connections closed because too much waited for them", self.overflows),
            ("parley_latest_superseded", "Typing and presence events that a newer one replaced", self.superseded),
        ):
            yield CounterMetricFamily(name, text, value)
        ended = CounterMetricFamily("parley_sessions_ended", "Sessions that ended, and why", labels=["reason"])
        for reason, count in self.ended.items():
            ended.add_metric([reason], float(count))
        yield ended
        connections, waiting = self.backlog()
        yield GaugeMetricFamily("parley_blocked_connections", "Connections that do not read just now", connections)
        yield GaugeMetricFamily("parley_backlog_bytes", "What waits for blocked connections", waiting)


class Relay:
    """What goes between processes. `state` gives (whether this one hears itself, others it knows, bytes kept)."""

    def __init__(self) -> None:
        self.sent = 0
        self.publishes = 0
        self.decoded = 0
        self.elsewhere = 0
        self.asked = 0
        self.sent_again = 0
        self.missed = 0
        self.forged = 0
        self.repaired = 0
        self.state: Callable[[], tuple[bool, int, int]] | None = None

    def collect(self) -> Iterator[Metric]:
        if self.state is None:  # one process, and nobody to tell
            return
        for name, text, value in (
            ("parley_relay_sent", "Messages for other processes", self.sent),
            ("parley_relay_publishes", "PUBLISH commands that carried them, several in one", self.publishes),
            ("parley_relay_decoded", "Events of other processes for someone here", self.decoded),
            ("parley_relay_elsewhere", "Events of other processes for nobody here, dropped undecoded", self.elsewhere),
            ("parley_relay_asked", "Times this process asked for what it had missed", self.asked),
            ("parley_relay_sent_again", "Messages sent again to a process that had missed them", self.sent_again),
            ("parley_relay_missed", "Times something could not be had again", self.missed),
            ("parley_relay_forged", "What came through Redis from no process of this deployment", self.forged),
            (
                "parley_relay_repaired",
                "chat:head events sent because of that, or because a process died",
                self.repaired,
            ),
        ):
            yield CounterMetricFamily(name, text, value)
        connected, peers, kept = self.state()
        yield GaugeMetricFamily("parley_relay_connected", "1 if this process hears itself through Redis", connected)
        yield GaugeMetricFamily("parley_relay_peers", "Other processes it hears of", peers)
        yield GaugeMetricFamily("parley_relay_kept_bytes", "What is kept to be sent again", kept)


class Recovery:
    """Connections that asked to go on where they were. `parked`: how many may still do so."""

    def __init__(self) -> None:
        self.outcomes: Counts[str] = Counts()
        self.parked: Callable[[], int] = lambda: 0

    def collect(self) -> Iterator[Metric]:
        total = CounterMetricFamily("parley_recoveries", "Namespaces that asked to go on", labels=["outcome"])
        for outcome, count in self.outcomes.items():
            total.add_metric([outcome], float(count))
        yield total
        yield GaugeMetricFamily("parley_parked", "Lost namespaces that may still return", self.parked())


COMMANDS = Commands()
ENGINE = Engine()
RELAY = Relay()
RECOVERY = Recovery()
REGISTRY.register(COMMANDS)
REGISTRY.register(ENGINE)
REGISTRY.register(RELAY)
REGISTRY.register(RECOVERY)
