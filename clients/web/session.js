// Owns one person's live session: the state on top of a Link, with Upkeep for the routine,
// Signals for typing and presence and Deals for offers and credit. It turns what the person does into commands, and what the
// server says into state.
//
// On every connection: sync what was missed -> join the open conversation -> send the outbox.

import { Account, randomId, sleep } from "./api.js";
import { Deals } from "./deals.js";
import { Link } from "./link.js";
import { Signals } from "./signals.js";
import { CommandError } from "./socket.js";
import { contiguous, cursors, initial, lastFromOthers, myMarks, reduce } from "./store.js";
import { Upkeep } from "./upkeep.js";

const SEARCH_PAGES_MAX = 5;

export class Session {
  ready = false; // connected and caught up
  cut = false; // the demo's plug is pulled
  #link = null;
  #waiting = []; // promises of whenReady()
  #turn = 0; // number of the current connection; work begun for an older one stops
  #upkeep = new Upkeep(this);
  #signals = new Signals(this, () => this.#link);
  #reading = 0;
  #ahead = 0; // ms that the server's clock is ahead of this one
  deals = new Deals(this);

  /** onChange() after any change, onNotice(text) for the person, onSignedOut(reason). */
  constructor(slot, { onChange, onNotice, onSignedOut }) {
    Object.assign(this, { onChange, onNotice, onSignedOut });
    this.account = new Account(slot);
    this.state = initial();
  }

  get user() {
    return this.state.me;
  }

  get status() {
    return this.ready ? "live" : this.#link && !this.cut ? "connecting" : "offline";
  }

  /** The time on the server, by which offers expire; every step of one is a message too. */
  now() {
    return Date.now() + this.#ahead;
  }

  /** As far as is known here: about oneself. */
  hasCredit(userId) {
    return userId === this.user?.id && this.state.credit?.available_credit > 0;
  }

