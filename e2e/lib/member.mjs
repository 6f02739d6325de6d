// A member of a room in a page of its own, and figures.

import { installMember } from "./inroom.mjs";
import { sleep, until } from "./wait.mjs";

export class Member {
  constructor(name, page) {
    this.name = name;
    this.page = page;
    this.errors = page.errors;
  }

  /** A page of the node's origin with nothing in it but the client. */
  static async open(browser, origin, name) {
    const page = await browser.open(`${origin}/style.css`);
    await page.evaluate(installMember);
    await page.evaluate(() => window.member.watchSockets());
    return new Member(name, page);
  }

  /** Calls what `installMember` put into the page. */
  call(what, ...args) {
    return this.page.evaluate(([name, all]) => window.member[name](...all), [what, args]);
  }

  /** Id of a track of another member. */
  async trackOf(identity, source) {
    const { members } = await this.call("view");
    return members.find((member) => member.identity === identity).tracks.find((track) => track.source === source).id;
  }

  /** Frames of a member's camera that were decoded so far; 0 where no slot shows it. */
  async #frames(identity) {
    const slot = (await this.call("view")).slots.find((one) => one.member === identity && one.source === "camera");
    return slot ? ((await this.call("decoded", slot.mid))?.frames ?? 0) : 0;
  }

  /** Until five more frames of a member's camera were decoded. */
  async untilFrames(identity) {
    const before = await this.#frames(identity);
    await until(`${this.name} decodes ${identity}`, 15_000, async () => (await this.#frames(identity)) >= before + 5);
  }

  /** Until no frame of a member's camera is decoded for a second. */
  async untilNoFrames(identity) {
    await until(`${this.name} decodes nothing of ${identity}`, 15_000, async () => {
      const before = await this.#frames(identity);
      await sleep(1_000);
      return (await this.#frames(identity)) === before;
    });
  }

  close() {
    return this.page.close();
  }
}

export function percentile(values, percent) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil((percent / 100) * sorted.length) - 1)];
}

export const median = (values) => percentile(values, 50);
