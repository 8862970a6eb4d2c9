// Owns one account's authenticated line to the server: the socket, its token and its renewal, the
// plug, and asking a command with patience for rate limits. It holds no chat state.

import { sleep } from "./api.js";
import { CommandError, Socket } from "./socket.js";

const NAMESPACES = ["/chat", "/typing", "/presence", "/offers", "/finance"];
const ENDED = new Set(["token_invalid", "refresh_reused", "session_revoked"]);

const socketUrl = () =>
  `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket.io/?EIO=4&transport=websocket`;

export class Link {
  #socket;
  #renewedAt = 0;

  /** onStatus(closed|connecting|live), onEvent(name, payload), onNotice(text), onOver(reason). */
  constructor(account, { onStatus, onEvent, onNotice, onOver }) {
    Object.assign(this, { account, onNotice, onOver });
    this.#socket = new Socket({
      url: socketUrl(),
      namespaces: NAMESPACES,
      auth: async () => ({ token: await account.token() }),
      onStatus,
      onEvent: (_, name, payload) => this.#event(name, payload ?? {}, onEvent),
      onRefused: (error) => this.#refused(error),
    });
    this.#socket.open();
  }

  get live() {
    return this.#socket.live;
  }

  close() {
    this.#socket.close();
  }

  open() {
    this.#socket.open();
  }

  wake() {
    this.#socket.retryNow();
  }

  emit(namespace, name, payload) {
    this.#socket.emit(namespace, name, payload);
  }

  /** Sends a command and returns its data; when told to slow down it waits and asks again. */
  async ask(namespace, command, payload, tries = 4) {
    const ack = await this.#socket.emitWithAck(namespace, command, payload);
    if (ack.ok) return ack.data;
    if (ack.error.code !== "rate_limited" || tries <= 1) throw new CommandError(ack.error);
    await sleep(ack.error.retry_after_ms ?? 1000);
    return this.ask(namespace, command, payload, tries - 1);
  }

  #event(name, payload, onEvent) {
    if (name === "auth:expiring") this.#renewInPlace();
    else if (name === "auth:revoked") this.onOver("This session was ended. Please log in again.");
    else onEvent(name, payload);
  }

  #renew() {
    this.#renewedAt = Date.now();
    return this.account.renew();
  }

  async #renewInPlace() {
    if (Date.now() - this.#renewedAt < 30000) return; // every namespace warns; one renewal is enough
    const token = await this.#renew().catch(() => null);
    if (token) this.ask("/chat", "auth:refresh", { token }).catch(() => {});
  }

  /** The socket tries again by itself. This sees to the token, or gives up when the session is over. */
  async #refused(error) {
    const stale = error.code === "token_expired" || error.code === "token_invalid";
    if (!stale) {
      if (error.status === 401 || ENDED.has(error.code)) this.onOver(error.message);
      else if (error.code) this.onNotice(error.message);
    } else if (Date.now() - this.#renewedAt < 10000) {
      this.onOver(error.message); // a token this fresh was refused: another one will not help
    } else {
      await this.#renew().then(() => this.wake(), (failure) => failure.status === 401 && this.onOver(failure.message));
    }
  }
}
