// Owns the credit bar of a pane: what the person owes, what is held for accepted offers, and what is
// left of their limit. Hidden as long as they have no limit.

import { h } from "./dom.js";
import { money } from "./money.js";

export class CreditBar {
  #shown = null;

  constructor(slot) {
    this.owed = h("i.owed");
    this.held = h("i.held");
    this.text = h("p", { role: "status", "data-testid": `credit-text-${slot}` });
    this.el = h("div.credit", { hidden: true, "data-testid": `credit-${slot}` }, h("div.gauge", { "aria-hidden": "true" }, this.owed, this.held), this.text);
  }

  render(account) {
    if (account === this.#shown) return;
    this.#shown = account;
    this.el.hidden = !account?.credit_limit;
    if (this.el.hidden) return;
    const { currency, credit_limit: limit, debits_pending: held, debits_posted, credits_posted, available_credit: available } = account;
    const owed = debits_posted - credits_posted;
    const share = (amount) => `${Math.max(0, Math.min(100, (100 * amount) / limit))}%`;
    this.owed.style.width = share(owed);
    this.held.style.width = share(held);
    const [heldText, owedText, free, whole] = [held, owed, available, limit].map((amount) => money({ amount, currency }));
    this.text.replaceChildren("Credit: ", h("b", {}, `${heldText} held`), `, ${owedText} owed, ${free} of ${whole} available`);
  }
}
