// Cameras, microphones, speakers and screens: asking for them, listing them, and a meter for the voice. Errors keep the
// browser's names; messages.js explains them.

/** Thrown where the browser gives no devices to pages of this origin. */
class InsecureOriginError extends Error {
  name = "InsecureOriginError";
}

function devices() {
  if (!navigator.mediaDevices?.getUserMedia) throw new InsecureOriginError("no media devices on an insecure origin");
  return navigator.mediaDevices;
}

export const canShareScreen = () => typeof navigator.mediaDevices?.getDisplayMedia === "function";
export const canChooseSpeaker = () => typeof HTMLMediaElement.prototype.setSinkId === "function";

/** Asks for one device; where the remembered one is gone, for any of its kind. */
async function open(kind, id, constraints) {
  const media = devices();
  const ask = (more) => media.getUserMedia({ [kind]: { ...constraints, ...more } });
  let stream;
  try {
    stream = await ask(id ? { deviceId: { exact: id } } : {});
  } catch (error) {
    if (!id || !["OverconstrainedError", "NotFoundError"].includes(error.name)) throw error;
    stream = await ask({});
  }
  return stream.getTracks()[0];
}

/** A track of the camera with this id, or of the default camera. */
export const openCamera = (id = "") => open("video", id, { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } });

/** A track of the microphone with this id, or of the default one. */
export const openMicrophone = (id = "") => open("audio", id, { echoCancellation: true, noiseSuppression: true, autoGainControl: true });

/** A screen, a window or a tab, with its sound where the browser gives it: `{video, audio}`, `audio` may be null. */
export async function openScreen() {
  const media = devices();
  if (!media.getDisplayMedia) throw Object.assign(new Error("this browser cannot share its screen"), { name: "NotFoundError" });
  const stream = await media.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: true });
  const [video] = stream.getVideoTracks();
  const [audio = null] = stream.getAudioTracks();
  // Sharp text matters more than smooth motion.
  video.contentHint = "detail";
  return { video, audio };
}

const KINDS = { camera: "videoinput", microphone: "audioinput", speaker: "audiooutput" };

/** Fills a select with the devices of a kind ("camera", "microphone", "speaker"). Names are known only after a permission. */
export async function listDevices(select, kind, chosen) {
  const all = await navigator.mediaDevices?.enumerateDevices?.().catch(() => []);
  const found = (all ?? []).filter((device) => device.kind === KINDS[kind] && device.deviceId && device.deviceId !== "default");
  select.replaceChildren(new Option("Default", ""), ...found.map((device, at) => new Option(device.label || `Device ${at + 1}`, device.deviceId)));
  select.value = found.some((device) => device.deviceId === chosen) ? chosen : "";
}

/** How loud a track is, 0 to 1, told to `show` until it is stopped. */
export class Meter {
  #context = null;
  #timer = 0;

  constructor(track, show) {
    const Context = window.AudioContext ?? window.webkitAudioContext;
    if (!Context) return;
    this.#context = new Context();
    const analyser = this.#context.createAnalyser();
    analyser.fftSize = 1024;
    this.#context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.#timer = setInterval(() => {
      if (this.#context.state === "suspended") this.#context.resume().catch(() => {});
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, value) => sum + value * value, 0) / samples.length;
      // From -60 dB (silence) to 0 dB (full scale).
      show(track.enabled ? Math.min(1, Math.max(0, 1 + (10 * Math.log10(power + 1e-9)) / 60)) : 0);
    }, 100);
  }

  stop() {
    clearInterval(this.#timer);
    this.#context?.close().catch(() => {});
    this.#context = null;
  }
}
