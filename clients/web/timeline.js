// Owns what the message list shows, as plain rows made from the state: day separators, runs of
// one sender, quotes, ticks, and the queue of unsent messages at the end. No DOM.

import { money } from "./money.js";
import { newestSteps, tick } from "./store.js";

const RUN_MS = 5 * 60 * 1000; // messages closer than this belong to one run

export const timeOf = (iso) => new Date(iso).toLocaleTimeString([], { hour: "numeric", minute: "2-digit" });

export function dayOf(iso, now = new Date()) {
  const day = new Date(iso);
  const days = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(day).setHours(0, 0, 0, 0)) / 86400000);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  const year = day.getFullYear() === now.getFullYear() ? undefined : "numeric";
  return day.toLocaleDateString([], { weekday: "short", day: "numeric", month: "long", year });
}

export const nameOf = (state, userId) =>
  userId === state.me?.id ? "You" : state.conversation?.participants.find((p) => p.user_id === userId)?.name ?? "Someone";

const SAID = {
  create: "made an offer", counter: "made a counter-offer", accept: "accepted the offer", decline: "declined the offer",
  withdraw: "withdrew the offer", fulfil: "marked the offer as fulfilled", cancel: "cancelled the deal",
};

/** A step of an offer in words; time takes one too. */
export const said = ({ action, rule_ids }, name) =>
  SAID[action] ? `${name} ${SAID[action]}${rule_ids ? " (by a rule)" : ""}` : "The offer has expired";

export function timeline(state) {
  if (!state.conversation) return [];
  const newest = newestSteps(state);
  const sent = [...state.messages.values()].sort((a, b) => a.seq - b.seq).map((m) => (m.offer ? offerRow(state, m, newest) : sentRow(state, m)));
  const queued = state.outbox.filter((e) => e.conversation_id === state.conversation.id).map((e) => queuedRow(state, e));
  const rows = [];
  let before = null;
  for (const row of [...sent, ...queued]) {
    const day = dayOf(row.created_at);
    const newDay = !before || dayOf(before.created_at) !== day;
    if (newDay) rows.push({ key: `day ${day}`, type: "day", text: day });
    row.first = newDay || before.sender_id !== row.sender_id || before.type !== row.type ||
      new Date(row.created_at) - new Date(before.created_at) > RUN_MS;
    rows.push(row);
    before = row;
  }
  return rows;
}

function sentRow(state, message) {
  const mine = message.sender_id === state.me.id;
  return {
    // A queued message keeps its key when it is acknowledged, so its bubble stays in place.
    key: message.client_id && mine ? `mine ${message.client_id}` : `seq ${message.seq}`,
    type: message.kind === "system" ? "system" : "message",
    mine,
    message,
    seq: message.seq,
    kind: message.kind,
    sender_id: message.sender_id,
    who: state.conversation.type === "group" && !mine ? nameOf(state, message.sender_id) : "",
    text: message.text ?? "",
    created_at: message.created_at,
    deleted: Boolean(message.deleted_at),
    edited: Boolean(message.edited_at),
    files: (message.attachments ?? []).map((a) => a.name ?? a.filename ?? "Attachment"),
    quote: quoteOf(state, message.reply_to),
    reactions: Object.entries(message.reactions ?? {})
      .filter(([, users]) => users.length)
      .map(([emoji, users]) => ({ emoji, count: users.length, mine: users.includes(state.me.id), names: users.map((u) => nameOf(state, u)).join(", ") })),
    tick: mine && !message.deleted_at ? tick(state, message) : "",
  };
}

/** An offer has one card, at its newest step; the steps before it are a line each. */
function offerRow(state, message, newest) {
  const { offer_id, action, total } = message.offer;
  const offer = state.offers.get(offer_id);
  const mine = message.sender_id === state.me.id;
  const row = { mine, message, seq: message.seq, kind: "offer", sender_id: message.sender_id, created_at: message.created_at };
  if (offer && newest.get(offer_id) === message) {
    const people = Object.fromEntries([offer.buyer_id, offer.seller_id].map((id) => [id, nameOf(state, id)]));
    return { ...row, key: `offer ${offer_id}`, type: "offer", offer, people, me: state.me.id, tick: mine ? tick(state, message) : "" };
  }
  const priced = action === "create" || action === "counter";
  const told = action === "expire" ? message.text : `${nameOf(state, message.sender_id)} ${message.text}`;
  const text = told + (priced ? `, ${money(total)}` : "");
  return { ...row, key: `step ${message.seq}`, type: "step", text };
}

function queuedRow(state, entry) {
  return {
    key: `mine ${entry.client_id}`, type: "message", mine: true, entry, sender_id: state.me.id, who: "", kind: "text",
    text: entry.text, created_at: entry.created_at, deleted: false, edited: false, files: [],
    quote: quoteOf(state, entry.reply_to), reactions: [], tick: entry.failed ? "failed" : "queued", failed: entry.failed,
  };
}

function quoteOf(state, replyTo) {
  if (!replyTo) return null;
  const id = replyTo.id ?? replyTo;
  const message = [...state.messages.values()].find((m) => m.id === id);
  if (!message) return { name: "Earlier message", text: "", seq: null };
  return { name: nameOf(state, message.sender_id), text: message.deleted_at ? "Message deleted" : message.text ?? "", seq: message.seq };
}
