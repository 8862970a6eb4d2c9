// Owns the sheet in which an offer is put together, or answered with other prices.

import { explain } from "./deals.js";
import { h, icon } from "./dom.js";
import { decimal, money, parsePrice, pricePattern } from "./money.js";

const ITEMS_MAX = 5; // the server takes fifty; this is a small sheet
const CURRENCY = "USD";
const HOUR = 3600;
const EXPIRY = { [HOUR / 6]: "10 minutes", [HOUR]: "1 hour", [24 * HOUR]: "1 day", [72 * HOUR]: "3 days", [168 * HOUR]: "1 week" };

export class OfferSheet {
  #opener = null;
  #home = null;
  #submit = null;
  #busy = false;

  /** on: {create(wish), hasCredit(userId), shown(open)}. */
  constructor(slot, on) {
    this.on = on;
    this.slot = slot;
    this.title = h("h3", { id: `offer-title-${slot}` });
    this.fields = h("div.fields");
    this.total = h("output", { "data-testid": "offer-total" });
    this.error = h("p.oops", { role: "alert", hidden: true, "data-testid": "offer-sheet-error" });
    this.button = h("button.primary", { type: "submit", "data-testid": "offer-submit" });
    this.form = h("form.login", { onsubmit: (event) => (event.preventDefault(), this.#send()), oninput: () => this.#add() }, this.title, this.fields,
      h("p.sum", {}, "Total ", this.total), this.error, this.button, h("button.wide.quiet", { type: "button", "data-testid": "offer-close", onclick: () => this.close() }, "Not now"));
    this.el = h("div.sheet", { role: "dialog", "aria-labelledby": this.title.id, hidden: true, "data-testid": `offer-sheet-${slot}` }, this.form);
    this.el.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
  }

  /** A new offer: me is the one who makes it, others those who may get it. */
  make(me, others, opener) {
    this.currency = CURRENCY;
    const side = select("side", { sell: "I sell", buy: "I buy" }, me.role === "vendor" ? "sell" : "buy");
    const to = select("to", Object.fromEntries(others.map((p) => [p.user_id, p.name])), others[0].user_id);
    const settlement = select("settlement", { credit: "On the buyer’s credit", none: "Between ourselves" }, "none");
    const terms = text("terms", { maxlength: 4000, placeholder: "Delivery, payment, returns" });
    const note = text("note", { maxlength: 1000 });
    const expiry = expiryBox();
    // What the buyer can pay with is known only if they are here; a person may choose otherwise.
    const settle = () => (settlement.value = this.on.hasCredit(side.value === "buy" ? me.id : to.value) ? "credit" : "none");
    for (const box of [side, to]) box.addEventListener("change", settle);
    settle();
    this.lines = [];
    this.list = h("div.fields");
    this.more = h("button.link", { type: "button", "data-testid": "offer-add-item", onclick: () => this.#addLine().title.focus() }, "Add an item");
    this.#addLine();
    this.#open("Make an offer", "Send the offer", opener, side, [
      label("You", side), others.length > 1 && label("To", to), this.list, this.more, label("Terms", terms), label("Good for", expiry),
      label("Settlement", settlement), label("Note", note),
    ], () => this.on.create({
      side: side.value, to_user_id: to.value, settlement: settlement.value, expires_in_s: Number(expiry.value), ...filled({ terms, note }),
      items: this.lines.map(({ title, quantity, price }) => ({ title: title.value.trim(), quantity: Number(quantity.value), unit_price: this.#money(price) })),
    }));
  }

  /** A counter-offer: the same things at other prices. send(changes) -> an error or null. */
  counter(offer, opener, send) {
    this.currency = offer.total.currency;
    this.lines = offer.items.map((item) => {
      const each = decimal(item.total.amount / item.quantity, this.currency);
      return { item, each, quantity: { value: item.quantity }, price: priceBox(this.currency, each) };
    });
    const expiry = keptExpiryBox();
    const note = text("note", { maxlength: 1000 });
    const lines = this.lines.map(({ item, price }) => label(`${item.quantity.toLocaleString()}${item.unit ? ` ${item.unit}` : ""} × ${item.title}, each`, price));
    this.#open("Make a counter-offer", "Send the counter-offer", opener, this.lines[0].price, [...lines, label("Good for", expiry), label("Note", note)],
      () => send({ items: this.lines.map((line) => this.#repriced(line)), ...(expiry.value && { expires_in_s: Number(expiry.value) }), ...filled({ note }) }));
  }

  close() {
    if (this.el.hidden) return;
    this.el.hidden = true;
    this.#submit = null;
    this.on.shown(false);
    const back = this.#opener.isConnected ? this.#opener : this.#home; // an answered card has other buttons
    back?.focus({ preventScroll: true });
  }

  #open(title, action, opener, first, fields, submit) {
    this.#opener = opener;
    this.#home = opener.closest("article");
    this.#submit = submit;
    this.title.textContent = title;
    this.button.textContent = action;
    this.error.hidden = true;
    this.fields.replaceChildren(...fields.filter(Boolean));
    this.#add();
    this.el.hidden = false;
    this.el.scrollTop = 0;
    this.on.shown(true);
    first.focus({ preventScroll: true });
    first.select?.(); // a price is there to be written over
  }

  async #send() {
    if (this.#busy) return;
    const submit = this.#submit;
    this.#busy = this.button.disabled = true;
    const error = await submit();
    this.#busy = this.button.disabled = false;
    if (submit !== this.#submit) return; // closed meanwhile
    // An offer that has changed makes these fields pointless: its card says why, and what it is now.
    if (!error || error.details?.offer) return this.close();
    this.error.textContent = explain(error);
    this.error.hidden = false;
  }

  #addLine() {
    const line = {
      title: text("title", { required: true, maxlength: 200, pattern: ".*\\S.*", placeholder: "What", "aria-label": "Item" }),
      quantity: h("input", { type: "number", inputmode: "numeric", min: 1, max: 1000000, step: 1, value: 1, required: true, "aria-label": "Quantity", "data-testid": "item-quantity" }),
      price: priceBox(this.currency, ""),
    };
    line.remove = h("button.quiet", { type: "button", "aria-label": "Leave this item out", onclick: () => this.#removeLine(line) }, icon("close"));
    line.el = h("div.line-item", { role: "group", "aria-label": `Item ${this.lines.length + 1}` }, line.title, line.remove,
      label("Quantity", line.quantity), label(`Price each, ${this.currency}`, line.price));
    this.lines.push(line);
    this.#drawLines();
    return line;
  }

  #removeLine(line) {
    this.lines = this.lines.filter((other) => other !== line);
    this.#drawLines();
    this.lines.at(-1).title.focus();
  }

  #drawLines() {
    for (const line of this.lines) line.remove.hidden = this.lines.length === 1;
    this.list.replaceChildren(...this.lines.map((line) => line.el));
    this.more.hidden = this.lines.length >= ITEMS_MAX;
    this.#add();
  }

  /** A price that was not touched stays as it was, with its tiers; another one is for the quantity at hand. */
  #repriced({ item, each, price }) {
    const { title, sku, unit, quantity, unit_price, tiers } = item;
    const plain = (tier) => ({ min_quantity: tier.min_quantity, unit_price: tier.unit_price });
    return { title, sku, unit, quantity, ...(price.value === each ? { unit_price, tiers: tiers.map(plain) } : { unit_price: this.#money(price) }) };
  }

  #money(box) {
    return { amount: parsePrice(box.value, this.currency), currency: this.currency };
  }

  #add() {
    const sums = this.lines.map(({ quantity, price }) => parsePrice(price.value, this.currency) * Number(quantity.value));
    this.total.textContent = money({ amount: Math.round(sums.reduce((sum, one) => sum + one, 0)), currency: this.currency });
  }
}

// ---- fields ----

const label = (name, box) => h("label", {}, name, box);

const text = (name, attributes) => h("input", { type: "text", autocomplete: "off", "data-testid": `item-${name}`, ...attributes });

const priceBox = (currency, value) =>
  text("price", { inputmode: "decimal", required: true, pattern: pricePattern(currency), placeholder: decimal(0, currency), value, title: `A price in ${currency}, such as ${decimal(1250, currency)}` });

function select(name, options, value) {
  const box = h("select", { "data-testid": `offer-${name}` }, Object.entries(options).map(([key, label]) => h("option", { value: key }, label)));
  box.value = value;
  return box;
}

const expiryBox = () => select("expiry", EXPIRY, String(72 * HOUR));

/** For a counter-offer, which expires when the offer it answers does unless a time is chosen. */
const keptExpiryBox = () => select("expiry", { "": "As long as before", ...EXPIRY }, "");

const filled = (boxes) => Object.fromEntries(Object.entries(boxes).map(([name, box]) => [name, box.value.trim()]).filter(([, value]) => value));
