// Owns the small menu of one message: reactions, reply, edit, delete. One per pane, moved to where it
// is needed.

import { h, icon, reaction, REACTIONS } from "./dom.js";

export class Menu {
  #opener = null;

  /** act: {react(row, emoji, on), reply(row), edit(row), remove(row)}; frame is the element it must stay inside. */
  constructor(frame, act) {
    this.frame = frame;
    this.act = act;
    this.el = h("div.menu", { role: "menu", hidden: true, "data-testid": "menu" });
    this.el.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("pointerdown", (event) => !this.el.contains(event.target) && this.close());
  }

  open(row, anchor) {
    this.#opener = anchor;
    const mine = new Set(row.reactions.filter((r) => r.mine).map((r) => r.emoji));
    const item = (name, label, action) =>
      h("button.item", { type: "button", role: "menuitem", "data-testid": `menu-${action}`, onclick: () => this.#choose(() => this.act[action](row)) }, icon(name), label);
    this.el.replaceChildren(
      h("div.choices", { role: "group", "aria-label": "React" }, REACTIONS.map(({ emoji, name }) =>
        h("button.choice", { type: "button", role: "menuitemcheckbox", "aria-label": name, title: name, "aria-checked": String(mine.has(emoji)),
          "data-testid": `react-${name.toLowerCase().replace(" ", "-")}`,
          onclick: () => this.#choose(() => this.act.react(row, emoji, !mine.has(emoji))) }, reaction(emoji)))),
      item("reply", "Reply", "reply"),
      ...(row.mine && row.kind === "text" ? [item("edit", "Edit", "edit"), item("trash", "Delete", "remove")] : []),
    );
    this.el.hidden = false;
    this.#place(anchor, row.mine);
    this.el.querySelector("button").focus({ preventScroll: true });
  }

  close() {
    this.el.hidden = true;
  }

  #choose(action) {
    this.close();
    this.#opener?.focus?.({ preventScroll: true });
    action();
  }

  #place(anchor, toTheLeft) {
    const frame = this.frame.getBoundingClientRect();
    const at = anchor.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.el;
    const left = (toTheLeft ? at.right - width : at.left) - frame.left;
    const below = at.bottom + 6 - frame.top;
    const top = below + height > frame.height - 8 ? at.top - frame.top - height - 6 : below;
    this.el.style.left = `${Math.max(8, Math.min(left, frame.width - width - 8))}px`;
    this.el.style.top = `${Math.max(8, top)}px`;
  }

  #key(event) {
    const buttons = [...this.el.querySelectorAll("button")];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") {
      this.close();
      this.#opener?.focus?.({ preventScroll: true });
    } else if (step) buttons.at((buttons.indexOf(document.activeElement) + step) % buttons.length).focus();
    else return;
    event.preventDefault();
  }
}
