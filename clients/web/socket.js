// Owns one Socket.IO v5 connection (Engine.IO v4) over one WebSocket: handshake, namespaces,
// acknowledgements, heartbeat, reconnection with jittered back-off. It knows nothing of chat.
// Left out on purpose: long polling and binary packets.

const ENGINE = { OPEN: "0", CLOSE: "1", PING: "2", PONG: "3", MESSAGE: "4" };
const CONNECT = 0, DISCONNECT = 1, EVENT = 2, ACK = 3, CONNECT_ERROR = 4;
const FIRST_RETRY_MS = 400, LAST_RETRY_MS = 15000, HANDSHAKE_MS = 15000;

/** A command that failed: `code` is the server's, or "offline" / "timeout" when no answer came. */
export class CommandError extends Error {
  constructor(error) {
    super(error.message);
    Object.assign(this, error);
  }
}

export function encode(type, namespace, id, data) {
  const where = namespace === "/" ? "" : `${namespace},`;
  return `${type}${where}${id ?? ""}${data === undefined ? "" : JSON.stringify(data)}`;
}

export function decode(text) {
  const [, type, namespace = "/", id, json] = /^(\d)(?:(\/[^,]*)(?:,|$))?(\d+)?(.*)$/s.exec(text);
  return { type: Number(type), namespace, id: id && Number(id), data: json ? JSON.parse(json) : undefined };
}

export class Socket {
  #ws = null;
  #wanted = false; // whether the owner wants a connection; false stops reconnecting
  #joined = new Set();
  #acks = new Map();
  #nextAck = 0;
  #attempt = 0;
  #retry = 0;
  #deadline = 0;
  #silenceMs = HANDSHAKE_MS;
  status = "closed"; // closed | connecting | live (every namespace accepted)

  /**
   * auth() gives the payload sent with each namespace's CONNECT and may return a promise.
   * onEvent(namespace, name, payload), onStatus(status), onRefused(error, namespace).
   */
  constructor({ url, namespaces, auth, onEvent, onStatus, onRefused }) {
    Object.assign(this, { url, namespaces, auth, onEvent, onStatus, onRefused });
  }

  get live() {
    return this.status === "live";
  }

  open() {
    this.#wanted = true;
    if (!this.#ws && !this.#retry) this.#dial();
  }

  close() {
    this.#wanted = false;
    this.#drop();
  }

  /** Skip what is left of the back-off, for example when the browser is online again. */
  retryNow() {
    if (!this.#retry) return;
    clearTimeout(this.#retry);
    this.#retry = 0;
    this.#dial();
  }

  emit(namespace, name, payload) {
    if (this.live) this.#send(encode(EVENT, namespace, undefined, [name, payload]));
  }

  emitWithAck(namespace, name, payload, timeoutMs = 10000) {
    if (!this.#joined.has(namespace)) {
      return Promise.reject(new CommandError({ code: "offline", message: "You are offline", retryable: true }));
    }
    return new Promise((resolve, reject) => {
      const id = this.#nextAck++;
      const timer = setTimeout(() => {
        this.#acks.delete(id);
        reject(new CommandError({ code: "timeout", message: "The server did not answer in time", retryable: true }));
      }, timeoutMs);
      this.#acks.set(id, { resolve, reject, timer });
      this.#send(encode(EVENT, namespace, id, [name, payload]));
    });
  }

  #dial() {
    this.#setStatus("connecting");
    const ws = new WebSocket(this.url);
    this.#ws = ws;
    this.#silenceMs = HANDSHAKE_MS;
    this.#heard(ws);
    ws.onmessage = ({ data }) => this.#ws === ws && this.#receive(ws, data);
    ws.onclose = () => this.#ws === ws && this.#lost();
  }

  #receive(ws, frame) {
    this.#heard(ws);
    const body = frame.slice(1);
    switch (frame[0]) {
      case ENGINE.OPEN: return this.#handshake(ws, JSON.parse(body));
      case ENGINE.PING: return ws.send(ENGINE.PONG + body);
      case ENGINE.CLOSE: return this.#lost();
      case ENGINE.MESSAGE: return this.#packet(decode(body));
    }
  }

  async #handshake(ws, { pingInterval, pingTimeout }) {
    this.#silenceMs = pingInterval + pingTimeout;
    this.#heard(ws);
    try {
      const payload = await this.auth();
      if (this.#ws !== ws) return;
      for (const namespace of this.namespaces) this.#send(encode(CONNECT, namespace, undefined, payload));
    } catch (error) {
      if (this.#ws === ws) this.#refused(error);
    }
  }

  #packet({ type, namespace, id, data }) {
    if (type === CONNECT) {
      this.#joined.add(namespace);
      if (this.namespaces.every((name) => this.#joined.has(name))) {
        this.#attempt = 0;
        this.#setStatus("live");
      }
    } else if (type === EVENT) {
      if (id !== undefined) this.#send(encode(ACK, namespace, id, []));
      this.onEvent(namespace, ...data);
    } else if (type === ACK) {
      const waiting = this.#acks.get(id);
      if (!waiting) return;
      this.#acks.delete(id);
      clearTimeout(waiting.timer);
      waiting.resolve(data[0]);
    } else if (type === CONNECT_ERROR) {
      const error = { code: "refused", message: data?.message ?? String(data), ...data?.data };
      this.#refused(new CommandError(error), namespace);
    } else if (type === DISCONNECT) {
      this.#lost();
    }
  }

  /** The namespaces stand or fall together: one refusal drops the transport and tries again later. */
  #refused(error, namespace) {
    this.#lost(error.retry_after_ms);
    this.onRefused(error, namespace);
  }

  #lost(waitMs) {
    this.#drop();
    if (!this.#wanted) return;
    const ceiling = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#attempt++);
    const delay = Math.max(waitMs ?? 0, ceiling * (0.5 + Math.random() / 2));
    this.#setStatus("connecting");
    this.#retry = setTimeout(() => this.retryNow(), delay);
  }

  #drop() {
    clearTimeout(this.#retry);
    clearTimeout(this.#deadline);
    this.#retry = 0;
    const ws = this.#ws;
    this.#ws = null; // first, so that the old socket's late callbacks are ignored
    ws?.close();
    this.#joined.clear();
    const waiting = [...this.#acks.values()];
    this.#acks.clear();
    for (const { reject, timer } of waiting) {
      clearTimeout(timer);
      reject(new CommandError({ code: "offline", message: "The connection was lost", retryable: true }));
    }
    this.#setStatus("closed");
  }

  /** The server pings; hearing nothing for interval + timeout means the line is dead. */
  #heard(ws) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#ws === ws && this.#lost(), this.#silenceMs);
  }

  #send(text) {
    if (this.#ws?.readyState === WebSocket.OPEN) this.#ws.send(ENGINE.MESSAGE + text);
  }

  #setStatus(status) {
    if (status === this.status) return;
    this.status = status;
    this.onStatus(status);
  }
}
