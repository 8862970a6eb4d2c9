// Owns the state of one person's chat as a pure reducer: state + event -> new state. No DOM, no
// network, so node can test it. Messages are keyed by seq; the highest version of each is kept.

export function initial(me = null, outbox = []) {
  return {
    me,
    list: [], // the person's conversations, newest activity first
    conversation: null, // the open one
    messages: new Map(), // of the open conversation, seq -> message
    head: 0, // highest seq known to exist in it
    loaded: false, // a snapshot has arrived
    exhausted: false, // nothing earlier is left on the server
    outbox, // {client_id, conversation_id, text, reply_to, created_at, failed?}
    typing: {}, // user_id -> time it expires
    presence: {}, // user_id -> {status, text, last_seen_at}
    syncedAt: null, // server time of the last chat:sync
    offers: new Map(), // id -> offer with its last `step` in place of the history, or null when it is not this person's to see
    credit: null, // the person's account of what they owe
    balance: 0, // what they have paid, or got back, beyond what they owed, in minor units
  };
}

export function reduce(state, event) {
  switch (event.type) {
    case "list":
      return { ...state, list: event.items.reduce(upsert, state.list) };
    case "open": {
      const known = state.list.find((c) => c.id === event.conversation.id);
      const conversation = mergeConversation(known, event.conversation);
      return { ...state, conversation, messages: new Map(), head: conversation.last_seq, loaded: false, exhausted: false, typing: {} };
    }
    case "snapshot":
      if (event.conversation.id !== state.conversation?.id) return state;
      return addMessages({ ...withConversation(state, event.conversation), loaded: true }, event.messages);
    case "page":
      if (event.conversation_id !== state.conversation?.id) return state;
      return { ...addMessages(state, event.messages), exhausted: state.exhausted || (event.earlier && !event.has_more) };
    case "message":
      return addMessages(touchList(state, event.message), [event.message]);
    case "receipt":
      return withReceipt(state, event.receipt);
    case "conversation":
      return withConversation(state, event.conversation);
    case "head":
      return event.conversation_id === state.conversation?.id ? { ...state, head: Math.max(state.head, event.last_seq) } : state;
    case "synced": {
      const next = event.conversations.reduce((s, { conversation, messages, changed = [] }) =>
        addMessages(withConversation(s, conversation), [...messages, ...changed]), state);
      return { ...next, syncedAt: event.synced_at ?? state.syncedAt };
    }
    case "queued":
      return { ...state, outbox: [...state.outbox, event.entry] };
    case "failed":
      return { ...state, outbox: state.outbox.map((e) => (e.client_id === event.client_id ? { ...e, failed: event.reason } : e)) };
    case "dropped":
      return { ...state, outbox: state.outbox.filter((e) => e.client_id !== event.client_id) };
    case "typing": {
      if (event.conversation_id !== state.conversation?.id) return state;
      const { [event.user_id]: _, ...typing } = state.typing;
      return { ...state, typing: event.until ? { ...typing, [event.user_id]: event.until } : typing };
    }
    case "presence":
      return { ...state, presence: { ...state.presence, ...Object.fromEntries(event.presences.map((p) => [p.user_id, p])) } };
    case "offer":
      return withOffer(state, event.offer, event.step);
    case "offer_hidden":
      return { ...state, offers: new Map(state.offers).set(event.id, null) };
    case "credit":
      return { ...state, credit: event.account };
    case "balance":
      return { ...state, balance: event.account.credits_posted - event.account.debits_posted };
    default:
      throw new Error(`unknown event ${event.type}`);
  }
}

/** Adds those that belong to the open conversation; repeats and older versions change nothing. */
function addMessages(state, incoming) {
  const ours = incoming.filter((m) => m.conversation_id === state.conversation?.id);
  const news = ours.filter((m) => !state.messages.has(m.seq) || state.messages.get(m.seq).version < m.version);
  const sent = new Set(incoming.filter((m) => m.sender_id === state.me?.id).map((m) => m.client_id));
  const outbox = state.outbox.some((e) => sent.has(e.client_id)) ? state.outbox.filter((e) => !sent.has(e.client_id)) : state.outbox;
  if (!news.length) return outbox === state.outbox ? state : { ...state, outbox };
  const messages = new Map(state.messages);
  const typing = { ...state.typing };
  for (const message of news) {
    if (!messages.has(message.seq)) delete typing[message.sender_id]; // they have sent what they typed
    messages.set(message.seq, message);
  }
  return { ...state, outbox, messages, typing, head: Math.max(state.head, ...news.map((m) => m.seq)) };
}

/** Receipts only rise, whatever order snapshots and events arrive in. */
function mergeConversation(old, fresh) {
  if (!old) return fresh;
  const base = fresh.updated_at < old.updated_at ? old : fresh;
  const participants = base.participants.map((p) => {
    const marks = [old, fresh].map((c) => c.participants.find((q) => q.user_id === p.user_id)).filter(Boolean);
    return { ...p, delivered_seq: Math.max(...marks.map((m) => m.delivered_seq)), read_seq: Math.max(...marks.map((m) => m.read_seq)) };
  });
  const latest = old.last_seq > fresh.last_seq ? old : fresh;
  return { ...base, participants, last_seq: latest.last_seq, last_message: latest.last_message };
}

