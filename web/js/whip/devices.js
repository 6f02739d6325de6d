// Cameras, microphones and screens: asking for them, and what to fall back to. Errors keep the browser's names.

/** Thrown where the browser gives no devices to pages of this origin. */
class InsecureOriginError extends Error {
  name = "InsecureOriginError";
}

function devices() {
  if (!navigator.mediaDevices?.getUserMedia) throw new InsecureOriginError("no media devices on an insecure origin");
  return navigator.mediaDevices;
}

const exactly = (id) => (id ? { deviceId: { exact: id } } : {});

const pictureOf = (cameraId) => ({ width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 }, ...exactly(cameraId) });
const soundOf = (microphoneId) => ({ echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...exactly(microphoneId) });

/**
 * Camera and microphone; with only one of them there, that one. Gives `{stream, missing}`, `missing` being "camera",
 * "microphone" or null.
 */
export async function openCamera({ cameraId = "", microphoneId = "" } = {}) {
  const media = devices();
  const video = pictureOf(cameraId);
  const audio = soundOf(microphoneId);
  try {
    return { stream: await media.getUserMedia({ video, audio }), missing: null };
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
    const present = new Set((await media.enumerateDevices()).map((device) => device.kind));
    if (present.has("videoinput") && !present.has("audioinput")) return { stream: await media.getUserMedia({ video }), missing: "microphone" };
    if (present.has("audioinput") && !present.has("videoinput")) return { stream: await media.getUserMedia({ audio }), missing: "camera" };
    throw error;
  }
}

/** A new track of the camera, after it was switched off. */
export async function reopenCamera(cameraId = "") {
  const stream = await devices().getUserMedia({ video: pictureOf(cameraId) });
  return stream.getVideoTracks()[0];
}

/** A screen, a window or a tab, with its sound where the browser gives it. */
export async function openScreen() {
  const media = devices();
  if (!media.getDisplayMedia) throw Object.assign(new Error("this browser cannot share its screen"), { name: "NotFoundError" });
  const stream = await media.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: true });
  for (const track of stream.getVideoTracks()) track.contentHint = "detail";
  return { stream, missing: null };
}

/** Fills a select with the devices of a kind. Names are known only after a permission was given. */
export async function listDevices(select, kind) {
  const all = await navigator.mediaDevices?.enumerateDevices?.().catch(() => []);
  const found = (all ?? []).filter((device) => device.kind === kind && device.deviceId && device.deviceId !== "default");
  const chosen = select.value;
  select.replaceChildren(new Option("Default", ""), ...found.map((device, at) => new Option(device.label || `Device ${at + 1}`, device.deviceId)));
  if (found.some((device) => device.deviceId === chosen)) select.value = chosen;
}
