// Owns the page: the welcome, the two panes, the tabs on a phone, and starting the demo.

import { randomId, register } from "./api.js";
import { Pane } from "./pane.js";
import { playSample } from "./sample.js";

const PEOPLE = {
  left: { name: "Amara Diallo", role: "user" },
  right: { name: "Ben Castillo", role: "vendor" },
};
const at = (testId) => document.querySelector(`[data-testid="${testId}"]`);
const slots = Object.keys(PEOPLE);
const panes = {};
let sample = null; // the AbortController of a sample negotiation being played

for (const slot of slots) {
  panes[slot] = new Pane(slot, PEOPLE[slot].name.split(" ")[0], {
    peer: () => panes[slot === "left" ? "right" : "left"]?.session.user,
    hasCredit: (userId) => slots.some((name) => panes[name]?.session.hasCredit(userId)),
    input: () => sample?.abort(),
    change: () => drawTabs(),
    signedOut: (reason) => leftAlone(reason),
  });
}
at("stage").append(...slots.map((slot) => panes[slot].el));

function show(started) {
  document.body.dataset.view = started ? "chat" : "welcome";
}

/** The server ended a session. When nobody is left, back to the welcome. */
function leftAlone(reason) {
  if (slots.some((slot) => panes[slot].session.user)) return;
  show(false);
  at("start-error").textContent = reason;
}

function drawTabs() {
  for (const slot of slots) {
    const pane = panes[slot];
    if (!pane) return; // still building
    const tab = at(`tab-${slot}`);
    const [name, badge] = tab.children;
    name.textContent = pane.session.user?.name.split(" ")[0] ?? pane.label;
    badge.textContent = String(pane.unread);
    badge.hidden = pane.unread === 0;
    tab.dataset.state = pane.session.status;
  }
}

function choose(slot) {
  document.body.dataset.tab = slot;
  for (const name of slots) {
    const tab = at(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === slot));
    tab.tabIndex = name === slot ? 0 : -1;
    panes[name].render();
  }
}

async function newPerson({ name, role }) {
  const email = `${name.split(" ")[0].toLowerCase()}.${randomId(6)}@demo.parley.example`;
  return register({ email, password: randomId(16), name, role });
}

async function start() {
  const button = at("start");
  button.disabled = true;
  at("start-error").textContent = "";
  try {
    const people = await Promise.all(slots.map((slot) => newPerson(PEOPLE[slot])));
    slots.forEach((slot, i) => {
      panes[slot].starting = true;
      panes[slot].session.signIn(people[i]);
      panes[slot].closeSheet();
    });
    show(true);
    await Promise.all(slots.map((slot) => panes[slot].session.whenReady()));
    await panes.right.session.open(await panes.left.session.chatWith(people[1].user.id));
    if (new URLSearchParams(location.search).get("sample") !== "off") play();
  } catch (error) {
    show(false);
    at("start-error").textContent = error.message;
  } finally {
    for (const slot of slots) panes[slot].starting = false;
    button.disabled = false;
  }
}

async function play() {
  sample = new AbortController();
  const { signal } = sample;
  at("sample").hidden = false;
  signal.addEventListener("abort", () => (at("sample").hidden = true));
  await playSample({ left: panes.left.session, right: panes.right.session }, signal);
  at("sample").hidden = true;
}

async function startOver() {
  sample?.abort();
  await Promise.all(slots.map((slot) => panes[slot].session.signOut()));
  show(false);
}

at("start").addEventListener("click", start);
at("start-over").addEventListener("click", startOver);
at("login-instead").addEventListener("click", () => show(true));
at("stop-sample").addEventListener("click", () => sample?.abort());
at("tabs").addEventListener("keydown", ({ key }) => {
  if (key !== "ArrowLeft" && key !== "ArrowRight") return;
  const slot = document.body.dataset.tab === "left" ? "right" : "left";
  choose(slot);
  at(`tab-${slot}`).focus();
});
for (const slot of slots) at(`tab-${slot}`).addEventListener("click", () => choose(slot));
addEventListener("online", () => slots.forEach((slot) => panes[slot].session.wake()));

choose("left");
show(slots.map((slot) => panes[slot].session.resume()).some(Boolean));
