"""Every metric of the process, declared in one place; `/metrics` shows them in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

COMMANDS = Counter("parley_commands_total", "Socket.IO commands answered", ["command", "result"])
COMMAND_SECONDS = Histogram("parley_command_seconds", "Time to answer a command", ["command"], buckets=_FAST)
HTTP_REQUESTS = Counter("parley_http_requests_total", "HTTP requests answered", ["method", "route", "status"])
HTTP_SECONDS = Histogram(
    "parley_http_request_seconds", "Time to answer an HTTP request", ["method", "route"], buckets=_FAST
)
CONNECTIONS = Gauge("parley_connections", "Open authenticated connections")
NAMESPACE_CONNECTIONS = Gauge("parley_namespace_connections", "Connected namespaces", ["namespace"])
CONNECTS_REFUSED = Counter("parley_connects_refused_total", "Refused namespace connects", ["code"])
EVENTS_PUBLISHED = Counter("parley_events_published_total", "Events published, before fan-out", ["event"])
PUBLISH_FAILURES = Counter("parley_publish_failures_total", "Events that could not be published", ["event"])
ORDER_GAPS = Gauge(
    "parley_order_gaps_total", "Times a message's predecessor did not arrive in time from another process"
)
MESSAGES_SENT = Counter("parley_messages_sent_total", "Messages made durable", ["kind"])
SEQ_CONFLICTS = Counter("parley_seq_conflicts_total", "Sequence numbers another process took first")
PRESENCE_USERS = Gauge("parley_present_users", "Users with a connection to this process")
ERRORS = Counter("parley_internal_errors_total", "Unexpected exceptions answered with internal_error")
