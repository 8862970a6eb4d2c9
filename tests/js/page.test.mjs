// The demo page in a real browser against a running server. PARLEY_URL names the server, ADMIN_EMAIL
// and ADMIN_PASSWORD an administrator of it. SCREENSHOT_DIR, when set, receives pictures, and SCREENSHOT
// names the file for the one in docs/offers.md. Any console error, CSP violation, failed request or
// request to another host fails the test.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const URL_ = process.env.PARLEY_URL;
const SHOTS = process.env.SCREENSHOT_DIR;
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const SLOTS = ["left", "right"];

let browser, first; // first: the page of the first demo, which the tests below share in order
const registered = []; // what the page sent to /auth/register, to log in as the same people later

/** like: another page, to be the same people. deaf: hears nothing of offers but the answers to its own commands. */
async function open({ sample = "off", like = null, deaf = false } = {}) {
  const storageState = await like?.context().storageState();
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 }, storageState })).newPage();
  if (deaf) {
    await page.routeWebSocket(/socket\.io/, (ws) => {
      const server = ws.connectToServer();
      server.onMessage((frame) => /^42.*("offer:updated"|"kind":"offer")/.test(frame) || ws.send(frame));
    });
  }
  page.setDefaultTimeout(15000);
  page.problems = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && page.problems.push(`console: ${m.text()}`));
  page.on("pageerror", (error) => page.problems.push(`uncaught: ${error.message}`));
  page.on("requestfailed", (r) => page.problems.push(`failed: ${r.url()} ${r.failure()?.errorText}`));
  const here = (url) => /^(data|blob):/.test(url) || new URL(url).host === new URL(URL_).host;
  page.on("request", (r) => {
    if (!here(r.url())) page.problems.push(`other host: ${r.url()}`);
    if (r.url().endsWith("/auth/register")) registered.push(r.postDataJSON());
  });
  page.on("websocket", (ws) => here(ws.url()) || page.problems.push(`other host: ${ws.url()}`));
  await page.addInitScript(() => addEventListener("securitypolicyviolation", (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`)));
  await page.goto(`${URL_}/${sample === "off" ? "?sample=off" : ""}`);
  return page;
}

async function startDemo(page) {
  await page.getByTestId("start").click();
  for (const slot of SLOTS) {
    await state(page, slot, "live");
    await page.waitForFunction((id) => !document.querySelector(`[data-testid="${id}"]`).disabled, `composer-${slot}`);
  }
}

const state = (page, slot, text) => page.getByTestId(`state-${slot}`).filter({ hasText: text }).waitFor();
const bubble = (page, slot, text) =>
  page.getByTestId(`messages-${slot}`).getByTestId("message").filter({ has: page.locator(".text", { hasText: text }) });
const texts = (page, slot) => page.getByTestId(`messages-${slot}`).locator(".text").allTextContents();
const ticked = (page, slot, text, tick) => page.getByTestId(`messages-${slot}`).locator(`[data-tick="${tick}"]`).filter({ hasText: text }).waitFor();

async function send(page, slot, text) {
  const box = page.getByTestId(`composer-${slot}`);
  await box.fill(text);
  await box.press("Enter");
}

/** Waits until the last messages shown in a pane are exactly these, in this order. */
async function endsWith(page, slot, expected) {
  const deadline = Date.now() + 15000;
  let shown;
  do shown = (await texts(page, slot)).slice(-expected.length);
  while (shown.join("\n") !== expected.join("\n") && Date.now() < deadline && (await page.waitForTimeout(50), true));
  assert.deepEqual(shown, expected);
}

async function act(page, slot, text, ...testIds) {
  const row = bubble(page, slot, text);
  await row.hover();
  await row.getByTestId("message-actions").click();
  for (const id of testIds) await page.getByTestId(`pane-${slot}`).getByTestId(id).click();
}

// ---- offers ----

/** The newest offer's card in a pane, or the newest with this status. */
const card = (page, slot, status) =>
  page.getByTestId(`messages-${slot}`).locator(`[data-testid="offer-card"]${status ? `[data-status="${status}"]` : ""}`).last();
const credit = (page, slot, text) => page.getByTestId(`credit-text-${slot}`).filter({ hasText: text }).waitFor();

/** Waits until both see this version of the offer. */
async function onTable(page, version, status, total) {
  for (const slot of SLOTS) {
    await page.getByTestId(`messages-${slot}`).locator(`[data-testid="offer-card"][data-version="${version}"][data-status="${status}"]`).filter({ hasText: total }).waitFor();
  }
}

async function makeOffer(page, slot, items, { settlement, expiry } = {}) {
  await page.getByTestId(`make-offer-${slot}`).click();
  const sheet = page.getByTestId(`offer-sheet-${slot}`);
  for (const [i, [title, quantity, price]] of items.entries()) {
    if (i) await sheet.getByTestId("offer-add-item").click();
    await sheet.getByTestId("item-title").nth(i).fill(title);
    await sheet.getByTestId("item-quantity").nth(i).fill(String(quantity));
    await sheet.getByTestId("item-price").nth(i).fill(price);
  }
  if (expiry) await sheet.getByTestId("offer-expiry").selectOption(expiry);
  if (settlement) assert.equal(await sheet.getByTestId("offer-settlement").inputValue(), settlement);
  await sheet.getByTestId("offer-submit").click();
  await sheet.waitFor({ state: "hidden" });
}

async function counter(page, slot, prices) {
  await card(page, slot).getByTestId("offer-counter").click();
  const sheet = page.getByTestId(`offer-sheet-${slot}`);
  for (const [i, price] of prices.entries()) await sheet.getByTestId("item-price").nth(i).fill(price);
  await sheet.getByTestId("offer-submit").click();
  await sheet.waitFor({ state: "hidden" });
}

async function rest(method, path, body, token) {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  const response = await fetch(`${URL_}/api/v1${path}`, { method, headers, body: JSON.stringify(body) });
  const answer = await response.json();
  assert.ok(response.ok, JSON.stringify(answer));
  return answer;
}

const userOf = (page, slot) => page.evaluate((name) => JSON.parse(localStorage.getItem(name)).user.id, `parley.${slot}`);

async function giveCredit(userId, amount) {
  const { tokens } = await rest("POST", "/auth/login", { email: process.env.ADMIN_EMAIL, password: process.env.ADMIN_PASSWORD });
  await rest("PUT", `/admin/users/${userId}/credit-limit`, { amount, currency: "USD", reason: "for the test" }, tokens.access_token);
}

/** Left pays what they owe, an administrator confirms it, and right gives a part of it back. */
async function payAndGiveBack(page, paid, back) {
  const [left, right] = await Promise.all(SLOTS.map((slot) => page.evaluate((name) => JSON.parse(localStorage.getItem(name)).tokens.access_token, `parley.${slot}`)));
  const admin = (await rest("POST", "/auth/login", { email: process.env.ADMIN_EMAIL, password: process.env.ADMIN_PASSWORD })).tokens.access_token;
  const payment = await rest("POST", "/finance/payments", { client_id: "pay", amount: { amount: paid, currency: "USD" }, method: "console" }, left);
  await rest("POST", `/admin/payments/${payment.id}/confirm`, {}, admin);
  const { items } = await rest("GET", "/finance/statement?limit=50", undefined, left);
  const { transfer } = items.find((entry) => entry.transfer.kind === "post");
  await rest("POST", "/finance/refunds", { transfer_id: transfer.id, client_id: "back", amount: back }, right);
}

async function shot(page, name) {
  if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`), animations: "disabled" });
}

