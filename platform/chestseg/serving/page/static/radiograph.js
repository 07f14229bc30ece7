// Radiographs: one request, the picture as the model was given it, and the mask drawn over it on a canvas.

import { button, slider } from "./controls.js";
import { ask } from "./service.js";
import { modelName, percent } from "./words.js";

const COLOUR = [230, 159, 0]; // orange of Okabe and Ito's palette, as in the overlays that the service draws
const GREYS = 256;
const LINE = 1 / 256; // of the longer edge
const HIGH = 0.68; // of the browser's window
let watch = null;

export async function segment(files, ui, signal) {
  const [file] = files;
  const busy = (seconds) => ui.progress(`All replicas are busy: trying again in ${seconds} s`);
  const told = (share) => (share < 1 ? ui.progress(`Sending, ${Math.round(share * 100)} %`, share) : ui.progress("Segmenting"));
  ui.progress("Sending", 0);
  const { data } = await ask("v1/segment?picture=true", { method: "POST", body: file, headers: { Accept: "application/json" }, told, busy, signal });
  const { picture, ...answer } = data;
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${picture}`)).blob());
  ui.found(answer.present ? "Pneumothorax found" : "No pneumothorax found", numbersOf(answer), savesOf(file, answer));
  ui.view();
  const view = new View(ui, image, decode(answer.rle, answer.height, answer.width));
  ui.canvas.setAttribute("role", "img");
  ui.canvas.setAttribute("aria-label", `Radiograph${answer.present ? " with the segmented region in orange" : ""}`);
  view.controls();
  const first = files.length > 1 ? `This is the first of the ${files.length} files. ` : "";
  ui.note(first + (answer.present ? "" : "The mask is empty: nothing is drawn over the image."));
}

function numbersOf(answer) {
  const { model, timings_ms: steps } = answer;
  return [
    ["Probability", percent(answer.probability)],
    ["Area", answer.area_cm2 === null ? `${answer.area_px} pixels (the file tells no credible spacing)` : `${answer.area_cm2} cm²`],
    ["Image", `${answer.width} × ${answer.height}`],
    ["Model", modelName(model)],
    ["Time", `${Math.round(Object.values(steps).reduce((sum, one) => sum + one, 0))} ms at the service`],
    ["Request", answer.request_id],
  ];
}

function savesOf(file, answer) {
  const by = `${answer.model.name}/${answer.model.version ?? answer.model.digest.slice(0, 12)}`;
  const asked = (format, name) => async () => {
    const got = await ask(`v1/segment?format=${format}`, { method: "POST", body: file, kind: "blob" });
    const now = got.header("X-Model");
    return { blob: got.body, name, note: now === by ? "" : `${name} is by ${now}, which serves now; what you see is by ${by}.` };
  };
  const json = new Blob([JSON.stringify(answer, null, 2), "\n"], { type: "application/json" });
  return [
    ["Mask (PNG)", asked("png", "mask.png")],
    ["Overlay (PNG)", asked("overlay", "overlay.png")],
    ["DICOM SEG", asked("dicom", "segmentation.dcm")],
    ["Numbers (JSON)", async () => ({ blob: json, name: "segmentation.json" })],
  ];
}

// Gaps and lengths in turn, down the columns; -1 is no mask (SIIM-ACR). Returns a Uint8Array of 0 and 1, row by row.
export function decode(rle, height, width) {
  const mask = new Uint8Array(height * width);
  if (rle.trim() === "-1") return mask;
  let place = 0;
  rle.trim().split(/\s+/).map(Number).forEach((length, index) => {
    if (index % 2) for (let k = place; k < place + length; k += 1) mask[(k % height) * width + Math.floor(k / height)] = 1;
    place += length;
  });
  return mask;
}

class View {
  constructor(ui, image, mask) {
    Object.assign(this, { ui, mask, width: image.width, height: image.height, level: 127.5, window: 255, opacity: 0.4, zoom: 1 });
    Object.assign(ui.canvas, { width: image.width, height: image.height });
    this.context = ui.canvas.getContext("2d", { willReadFrequently: true });
    this.context.drawImage(image, 0, 0);
    const shown = this.context.getImageData(0, 0, image.width, image.height);
    this.grey = Uint8Array.from({ length: mask.length }, (_, k) => shown.data[4 * k]);
    this.shown = shown;
    this.outline = outline(mask, image.width, image.height);
    ui.stage.className = "stage flat";
    this.draw();
    watch?.disconnect();
    watch = new ResizeObserver(() => this.fit());
    watch.observe(ui.stage);
  }

  // Grey through the window, then the mask's colour at its opacity; its outline stays plain as long as it is seen at all.
  draw() {
    const [low, pixels] = [this.level - this.window / 2, this.shown.data];
    const lut = Uint8ClampedArray.from({ length: GREYS }, (_, grey) => ((grey - low) / this.window) * 255);
    const fill = this.opacity;
    const line = Math.min(1, fill * 3);
    for (let k = 0; k < this.grey.length; k += 1) {
      const grey = lut[this.grey[k]];
      const share = this.outline[k] ? line : this.mask[k] ? fill : 0;
      for (let c = 0; c < 3; c += 1) pixels[4 * k + c] = grey + (COLOUR[c] - grey) * share;
    }
    this.context.putImageData(this.shown, 0, 0);
  }

  // The whole image at zoom 1, with its controls still in sight on a desktop.
  fit() {
    const { stage, canvas } = this.ui;
    const scale = Math.min(stage.clientWidth / this.width, (innerHeight * HIGH) / this.height) * this.zoom;
    canvas.style.width = `${Math.floor(this.width * scale)}px`;
    canvas.style.height = `${Math.floor(this.height * scale)}px`;
  }

  controls() {
    const { controls } = this.ui;
    const set = (name) => (value) => { this[name] = value; this.later(); };
    const sliders = [
      slider(controls, "Mask opacity", { min: 0, max: 1, step: 0.05, value: this.opacity, words: (v) => `${Math.round(v * 100)} %` }, set("opacity")),
      slider(controls, "Window", { min: 5, max: 255, value: 255 }, set("window")),
      slider(controls, "Level", { min: 0, max: 255, step: 0.5, value: 127.5 }, set("level")),
      slider(controls, "Zoom", { min: 1, max: 6, step: 0.25, value: 1, words: (v) => `${v} ×` }, (value) => { this.zoom = value; this.fit(); }),
    ];
    button(controls, "Reset", () => {
      for (const input of sliders) { input.value = input.defaultValue; input.dispatchEvent(new Event("input")); }
    });
  }

  later() {
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }
}

// Pixels of the mask that lie within a line's width of its edge.
function outline(mask, width, height) {
  const step = Math.max(1, Math.round(Math.max(width, height) * LINE));
  const line = new Uint8Array(mask.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const k = y * width + x;
      if (!mask[k]) continue;
      line[k] = x < step || y < step || x + step >= width || y + step >= height
        || !(mask[k - step] && mask[k + step] && mask[k - step * width] && mask[k + step * width]) ? 1 : 0;
    }
  }
  return line;
}
