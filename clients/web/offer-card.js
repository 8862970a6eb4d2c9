// Owns the DOM of an offer in the message list: what is on the table, whose turn it is, how long it
// lasts, and the buttons that the viewer may press. Only what changed is drawn again, so that a
// screen reader hears the news alone.

import { explain } from "./deals.js";
import { h, restyle } from "./dom.js";
import { tickOf } from "./message.js";
import { money } from "./money.js";
import { said, timeOf } from "./timeline.js";

const PARTS = ["headline", "status", "parties", "items", "sum", "terms", "note", "turn", "countdown", "error", "answers", "meta"];
const STATUS = { pending: "Pending", accepted: "Accepted", fulfilled: "Fulfilled", cancelled: "Cancelled", declined: "Declined", withdrawn: "Withdrawn", expired: "Expired" };
const ACTIONS = { accept: "Accept", counter: "Counter", decline: "Decline", withdraw: "Withdraw", fulfil: "Mark as fulfilled", cancel: "Cancel the deal" };
const ASKED_MS = 5000;
const DOUBLE_MS = 500; // a double click is one press
const LIVE = { status: { role: "status" }, error: { role: "alert" }, countdown: { role: "timer" }, items: { role: "list" } };

/** The steps that this person may take; the server decides, this only saves the asking. */
export function allowed(offer, me, status) {
  if (me !== offer.buyer_id && me !== offer.seller_id) return [];
  if (status === "accepted") return ["fulfil", "cancel"];
  if (status !== "pending") return [];
  return offer.awaiting_user_id === me ? ["accept", "counter", "decline"] : ["withdraw"];
}

export class OfferCard {
  #shown = {};
  #error = "";
  #errorOf = 0; // the version that the error is about; the next one has nothing to do with it
  #busy = false;

  /** act: {now() -> server time, step(offer, action), counter(row, anchor)}. */
  constructor(row, act) {
    this.act = act;
    this.parts = Object.fromEntries(PARTS.map((name) => [name, h(`div.${name}`, { ...LIVE[name], "data-testid": `offer-${name}` })]));
    const { headline, status, turn, countdown, ...rest } = this.parts;
    this.card = h("div.card", {}, h("div.head", {}, headline, status), rest.parties, rest.items, rest.sum, rest.terms, rest.note,
      h("div.state", {}, turn, countdown), rest.error, rest.answers, rest.meta);
    this.el = h("article.row", { tabindex: -1, "aria-label": "Offer", "data-testid": "offer-card" }, this.card);
    this.update(row);
  }

