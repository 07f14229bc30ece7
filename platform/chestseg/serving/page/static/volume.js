// Volumes: a job that is sent, watched and fetched. Slices are shown by slices.js; its address after # brings the job back.

import { modelName, percent, sentence } from "./words.js";
import { Cancelled, Failure, ask, sleep } from "./service.js";
import { canShow, showSlices } from "./slices.js";

export const several = true;
const LOOK_MS = [500, 1000, 2000];
const NAMES = { nifti: ["Mask (NIfTI)", "mask.nii.gz"], seg: ["DICOM SEG", "segmentation.dcm"], png: ["Slices (PNG)", "slices.png"], json: ["Numbers (JSON)", "result.json"], zip: ["All (zip)", "result.zip"] };
const ACTIVE = ["queued", "running"];

export async function segment(files, ui, signal) {
  location.hash = "";
  const busy = (seconds) => ui.progress(`The service is full: trying again in ${seconds} s`);
  const told = (share) => (share < 1 ? ui.progress(`Sending, ${Math.round(share * 100)} %`, share) : ui.progress("Looking at the files"));
  ui.progress("Sending", 0);
  const { data } = await ask("v1/jobs", { method: "POST", body: bodyOf(files), told, busy, signal });
  location.hash = data.id;
  await follow(data, files, ui, signal);
}

// A job whose address is already there, as after a reload.
export function start(ui, take) {
  const id = location.hash.slice(1);
  if (/^[0-9a-f]{32}$/.test(id)) take([], async (mine, signal) => follow((await ask(path(id), { signal })).data, [], mine, signal));
}

// One file as it is. Several as a form: their own names stay here.
function bodyOf(files) {
  if (files.length === 1) return files[0];
  const form = new FormData();
  files.forEach((file, k) => form.append("files", file, String(k)));
  return form;
}

async function follow(job, files, ui, signal) {
  try {
    for (let looks = 0; ACTIVE.includes(job.state); looks += 1) {
      tell(job, ui);
      await sleep(LOOK_MS[Math.min(looks, LOOK_MS.length - 1)], signal);
      job = (await ask(path(job.id), { signal, busy: () => {} })).data;
    }
  } catch (error) {
    if (error instanceof Cancelled) await ask(path(job.id), { method: "DELETE" });
    throw error;
  }
  if (job.state !== "done") {
    location.hash = "";
    throw new Failure(sentence(job.error ?? `The job was ${job.state}`));
  }
  ui.found(job.result.present ? "Infiltrates found" : "No infiltrates found", numbersOf(job), savesOf(job));
  await picture(job, files, ui, signal);
}

function tell({ state, ahead, tiles }, ui) {
  if (state === "queued") ui.progress(ahead ? `Queued, ${ahead} ${ahead > 1 ? "jobs" : "job"} before this one` : "Queued, next to run");
  else if (tiles.of) ui.progress(`Segmenting, tile ${tiles.done} of ${tiles.of}`, tiles.done / tiles.of);
  else ui.progress("Reading the volume");
}

function numbersOf({ result, model, expires }) {
  const [slices, rows, columns] = result.shape;
  const share = result.lung_share === null ? "not known: no lungs were found" : `${percent(result.lung_share)} of ${Math.round(result.lung_ml)} ml of lung`;
  const numbers = [
    ["Infiltrates", `${result.volume_ml.toFixed(1)} ml${result.lesions ? ` in ${result.lesions} ${result.lesions > 1 ? "regions" : "region"}` : ""}`],
    ["Lung share", share],
    ["Probability", percent(result.probability)],
    ["Volume", `${columns} × ${rows} × ${slices}, ${result.spacing_mm.toReversed().join(" × ")} mm`],
    ["Model", modelName(model)],
    ["Kept until", new Date(expires).toLocaleString()],
  ];
  if (result.seg_refused) numbers.push(["No DICOM SEG", sentence(result.seg_refused)]);
  return result.repairs?.length ? [...numbers, ["Repaired", result.repairs.join("; ")]] : numbers;
}

function savesOf(job) {
  const asked = (format, name) => async () => ({ blob: await fetched(job, format), name });
  const saves = Object.entries(NAMES).filter(([format]) => job.links[format]).map(([format, [words, name]]) => [words, asked(format, name)]);
  const remove = async () => {
    await ask(path(job.id), { method: "DELETE" });
    location.hash = "";
    return { gone: true, note: "The result was deleted from the service." };
  };
  return [...saves, ["Delete from the service", remove]];
}

// Slices to scroll where there is a viewer and the image is at hand; else the service's own picture of the fullest slices.
async function picture(job, files, ui, signal) {
  const lacking = canShow();
  const image = lacking ? null : job.links.image ? await fetched(job, "image", signal, ui) : files.length === 1 ? files[0] : null;
  ui.view();
  if (image) {
    ui.progress("Opening the volume");
    return showSlices(ui, image, await fetched(job, "nifti", signal), job.result.present);
  }
  ui.note(lacking || "The image itself was not kept: choose the same file again to scroll through it. Below are the slices that matter most.");
  ui.canvas.hidden = true;
  ui.slices.src = URL.createObjectURL(await fetched(job, "png", signal));
  ui.slices.alt = job.result.present ? "The slices with most infiltrate, outlined in orange" : "Slices of the volume";
  ui.slices.hidden = false;
  return undefined;
}

async function fetched(job, format, signal, ui) {
  ui?.progress("Fetching the volume");
  return (await ask(`${path(job.id)}/result?format=${format}`, { kind: "blob", signal })).data;
}

function path(id) {
  return `v1/jobs/${id}`;
}
