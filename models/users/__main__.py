"""`python -m models.users create-admin EMAIL [--name NAME]`: makes an administrator; the password comes from
standard input. `disable EMAIL` closes an account, with all its log-ins, and `enable EMAIL` opens it again. They work
beside a running server, whose database they find as the server itself would; its processes look within seconds."""

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


async def _do(
    settings: configuration.Settings, arguments: argparse.Namespace, payload: Register | None, url: str
) -> str:
    """What was done, for the operator."""
    key = secret.make_key(settings.jwt_secret or secret.load_or_create(settings.data_dir))
    database = Database(url, settings.mongo_db)
    passwords = Passwords(settings.password_pepper, settings.bcrypt_rounds)
    try:
        await database.connect()
        await database.create_indexes(INDEXES)
        tokens = Tokens([key], settings.access_token_ttl_s)
        sessions = Sessions(SessionStore(database), tokens, MemoryBus(), settings.refresh_token_ttl_s)
        users = Users(UserStore(database), sessions, passwords)
        if payload is not None:
            user = await users.create(payload, "super_admin")
            return f"made super_admin {arguments.email} ({user.id})"
        user_id = (await users.find_by_email(arguments.email))["_id"]
        disabled = arguments.command == "disable"
        await users.close(user_id, disabled, "command line", arguments.reason)
        return f"{'disabled' if disabled else 'enabled'} {arguments.email} ({user_id})"
    finally:
        passwords.close()
        database.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.users", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create-admin", help="make an administrator; password from standard input")
    create.add_argument("email")
    create.add_argument("--name", default="Administrator")
    for name, text in (("disable", "close an account and end its log-ins"), ("enable", "open it again")):
        command = commands.add_parser(name, help=text)
        command.add_argument("email")
        command.add_argument("--reason", default="", help="for the security log")
    return parser.parse_args()


def _payload(arguments: argparse.Namespace) -> Register | None:
    """Raises ParleyError."""
    if arguments.command != "create-admin":
        return None
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    return parse(Register, {"email": arguments.email, "password": password, "name": arguments.name})


def main() -> int:
    arguments = _arguments()
    try:
        payload = _payload(arguments)
    except ParleyError as error:
        print(error.message, file=sys.stderr)
        return 2
    try:
        settings = configuration.load()
        with embedded.reached(settings.mongo_url, settings.data_dir) as url:
            print(asyncio.run(_do(settings, arguments, payload, url)))
    except (
        ParleyError, configuration.SettingsError, secret.SecretError, embedded.EmbeddedError, DatabaseError,
    ) as error:  # fmt: skip
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
