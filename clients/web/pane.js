// Owns the DOM of one person's pane and wires it to their Session. The parts with a life of their own
// are in message.js, offer-card.js, menu.js, composer.js, search.js, credit.js and the two sheets.

import { login } from "./api.js";
import { Composer } from "./composer.js";
import { CreditBar } from "./credit.js";
import { h, icon, initials } from "./dom.js";
import { MessageList } from "./list.js";
import { Menu } from "./menu.js";
import { OfferSheet } from "./offer-sheet.js";
import { Search } from "./search.js";
import { Session } from "./session.js";
import { Sheet, titleOf } from "./sheet.js";
import { others, unread } from "./store.js";
import { dayOf, nameOf, timeline, timeOf } from "./timeline.js";

const TOAST_MS = 6000;
const ROLES = { user: "buyer", vendor: "vendor" };
const PRESENCE = { online: "online", away: "away", dnd: "do not disturb", offline: "offline" };

export class Pane {
  #frame = 0;
  #offered = false; // the sheet was opened by the page, not by the person
  starting = false; // the demo is about to open a conversation

  /** on: {peer() -> the other pane's user, hasCredit(userId), input() when the person does something, change(), signedOut(reason)}. */
  constructor(slot, label, on) {
    this.slot = slot;
    this.label = label;
    this.on = on;
    this.session = new Session(slot, {
      onChange: () => this.#later(),
      onNotice: (text) => this.toast(text),
      onSignedOut: (reason) => (this.toast(reason), this.on.signedOut(reason)),
    });
    this.#build();
    this.render();
  }

  // ---- building ----

  #build() {
    const { session, slot } = this;
    this.sheet = new Sheet(slot, {
      open: (conversation) => this.#choose(() => session.open(conversation)),
      chat: () => this.#choose(() => session.attempt(() => session.chatWith(this.on.peer().id))),
      login: (email, password) => this.#login(email, password),
      logout: () => session.signOut(),
      presence: (status) => session.setPresence(status),
    });
    this.search = new Search(slot, {
      find: (query) => session.search(query),
      pick: (message) => this.#goTo(message),
      who: (message) => (message.conversation_id === session.state.conversation?.id ? nameOf(session.state, message.sender_id) : "Another conversation"),
    });
    this.composer = new Composer(slot, {
      send: (text, replyTo) => (this.list.stick(), session.send(text, replyTo)),
      edit: (message, text) => session.edit(message, text),
      typing: (on) => session.typing(on),
      input: () => this.on.input(),
      editLast: () => this.#editLast(),
      offer: (anchor) => (this.on.input(), this.offerSheet.make(session.user, others(session.state), anchor)),
    });
    const react = (row, emoji, on) => session.react(row.message, emoji, on);
    this.list = new MessageList(slot, session, {
      react,
      menu: (row, anchor) => this.menu.open(row, anchor),
      jump: (seq) => this.list.jump(seq),
      retry: (row) => session.retry(row.entry.client_id),
      discard: (row) => session.discard(row.entry.client_id),
      ...this.#dealing(),
    });
    this.credit = new CreditBar(slot);
    this.toasts = h("div.toasts", { role: "status", "data-testid": `toasts-${slot}` });
    this.phone = h("div.phone", {}, this.#header(), this.credit.el, this.search.el, this.list.el, this.composer.el, this.offerSheet.el, this.sheet.el, this.toasts);
    this.menu = new Menu(this.phone, { react, reply: (row) => this.composer.reply(row, nameOf(session.state, row.sender_id)),
      edit: (row) => this.composer.edit(row), remove: (row) => session.remove(row.message) });
    this.phone.append(this.menu.el);
    this.el = h(`section.pane.${slot}`, { id: `pane-${slot}`, "aria-label": `${this.label}'s chat`, "data-testid": `pane-${slot}` }, this.#bar(), this.phone);
  }

  /** What an offer's card needs of the pane; also makes the sheet. */
  #dealing() {
    const { session } = this;
    this.offerSheet = new OfferSheet(this.slot, {
      create: (wish) => session.deals.create(wish).then(() => (this.list.stick(), null), (error) => error),
      hasCredit: (userId) => this.on.hasCredit(userId),
      shown: (open) => [this.search.el, this.list.el, this.composer.el].forEach((el) => (el.inert = open)), // they are behind it
    });
    return {
      now: () => session.now(),
      step: (offer, action, more) => (this.on.input(), session.deals.step(offer, action, more)),
      counter: ({ offer }, anchor, send) => (this.on.input(), this.offerSheet.counter(offer, anchor, send)),
    };
  }