const clean = (page) => assert.deepEqual(page.problems, []);

before(async () => {
  assert.ok(URL_, "PARLEY_URL must name a running server");
  if (SHOTS) mkdirSync(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGS });
});

after(() => browser?.close());

test("one click starts two people, and a message crosses and is read", async () => {
  first = await open();
  await shot(first, "welcome");
  await startDemo(first);
  await first.getByTestId("title-left").filter({ hasText: "Ben" }).waitFor();
  await first.getByTestId("title-right").filter({ hasText: "Amara" }).waitFor();
  await first.getByTestId("presence-left").filter({ hasText: "online" }).waitFor();
  await send(first, "left", "Good morning, Ben");
  await bubble(first, "right", "Good morning, Ben").waitFor();
  await ticked(first, "left", "Good morning, Ben", "read");
  clean(first);
});

test("the other side sees typing dots, and they stop", async () => {
  await first.getByTestId("composer-right").pressSequentially("Good mor", { delay: 40 });
  await first.getByTestId("typing-left").waitFor();
  assert.equal(await first.getByTestId("typing-right").isVisible(), false);
  await first.getByTestId("composer-right").fill("");
  await first.getByTestId("typing-left").waitFor({ state: "hidden" });
  await send(first, "right", "Good morning, Amara");
  await bubble(first, "left", "Good morning, Amara").waitFor();
  clean(first);
});

