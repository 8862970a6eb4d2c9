"""The REST API against its own document: generated requests, good and bad, never find a 5xx or an undeclared answer."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.support import Crowd

CHECKS = "not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance"


async def test_generated_requests(crowd: Crowd, url: str, tmp_path: Path) -> None:
    ada, _, conversation = await crowd.pair()
    send = {"conversation_id": conversation["id"], "client_id": "m", "text": "Forty?"}
    message = (await ada.call("chat:send", send))["message"]
    # Real ids, so that what lies behind access checks is reached too.
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        f'[parameters]\n"path.conversation_id" = "{conversation["id"]}"\n"path.message_id" = "{message["id"]}"\n'
    )
    program = Path(sys.executable).parent / "schemathesis"
    process = await asyncio.create_subprocess_exec(
        str(program), "--config-file", str(config), "run", f"{url}/docs/openapi.json", "--checks", CHECKS,
        "--header", f"Authorization: Bearer {ada.account.access_token}", "--max-examples", "20", "--seed", "1",
        # These end the session that the other requests need.
        "--exclude-path", "/api/v1/auth/logout", "--exclude-path", "/api/v1/auth/sessions/{session_id}",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert "GET /api/v1/chat/conversations/{conversation_id}\n" not in output.decode(), "the ids were not used"
