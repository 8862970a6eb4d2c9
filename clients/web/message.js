// Owns the DOM of one row of the message list. update() changes only the parts that differ, so that
// a tick turning blue does not make a screen reader repeat the message.

import { h, icon, reaction, restyle } from "./dom.js";
import { timeOf } from "./timeline.js";

const TICKS = {
  queued: ["clock", "Waiting to be sent"],
  sent: ["check", "Sent"],
  delivered: ["checks", "Delivered"],
  read: ["checks", "Read"],
  failed: ["alert", "Not sent"],
};

/** act: {menu(row, anchor, touch), react(row, emoji, on), jump(seq), retry(row), discard(row)}. */
export class Row {
  #shown = {};

  constructor(row, act) {
    this.act = act;
    if (row.type === "day") this.el = h("div.day", { role: "separator" }, h("span", {}, row.text));
    else if (row.type === "system" || row.type === "step") this.el = h("p.system", { "data-testid": row.type === "step" ? "offer-step" : "system-message" });
    else this.#build();
    this.update(row);
  }

  #build() {
    this.parts = Object.fromEntries(["who", "quote", "text", "files", "meta", "reactions", "failure"].map((name) => [name, h(`div.${name}`)]));
    const { reactions, failure, ...inside } = this.parts;
    this.bubble = h("div.bubble", {}, Object.values(inside));
    this.more = h("button.more", { type: "button", "aria-label": "Message actions", "aria-haspopup": "menu", "data-testid": "message-actions",
      onclick: () => this.act.menu(this.row, this.more) }, icon("more"));
    this.el = h("article.row", { "data-testid": "message" }, h("div.line", {}, this.bubble, this.more), reactions, failure);
    this.#longPress();
  }

  #longPress() {
    let timer = 0;
    const stop = () => clearTimeout(timer);
    this.bubble.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" || this.row.entry || this.row.deleted) return;
      timer = setTimeout(() => this.act.menu(this.row, this.bubble, true), 450);
    });
    for (const name of ["pointerup", "pointercancel", "pointermove"]) this.bubble.addEventListener(name, stop);
    this.bubble.addEventListener("contextmenu", (event) => event.pointerType === "touch" && event.preventDefault());
  }

  update(row) {
    this.row = row;
    if (row.type === "day") return;
    if (row.type === "system" || row.type === "step") return this.#show("system", row.text, () => (this.el.textContent = row.text));
    const { el } = this;
    restyle(el, ["row", row.mine ? "mine" : "theirs", row.first && "first", row.deleted && "deleted", row.failed && "failed"]);
    el.dataset.seq = row.seq ?? "";
    el.dataset.tick = row.tick;
    this.more.hidden = Boolean(row.entry || row.deleted);
    this.#part("who", row.first && row.who, (name) => name);
    this.#part("quote", !row.deleted && row.quote, quoteOf(this.act));
    this.#part("text", row.deleted ? "Message deleted" : row.text, (text) => text);
    this.#part("files", row.deleted ? [] : row.files, (files) => files.map((name) => h("span.file", {}, icon("file"), name)));
    this.#part("meta", [row.edited && !row.deleted, timeOf(row.created_at), row.tick], ([edited, time, tick]) => [
      edited && h("span.edited", {}, "edited"), h("time", { datetime: row.created_at }, time), tick && tickOf(tick),
    ]);
    this.#part("reactions", row.deleted ? [] : row.reactions, (reactions) => reactions.map((r) => this.#reactionChip(r)));
    this.#part("failure", row.failed, (reason) => [
      h("span", {}, reason),
      h("button.link", { type: "button", onclick: () => this.act.retry(this.row) }, "Try again"),
      h("button.link", { type: "button", onclick: () => this.act.discard(this.row) }, "Discard"),
    ]);
  }

  #reactionChip({ emoji, count, mine, names }) {
    return h("button.chip", { type: "button", title: names, "aria-pressed": String(mine), "aria-label": `${emoji} ${names}`, "data-testid": "reaction",
      onclick: () => this.act.react(this.row, emoji, !mine) }, reaction(emoji), count > 1 && h("span", {}, String(count)));
  }

  #part(name, value, render) {
    const part = this.parts[name];
    const empty = !value || (Array.isArray(value) && !value.length);
    this.#show(name, JSON.stringify(value || null), () => {
      part.hidden = empty;
      part.replaceChildren(...(empty ? [] : [render(value)].flat().filter(Boolean)));
    });
  }

  #show(name, signature, work) {
    if (this.#shown[name] === signature) return;
    this.#shown[name] = signature;
    work();
  }
}

const quoteOf = (act) => ({ name, text, seq }) =>
  h("button.quoted", { type: "button", "data-testid": "quote", onclick: () => seq && act.jump(seq) }, h("b", {}, name), h("span", {}, text));

export function tickOf(tick) {
  const [name, label] = TICKS[tick];
  return h(`span.tick.${tick}`, { role: "img", "aria-label": label, title: label, "data-testid": "tick" }, icon(name));
}