test("reply, reaction, edit and delete reach the other side", async () => {
  await act(first, "left", "Good morning, Amara", "menu-reply");
  await send(first, "left", "A reply to that");
  await bubble(first, "right", "A reply to that").getByTestId("quote").filter({ hasText: "Good morning, Amara" }).waitFor();
  await act(first, "right", "A reply to that", "react-heart");
  await bubble(first, "left", "A reply to that").getByTestId("reaction").waitFor();
  await act(first, "left", "A reply to that", "menu-edit");
  await send(first, "left", "An edited reply");
  await bubble(first, "right", "An edited reply").locator(".edited").waitFor();
  await send(first, "left", "Soon gone");
  await bubble(first, "right", "Soon gone").waitFor();
  await ticked(first, "left", "Soon gone", "read");
  await act(first, "left", "Soon gone", "menu-remove");
  await bubble(first, "right", "Message deleted").waitFor();
  clean(first);
});

test("what was said while a line is cut arrives once and in order", async () => {
  await first.getByTestId("plug-right").click();
  await state(first, "right", "offline");
  const said = ["One while you are away", "Two while you are away", "Three while you are away"];
  for (const text of said) await send(first, "left", text);
  await ticked(first, "left", said[2], "sent");
  await act(first, "left", "Good morning, Amara", "react-thumbs-up");
  await bubble(first, "left", "Good morning, Amara").getByTestId("reaction").waitFor();
  assert.equal(await bubble(first, "right", "while you are away").count(), 0);
  await first.getByTestId("plug-right").click();
  await endsWith(first, "right", said);
  await bubble(first, "right", "Good morning, Amara").getByTestId("reaction").waitFor(); // changed meanwhile
  await ticked(first, "left", said[2], "read");
  clean(first);
});

test("what is written while the line is cut waits, and is sent once and in order", async () => {
  await first.getByTestId("plug-right").click();
  const queued = ["Queued one", "Queued two", "Queued three"];
  for (const text of queued) await send(first, "right", text);
  await state(first, "right", "offline: 3 waiting");
  await ticked(first, "right", "Queued three", "queued");
  await shot(first, "cut");
  assert.equal(await bubble(first, "left", "Queued").count(), 0);
  await first.getByTestId("plug-right").click();
  await endsWith(first, "left", queued);
  await endsWith(first, "right", queued);
  await ticked(first, "right", "Queued three", "read");
  for (const slot of SLOTS) assert.equal(await bubble(first, slot, "Queued").count(), 3);
  clean(first);
});

test("search finds a message", async () => {
  await first.getByTestId("search-toggle-left").click();
  await first.getByTestId("search-left").fill("edited");
  await first.getByTestId("search-result").filter({ hasText: "An edited reply" }).click();
  await bubble(first, "left", "An edited reply").and(first.locator(".flash")).waitFor();
  clean(first);
});

