// The two pages of documentation in a real browser: they render, and ask nobody but this server for anything.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium } from "playwright-core";

const url = process.env.PARLEY_URL;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

const pages = [
  { path: "/docs", shows: ".opblock-summary-path", atLeast: 25, text: "/api/v1/auth/register" },
  { path: "/docs/events", shows: "article", atLeast: 60, text: "chat:send" },
];

for (const { path, shows, atLeast, text } of pages) {
  test(`${path} renders offline`, async () => {
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
    try {
      const page = await browser.newPage();
      const problems = [];
      page.on("pageerror", (error) => problems.push(String(error)));
      page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
      page.on("request", (request) => {
        if (!request.url().startsWith(url) && !request.url().startsWith("data:")) problems.push(`asked ${request.url()}`);
      });
      await page.goto(url + path);
      await page.locator(shows).first().waitFor();
      assert.ok((await page.locator(shows).count()) >= atLeast);
      assert.ok((await page.locator("body").innerText()).replaceAll("\u200b", "").includes(text));
      assert.deepEqual(problems, []);
    } finally {
      await browser.close();
    }
  });
}
