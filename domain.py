"""The nouns, made and wired to each other, for whichever process needs them. Doors and the wire are not known here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from contract.registry import FAN_OUT_TIERS
from models.context import Actions
from models.conversations import document as conversation_document
from models.conversations.actions import Conversations
from models.conversations.limits import Limits
from models.conversations.lists import Lists
from models.conversations.making import Making
from models.conversations.renaming import Renaming
from models.conversations.repair import Repair
from models.conversations.store import ConversationStore
from models.departures import store as departure_store
from models.departures.actions import Departures
from models.departures.store import DepartureStore
from models.finance.actions import Finance
from models.finance.corrections import Corrections
from models.finance.reports import Reports
from models.finance.store import DisputeStore
from models.jobs import document as job_document
from models.jobs.actions import Jobs
from models.jobs.store import JobStore
from models.ledger import document as ledger_document
from models.ledger.actions import Ledger
from models.ledger.store import LedgerStore
from models.messages import document as message_document
from models.messages.actions import Messages
from models.messages.doors import Chat
from models.messages.finding import Finding
from models.messages.indexing import Indexing
from models.messages.log import Log
from models.messages.membership import Membership
from models.messages.reading import Reading
from models.messages.rebuilding import Rebuilding
from models.messages.receipts import Receipts
from models.messages.reindexing import Reindexing
from models.messages.search import Search
from models.messages.store import MessageStore, WordStore
from models.notifications import document as notification_document
from models.notifications.actions import Notifications
from models.notifications.store import NotificationStore
from models.offers import document as offer_document
from models.offers.actions import Offers
from models.offers.settlement import Settlement
from models.offers.steps import Steps
from models.offers.store import OfferStore
from models.payments import document as payment_document
from models.payments.actions import Payments
from models.payments.store import PaymentStore
from models.presence.actions import PresenceActions
from models.quotas.actions import Quotas
from models.quotas.store import QuotaStore
from models.rules import document as rule_document
from models.rules.actions import Rules
from models.rules.store import RuleStore
from models.sessions import document as session_document
from models.sessions.actions import Sessions
from models.sessions.store import SessionStore
from models.typing.actions import TypingSignals
from models.users import document as user_document
from models.users.actions import Users
from models.users.store import UserStore
from providers.payments.console import ConsolePayments
from realtime.adapters import Adapter
from realtime.publisher import Publisher
from security.limits import FanOutLimits
from security.passwords import Passwords
from security.tokens import Tokens
from settings import Settings
from storage.migrations import Migration, Migrations
from storage.mongo import Database

INDEXES = {
    **user_document.INDEXES,
    **session_document.INDEXES,
    **conversation_document.INDEXES,
    **message_document.INDEXES,
    **departure_store.INDEXES,
    **notification_document.INDEXES,
    **ledger_document.INDEXES,
    **offer_document.INDEXES,
    **rule_document.INDEXES,
    **job_document.INDEXES,
    **payment_document.INDEXES,
}


class Domain:
    """`connected` tells which users are connected to this process, or may return to it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        adapter: Adapter,
        publisher: Publisher,
        tokens: Tokens,
        passwords: Passwords,
        connected: Callable[[], Sequence[str]],
    ) -> None:
        self.sessions = Sessions(SessionStore(database), tokens, adapter.bus, settings.refresh_token_ttl_s)
        self.users = Users(UserStore(database), self.sessions, passwords)
        store, index = MessageStore(database), WordStore(database)
        conversations = ConversationStore(database, adapter.bus, store, index, adapter.alone)
        self.departures = Departures(DepartureStore(database))
        self.jobs = Jobs(JobStore(database), adapter.bus)
        self.quotas = Quotas(QuotaStore(database), settings.rate_limit_scale)
        fan_out = FanOutLimits(FAN_OUT_TIERS, settings.rate_limit_scale)
        limits = Limits(conversations.listing, self.quotas, fan_out)
        self.conversations = Conversations(conversations, self.users, limits, self.jobs, publisher)
        self.renaming = Renaming(self.conversations, self.users)
        rebuilding = Rebuilding(store, index)
        reindexing = Reindexing(index, rebuilding, self.conversations)
        self.migrations = Migrations(database, [Migration(1, "search words", "message_words", reindexing.step)])
        migrated = partial(self.migrations.done, 1)
        self.indexing = Indexing(index, rebuilding, migrated)
        self.notifications = Notifications(NotificationStore(database), store, self.conversations, publisher)
        log = Log(store, self.conversations, publisher)
        self.messages = Messages(store, self.indexing, log, self.conversations, self.notifications, publisher)
        self.repair = Repair(conversations, self.conversations, self.messages, connected)
        adapter.on_uncertain(self.repair.since, self.repair.pending)
        adapter.on_late(self.repair.late, self.repair.outdated)
        self.chat = Chat(
            conversations=self.conversations,
            lists=Lists(self.conversations),
            messages=self.messages,
            membership=Membership(
                self.conversations, Making(conversations, self.users, self.conversations), self.departures, store, log,
                self.notifications, adapter.bus,
            ),
            reading=Reading(store, self.conversations),
            receipts=Receipts(self.conversations, store, publisher),
            search=Search(store, Finding(store, index), self.conversations, migrated),
        )  # fmt: skip
        self.ledger = Ledger(LedgerStore(database), database, self.jobs)
        self.finance = Finance(self.ledger, self.users, publisher)
        self.reports = Reports(self.finance, self.ledger, self.users)
        self.corrections = Corrections(DisputeStore(database), database, self.ledger, publisher)
        providers = {provider.name: provider for provider in (ConsolePayments(),)}
        self.payments = Payments(PaymentStore(database), database, self.ledger, self.jobs, providers, publisher)
        settlement = Settlement(self.ledger, publisher)
        offers = OfferStore(database)
        self.rules = Rules(RuleStore(database), self.users, database)
        steps = Steps(offers, database, self.conversations, self.messages, settlement, self.rules, self.jobs)
        self.offers = Offers(offers, steps, self.conversations, self.messages, settlement, self.rules, publisher)
        self.typing = TypingSignals(self.conversations, publisher)
        self.presence = PresenceActions(self.users, self.conversations, adapter.directory, publisher)

    def actions(self) -> Actions:
        """Which action each operation is, of all that are not only a door's."""
        table: Actions = {}
        for noun in (
            self.users, self.sessions, self.chat, self.typing, self.presence, self.offers, self.rules, self.finance,
            self.reports, self.payments, self.corrections, self.notifications, self.jobs,
        ):  # fmt: skip
            actions = noun.actions()
            assert not table.keys() & actions.keys(), "an operation has two actions"
            table |= actions
        return table