test("a reload brings both back, also with an access token that has run out, and with an unsent message", async () => {
  const shown = await texts(first, "left");
  await first.getByTestId("plug-right").click();
  await send(first, "right", "Written just before the reload");
  await state(first, "right", "offline: 1 waiting");
  const refreshBefore = await first.evaluate(() => {
    const saved = JSON.parse(localStorage.getItem("parley.left"));
    localStorage.setItem("parley.left", JSON.stringify({ ...saved, tokens: { ...saved.tokens, expires_at: 0 } }));
    return saved.tokens.refresh_token;
  });
  await first.reload();
  for (const slot of SLOTS) await state(first, slot, "live");
  await endsWith(first, "left", [...shown, "Written just before the reload"]);
  await endsWith(first, "right", [...shown, "Written just before the reload"]);
  const refreshAfter = await first.evaluate(() => JSON.parse(localStorage.getItem("parley.left")).tokens.refresh_token);
  assert.notEqual(refreshAfter, refreshBefore);
  await send(first, "left", "Still here");
  await bubble(first, "right", "Still here").waitFor();
  clean(first);
});

test("a pane can log in as someone else", async () => {
  const page = await open();
  await page.getByTestId("login-instead").click();
  for (const [i, slot] of SLOTS.entries()) {
    const { email, password } = registered.find((r) => r.name.startsWith(i ? "Ben" : "Amara"));
    await page.getByTestId(`login-email-${slot}`).fill(email);
    await page.getByTestId(`login-password-${slot}`).fill(password);
    await page.getByTestId(`login-submit-${slot}`).click();
    await bubble(page, slot, "Still here").waitFor();
  }
  await send(page, "left", "From a second window");
  await bubble(first, "left", "From a second window").waitFor(); // the same person elsewhere
  await bubble(first, "right", "From a second window").waitFor();
  await page.getByTestId("account-left").click();
  await page.getByTestId("sheet-left").getByTestId("conversation").waitFor();
  await shot(page, "account");
  clean(page);
  clean(first);
  await page.context().close();
});

test("a haggle of four rounds ends in a deal on credit, which both see and the buyer's bar shows", async () => {
  const page = await open();
  await startDemo(page);
  assert.equal(await page.getByTestId("credit-left").isVisible(), false);
  await giveCredit(await userOf(page, "left"), 1_000_000);
  await credit(page, "left", "$0.00 held, $0.00 owed, $10,000.00 of $10,000.00 available");
  await send(page, "left", "Shall we put that into an offer?");
  await makeOffer(page, "left", [["Washed Yirgacheffe, kg", 1200, "5.90"], ["GrainPro liner", 20, "2.50"]]);
  await onTable(page, 1, "pending", "$7,130.00");
  assert.equal(await card(page, "left").getByTestId("offer-accept").count(), 0); // it is not her turn
  await counter(page, "right", ["6.20", "4"]);
  await onTable(page, 2, "pending", "$7,520.00");
  await counter(page, "left", ["6.05", "3.20"]);
  await onTable(page, 3, "pending", "$7,324.00");
  await card(page, "right").getByTestId("offer-accept").click();
  await onTable(page, 4, "accepted", "$7,324.00");
  await credit(page, "left", "$7,324.00 held, $0.00 owed, $2,676.00 of $10,000.00 available");
  for (const slot of SLOTS) assert.equal(await page.getByTestId(`messages-${slot}`).getByTestId("offer-step").count(), 3);
  for (const slot of SLOTS) await page.getByTestId(`unread-${slot}`).waitFor({ state: "hidden" });
  await shot(page, "offer");
  if (process.env.SCREENSHOT) {
    await page.setViewportSize({ width: 1080, height: 740 });
    await page.screenshot({ path: process.env.SCREENSHOT, animations: "disabled" });
  }
  await page.reload(); // now the cards come by offer:get
  await onTable(page, 4, "accepted", "$7,324.00");
  await card(page, "right").getByTestId("offer-fulfil").click();
  await onTable(page, 5, "fulfilled", "$7,324.00");
  await credit(page, "left", "$0.00 held, $7,324.00 owed, $2,676.00 of $10,000.00 available");

  await makeOffer(page, "right", [["Washed Yirgacheffe, kg", 600, "6.00"]], { settlement: "credit" }); // more than is left
  await card(page, "left", "pending").getByTestId("offer-accept").click();
  await card(page, "left", "pending").getByTestId("offer-error").filter({ hasText: "credit limit" }).waitFor();
  await card(page, "right", "pending").getByTestId("offer-withdraw").click();
  for (const slot of SLOTS) await card(page, slot, "withdrawn").waitFor();
  await payAndGiveBack(page, 732_400, 100_000);
  await credit(page, "left", "$0.00 held, $0.00 owed, $10,000.00 of $10,000.00 available, $1,000.00 credit balance");
  await page.reload();
  await credit(page, "left", "$1,000.00 credit balance");
  clean(page);
  await page.context().close();
});

