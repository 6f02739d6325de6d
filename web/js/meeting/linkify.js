// Finds links in a text that somebody wrote. Only http and https become links; everything else stays text.

const CANDIDATE = /https?:\/\/[^\s<>"'`]+/giu;

/** The text as parts: `{text}` or `{text, href}`. Joined, the texts are the text that came in. */
export function parts(text) {
  const out = [];
  let from = 0;
  for (const match of text.matchAll(CANDIDATE)) {
    const written = trimmed(match[0]);
    const href = safe(written);
    if (!href) continue;
    if (match.index > from) out.push({ text: text.slice(from, match.index) });
    out.push({ text: written, href });
    from = match.index + written.length;
  }
  if (from < text.length) out.push({ text: text.slice(from) });
  return out;
}

/** A sentence's end does not belong to its link; a closing bracket does where the link opened one. */
function trimmed(written) {
  let text = written;
  for (;;) {
    const last = text.at(-1);
    const unopened = last === ")" && (text.match(/\(/g) ?? []).length < (text.match(/\)/g) ?? []).length;
    if (!/[.,;:!?\]}…]/u.test(last) && !unopened) return text;
    text = text.slice(0, -1);
  }
}

function safe(written) {
  try {
    const url = new URL(written);
    // A name before the host makes a link look as if it led elsewhere (https://bank.example@other.example).
    if (!["http:", "https:"].includes(url.protocol) || url.username || url.password) return null;
    return url.href;
  } catch {
    return null;
  }
}
