// The two pieces of SDP that an ICE restart needs (RFC 8840 section 9, RFC 9725 section 4.3.3): the fragment that we
// send, made of our new offer, and the old answer with the node's new credentials in it. Text in, text out.

const lines = (sdp) => sdp.split(/\r?\n/).filter((line) => line !== "");
const valueOf = (all, prefix) => all.find((line) => line.startsWith(prefix))?.slice(prefix.length);

/** What the node has to know of an offer made with `iceRestart`. All sections are bundled: the first one speaks for them. */
export function restartFragment(offer) {
  const all = lines(offer);
  const from = all.findIndex((line) => line.startsWith("m="));
  const next = all.findIndex((line, at) => at > from && line.startsWith("m="));
  const section = all.slice(from, next < 0 ? undefined : next);
  const fragment = [];
  const options = valueOf(all, "a=ice-options:");
  const group = valueOf(all.slice(0, from), "a=group:BUNDLE");
  if (options) fragment.push(`a=ice-options:${options}`);
  if (group !== undefined) fragment.push(`a=group:BUNDLE${group}`);
  fragment.push(
    section[0],
    `a=mid:${valueOf(section, "a=mid:")}`,
    `a=ice-ufrag:${valueOf(section, "a=ice-ufrag:")}`,
    `a=ice-pwd:${valueOf(section, "a=ice-pwd:")}`,
    ...section.filter((line) => line.startsWith("a=candidate:")),
  );
  return fragment.join("\r\n") + "\r\n";
}

/** The agreed answer with the credentials and candidates that the node sent back. */
export function answerAfterRestart(answer, fragment) {
  const fresh = lines(fragment);
  const ufrag = valueOf(fresh, "a=ice-ufrag:");
  const pwd = valueOf(fresh, "a=ice-pwd:");
  if (!ufrag || !pwd) throw new Error("the server's answer to the ICE restart has no credentials");
  const candidates = fresh.filter((line) => line.startsWith("a=candidate:"));
  const out = [];
  let placed = false;
  for (const line of lines(answer)) {
    if (line.startsWith("a=ice-ufrag:")) {
      out.push(`a=ice-ufrag:${ufrag}`);
    } else if (line.startsWith("a=ice-pwd:")) {
      out.push(`a=ice-pwd:${pwd}`);
      const inSection = out.some((earlier) => earlier.startsWith("m="));
      if (inSection && !placed && candidates.length > 0) {
        out.push(...candidates);
        placed = true;
      }
    } else if (candidates.length === 0 || !/^a=(candidate:|end-of-candidates)/.test(line)) {
      out.push(line);
    }
  }
  return out.join("\r\n") + "\r\n";
}