  /** Above the phone: who this is, the state of the line, and the plug. */
  #bar() {
    this.me = h("span.me");
    this.pill = h("span.pill", { role: "status", "data-testid": `state-${this.slot}` });
    this.plugText = h("span");
    this.plug = h("button.plug", { type: "button", "aria-pressed": "false", "data-testid": `plug-${this.slot}`,
      onclick: () => this.session.setCut(!this.session.cut) });
    return h("div.bar", {}, this.me, this.pill, this.plug);
  }

  #header() {
    this.avatar = h("span.avatar", { "aria-hidden": "true" });
    this.dot = h("span.dot");
    this.face = h("span.face", {}, this.avatar, this.dot);
    this.title = h("h2", { "data-testid": `title-${this.slot}` });
    this.presence = h("p", { "data-testid": `presence-${this.slot}` });
    this.badge = h("span.badge", { hidden: true, "data-testid": `unread-${this.slot}` });
    this.sheetButton = h("button.quiet", { type: "button", "aria-label": "Conversations and account", "aria-expanded": "false", "aria-controls": `sheet-${this.slot}`,
      "data-testid": `account-${this.slot}`, onclick: () => this.#toggleSheet() }, icon("menu"));
    this.searchButton = h("button.quiet", { type: "button", "aria-label": "Search", "data-testid": `search-toggle-${this.slot}`, onclick: () => this.search.toggle() }, icon("search"));
    return h("header.top", {}, this.face, h("div.names", {}, this.title, this.presence), this.badge, this.searchButton, this.sheetButton);
  }

  // ---- drawing ----

  #later() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.render();
    });
  }

  render() {
    const { session } = this;
    const { state } = session;
    this.#renderBar(state);
    this.#renderHeader(state);
    this.list.render(timeline(state));
    this.credit.render(state.credit, state.balance);
    if (!state.conversation) this.offerSheet.close();
    this.composer.disabled = !state.conversation;
    this.sheet.render(state, this.on.peer());
    this.#offerSheet(state);
    this.on.change();
  }

  #renderBar({ me, outbox }) {
    const { status, cut } = this.session;
    put(this.me, me ? `${me.name} (${ROLES[me.role] ?? me.role})` : this.label);
    put(this.pill, status === "offline" && outbox.length ? `offline: ${outbox.length} waiting` : me ? status : "logged out");
    this.pill.dataset.state = status;
    if (this.plug.dataset.cut !== String(cut)) {
      this.plug.dataset.cut = String(cut);
      this.plug.setAttribute("aria-pressed", String(cut));
      this.plug.replaceChildren(icon(cut ? "plug" : "unplug"), cut ? "Plug back in" : "Cut the line");
    }
    this.plug.hidden = !me;
    this.el.dataset.state = status;
  }

  #renderHeader(state) {
    const { conversation, me, presence } = state;
    const [first, ...more] = others(state);
    const title = conversation ? titleOf(conversation, me) : me ? "Choose a conversation" : "Nobody is logged in";
    this.face.hidden = this.searchButton.hidden = !conversation;
    put(this.title, title);
    put(this.avatar, initials(title));
    const known = first && !more.length && this.session.status === "live" ? presence[first.user_id] : null;
    const status = known?.status ?? "";
    this.dot.dataset.status = this.presence.dataset.status = status;
    const group = conversation?.type === "group" ? `${conversation.participants.length} people` : "";
    put(this.presence, group || (this.session.cut ? "the line is cut" : known ? presenceText(known) : ""));
    const count = unread(state);
    this.unread = count;
    put(this.badge, count > 99 ? "99+" : String(count));
    this.badge.hidden = count === 0;
    this.badge.setAttribute("aria-label", `${count} unread`);
  }

  /** With no conversation open the sheet is what the person needs; it goes again when one opens. */
  #offerSheet({ conversation, me }) {
    const needed = !conversation && !this.starting && (!me || this.session.ready);
    if (needed && this.sheet.el.hidden) this.#toggleSheet((this.#offered = true));
    else if (conversation && this.#offered) this.closeSheet();
  }

  toast(text) {
    const toast = h("p.toast", { "data-testid": "toast" }, icon("alert"), text);
    this.toasts.append(toast);
    setTimeout(() => toast.remove(), TOAST_MS);
  }

  // ---- doing ----

  #toggleSheet(open = this.sheet.el.hidden) {
    this.sheet.el.hidden = !open;
    this.sheetButton.setAttribute("aria-expanded", String(open));
    this.sheetButton.replaceChildren(icon(open ? "close" : "menu"));
    this.sheetButton.hidden = open && !this.session.state.conversation;
  }

  closeSheet() {
    this.#offered = false;
    this.#toggleSheet(false);
  }

  #choose(action) {
    this.closeSheet();
    this.offerSheet.close();
    this.composer.reset();
    this.search.toggle(false);
    return action();
  }

  async #login(email, password) {
    try {
      const credentials = await login(email, password);
      this.#choose(() => this.session.signIn(credentials));
      return true;
    } catch (error) {
      this.toast(error.message);
      return false;
    }
  }

  async #goTo(message) {
    const { session } = this;
    const conversation = session.state.list.find((c) => c.id === message.conversation_id);
    if (!conversation) return;
    this.search.toggle(false);
    await session.open(conversation);
    await this.list.jump(message.seq);
  }

  #editLast() {
    const last = timeline(this.session.state).findLast((row) => row.mine && row.message && row.kind === "text" && !row.deleted);
    if (last) this.composer.edit(last);
  }
}

function put(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

function presenceText({ status, text, last_seen_at: seen }) {
  if (text && status !== "offline") return `${PRESENCE[status] ?? status}, ${text}`;
  if (status !== "offline" || !seen) return PRESENCE[status] ?? status;
  return dayOf(seen) === "Today" ? `last seen ${timeOf(seen)}` : `last seen ${dayOf(seen)}, ${timeOf(seen)}`;
}
