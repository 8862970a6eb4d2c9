"""What python-socketio's packet layer is given: our JSON, and a stricter way to put binary packets together."""

from __future__ import annotations

from typing import Any

import msgspec
from socketio import packet as sio_packet


class Json:
    """The JSON module python-socketio is given: msgspec encodes the contract's structs as they are."""

    _encode = msgspec.json.Encoder().encode

    @classmethod
    def dumps(cls, value: Any, **_: Any) -> str:
        return cls._encode(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from None


class Packet(sio_packet.Packet):  # type: ignore[misc]
    """Placeholders must name an attachment there is: Python would take -1 for the last."""

    @classmethod
    def _reconstruct_binary_internal(cls, data: Any, attachments: list[bytes]) -> Any:
        if isinstance(data, dict) and data.get("_placeholder") is True:
            number = data.get("num")
            if type(number) is not int or not 0 <= number < len(attachments):
                raise ValueError("a placeholder of no attachment")
        return super()._reconstruct_binary_internal(data, attachments)
