"""WebSocket close codes the server uses, for `details.context.code` of Socket.IO's `disconnect` event. Append-only.

After any of them but TOO_MUCH a client may connect again at once; what it missed comes with `chat:sync`.
"""

from __future__ import annotations

NORMAL = 1000
PROTOCOL_ERROR = 1002
TOO_MUCH = 1008
RESTARTING = 1012
TOO_SLOW = 1013

CLOSE_CODES = {
    NORMAL: "The session has ended: logged out, expired, unanswered pings, a malformed packet.",
    PROTOCOL_ERROR: "What arrived is not WebSocket.",
    1007: "A text message that is not UTF-8.",
    TOO_MUCH: "The client went on asking for what it was refused; it should be mended before it connects again.",
    1009: "A message larger than maxPayload of the handshake.",
    RESTARTING: "The server process goes; others, or its successor, take the client.",
    TOO_SLOW: "The client did not read what it was sent until too much waited for it.",
}
