// Looks at the meeting page; runs in it.

/** Whether the tile of a member of this name shows a moving picture. */
export const moves = (name) => {
  const tile = [...document.querySelectorAll(".tile")].find((one) => one.querySelector(".name")?.textContent === name);
  const video = tile?.querySelector("video");
  if (!video?.videoWidth || video.hidden) return false;
  const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 18 });
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 32, 18);
  const data = [...context.getImageData(0, 0, 32, 18).data];
  const before = (window.seen ??= {})[name];
  window.seen[name] = data;
  return before !== undefined && data.some((value, at) => Math.abs(value - before[at]) > 12);
};
