// What a page needs for those who do not see it well, or touch it: names, contrast, size. Each function runs in the page and
// gives a list of what is wrong with what is visible.

/** Controls without a name that a screen reader could say. */
export function nameless() {
  const text = (element) => {
    const clone = element.cloneNode(true);
    for (const hidden of clone.querySelectorAll("[aria-hidden=true], [hidden]")) hidden.remove();
    return clone.textContent.trim();
  };
  const named = (element) => {
    if (element.getAttribute("aria-label")?.trim()) return true;
    const by = element.getAttribute("aria-labelledby");
    if (by) return by.split(" ").every((id) => text(document.getElementById(id) ?? document.createElement("i")) !== "");
    if (element.labels?.length) return [...element.labels].some((label) => text(label) !== "");
    return text(element) !== "" && ["BUTTON", "A", "SUMMARY"].includes(element.tagName);
  };
  return [...document.querySelectorAll("button, a[href], input, select, textarea, summary, [role=meter], video, canvas[role=img], aside, dialog[open]")]
    .filter((element) => element.checkVisibility?.() ?? element.offsetParent !== null)
    .filter((element) => !named(element))
    .map((element) => `${element.tagName.toLowerCase()}#${element.id}.${element.className}`);
}

/** Texts whose contrast to what is behind them is below 4.5:1, or 3:1 where they are large (WCAG 2.2, 1.4.3). */
export function contrasts() {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (color) => {
    if (!known.has(color)) known.set(color, parsed(color));
    return known.get(color);
  };
  const parsed = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((value, at) => value * top[3] + below[at] * (1 - top[3]));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (light + 0.05) / (dark + 0.05);
  };
  /** All that may be behind an element: over a picture, both black and white. */
  const grounds = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const color = rgba(getComputedStyle(one).backgroundColor);
      if (color[3] > 0) layers.push(color);
      if (color[3] === 1) break;
      if (one.classList.contains("tile")) break;
    }
    const opaque = layers.at(-1)?.[3] === 1 ? [layers.pop().slice(0, 3)] : [[0, 0, 0], [255, 255, 255]];
    return opaque.map((ground) => layers.reduceRight((below, layer) => over(layer, below), ground));
  };
  const wrong = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest(":disabled, .visually-hidden, .skip, [aria-hidden=true], noscript, option, script")) continue;
    const style = getComputedStyle(element);
    // What only screen readers get is clipped away.
    if (style.clipPath !== "none" || element.tagName === "OPTION") continue;
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    // Words over a picture that have a shadow around the letters carry their ground with them.
    if (style.textShadow !== "none") continue;
    const color = rgba(style.color);
    const least = Math.min(...grounds(element).map((ground) => ratio(over(color, ground), ground)));
    if (least < (large ? 3 : 4.5)) wrong.push(`${element.tagName.toLowerCase()}.${element.className} “${element.textContent.trim().slice(0, 30)}” ${least.toFixed(2)}`);
  }
  return wrong;
}

/** Buttons and fields that are smaller than a finger: 44 pixels. */
export function small() {
  return [...document.querySelectorAll("button, select, textarea, input:not([type=checkbox]), summary, .links a, .brand a")]
    .filter((element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !element.closest(".visually-hidden"))
    .map((element) => ({ element, box: element.getBoundingClientRect() }))
    .filter(({ box }) => box.width < 43.5 || box.height < 43.5)
    .map(({ element, box }) => `${element.tagName.toLowerCase()}#${element.id}.${element.className} ${Math.round(box.width)}x${Math.round(box.height)}`);
}
