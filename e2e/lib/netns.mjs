// A network namespace of the test's own, with one address and a rule that loses packets. Needs root, iproute2, nftables.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

export class Namespace {
  static #count = 0;

  /** `address` is reached from inside only; loopback is up as well. */
  static async create(address = "10.77.0.1") {
    const namespace = new Namespace();
    namespace.name = `sfumato-e2e-${process.pid}-${(Namespace.#count += 1)}`;
    namespace.address = address;
    await run("ip", ["netns", "add", namespace.name]);
    try {
      await namespace.ip("link", "set", "lo", "up");
      // A train of segments would pass the rule as one packet, and be lost as one.
      await namespace.ip("link", "set", "lo", "gso_max_segs", "1");
      // Browsers gather no candidates where there is only loopback. Both ends of the pair stay here.
      await namespace.ip("link", "add", "media0", "type", "veth", "peer", "name", "media1");
      // No link-local addresses: they become valid seconds later, which is a change of the network, on which Chromium fails all requests.
      for (const end of ["media0", "media1"]) await namespace.ip("link", "set", end, "addrgenmode", "none");
      await namespace.ip("address", "add", `${address}/24`, "dev", "media0");
      await namespace.ip("link", "set", "media0", "up");
      await namespace.ip("link", "set", "media1", "up");
    } catch (error) {
      await namespace.remove();
      throw error;
    }
    return namespace;
  }

  ip(...args) {
    return run("ip", ["-n", this.name, ...args]);
  }

  enter(...command) {
    return run("nsenter", [`--net=/run/netns/${this.name}`, ...command]);
  }

  /** Loses so many percent of the datagrams to and from a port; on arrival, so that the sender does not learn of it. */
  async lose(percent, port) {
    const rules = `
      table inet loss {
        counter lost {}
        counter seen {}
        chain arrive {
          type filter hook input priority 0;
          udp dport ${port} counter name seen
          udp sport ${port} counter name seen
          udp dport ${port} numgen random mod 100 < ${percent} counter name lost drop
          udp sport ${port} numgen random mod 100 < ${percent} counter name lost drop
        }
      }`;
    const child = this.enter("nft", "-f", "-");
    child.child.stdin.end(rules);
    await child;
  }

  /** Lets no UDP through to or from a port. HTTP goes on, unless `tcp` names its port, too. */
  async cut(port, { tcp = null } = {}) {
    const rules = `
      table inet cut {
        chain arrive {
          type filter hook input priority 0;
          udp dport ${port} drop
          udp sport ${port} drop
          ${tcp ? `tcp dport ${tcp} drop; tcp sport ${tcp} drop` : ""}
        }
      }`;
    const child = this.enter("nft", "-f", "-");
    child.child.stdin.end(rules);
    await child;
  }

  /** Takes the rules of `lose` or `cut` away. */
  async mend(table) {
    await this.enter("nft", "delete", "table", "inet", table);
  }

  /** `{seen, lost}` datagrams so far. */
  async counters() {
    const { stdout } = await this.enter("nft", "-j", "list", "counters", "table", "inet", "loss");
    const counters = JSON.parse(stdout).nftables.filter((entry) => entry.counter);
    return Object.fromEntries(counters.map(({ counter }) => [counter.name, counter.packets]));
  }

  async remove() {
    await run("ip", ["netns", "delete", this.name]).catch(() => {});
  }
}
