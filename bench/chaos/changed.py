"""The promises about changes of messages, held against what people were answered and what the database has.

- kept: an acknowledged reaction is there, and the message has at least the version that was answered;
- told: when all is well again every device knows the last version of every message, without having asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.chaos.evidence import Evidence, Violation


def changed(evidence: Evidence) -> Iterator[Violation]:
    yield from _reactions_are_there(evidence)
    yield from _versions_are_known(evidence)


def _reactions_are_there(evidence: Evidence) -> Iterator[Violation]:
    for reaction in evidence.reactions:
        conversation = evidence.conversations.get(reaction.conversation)
        there = conversation.changes.get(reaction.message.id) if conversation is not None else None
        one = reaction.emoji, reaction.user_id
        if there is None or reaction.version > there.version or one not in there.reactions:
            text = f"{reaction.emoji} was acknowledged with version {reaction.version}, and the message has {there}"
            yield Violation("kept", text, reaction.conversation, reaction.message.seq, reaction.device)


def _versions_are_known(evidence: Evidence) -> Iterator[Violation]:
    at = evidence.closed_at - evidence.began_at
    for journal in evidence.journals:
        known = evidence.versions.get(journal.device, {})
        for conversation in evidence.conversations.values():
            if journal.user_id not in conversation.members:
                continue
            for message_id, change in conversation.changes.items():
                version = known.get(message_id, 1)
                if version != change.version and message_id not in evidence.unsettled:
                    text = f"knows version {version} of a message that has {change.version}, and nobody told it"
                    yield Violation("told", text, conversation.id, change.seq, journal.device, at)
