// Owns the composer of a pane: the growing text box, Enter to send, the typing signal, the way to an
// offer, and the banner shown while replying or editing.

import { h, icon } from "./dom.js";

const IDLE_MS = 4000; // no key for this long means no longer typing
const MAX_HEIGHT = 132;
const BORDERS = 2; // scrollHeight leaves them out

export class Composer {
  #idle = 0;
  #task = null; // {kind: "reply" | "edit", row}

  /** on: {send(text, replyTo), edit(message, text), typing(on), input(), editLast(), offer(anchor)}. */
  constructor(slot, on) {
    this.on = on;
    this.input = h("textarea", { rows: 1, placeholder: "Message", "aria-label": "Message", maxlength: 4000, "data-testid": `composer-${slot}`,
      enterkeyhint: "send", oninput: () => this.#typed(), onkeydown: (event) => this.#key(event), onblur: () => this.#stopTyping() });
    this.button = h("button.send", { type: "submit", "aria-label": "Send", "data-testid": `send-${slot}`, disabled: true }, icon("send"));
    this.offer = h("button.quiet", { type: "button", "aria-label": "Make an offer", title: "Make an offer", "data-testid": `make-offer-${slot}`, onclick: () => on.offer(this.offer) }, icon("offer"));
    this.banner = h("div.banner", { hidden: true, "data-testid": "banner" });
    this.el = h("form.composer", { onsubmit: (event) => (event.preventDefault(), this.#submit()) }, this.banner,
      h("div.entry", {}, this.offer, this.input, this.button));
  }

  set disabled(disabled) {
    this.input.disabled = this.offer.disabled = disabled;
  }

  reply(row, name) {
    this.#begin({ kind: "reply", row }, `Reply to ${name}`, row.text);
  }

  edit(row) {
    this.#begin({ kind: "edit", row }, "Edit message", row.text);
    this.input.value = row.text;
    this.#fit();
  }

  reset() {
    this.#task = null;
    this.banner.hidden = true;
    this.input.value = "";
    this.#fit();
  }

  #begin(task, title, text) {
    if (this.#task?.kind === "edit") this.reset();
    this.#task = task;
    this.banner.replaceChildren(h("div.quoted", {}, h("b", {}, title), h("span", {}, text)),
      h("button.quiet", { type: "button", "aria-label": "Cancel", onclick: () => this.#cancel() }, icon("close")));
    this.banner.hidden = false;
    this.input.focus();
  }

  #cancel() {
    if (this.#task?.kind === "edit") this.input.value = "";
    this.#task = null;
    this.banner.hidden = true;
    this.#fit();
    this.input.focus();
  }

  #submit() {
    const text = this.input.value.trim();
    if (!text || this.input.disabled) return;
    const task = this.#task;
    clearTimeout(this.#idle);
    this.reset();
    if (task?.kind !== "edit") return this.on.send(text, task?.row.message.id);
    this.on.typing(false);
    if (text !== task.row.text) this.on.edit(task.row.message, text);
  }

  #typed() {
    this.#fit();
    this.on.input();
    clearTimeout(this.#idle);
    const typing = this.input.value.trim() !== "" && this.#task?.kind !== "edit";
    this.on.typing(typing);
    if (typing) this.#idle = setTimeout(() => this.#stopTyping(), IDLE_MS);
  }

  #stopTyping() {
    clearTimeout(this.#idle);
    this.on.typing(false);
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "Escape" && this.#task) this.#cancel();
    else if (event.key === "ArrowUp" && !this.input.value) {
      event.preventDefault();
      this.on.editLast();
    }
  }

  #fit() {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight + BORDERS, MAX_HEIGHT)}px`;
    this.button.disabled = !this.input.value.trim();
  }
}