test("a deal is cancelled by the second press, and its hold released", async () => {
  const page = await open();
  await startDemo(page);
  await giveCredit(await userOf(page, "left"), 10_000);
  await makeOffer(page, "left", [["Cupping spoon", 10, "4.00"]]);
  await onTable(page, 1, "pending", "$40.00");
  await card(page, "right").getByTestId("offer-accept").click();
  await onTable(page, 2, "accepted", "$40.00");
  await credit(page, "left", "$40.00 held, $0.00 owed, $60.00 of $100.00 available");
  await card(page, "left").getByTestId("offer-cancel").dblclick();
  await card(page, "left").getByRole("button", { name: "Press again to cancel" }).waitFor();
  await onTable(page, 2, "accepted", "$40.00");
  await card(page, "left").getByRole("button", { name: "Cancel the deal" }).waitFor(); // it asks for a while only
  await card(page, "left").getByTestId("offer-cancel").click();
  await page.waitForTimeout(600); // more than a double click takes
  await card(page, "left").getByTestId("offer-cancel").click();
  await onTable(page, 3, "cancelled", "$40.00");
  await credit(page, "left", "$0.00 held, $0.00 owed, $100.00 of $100.00 available");
  clean(page);
  await page.context().close();
});

test("an answer to a stale version shows the offer as it is now", async () => {
  const page = await open();
  await startDemo(page);
  await makeOffer(page, "left", [["Cupping spoon", 10, "4.00"]], { expiry: "1 hour" });
  await onTable(page, 1, "pending", "$40.00");
  const deaf = await open({ like: page, deaf: true }); // the same two people, elsewhere
  await onTable(deaf, 1, "pending", "$40.00");
  await counter(page, "right", ["6.00"]);
  await counter(page, "left", ["5.00"]);
  await onTable(page, 3, "pending", "$50.00");
  for (const slot of SLOTS) await card(page, slot).getByTestId("offer-countdown").filter({ hasText: /^5\d:\d\d left$/ }).waitFor(); // of the hour
  await onTable(deaf, 1, "pending", "$40.00");
  await card(deaf, "right").getByTestId("offer-accept").click();
  await card(deaf, "right").getByTestId("offer-error").filter({ hasText: "changed meanwhile" }).waitFor();
  assert.equal(await card(deaf, "right").getByTestId("offer-sum").textContent(), "Total$50.00");
  await card(deaf, "right").getByTestId("offer-accept").click();
  await card(deaf, "right", "accepted").waitFor();
  assert.equal(await card(deaf, "right").getByTestId("offer-error").isVisible(), false);
  await onTable(page, 4, "accepted", "$50.00");
  clean(page);
  clean(deaf);
  await deaf.context().close();
  await page.context().close();
});

