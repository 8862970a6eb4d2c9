// Owns the short negotiation the demo plays by itself. It goes through the same sessions as a person
// would: every line below is really sent, delivered and read, and the offer at the end is a real one.

import { sleep } from "./api.js";

const SCRIPT = [
  { from: "left", text: "Hi Ben, do you still have the washed Yirgacheffe, grade 1?" },
  { from: "right", text: "Hi Amara! Yes, 40 bags of 60 kg. They landed last week." },
  { from: "left", text: "What would 12 bags come to, delivered to Lagos?" },
  { from: "right", text: "$6.40 a kilo, so $4,608 with freight included." },
  { from: "left", text: "A little over our budget. Could you do $5.90 if we take 20 bags?", replyTo: 3 },
  { from: "right", text: "For 20 bags I can meet you at $6.05. That makes $7,260, net 30 days.", react: "👀" },
  { from: "left", text: "Deal. Could you send a sample of the lot first?", react: "👍" },
  { from: "right", text: "It ships tomorrow, with the cupping sheet.", react: "❤️" },
];

const ROUNDS = [
  { from: "right", action: "create", liner: 400, note: "As agreed, with liners against the rain." },
  { from: "left", action: "counter", liner: 250, note: "Could you do 2.50 a liner?" },
  { from: "right", action: "counter", liner: 320, note: "Let us meet at 3.20." },
  { from: "left", action: "accept" },
];
const usd = (amount) => ({ amount, currency: "USD" });
const items = (liner) => [
  { title: "Washed Yirgacheffe, grade 1", quantity: 1200, unit: "kg", unit_price: usd(605) },
  { title: "GrainPro liner", quantity: 20, unit_price: usd(liner) },
];
const HIGHEST = 1200 * 605 + 20 * 400;

const other = { left: "right", right: "left" };

/** Plays until the end, or until the signal says that a visitor has taken over. */
export async function playSample(sessions, signal) {
  const sent = [];
  const pause = (ms) => !signal.aborted && sleep(ms);
  for (const { from, text, replyTo, react } of SCRIPT) {
    await pause(500);
    if (signal.aborted) return;
    sessions[from].typing(true);
    await pause(700 + text.length * 14);
    if (signal.aborted) return sessions[from].typing(false);
    sent.push(sessions[from].send(text, replyTo === undefined ? null : find(sessions[from], sent[replyTo])?.id));
    await pause(900);
    const message = find(sessions[from], sent.at(-1));
    if (react && message && !signal.aborted) await sessions[other[from]].react(message, react, true);
  }
  await haggle(sessions, signal, pause);
}

/** The offer goes to and fro. Whoever takes over finds it as it is, and may answer it. */
async function haggle(sessions, signal, pause) {
  const settlement = sessions.left.state.credit?.available_credit >= HIGHEST ? "credit" : "none";
  let offer = null;
  for (const { from, action, liner, note } of ROUNDS) {
    await pause(1600);
    if (signal.aborted) return;
    const { deals } = sessions[from];
    const wish = { ...(liner && { items: items(liner) }), ...(note && { note }) };
    const first = { side: "sell", settlement, terms: "Delivered to Lagos, net 30 days" };
    offer = await sessions[from].attempt(() => (offer ? deals.step(offer, action, wish) : deals.create({ ...first, ...wish })));
    if (!offer) return; // it was answered by somebody else, or the line is cut
  }
}

const find = (session, clientId) => [...session.state.messages.values()].find((m) => m.client_id === clientId);
