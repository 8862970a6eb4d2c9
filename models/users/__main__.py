"""`python -m models.users create-admin EMAIL [--name NAME]`: makes an administrator; the password comes from
standard input. Works beside a running server, whose database it finds as the server itself would."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys

import settings as configuration
from contract.errors import ParleyError
from contract.identity import Register
from contract.types import parse
from models.sessions.actions import Sessions
from models.sessions.store import SessionStore
from models.users.actions import Users
from models.users.document import INDEXES
from models.users.store import UserStore
from realtime.bus import MemoryBus
from security import secret
from security.passwords import Passwords
from security.tokens import Tokens
from storage import embedded
from storage.mongo import Database, DatabaseError


async def _create(settings: configuration.Settings, payload: Register, url: str) -> str:
    key = secret.make_key(settings.jwt_secret or secret.load_or_create(settings.data_dir))
    database = Database(url, settings.mongo_db)
    passwords = Passwords(settings.password_pepper, settings.bcrypt_rounds)
    try:
        await database.connect()
        await database.create_indexes(INDEXES)
        tokens = Tokens([key], settings.access_token_ttl_s)
        sessions = Sessions(SessionStore(database), tokens, MemoryBus(), settings.refresh_token_ttl_s)
        user = await Users(UserStore(database), sessions, passwords).create(payload, "super_admin")
        return user.id
    finally:
        passwords.close()
        database.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.users", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create-admin", help="make an administrator; password from standard input")
    create.add_argument("email")
    create.add_argument("--name", default="Administrator")
    arguments = parser.parse_args()
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    try:
        payload = parse(Register, {"email": arguments.email, "password": password, "name": arguments.name})
    except ParleyError as error:
        print(error.message, file=sys.stderr)
        return 2
    try:
        settings = configuration.load()
        with embedded.reached(settings.mongo_url, settings.data_dir) as url:
            user_id = asyncio.run(_create(settings, payload, url))
    except (
        ParleyError, configuration.SettingsError, secret.SecretError, embedded.EmbeddedError, DatabaseError,
    ) as error:  # fmt: skip
        print(error, file=sys.stderr)
        return 1
    print(f"made super_admin {arguments.email} ({user_id})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
