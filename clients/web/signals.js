// Owns the passing signals of a session: who is typing and who is there. Nothing here is kept or
// sent again; a lost signal is replaced by the next one.

import { others } from "./store.js";

const TYPING_EVERY_MS = 2000;

export class Signals {
  #typedAt = 0;
  #watched = "";

  /** host: a Session; line() gives its Link, or null. */
  constructor(host, line) {
    this.host = host;
    this.line = line;
  }

  reset() {
    this.#typedAt = 0;
    this.#watched = "";
  }

  /** Says that the person types, at most every two seconds, or that they stopped. */
  type(on) {
    const { conversation } = this.host.state;
    const now = Date.now();
    if (!conversation || (on ? now - this.#typedAt < TYPING_EVERY_MS : !this.#typedAt)) return;
    this.#typedAt = on ? now : 0;
    this.line()?.emit("/typing", on ? "typing:start" : "typing:stop", { conversation_id: conversation.id });
  }

  /** A sent message ends the typing on the other side by itself. */
  sent() {
    this.#typedAt = 0;
  }

  typed({ conversation_id, user_id }, until) {
    const { host } = this;
    if (user_id === host.user?.id) return;
    host.dispatch({ type: "typing", conversation_id, user_id, until });
    const expire = () => host.state.typing[user_id] === until && this.typed({ conversation_id, user_id }, 0);
    if (until) setTimeout(expire, until - Date.now());
  }

  /** Asks for the presence of the people in the open conversation, once for each connection. */
  watch(again = false) {
    const user_ids = others(this.host.state).map((p) => p.user_id).slice(0, 500);
    const key = user_ids.join();
    if (!this.line()?.live || !key || (key === this.#watched && !again)) return;
    this.#watched = key;
    this.host.ask("/presence", "presence:subscribe", { user_ids }).then(
      ({ presences }) => this.host.dispatch({ type: "presence", presences: Object.values(presences) }),
      () => (this.#watched = ""),
    );
  }
}
