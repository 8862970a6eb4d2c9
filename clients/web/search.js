// Owns the search box of a pane and its results.

import { h } from "./dom.js";
import { dayOf, timeOf } from "./timeline.js";

const PAUSE_MS = 250; // search when the typing pauses

export class Search {
  #timer = 0;
  #asked = 0;

  /** on: {find(query) -> messages or undefined, pick(message), who(message) -> name}. */
  constructor(slot, on) {
    this.on = on;
    this.input = h("input", { type: "search", placeholder: "Search messages", "aria-label": "Search messages", maxlength: 100, "data-testid": `search-${slot}`,
      oninput: () => this.#later(), onkeydown: (event) => event.key === "Escape" && this.toggle(false) });
    this.results = h("ul.results", { "aria-live": "polite" });
    this.el = h("div.search", { role: "search", hidden: true }, this.input, this.results);
  }

  toggle(open = this.el.hidden) {
    this.el.hidden = !open;
    this.input.value = "";
    this.results.replaceChildren();
    if (open) this.input.focus();
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(this.input.value.trim()), PAUSE_MS);
  }

  async #run(query) {
    const asked = ++this.#asked;
    const found = query.length > 1 ? await this.on.find(query) : [];
    if (asked !== this.#asked || !found) return; // a newer question is under way, or an error was shown
    const items = found.map((message) => h("li", {}, h("button.result", { type: "button", "data-testid": "search-result", onclick: () => this.on.pick(message) },
      h("b", {}, this.on.who(message)), h("time", {}, `${dayOf(message.created_at)}, ${timeOf(message.created_at)}`), h("span.snippet", {}, message.text ?? ""))));
    this.results.replaceChildren(...(items.length || query.length < 2 ? items : [h("li.hint", {}, "Nothing found.")]));
  }
}