function upsert(list, conversation) {
  const old = list.find((c) => c.id === conversation.id);
  const next = [...list.filter((c) => c.id !== conversation.id), mergeConversation(old, conversation)];
  return next.sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
}

function withConversation(state, fresh) {
  const next = { ...state, list: upsert(state.list, fresh) };
  if (fresh.id !== state.conversation?.id) return next;
  const conversation = mergeConversation(state.conversation, fresh);
  return { ...next, conversation, head: Math.max(state.head, conversation.last_seq) };
}

function withReceipt(state, { conversation_id, user_id, delivered_seq, read_seq }) {
  const raise = (c) => c.id !== conversation_id ? c : {
    ...c,
    unread: user_id === state.me?.id && read_seq >= c.last_seq ? 0 : c.unread,
    participants: c.participants.map((p) => p.user_id !== user_id ? p : {
      ...p, delivered_seq: Math.max(p.delivered_seq, delivered_seq), read_seq: Math.max(p.read_seq, read_seq),
    }),
  };
  return { ...state, list: state.list.map(raise), conversation: state.conversation && raise(state.conversation) };
}

/**
 * The highest version is kept. Of one version the server may say that its time is over before that is a step.
 * An event has the last step beside the offer, all else the whole history: that step is kept, as `step`.
 */
function withOffer(state, { history, ...offer }, step = history.at(-1)) {
  const known = state.offers.get(offer.id);
  const over = known?.version === offer.version && known.status === "pending" && offer.status !== "pending";
  if (known && known.version >= offer.version && !over) return state;
  return { ...state, offers: new Map(state.offers).set(offer.id, { ...offer, step }) };
}

function touchList(state, message) {
  const touch = (c) => c.id !== message.conversation_id || message.seq <= c.last_seq ? c : {
    ...c,
    last_seq: message.seq,
    last_message: message,
    updated_at: message.created_at > c.updated_at ? message.created_at : c.updated_at,
    unread: message.sender_id === state.me?.id ? c.unread : (c.unread ?? 0) + 1,
  };
  const list = state.list.map(touch).sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
  return { ...state, list, conversation: state.conversation && touch(state.conversation) };
}

// ---- questions asked of the state ----

export const myMarks = (conversation, me) =>
  conversation?.participants.find((p) => p.user_id === me?.id) ?? { delivered_seq: 0, read_seq: 0 };

export const others = (state) => state.conversation?.participants.filter((p) => p.user_id !== state.me?.id) ?? [];

export const firstSeq = (state) => (state.messages.size ? Math.min(...state.messages.keys()) : state.head + 1);

export const hasEarlier = (state) => state.loaded && !state.exhausted && firstSeq(state) > 1;

/** The last seq up to which nothing is missing, counted from the earliest message loaded. */
export function contiguous(state) {
  let seq = firstSeq(state) - 1;
  while (state.messages.has(seq + 1)) seq += 1;
  return seq;
}

export const hasGap = (state) => state.loaded && contiguous(state) < state.head;

export function cursors(state) {
  const all = Object.fromEntries(state.list.map((c) => [c.id, c.last_seq]));
  if (state.loaded) all[state.conversation.id] = contiguous(state);
  return all;
}

export function unread(state) {
  const { read_seq } = myMarks(state.conversation, state.me);
  return [...state.messages.values()].filter((m) => m.seq > read_seq && m.sender_id !== state.me?.id).length;
}

/** The highest message of somebody else that this person has; 0 for none. */
export function lastFromOthers(state) {
  const upTo = contiguous(state);
  return Math.max(0, ...[...state.messages.values()].filter((m) => m.sender_id !== state.me?.id && m.seq <= upTo).map((m) => m.seq));
}

/** Conversations in which this person has something the server does not yet know as delivered. */
export function undelivered(state) {
  return state.list.flatMap((c) => {
    const open = c.id === state.conversation?.id && state.loaded;
    const seq = open ? lastFromOthers(state) : c.last_message?.sender_id === state.me?.id ? 0 : c.last_seq;
    return seq > myMarks(c, state.me).delivered_seq ? [{ conversation_id: c.id, seq }] : [];
  });
}

/** The newest step of each offer that the loaded messages tell of: offer id -> message. */
export function newestSteps(state) {
  const newest = new Map();
  for (const message of state.messages.values()) {
    const step = message.offer;
    if (step && !(newest.get(step.offer_id)?.offer.version > step.version)) newest.set(step.offer_id, message);
  }
  return newest;
}

/** The offers of which a step is told that is not here yet. */
export function lacking(state) {
  const behind = ([id, { offer }]) => state.offers.get(id) !== null && !(state.offers.get(id)?.version >= offer.version);
  return [...newestSteps(state)].filter(behind).map(([id]) => id);
}

/** sent, delivered or read; in a group the slowest member decides. */
export function tick(state, message) {
  const marks = others(state);
  if (marks.length && marks.every((p) => p.read_seq >= message.seq)) return "read";
  return marks.length && marks.every((p) => p.delivered_seq >= message.seq) ? "delivered" : "sent";
}
