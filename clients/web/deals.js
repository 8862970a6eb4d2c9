// Owns what a session does with offers and credit: their events, the steps a person takes, fetching
// the offers that messages name, and the person's account.

import { randomId, sleep } from "./api.js";
import { lacking } from "./store.js";

const PATIENCE_MS = 250; // offer:updated mostly comes by itself, right beside its message

export class Deals {
  #ids = new Map(); // a command as text -> its client_id, kept until it is answered: pressing again does nothing twice

  /** host: a Session. */
  constructor(host) {
    this.host = host;
  }

  event(name, payload) {
    if (name === "offer:updated") this.host.dispatch({ type: "offer", ...payload });
    else if (name === "finance:credit_changed") this.#credit(payload.account);
  }

  /** On every connection: what changed meanwhile was not told. Without an answer the next connection asks again. */
  async refresh() {
    for (const purpose of ["payable", "credit_balance"]) {
      const data = await this.host.ask("/finance", "finance:account", { purpose }).catch(() => null);
      if (data) this.#credit(data.account);
    }
  }

  #credit(account) {
    const type = { payable: "credit", credit_balance: "balance" }[account.purpose];
    if (type && account.currency === "USD") this.host.dispatch({ type, account });
  }

  /** Fetches every offer of which a message tells a step that is not here yet. */
  async fetch() {
    const { host } = this;
    if (!lacking(host.state).length) return;
    await sleep(PATIENCE_MS);
    for (let id, last; host.ready && ([id] = lacking(host.state)) && id && id !== last; ) {
      try {
        host.dispatch({ type: "offer", ...(await host.ask("/offers", "offer:get", { offer_id: id })) });
        last = id; // asked once is enough, should it still be behind
      } catch (error) {
        if (!error.retryable) host.dispatch({ type: "offer_hidden", id }); // between others, in a group
        else await sleep(error.retry_after_ms ?? 500);
      }
    }
  }

  create(wish) {
    return this.#take("offer:create", { conversation_id: this.host.state.conversation.id, ...wish });
  }

  /** action: accept, decline, counter, withdraw, fulfil or cancel; more: what a counter-offer changes. */
  step({ id, version }, action, more = {}) {
    const target = { offer_id: id, version, ...more };
    if (action === "fulfil" || action === "cancel") return this.#take(`offer:${action}`, target);
    return this.#take("offer:respond", { ...target, action });
  }

  /** Throws what the server said; if that has the offer as it is now, it is taken over first. */
  async #take(command, payload) {
    const { host } = this;
    const key = JSON.stringify([command, payload]);
    if (!this.#ids.has(key)) this.#ids.set(key, randomId());
    try {
      const { offer } = await host.ask("/offers", command, { ...payload, client_id: this.#ids.get(key) });
      this.#ids.delete(key);
      host.dispatch({ type: "offer", offer });
      return offer;
    } catch (error) {
      if (error.code !== "timeout" && error.code !== "offline") this.#ids.delete(key); // answered, with a no
      if (error.details?.offer) host.dispatch({ type: "offer", offer: error.details.offer });
      throw error;
    }
  }
}

/** An error in one line, with the fields that were refused. */
export function explain({ message, details }) {
  const fields = Array.isArray(details) ? details.map(({ field, reason }) => `${field} ${reason}`) : [];
  return [message, ...fields].join(" ");
}
