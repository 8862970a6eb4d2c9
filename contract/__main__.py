"""`python -m contract` writes the documents made from the contract; `--check` fails if they are stale."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from contract import asyncapi, openapi, typescript

ROOT = Path(__file__).parent.parent


def documents() -> dict[Path, str]:
    def as_json(document: object) -> str:
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"

    return {
        ROOT / "docs/contract/openapi.json": as_json(openapi.document()),
        ROOT / "docs/contract/asyncapi.json": as_json(asyncapi.document()),
        ROOT / "clients/typescript/contract.d.ts": typescript.document(),
    }


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = [path for path, text in documents().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{'stale' if check else 'wrote'} {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(documents()[path])
    if check and stale:
        print("run: make contract")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