  /** Nobody may have written it yet, but time has its say. */
  get #status() {
    const { status } = this.row.offer;
    return status === "pending" && this.#leftMs <= 0 ? "expired" : status;
  }

  get #leftMs() {
    return new Date(this.row.offer.expires_at) - this.act.now();
  }

  get running() {
    return this.el.dataset.status === "pending";
  }

  count() {
    if (this.#leftMs <= 0) this.update(this.row);
    else this.#drawLeft();
  }

  update(row) {
    this.row = row;
    const { offer, people, me } = row;
    const status = this.#status;
    const last = offer.step;
    restyle(this.el, ["row", "deal", row.mine ? "mine" : "theirs", row.first && "first"]);
    Object.assign(this.el.dataset, { seq: row.seq, status, version: offer.version, tick: row.tick });
    this.#part("headline", said(last, people[last.by]));
    this.#part("status", STATUS[status]);
    this.#part("parties", partiesOf(offer, people, me));
    this.#part("items", offer.items, (items) => items.map(itemOf));
    this.#part("sum", offer.total, (total) => [h("span", {}, "Total"), h("strong", {}, money(total))]);
    this.#part("terms", offer.terms);
    this.#part("note", last.note && `“${last.note}”`);
    this.#part("turn", turnOf(offer, status, people, me));
    this.#drawLeft();
    this.#part("error", offer.version === this.#errorOf && this.#error);
    this.#part("answers", [this.#busy, allowed(offer, me, status)], ([busy, actions]) => actions.map((action) => this.#button(action, busy)));
    this.#part("meta", [timeOf(row.created_at), row.tick], ([time, tick]) => [h("time", { datetime: row.created_at }, time), tick && tickOf(tick)]);
  }

  #drawLeft() {
    this.#part("countdown", this.#status === "pending" ? leftText(this.#leftMs) : "");
  }

  #button(action, disabled) {
    return h(action === "accept" ? "button.primary" : "button.answer", { type: "button", disabled, "data-testid": `offer-${action}`,
      onclick: ({ currentTarget }) => this.#press(action, currentTarget) }, ACTIONS[action]);
  }

  #press(action, button) {
    if (action === "counter") this.act.counter(this.row, button, (more) => this.step(action, more));
    else if (action !== "cancel" || sure(button)) this.step(action);
  }

  /** Takes a step; what the server has against it is shown here, and returned. */
  async step(action, more) {
    if (this.#busy) return null;
    this.#mark(true, "");
    try {
      await this.act.step(this.row.offer, action, more);
      this.#mark(false, "");
      return null;
    } catch (error) {
      this.#mark(false, explain(error), error.details?.offer?.version);
      return error;
    }
  }

  #mark(busy, error, version = this.row.offer.version) {
    this.#busy = busy;
    this.#error = error;
    this.#errorOf = version;
    const inside = this.el.contains(document.activeElement);
    this.update(this.row);
    if (inside && !this.el.contains(document.activeElement)) this.el.focus({ preventScroll: true });
  }

  #part(name, value, render = (text) => [text]) {
    const signature = JSON.stringify(value || "");
    if (this.#shown[name] === signature) return;
    this.#shown[name] = signature;
    this.parts[name].hidden = !value;
    this.parts[name].replaceChildren(...(value ? render(value).filter(Boolean) : []));
  }
}

/** A deal that is cancelled stays so: the first press only asks, for as long as one needs to read it. */
function sure(button) {
  if (button.dataset.asked) return Date.now() - button.dataset.asked > DOUBLE_MS;
  const text = button.textContent;
  button.dataset.asked = Date.now();
  button.textContent = "Press again to cancel";
  setTimeout(() => {
    delete button.dataset.asked;
    button.textContent = text;
  }, ASKED_MS);
  return false;
}

function itemOf({ title, quantity, unit, unit_price, total }) {
  const count = `${quantity.toLocaleString()}${unit ? ` ${unit}` : ""}`;
  // With tiers the price of this quantity is not the one of a single piece.
  const each = { ...unit_price, amount: total.amount / quantity };
  return h("div.offered", { role: "listitem" }, h("b", {}, title), h("span", {}, money(total)), h("small", {}, `${count} × ${money(each)}`));
}

function partiesOf({ buyer_id, seller_id }, people, me) {
  if (me === buyer_id) return `You buy from ${people[seller_id]}`;
  return me === seller_id ? `You sell to ${people[buyer_id]}` : `${people[buyer_id]} buys from ${people[seller_id]}`;
}

function turnOf({ awaiting_user_id: awaiting, hold_id, buyer_id, captured, settlement }, status, people, me) {
  const whose = buyer_id === me ? "your" : `${people[buyer_id]}’s`;
  if (status === "pending") return awaiting === me ? "Your turn" : `Waiting for ${people[awaiting]}`;
  if (status === "accepted") return hold_id ? `Held on ${whose} credit` : "Settled outside of credit";
  if (status === "fulfilled") return captured ? `${money(captured)} taken from ${whose} credit` : "";
  return settlement === "credit" && status === "cancelled" ? "What was held is released" : "";
}

function leftText(ms) {
  const seconds = Math.ceil(ms / 1000);
  const [days, hours, minutes] = [86400, 3600, 60].map((unit) => Math.floor(seconds / unit));
  if (days) return `${days} d ${hours % 24} h left`;
  if (hours) return `${hours} h ${minutes % 60} min left`;
  return `${minutes}:${String(seconds % 60).padStart(2, "0")} left`;
}