  whenReady() {
    return this.ready ? Promise.resolve() : new Promise((done) => this.#waiting.push(done));
  }

  // ---- coming and going ----

  /** Continue as whoever is kept in localStorage; false when nobody is. */
  resume() {
    if (!this.account.user) return false;
    this.state = initial(this.account.user, this.account.outbox);
    this.#link = new Link(this.account, {
      onStatus: (status) => this.#status(status),
      onEvent: (name, payload) => this.#event(name, payload),
      onNotice: this.onNotice,
      onOver: (reason) => this.#over(reason),
    });
    this.onChange();
    return true;
  }

  signIn(credentials) {
    this.#stop();
    this.account.signIn(credentials);
    this.resume();
  }

  async signOut() {
    this.#stop();
    this.onChange();
    await this.account.signOut();
  }

  #stop() {
    this.#link?.close();
    this.#link = null;
    this.cut = false;
    this.#reading = 0;
    this.#signals.reset();
    this.state = initial();
  }

  #over(reason) {
    this.#stop();
    this.account.clear();
    this.onSignedOut(reason);
    this.onChange();
  }

  /** The demo's plug: cut closes the WebSocket and keeps it closed. */
  setCut(cut) {
    this.cut = cut;
    if (cut) this.#link?.close();
    else this.#link?.open();
    this.onChange();
  }

  wake() {
    if (!this.cut) this.#link?.wake();
  }

  #status(status) {
    this.ready = false;
    this.#turn += 1;
    if (status === "live") this.#catchUp(this.#turn);
    this.onChange();
  }

  async #catchUp(turn) {
    try {
      if (this.state.syncedAt) await this.#sync();
      else this.dispatch({ type: "list", items: (await this.ask("/chat", "chat:list", {})).items });
      await this.#join();
      if (!this.state.syncedAt) await this.#sync(); // marks the moment the next one starts from
      if (turn !== this.#turn) return;
      this.ready = true;
      for (const done of this.#waiting.splice(0)) done();
      this.onChange();
      this.#upkeep.settle();
      this.deals.refresh();
    } catch (error) {
      if (turn !== this.#turn) return;
      this.onNotice(error.message);
      await sleep(error.retry_after_ms ?? 1500);
      if (turn === this.#turn) this.#catchUp(turn);
    }
  }

  async #sync() {
    const since = this.state.syncedAt;
    let syncedAt = null;
    for (let page = 0, more = true; more && page < 20; page += 1) {
      const missed = await this.ask("/chat", "chat:sync", { cursors: cursors(this.state), ...(since && { changed_since: since }) });
      syncedAt ??= missed.synced_at; // of the first page: the next sync may overlap, never leave a hole
      this.dispatch({ type: "synced", ...missed, synced_at: syncedAt });
      more = missed.more;
    }
  }

  async #join() {
    if (!this.state.conversation) {
      const { list } = this.state;
      const wanted = list.find((c) => c.id === this.account.conversationId) ?? (list.length === 1 ? list[0] : null);
      if (!wanted) return;
      this.dispatch({ type: "open", conversation: wanted });
    }
    const { id } = this.state.conversation;
    this.account.conversationId = id;
    const since = this.state.loaded ? { since_seq: contiguous(this.state) } : {};
    this.dispatch({ type: "snapshot", ...(await this.ask("/chat", "chat:join", { conversation_id: id, ...since })) });
    this.#signals.watch(true);
  }

  // ---- what the server says ----

  #event(name, payload) {
    switch (name) {
      case "chat:message":
        this.#ahead = new Date(payload.message.created_at) - Date.now(); // it was made just now
        return this.dispatch({ type: "message", message: payload.message });
      case "chat:message_updated": return this.dispatch({ type: "message", message: payload.message });
      case "chat:receipt": return this.dispatch({ type: "receipt", receipt: payload });
      case "chat:head": return this.dispatch({ type: "head", ...payload });
      case "chat:conversation":
        this.dispatch({ type: "conversation", conversation: payload.conversation });
        if (!this.state.conversation && this.ready) return this.open(payload.conversation);
        return this.#signals.watch();
      case "typing:start": return this.#signals.typed(payload, Date.now() + (payload.expires_in_ms ?? 6000));
      case "typing:stop": return this.#signals.typed(payload, 0);
      case "user:status_change": return this.dispatch({ type: "presence", presences: [payload] });
      default: return this.deals.event(name, payload);
    }
  }

  // ---- what the person does ----

  async open(conversation) {
    if (conversation.id === this.state.conversation?.id) return;
    this.dispatch({ type: "open", conversation });
    if (this.#link?.live) await this.attempt(() => this.#join());
  }

  async chatWith(userId) {
    const wish = { type: "direct", participant_ids: [userId], client_id: randomId() };
    const { conversation } = await this.ask("/chat", "chat:create", wish);
    this.dispatch({ type: "conversation", conversation });
    await this.open(conversation);
    return conversation;
  }

  /** Puts a message in the outbox and returns its client_id, which makes sending it again harmless. */
  send(text, replyTo = null) {
    const entry = { client_id: randomId(), conversation_id: this.state.conversation.id, text, reply_to: replyTo, created_at: new Date().toISOString() };
    this.#signals.sent();
    this.dispatch({ type: "queued", entry });
    return entry.client_id;
  }

  retry(clientId) {
    this.dispatch({ type: "failed", client_id: clientId, reason: undefined });
  }

  discard(clientId) {
    this.dispatch({ type: "dropped", client_id: clientId });
  }

  edit(message, text) {
    return this.#change("chat:edit", { message_id: message.id, text });
  }

  remove(message) {
    return this.#change("chat:delete", { message_id: message.id });
  }

  react(message, emoji, on) {
    return this.#change("chat:react", { message_id: message.id, emoji, on });
  }

  #change(command, payload) {
    return this.attempt(async () => this.dispatch({ type: "message", message: (await this.ask("/chat", command, payload)).message }));
  }

  typing(on) {
    this.#signals.type(on);
  }

  setPresence(status) {
    return this.attempt(() => this.ask("/presence", "presence:set", { status }));
  }

  /** The pane calls this while its newest message is on screen. */
  async read() {
    const { conversation, me, loaded } = this.state;
    const seq = loaded ? lastFromOthers(this.state) : 0;
    if (!this.ready || seq <= Math.max(myMarks(conversation, me).read_seq, this.#reading)) return;
    this.#reading = seq;
    await this.attempt(() => this.receipt("chat:read", { conversation_id: conversation.id, seq }));
    this.#reading = 0;
  }

  loadEarlier() {
    return this.#upkeep.loadEarlier();
  }

  search(query) {
    return this.attempt(async () => {
      const items = [];
      for (let page = 0, cursor = null; page < SEARCH_PAGES_MAX; page++) { // one may have few items and not be the last
        const found = await this.ask("/chat", "chat:search", { query, limit: 20, cursor });
        items.push(...found.items);
        cursor = found.next_cursor;
        if (cursor === null || items.length >= 20) break;
      }
      return items;
    });
  }

  // ---- machinery, also used by Upkeep ----

  dispatch(event) {
    const before = this.state;
    if (!before.me) return; // signed out meanwhile
    this.state = reduce(before, event);
    if (this.state === before) return;
    if (this.state.outbox !== before.outbox) this.account.outbox = this.state.outbox;
    this.onChange();
    this.#upkeep.settle();
  }

  ask(namespace, command, payload) {
    if (!this.#link) return Promise.reject(new CommandError({ code: "offline", message: "You are offline" }));
    return this.#link.ask(namespace, command, payload);
  }

  async receipt(command, mark) {
    const { receipt } = await this.ask("/chat", command, mark);
    this.dispatch({ type: "receipt", receipt });
  }

  async attempt(work) {
    try {
      return await work();
    } catch (error) {
      this.onNotice(error.message);
    }
  }
}
