// What the page remembers between visits, in this browser only. A browser that stores nothing (private windows, blocked
// storage) throws; the page then works with the defaults.

const PREFIX = "sfumato.";

export function recall(key, otherwise = null) {
  try {
    const text = localStorage.getItem(PREFIX + key);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // Nothing is stored; the choice holds until the page is closed.
  }
}

/** The same for this tab only: secrets that shall not outlive it. */
export function recallHere(key) {
  try {
    return sessionStorage.getItem(PREFIX + key) ?? "";
  } catch {
    return "";
  }
}

export function rememberHere(key, text) {
  try {
    if (text) sessionStorage.setItem(PREFIX + key, text);
    else sessionStorage.removeItem(PREFIX + key);
  } catch {
    // As above.
  }
}
