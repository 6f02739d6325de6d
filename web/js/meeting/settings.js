// The settings panel during a call: one's name and devices.

import { me, nameOf } from "./call.js";
import { canChooseSpeaker, listDevices } from "./devices.js";
import { byId } from "./dom.js";
import { useDevice } from "./local.js";
import { explain } from "./messages.js";
import { notify } from "./notices.js";
import { on, state } from "./state.js";
import { recall, remember } from "./store.js";

export function startSettings() {
  byId("set-name").addEventListener("change", rename);
  for (const kind of ["camera", "microphone"]) byId(`set-${kind}`).addEventListener("change", (event) => useDevice(kind, event.currentTarget.value));
  byId("set-speaker").addEventListener("change", (event) => {
    remember("speaker", event.currentTarget.value);
    void useSpeaker();
  });
  byId("set-shortcuts").checked = recall("shortcuts", true);
  byId("set-shortcuts").addEventListener("change", (event) => remember("shortcuts", event.currentTarget.checked));
  navigator.mediaDevices?.addEventListener?.("devicechange", show);
  on("panel", show);
}

/** The sound comes out where it was chosen; a speaker that is gone leaves the default. */
export async function useSpeaker() {
  const id = recall("speaker", "");
  if (!canChooseSpeaker() || !state.room) return;
  await state.room.setAudioOutput(id).catch(() => {});
}

async function show() {
  if (state.panel !== "settings") return;
  const field = byId("set-name");
  field.value = nameOf(me());
  field.disabled = !(state.room?.permissions?.update_self ?? false);
  byId("set-speaker-field").hidden = !canChooseSpeaker();
  for (const kind of ["camera", "microphone", "speaker"]) await listDevices(byId(`set-${kind}`), kind, recall(kind, ""));
}

async function rename(event) {
  const name = event.currentTarget.value.trim();
  if (!name) return;
  try {
    await state.room.update({ name });
    state.name = name;
    remember("name", name);
  } catch (error) {
    const { title, detail } = explain(error);
    notify("name", { level: "error", title: `The name was not changed: ${title.toLowerCase()}`, detail });
  }
}
