// Owns the sheet that slides over a pane: the person's conversations, their presence, and the form
// to log in as someone else.

import { h } from "./dom.js";
import { dayOf, timeOf } from "./timeline.js";

const STATUSES = { online: "Online", away: "Away", dnd: "Do not disturb", invisible: "Invisible" };

export class Sheet {
  #listed = "";

  /** on: {open(conversation), chat(), login(email, password), logout(), presence(status)}. */
  constructor(slot, on) {
    this.on = on;
    this.list = h("ul.conversations", { "data-testid": `conversations-${slot}` });
    this.empty = h("p.hint", {}, "No conversations yet.");
    this.start = h("button.wide", { type: "button", "data-testid": `chat-with-other-${slot}`, onclick: () => on.chat() });
    this.presence = h("select", { "aria-label": "Your presence", onchange: () => on.presence(this.presence.value) },
      Object.entries(STATUSES).map(([value, text]) => h("option", { value }, text)));
    this.mine = h("div", {}, h("h3", {}, "Conversations"), this.empty, this.list, this.start,
      h("h3", {}, "You appear as"), this.presence);
    this.logout = h("button.wide.quiet", { type: "button", "data-testid": `logout-${slot}`, onclick: () => on.logout() }, "Log out");
    this.el = h("div.sheet", { id: `sheet-${slot}`, hidden: true, "data-testid": `sheet-${slot}` }, this.mine, this.#form(slot), this.logout);
  }

  #form(slot) {
    const email = h("input", { type: "email", name: "email", autocomplete: "off", required: true, "data-testid": `login-email-${slot}` });
    const password = h("input", { type: "password", name: "password", autocomplete: "off", required: true, "data-testid": `login-password-${slot}` });
    const button = h("button.primary", { type: "submit", "data-testid": `login-submit-${slot}` }, "Log in");
    this.title = h("h3");
    const submit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      if (await this.on.login(email.value, password.value)) event.target.reset();
      button.disabled = false;
    };
    return h("form.login", { onsubmit: submit }, this.title, h("label", {}, "E-mail", email), h("label", {}, "Password", password), button);
  }

  /** other: the person in the other pane, if any. */
  render(state, other) {
    const { me } = state;
    this.mine.hidden = this.logout.hidden = !me;
    this.title.textContent = me ? "Log in as someone else" : "Log in";
    if (!me) return;
    const together = other && other.id !== me.id && !state.list.some((c) => c.type === "direct" && c.participants.some((p) => p.user_id === other.id));
    this.start.hidden = !together;
    this.start.textContent = together ? `Start a chat with ${other.name}` : "";
    this.empty.hidden = state.list.length > 0;
    const rows = state.list.map((c) => ({ id: c.id, title: titleOf(c, me), text: lineOf(c, me), when: whenOf(c), unread: c.unread ?? 0, current: c.id === state.conversation?.id }));
    const key = JSON.stringify(rows);
    if (key === this.#listed) return;
    this.#listed = key;
    this.list.replaceChildren(...rows.map((row, i) => this.#item(row, state.list[i])));
  }

  #item({ title, text, when, unread, current }, conversation) {
    return h("li", {}, h("button.conversation", { type: "button", "aria-current": String(current), "data-testid": "conversation", onclick: () => this.on.open(conversation) },
      h("span.title", {}, title), h("time", {}, when), h("span.snippet", {}, text),
      unread > 0 && !current && h("span.badge", { "aria-label": `${unread} unread` }, String(unread))));
  }
}

export function titleOf(conversation, me) {
  if (conversation.title) return conversation.title;
  const names = conversation.participants.filter((p) => p.user_id !== me.id).map((p) => p.name);
  return names.join(", ") || "Just you";
}

function lineOf({ last_message: last }, me) {
  if (!last) return "Nothing said yet";
  const text = last.deleted_at ? "Message deleted" : last.text || "Attachment";
  return last.sender_id === me.id ? `You: ${text}` : text;
}

function whenOf({ last_message: last, updated_at }) {
  const at = last?.created_at ?? updated_at;
  return dayOf(at) === "Today" ? timeOf(at) : dayOf(at);
}
