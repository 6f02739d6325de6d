// What this member sends: microphone, camera, screen and the screen's sound. Each can be had, published, muted and given back.
// The devices are asked for when they are first wanted, not before.

import { openCamera, openMicrophone, openScreen } from "./devices.js";
import { explainDevice } from "./messages.js";
import { announce, notify, unnotify } from "./notices.js";
import { changed, state } from "./state.js";
import { recall, remember } from "./store.js";

/** By source: the browser's track, the publication of the room, and whether it is on. */
const sending = {
  microphone: { track: null, publication: null, on: false, busy: false },
  camera: { track: null, publication: null, on: false, busy: false },
  screen: { track: null, publication: null, on: false, busy: false },
  "screen-audio": { track: null, publication: null, on: false, busy: false },
};

export const isOn = (source) => sending[source].on;
export const isBusy = (source) => sending[source].busy;
export const trackOf = (source) => sending[source].track;
export const mayPublish = (source) => state.room?.permissions?.publish?.includes(source) ?? false;

/** Tracks that the lobby opened: they are sent once the room is joined. */
export function takeOver({ microphone = null, camera = null }) {
  for (const [source, track] of Object.entries({ microphone, camera })) {
    sending[source].track = track;
    sending[source].on = track !== null;
    if (track) watch(source, track);
  }
  changed("local");
}

/** Publishes what is on; called when the room is joined. A source that the token does not allow is given back, and said. */
export async function publishAll() {
  for (const source of ["microphone", "camera"]) {
    if (!sending[source].on) continue;
    if (mayPublish(source)) await publish(source).catch((error) => failed(source, error));
    else {
      giveBack(source);
      notify(`device-${source}`, { level: "warning", title: `You may not send with the ${source} here`, detail: "The token does not allow it. You can see and hear the others." });
    }
  }
  changed("local");
}

async function publish(source) {
  const one = sending[source];
  if (!state.room || !one.track) return;
  if (one.publication) {
    await one.publication.replaceTrack(one.track);
    await one.publication.unmute();
  } else {
    one.publication = await state.room.publish(one.track, { source, simulcast: source === "camera" });
  }
}

/** The track ends when its device is pulled out, or when the browser's own "stop sharing" is pressed. */
function watch(source, track) {
  track.addEventListener("ended", () => {
    if (sending[source].track !== track) return;
    if (source === "screen" || source === "screen-audio") void setScreen(false);
    else {
      notify(`device-${source}`, { level: "warning", title: `The ${source} is gone`, detail: "It was unplugged, or another program took it. Turn it on again to use another one." });
      void turnOff(source);
    }
  });
}

function giveBack(source) {
  const one = sending[source];
  one.track?.stop();
  one.track = null;
  one.on = false;
}

function failed(source, error) {
  giveBack(source);
  const words = explainDevice(error, source === "screen-audio" ? "screen" : source);
  if (words) notify(`device-${source}`, { level: "error", ...words });
}

/** Runs one change of a source at a time: a second click while the first is under way does nothing. */
async function alone(source, work) {
  const one = sending[source];
  if (one.busy) return;
  one.busy = true;
  changed("local");
  try {
    await work(one);
  } catch (error) {
    failed(source, error);
  } finally {
    one.busy = false;
    changed("local");
  }
}

/** Microphone on or off. Off keeps the device open and silent, so that on is instant. */
export function setMicrophone(on) {
  return alone("microphone", async (one) => {
    unnotify("device-microphone");
    if (on) {
      if (!one.track) {
        one.track = await openMicrophone(recall("microphone", ""));
        watch("microphone", one.track);
      }
      one.track.enabled = true;
      one.on = true;
      await publish("microphone");
    } else {
      one.on = false;
      if (one.track) one.track.enabled = false;
      await one.publication?.mute();
    }
    remember("microphone-on", on);
    announce(on ? "Your microphone is on" : "Your microphone is off");
  });
}

/** Camera on or off. Off gives the device back: its light goes out. */
export function setCamera(on) {
  return alone("camera", async (one) => {
    unnotify("device-camera");
    if (on) {
      one.track = await openCamera(recall("camera", ""));
      watch("camera", one.track);
      one.on = true;
      await publish("camera");
    } else {
      await turnOff("camera");
    }
    remember("camera-on", on);
    announce(on ? "Your camera is on" : "Your camera is off");
  });
}

async function turnOff(source) {
  const { publication } = sending[source];
  giveBack(source);
  changed("local");
  await publication?.mute();
}

/** Shares a screen, with its sound where the browser gives it, or stops that. */
export function setScreen(on) {
  return alone("screen", async (one) => {
    unnotify("device-screen");
    if (on) {
      const { video, audio } = await openScreen();
      one.track = video;
      one.on = true;
      watch("screen", video);
      await publish("screen");
      if (audio && mayPublish("screen-audio")) {
        Object.assign(sending["screen-audio"], { track: audio, on: true });
        await publish("screen-audio");
      } else audio?.stop();
      announce("You share your screen");
      return;
    }
    const publications = ["screen", "screen-audio"].map((source) => {
      const { publication } = sending[source];
      sending[source].publication = null;
      giveBack(source);
      return publication;
    });
    changed("local");
    for (const publication of publications) await publication?.unpublish();
    announce("You do not share your screen any more");
  });
}

/** Another camera or microphone from now on, also while it is on. */
export function useDevice(source, id) {
  remember(source, id);
  if (!sending[source].track) return Promise.resolve();
  return alone(source, async (one) => {
    const next = await (source === "camera" ? openCamera(id) : openMicrophone(id));
    const before = one.track;
    next.enabled = before?.enabled ?? true;
    one.track = next;
    watch(source, next);
    await one.publication?.replaceTrack(next);
    before?.stop();
  });
}

/** Somebody who runs the room muted or unmuted a source of ours; unmuting leaves the device off until the user turns it on. */
export function mutedByOthers(source, muted) {
  const one = sending[source];
  if (!one || !muted) return;
  if (source === "microphone") {
    one.on = false;
    if (one.track) one.track.enabled = false;
  } else giveBack(source);
  notify("muted", { level: "warning", title: source === "microphone" ? "You were muted" : `Your ${source} was turned off`, detail: "Whoever runs the room did it. You can turn it on again.", seconds: 15 });
  changed("local");
}

/** The client library gave a publication up, since its track ended. */
export function gone(publication) {
  for (const one of Object.values(sending)) if (one.publication === publication) one.publication = null;
}

/** Gives all devices back. */
export function stopAll() {
  for (const source of Object.keys(sending)) {
    giveBack(source);
    sending[source].publication = null;
  }
  changed("local");
}
