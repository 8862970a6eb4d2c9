// Owns the credit bar of a pane: what the person owes, what is held for accepted offers, and what is
// left of their limit, and their credit balance. Hidden as long as they have neither a limit nor a balance.

import { h } from "./dom.js";
import { money } from "./money.js";

export class CreditBar {
  #shown = null;
  #balance = 0;

  constructor(slot) {
    this.owed = h("i.owed");
    this.held = h("i.held");
    this.text = h("p", { role: "status", "data-testid": `credit-text-${slot}` });
    this.el = h("div.credit", { hidden: true, "data-testid": `credit-${slot}` }, h("div.gauge", { "aria-hidden": "true" }, this.owed, this.held), this.text);
  }

  /** balance: their credit balance in minor units. */
  render(account, balance) {
    if (account === this.#shown && balance === this.#balance) return;
    this.#shown = account;
    this.#balance = balance;
    this.el.hidden = !account || !(account.credit_limit || balance);
    if (this.el.hidden) return;
    const { currency, credit_limit: limit, debits_pending: held, debits_posted, credits_posted, available_credit: available } = account;
    const owed = debits_posted - credits_posted;
    const share = (amount) => `${limit ? Math.max(0, Math.min(100, (100 * amount) / limit)) : 0}%`;
    this.owed.style.width = share(owed);
    this.held.style.width = share(held);
    const [heldText, owedText, free, whole] = [held, owed, available, limit].map((amount) => money({ amount, currency }));
    this.text.replaceChildren("Credit: ", h("b", {}, `${heldText} held`), `, ${owedText} owed, ${free} of ${whole} available`);
    if (balance) this.text.append(`, ${money({ amount: balance, currency })} credit balance`);
  }
}