test("what happened to an offer while the line was cut is caught up with, and a countdown ends in expired", async () => {
  const page = await open();
  await startDemo(page);
  await makeOffer(page, "left", [["Cupping spoon", 10, "4.00"]]);
  await onTable(page, 1, "pending", "$40.00");
  await page.getByTestId("plug-left").click();
  await state(page, "left", "offline");
  await counter(page, "right", ["6.00"]);
  await card(page, "left").getByTestId("offer-withdraw").click();
  await card(page, "left").getByTestId("offer-error").filter({ hasText: "offline" }).waitFor();
  await page.getByTestId("plug-left").click();
  await onTable(page, 2, "pending", "$60.00");
  assert.equal(await card(page, "left").getByTestId("offer-error").isVisible(), false); // that was about another version
  await card(page, "left").getByTestId("offer-decline").click();
  await onTable(page, 3, "declined", "$60.00");

  const { token, conversation_id } = await page.evaluate(() => {
    const { tokens, conversation_id } = JSON.parse(localStorage.getItem("parley.left"));
    return { token: tokens.access_token, conversation_id };
  });
  await rest("POST", "/offers", { conversation_id, client_id: `${Date.now()}-expiring`, side: "buy", settlement: "none", expires_in_s: 6,
    items: [{ title: "Sample bag", quantity: 1, unit_price: { amount: 1250, currency: "USD" } }] }, token);
  for (const slot of SLOTS) await card(page, slot, "pending").getByTestId("offer-countdown").filter({ hasText: /^0:0[1-6] left$/ }).waitFor();
  for (const slot of SLOTS) {
    await card(page, slot, "expired").waitFor();
    assert.equal(await card(page, slot, "expired").getByRole("button").count(), 0);
  }
  await page.setViewportSize({ width: 360, height: 740 });
  await page.getByTestId("make-offer-left").click();
  await page.getByTestId("offer-sheet-left").getByTestId("offer-add-item").click();
  await shot(page, "offer-sheet-phone");
  const wide = () => page.evaluate(() => [...document.querySelectorAll(".sheet, .scroller")].filter((el) => el.scrollWidth > el.clientWidth).length);
  assert.equal(await wide(), 0, "the sheet scrolls sideways");
  await page.keyboard.press("Escape");
  assert.equal(await page.getByTestId("make-offer-left").evaluate((el) => el === document.activeElement), true);
  await makeOffer(page, "left", [["Sample bags of the new harvest, washed, natural and honey", 12000, "1250.00"]]);
  await page.getByTestId("tab-right").click();
  await card(page, "right", "pending").getByTestId("offer-decline").waitFor();
  await shot(page, "offer-phone");
  assert.equal(await wide(), 0, "the card scrolls sideways");
  clean(page);
  await page.context().close();
});

test("the sample negotiation plays by itself; on a phone tabs switch between the two", async () => {
  const page = await open({ sample: "on" });
  await startDemo(page);
  await page.getByTestId("sample").waitFor();
  await giveCredit(await userOf(page, "left"), 1_000_000);
  await bubble(page, "right", "A little over our budget").waitFor({ timeout: 40000 });
  await page.getByTestId("typing-left").waitFor();
  await shot(page, "desk-halfway");
  await bubble(page, "left", "cupping sheet").getByTestId("reaction").waitFor({ timeout: 40000 });
  await page.getByTestId("sample").waitFor({ state: "hidden", timeout: 40000 });
  for (const slot of SLOTS) assert.equal(await card(page, slot, "accepted").getByTestId("offer-sum").textContent(), "Total$7,324.00");
  await credit(page, "left", "$7,324.00 held");
  assert.equal((await texts(page, "left")).length, 8);
  assert.deepEqual(await texts(page, "right"), await texts(page, "left"));
  await page.getByTestId("composer-right").pressSequentially("The tracking number");
  await page.getByTestId("typing-left").waitFor();
  await shot(page, "desk");
  await page.emulateMedia({ colorScheme: "dark" });
  await shot(page, "desk-dark");

  await page.setViewportSize({ width: 390, height: 844 });
  assert.equal(await page.getByTestId("pane-right").isVisible(), false);
  await shot(page, "phone-dark");
  await page.emulateMedia({ colorScheme: "light" });
  await shot(page, "phone");
  await send(page, "left", "Message for the other tab");
  await ticked(page, "left", "Message for the other tab", "delivered"); // but not read: Ben's pane is hidden
  await page.getByTestId("tab-right").locator(".badge").waitFor();
  await page.getByTestId("tab-right").click();
  assert.equal(await page.getByTestId("pane-left").isVisible(), false);
  await bubble(page, "right", "Message for the other tab").waitFor();
  await page.getByTestId("tab-right").locator(".badge").waitFor({ state: "hidden" });
  await page.getByTestId("tab-left").click();
  await ticked(page, "left", "Message for the other tab", "read");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `the page is ${overflow}px too wide`);
  clean(page);
  await page.context().close();
});
