// Owns what a session does by itself once it is connected: sending the outbox in order, fetching
// missing messages and offers, and telling the server what has arrived. Each duty runs once at a time and
// stops when the connection does; the next connection starts it again.

import { sleep } from "./api.js";
import { contiguous, firstSeq, hasEarlier, hasGap, undelivered } from "./store.js";

const GAP_PATIENCE_MS = 250; // late events often close a gap by themselves

export class Upkeep {
  #running = new Map();

  /** host: a Session's {state, ready, deals, ask, dispatch, attempt, onNotice}. */
  constructor(host) {
    this.host = host;
  }

  /** Starts what the state now calls for. */
  settle() {
    if (!this.host.ready) return;
    this.#once("flush", () => this.#flush());
    this.#once("fill", () => this.#fill());
    this.#once("mark", () => this.#mark());
    this.#once("offers", () => this.host.deals.fetch());
  }

  loadEarlier() {
    const { host } = this;
    if (!host.ready || !hasEarlier(host.state)) return Promise.resolve();
    return this.#once("earlier", () => host.attempt(() => this.#history({ before_seq: firstSeq(host.state), limit: 50 }, true)));
  }

  #once(name, work) {
    if (!this.#running.has(name)) this.#running.set(name, work().finally(() => this.#running.delete(name)));
    return this.#running.get(name);
  }

  /** An entry stays in the outbox until the server has acknowledged it, so nothing overtakes it. */
  async #flush() {
    const { host } = this;
    for (let entry; host.ready && (entry = host.state.outbox.find((e) => !e.failed)); ) {
      const { client_id, conversation_id, text, reply_to } = entry;
      try {
        const { message } = await host.ask("/chat", "chat:send", { client_id, conversation_id, text, ...(reply_to && { reply_to }) });
        host.dispatch({ type: "message", message });
        host.dispatch({ type: "dropped", client_id });
      } catch (error) {
        if (error.retryable) await sleep(error.retry_after_ms ?? 500);
        else {
          host.dispatch({ type: "failed", client_id, reason: error.message });
          host.onNotice(error.message);
        }
      }
    }
  }

  async #fill() {
    const { host } = this;
    if (!hasGap(host.state)) return;
    await sleep(GAP_PATIENCE_MS);
    for (let at = -1; host.ready && hasGap(host.state) && contiguous(host.state) > at; ) {
      at = contiguous(host.state);
      await host.attempt(() => this.#history({ after_seq: at, limit: 200 }, false));
    }
  }

  async #history(range, earlier) {
    const { id } = this.host.state.conversation;
    const page = await this.host.ask("/chat", "chat:history", { conversation_id: id, ...range });
    this.host.dispatch({ type: "page", conversation_id: id, earlier, ...page });
  }

  async #mark() {
    const { host } = this;
    for (let mark, last; host.ready && ([mark] = undelivered(host.state)) && mark; last = JSON.stringify(mark)) {
      if (JSON.stringify(mark) === last) return; // the server did not take it; wait for the next change
      await host.receipt("chat:delivered", mark).catch(() => sleep(1000));
    }
  }
}
