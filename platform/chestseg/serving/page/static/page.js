// The page: files in, progress, what was found. What differs between radiographs and volumes is in radiograph.js and volume.js.

import { button } from "./controls.js";
import { Cancelled, Failure, ask, save, token } from "./service.js";
import { modelName, sentence } from "./words.js";

const track = await import(document.documentElement.dataset.track === "ct" ? "./volume.js" : "./radiograph.js");
const at = (id) => document.getElementById(id);
let work = null;

// What a track tells people; each is for the piece of work that runs now.
const ui = {
  controls: at("controls"),
  stage: at("stage"),
  canvas: at("canvas"),
  slices: at("slices"),
  // How far it is: a share from 0 to 1, or null where nobody knows.
  progress(words, share = null) {
    const phase = words.split(",")[0];
    if (at("phase").textContent !== phase) at("phase").textContent = phase; // read aloud, without each percent
    at("doing").textContent = words;
    if (share === null) at("progress").removeAttribute("value");
    else at("progress").value = share;
  },
  say(words) { at("status").textContent = words; },
  note(words) { show("viewer-note", Boolean(words)); at("viewer-note").textContent = words ?? ""; },
  // `words`: the finding; `numbers`: [name, words]; `saves`: [name, function that returns {blob, name, note}].
  found(words, numbers, saves) {
    at("finding").textContent = words;
    at("numbers").replaceChildren(...numbers.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
    at("saves").replaceChildren();
    show("save-note", false);
    for (const [name, make] of saves) button(at("saves"), name, (pressed) => keep(pressed, make));
    show("result", true);
  },
  view() { show("viewer", true); show("empty", false); },
  clear() {
    for (const id of ["result", "viewer", "error", "viewer-note", "slices"]) show(id, false);
    at("controls").replaceChildren();
    show("empty", true);
    ui.say("");
  },
};

function element(kind, text) {
  return Object.assign(document.createElement(kind), { textContent: text });
}

function show(id, shown) {
  at(id).hidden = !shown;
}

function fail(error) {
  if (error instanceof Cancelled) return ui.say("Cancelled.");
  at("error").textContent = error instanceof Failure ? error.message : `The page itself failed: ${error.message}`;
  show("error", true);
  if (!(error instanceof Failure)) console.error(error);
  if (error.status === 401) askForToken();
  return undefined;
}

async function keep(pressed, make) {
  pressed.disabled = true;
  show("error", false);
  try {
    const made = await make();
    if (made.blob) save(made.blob, made.name);
    at("save-note").textContent = made.note ?? "";
    show("save-note", Boolean(made.note));
    if (made.gone) ui.clear();
    if (made.note && made.gone) ui.say(made.note);
  } catch (error) {
    fail(error);
  } finally {
    pressed.disabled = false;
  }
}

async function take(files, doing = (mine, signal) => track.segment(files, mine, signal)) {
  work?.abort();
  const mine = new AbortController();
  work = mine;
  ui.clear();
  show("work", true);
  // What a piece of work that was replaced still has to say is heard by nobody.
  const mute = new Proxy(ui, { get: (all, name) => (work === mine || typeof all[name] !== "function" ? all[name] : () => {}) });
  try {
    await doing(mute, mine.signal);
    if (work !== mine) return;
    ui.say("Done.");
    if (at("viewer").getBoundingClientRect().top > innerHeight / 2) at("viewer").scrollIntoView(); // on a phone
    at("finding").focus({ preventScroll: true });
  } catch (error) {
    if (work === mine) fail(error);
  } finally {
    if (work === mine) { show("work", false); work = null; }
  }
}

// --- token and model

function showAccess(needed = true) {
  at("access-state").textContent = token.get() ? "set" : needed ? "not set" : "not needed here";
  show("forget", Boolean(token.get()));
}

function askForToken() {
  at("access-details").open = true;
  at("token").focus();
}

async function showModel() {
  try {
    const { data } = await ask("v1/models");
    at("model").textContent = `Model: ${modelName(data.champion)}`;
    show("error", false);
    showAccess(false);
  } catch (error) {
    at("model").textContent = error.status === 401 ? "Model: told once you have access" : "Model: not known yet";
    if (error.status === 401) {
      if (token.get()) fail(new Failure("This token is not valid here: check it, or ask who runs this service.", 401));
      else { at("access-details").open = true; ui.say("This service asks for an access token."); }
    }
  }
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const shown = at("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(shown)) return fail(new Failure("A token is made of letters, digits and signs, without spaces."));
  token.set(shown);
  at("token").value = "";
  at("access-details").open = false;
  show("error", false);
  ui.say("");
  showAccess();
  showModel();
  return undefined;
});
at("forget").addEventListener("click", () => { token.forget(); showAccess(); showModel(); });

// --- files, chosen or dropped

for (const id of ["file", "folder"]) {
  at(id).addEventListener("change", () => { const files = [...at(id).files]; at(id).value = ""; if (files.length) take(files); });
}
if (track.several) {
  at("file").multiple = true;
  at("choose").textContent = "Choose files";
  show("folder", true);
  show("choose-folder", true);
}
at("cancel").addEventListener("click", () => work?.abort());
for (const name of ["dragenter", "dragover"]) addEventListener(name, (event) => { event.preventDefault(); at("drop").classList.add("over"); });
for (const name of ["dragleave", "drop"]) addEventListener(name, () => at("drop").classList.remove("over"));
addEventListener("drop", async (event) => {
  event.preventDefault();
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...event.dataTransfer.files];
  const files = entries.some((entry) => entry.isDirectory) ? (await Promise.all(entries.map(below))).flat() : plain;
  if (files.length) take(files);
});

// All files of a dropped folder and the folders in it.
async function below(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return (await Promise.all(all.map(below))).flat();
    all.push(...some);
  }
}

addEventListener("unhandledrejection", (event) => fail(new Failure(sentence(String(event.reason?.message ?? event.reason)))));
showAccess();
showModel();
track.start?.(ui, take);
