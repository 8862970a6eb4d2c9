"""`python -m bench`: what an acknowledged `chat:send` costs, measured on a server of its own.

Starts the web process on core 0 with an empty data directory, drives `bench.send_cost` from core 1 at window 1 and 8,
and stops it. The embedded database runs beside the generator, so throughput is its; the figure to read is CPU per send.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
CLIENTS = 100
SECONDS = 10
LISTENING = re.compile(r"parley listening on (\S+)")


def pin(pid: int, core: int) -> None:
    """All threads of a process on one core, where the system can and has two."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # a thread may end meanwhile
                os.sched_setaffinity(int(thread.name), {core})


def main() -> int:
    with tempfile.TemporaryDirectory() as data_dir:
        env = {**os.environ, "DATA_DIR": data_dir, "PORT": "0", "RATE_LIMIT_SCALE": "0", "BCRYPT_ROUNDS": "4"}
        env |= {"LOG_LEVEL": "WARNING"}
        with subprocess.Popen(
            [sys.executable, "server.py"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            found = LISTENING.search(server.stdout.readline())
            assert found is not None, "the server did not start"
            pin(server.pid, 0)
            code = 0
            for window in (1, 8):
                options = ["--pid", str(server.pid), "--url", found[1], "--clients", str(CLIENTS)]
                options += ["--seconds", str(SECONDS), "--window", str(window)]
                command = [sys.executable, "-m", "bench.send_cost", *options]
                with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as load:
                    pin(load.pid, 1)
                    code |= load.wait()
            server.terminate()
        return code


if __name__ == "__main__":
    sys.exit(main())
