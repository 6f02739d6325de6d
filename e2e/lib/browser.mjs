// Chromium by playwright-core and Firefox by puppeteer-core (WebDriver BiDi), behind one face: `open(url)` gives a page
// with `evaluate`, `waitFor` and `click`. Cameras and microphones are the browsers' own fakes.

import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";

import { installHelpers } from "./inpage.mjs";
import { until } from "./wait.mjs";

const CHROMIUM = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
const FIREFOX = process.env.FIREFOX_BIN ?? "/usr/bin/firefox-esr";

const CHROMIUM_ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-device-for-media-stream=fps=30",
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
  "--disable-features=WebRtcHideLocalIpsWithMdns",
];

const FIREFOX_PREFS = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "media.peerconnection.ice.loopback": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "media.autoplay.default": 0,
  "media.autoplay.block-webaudio": false,
  // No downloads in the background: the H.264 plugin, updates, telemetry.
  "media.gmp-manager.updateEnabled": false,
  "app.update.auto": false,
  "datareporting.policy.dataSubmissionEnabled": false,
};

class Page {
  constructor(browser, raw) {
    this.browser = browser;
    this.raw = raw;
    this.errors = [];
    raw.on("pageerror", (error) => this.errors.push(error.message));
  }

  evaluate(code, argument) {
    return this.raw.evaluate(code, argument);
  }

  /** Until `code` gives something true in the page. */
  waitFor(what, limit, code, argument) {
    return until(`${this.browser.name}: ${what}`, limit, () => this.raw.evaluate(code, argument));
  }

  click(selector) {
    return this.raw.click(selector);
  }

  async close() {
    await this.raw.close().catch(() => {});
  }
}

class Browser {
  /** @param close ends the browser; @param kill ends it as a power cut would */
  constructor({ name, newPage, close, kill, directory }) {
    Object.assign(this, { name, newPage, closeBrowser: close, killBrowser: kill, directory });
  }

  /** The room's page itself. */
  async open(url) {
    const page = new Page(this, await this.newPage());
    await page.raw.goto(url);
    return page;
  }

  /** A page of the node's origin with nothing going on in it but what the test does by `window.e2e`. */
  async bench(origin) {
    const page = await this.open(`${origin}/style.css`);
    await page.evaluate(installHelpers);
    return page;
  }

  async close() {
    await this.closeBrowser().catch(() => {});
    if (this.directory) await rm(this.directory, { recursive: true, force: true });
  }

  async kill() {
    await this.killBrowser();
  }
}

/** `netns`: the network namespace to run in. `killable`: started so that `kill` can end it without a goodbye. */
export async function launchChromium({ netns = null, args = [] } = {}) {
  const directory = await mkdtemp(path.join(tmpdir(), "sfumato-e2e-chromium-"));
  let executablePath = CHROMIUM;
  if (netns) {
    executablePath = path.join(directory, "chromium");
    await writeFile(executablePath, `#!/bin/sh\nexec nsenter --net=/run/netns/${netns} ${CHROMIUM} "$@"\n`);
    await chmod(executablePath, 0o755);
  }
  const options = { executablePath, args: [...CHROMIUM_ARGS, ...args], ignoreDefaultArgs: ["--mute-audio"] };
  // A namespace of one's own has no way to the debugging server's TCP port; there the pipe has to do, and no kill.
  if (netns) {
    const browser = await chromium.launch(options);
    return new Browser({ name: "chromium", directory, newPage: () => browser.newPage(), close: () => browser.close(), kill: () => browser.close() });
  }
  const server = await chromium.launchServer(options);
  const browser = await chromium.connect(server.wsEndpoint());
  return new Browser({
    name: "chromium",
    directory,
    newPage: () => browser.newPage(),
    close: () => server.close(),
    kill: () => server.kill(),
  });
}

export async function launchFirefox() {
  const browser = await puppeteer.launch({ browser: "firefox", executablePath: FIREFOX, headless: true, extraPrefsFirefox: FIREFOX_PREFS });
  return new Browser({ name: "firefox", newPage: () => browser.newPage(), close: () => browser.close(), kill: () => browser.process().kill("SIGKILL") });
}
