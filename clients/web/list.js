// Owns the scrolling message list of a pane: keeping its place, sticking to the bottom, loading
// earlier history at the top, the typing dots, and noticing that the newest message has been seen.

import { h, icon } from "./dom.js";
import { Row } from "./message.js";
import { OfferCard } from "./offer-card.js";
import { hasEarlier, unread } from "./store.js";
import { nameOf } from "./timeline.js";

const NEAR_PX = 60;
const SEEN_MS = 500; // on screen this long counts as read

export class MessageList {
  #rows = new Map();
  #stuck = true; // at the bottom, and to be kept there
  #reading = 0;
  #clock = 0; // runs while an offer does

  constructor(slot, session, act) {
    this.session = session;
    this.act = act;
    this.edge = h("p.edge");
    this.rows = h("div.rows", { role: "log", "aria-live": "polite", "aria-relevant": "additions", "aria-label": "Messages", "data-testid": `messages-${slot}` });
    this.typing = h("div.typing", { hidden: true, "data-testid": `typing-${slot}` },
      h("span.dots", {}, h("i"), h("i"), h("i")), h("span.hidden-text"));
    this.scroller = h("div.scroller", { tabindex: 0, onscroll: () => this.#scrolled() }, this.edge, this.rows, this.typing);
    this.bottom = h("button.bottom", { type: "button", hidden: true, "aria-label": "To the newest message", onclick: () => this.#toBottom(true) });
    this.el = h("div.list", {}, this.scroller, this.bottom);
    new ResizeObserver(() => this.#stuck && this.#toBottom()).observe(this.scroller);
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  /** The next render ends at the bottom. */
  stick() {
    this.#stuck = true;
  }

  render(rows) {
    const anchor = this.#anchor();
    const focused = document.activeElement;
    const holder = [...this.#rows.values()].find((row) => row.el.contains(focused));
    const kept = new Set(rows.map((row) => row.key));
    for (const [key, row] of this.#rows) {
      if (kept.has(key)) continue;
      row.el.remove();
      this.#rows.delete(key);
    }
    let place = this.rows.firstChild;
    for (const data of rows) {
      let row = this.#rows.get(data.key);
      if (row) row.update(data);
      else this.#rows.set(data.key, (row = data.type === "offer" ? new OfferCard(data, this.act) : new Row(data, this.act)));
      if (row.el === place) place = place.nextSibling;
      else this.rows.insertBefore(row.el, place);
    }
    // A card that moved to its newest step, or lost the button that was pressed, keeps the keyboard's place.
    if (holder && !holder.el.contains(document.activeElement)) (holder.el.contains(focused) ? focused : holder.el).focus({ preventScroll: true });
    this.#renderTyping();
    this.#wind();
    const { state } = this.session;
    const edge = !state.loaded ? "" : hasEarlier(state) ? "Loading earlier messages" : rows.length ? "" : "Nothing here yet. Say hello.";
    if (this.edge.textContent !== edge) this.edge.textContent = edge;
    if (this.#stuck) this.#toBottom();
    else if (anchor) this.scroller.scrollTop += anchor.row.el.getBoundingClientRect().top - anchor.top;
    this.#renderBottom();
    this.#earlier();
    this.#seen();
  }

  /** Scrolls to a message, loading history until it is there. */
  async jump(seq) {
    const { session } = this;
    while (!session.state.messages.has(seq) && hasEarlier(session.state) && session.ready) await session.loadEarlier();
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))); // let the pane draw it
    const row = [...this.#rows.values()].find((r) => r.row.seq === seq);
    if (!row) return;
    this.#stuck = false;
    row.el.scrollIntoView({ block: "center" });
    row.el.classList.remove("flash");
    void row.el.offsetWidth; // restarts the animation
    row.el.classList.add("flash");
  }

  #renderTyping() {
    const { state } = this.session;
    const names = Object.keys(state.typing).map((id) => nameOf(state, id));
    this.typing.hidden = !names.length;
    const text = names.length ? `${names.join(", ")} typing` : "";
    if (this.typing.lastChild.textContent !== text) this.typing.lastChild.textContent = text;
  }

  /** Counts down once a second, as long as there is something to count. */
  #wind() {
    const running = [...this.#rows.values()].filter((row) => row.running);
    if (running.length) this.#clock ||= setInterval(() => this.#count(), 1000);
    else {
      clearInterval(this.#clock);
      this.#clock = 0;
    }
  }

  #count() {
    for (const row of this.#rows.values()) if (row.running) row.count();
    this.#wind();
    if (this.#stuck) this.#toBottom(); // a card that has just expired is not as high any more
  }

  #renderBottom() {
    this.bottom.hidden = this.#stuck;
    const count = unread(this.session.state);
    this.bottom.replaceChildren(...(count ? [String(count)] : []), icon("down"));
  }

  /** A message on screen or below it. Day separators will not do: they stay on top of what is added. */
  #anchor() {
    if (this.#stuck) return null;
    const { top } = this.scroller.getBoundingClientRect();
    const row = [...this.#rows.values()].find((r) => r.row.type !== "day" && r.el.getBoundingClientRect().bottom > top);
    return row && { row, top: row.el.getBoundingClientRect().top };
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    if (clientHeight === 0) return; // hidden behind the other tab
    this.#stuck = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.#renderBottom();
    this.#earlier();
    this.#seen();
  }

  #earlier() {
    if (!this.#stuck && this.scroller.scrollTop < 200 && hasEarlier(this.session.state)) this.session.loadEarlier();
  }

  #toBottom(gently = false) {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    const near = scrollHeight - scrollTop < 3 * clientHeight;
    this.#stuck = true;
    this.scroller.scrollTo({ top: scrollHeight, behavior: gently && near ? "smooth" : "instant" });
  }

  get #onScreen() {
    return this.#stuck && this.scroller.clientHeight > 0 && document.visibilityState === "visible";
  }

  #seen() {
    if (!this.#onScreen || this.#reading || !unread(this.session.state)) return;
    this.#reading = setTimeout(() => {
      this.#reading = 0;
      if (this.#onScreen) this.session.read();
    }, SEEN_MS);
  }
}
