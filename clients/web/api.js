// Owns REST calls and one pane's account: its tokens, its refresh, and what is kept in localStorage.
// Access tokens travel in the Authorization header; cookies are never sent.

const BASE = "/api/v1";
const EARLY_MS = 30000; // renew this long before the token runs out

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    Object.assign(this, error, { status });
  }
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Random hex; works on plain http too, where crypto.randomUUID does not. */
export function randomId(bytes = 16) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (b) => b.toString(16).padStart(2, "0")).join("");
}

export async function request(method, path, { body, token } = {}) {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(BASE + path, {
    method, headers, credentials: "omit", cache: "no-store", body: body && JSON.stringify(body),
  });
  const data = await response.json().catch(() => null);
  if (response.ok) return data;
  throw new ApiError(response.status, data?.error ?? { code: "http_error", message: `The server answered ${response.status}` });
}

/** A call worth repeating when the server only asks to slow down. */
async function patiently(call, tries = 3) {
  try {
    return await call();
  } catch (error) {
    if (error.code !== "rate_limited" || tries <= 1) throw error;
    await sleep(Math.min(error.retry_after_ms ?? 1000, 30000));
    return patiently(call, tries - 1);
  }
}

export const register = (person) => patiently(() => request("POST", "/auth/register", { body: person }));
export const login = (email, password) => patiently(() => request("POST", "/auth/login", { body: { email, password } }));

export class Account {
  #key;
  #refreshing = null;

  constructor(slot) {
    this.#key = `parley.${slot}`;
  }

  get #saved() {
    return JSON.parse(localStorage.getItem(this.#key) ?? "null");
  }

  #save(changes) {
    localStorage.setItem(this.#key, JSON.stringify({ ...this.#saved, ...changes }));
  }

  get user() {
    return this.#saved?.user ?? null;
  }

  get conversationId() {
    return this.#saved?.conversation_id ?? null;
  }

  set conversationId(id) {
    if (this.#saved) this.#save({ conversation_id: id });
  }

  /** Messages not acknowledged yet; kept so that a reload loses none. */
  get outbox() {
    return this.#saved?.outbox ?? [];
  }

  set outbox(entries) {
    if (this.#saved) this.#save({ outbox: entries });
  }

  signIn({ user, tokens }) {
    this.clear();
    this.#save({ user, tokens: withExpiry(tokens) });
  }

  clear() {
    localStorage.removeItem(this.#key);
  }

  async signOut() {
    const token = this.#saved?.tokens.access_token;
    this.clear();
    if (token) await request("POST", "/auth/logout", { token }).catch(() => {});
  }

  /** An access token that is still good, renewed first when it is about to expire. */
  async token() {
    const tokens = this.#saved?.tokens;
    if (!tokens) throw new ApiError(401, { code: "token_invalid", message: "Please log in" });
    return Date.now() < tokens.expires_at - EARLY_MS ? tokens.access_token : this.renew();
  }

  /** One refresh at a time: a refresh token works once, and a second use ends the session. */
  renew() {
    this.#refreshing ??= this.#renewLocked().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  #renewLocked() {
    const stale = this.#saved?.tokens.access_token;
    const work = () => this.#renewNow(stale);
    // The lock also covers other browser tabs, which share the same localStorage.
    return navigator.locks ? navigator.locks.request(this.#key, work) : work();
  }

  async #renewNow(stale) {
    const { tokens } = this.#saved ?? {};
    if (!tokens) throw new ApiError(401, { code: "token_invalid", message: "Please log in" });
    if (tokens.access_token !== stale) return tokens.access_token; // another tab was first
    const fresh = await patiently(() => request("POST", "/auth/refresh", { body: { refresh_token: tokens.refresh_token } }));
    this.#save({ tokens: withExpiry(fresh.tokens) });
    return fresh.tokens.access_token;
  }
}

function withExpiry({ access_token, refresh_token, expires_in }) {
  return { access_token, refresh_token, expires_at: Date.now() + expires_in * 1000 };
}
