// Slices of a volume with its mask over them, by NiiVue (BSD-2-Clause, vendor/LICENSES.txt).

import { button, choice, slider } from "./controls.js";

const VIEWER = document.documentElement.dataset.viewer;
const ORANGE = { R: [230, 230], G: [159, 159], B: [0, 0], A: [0, 255], I: [0, 255] };
const WINDOWS = [["-600 1500", "Lung"], ["40 400", "Soft tissue"], ["400 1800", "Bone"], ["", "As set below"]];
// Which axis of a RAS+ volume a view's slices are counted along, and NiiVue's number of the view.
const VIEWS = { axial: { axis: 2, type: 0 }, coronal: { axis: 1, type: 1 }, sagittal: { axis: 0, type: 2 }, all: { axis: 2, type: 3 } };
const TO_DICOM = [-1, -1, 1]; // NIfTI counts to the right, front and head, DICOM to the left, back and head
const KEYS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
const GZIP = [0x1f, 0x8b];
let viewer = null;

// Why volumes can't be shown here, in words; empty where they can.
export function canShow() {
  if (!VIEWER) return "The viewer of volumes is not installed at this service: whoever runs it can add it by `make web`, or `python -m chestseg.serving.page.viewer`, and a restart. Below are the slices that matter most.";
  if (!document.createElement("canvas").getContext("webgl2")) return "This browser has no WebGL 2, which scrolling through slices needs. Below are the slices that matter most.";
  return "";
}

export async function showSlices(ui, image, mask, present) {
  ui.canvas.hidden = false;
  ui.stage.className = "stage solid";
  ui.stage.removeAttribute("tabindex");
  const { NVImage } = await open(ui.canvas);
  while (viewer.volumes.length) viewer.removeVolume(viewer.volumes[0]);
  const shown = await NVImage.loadFromFile({ file: await named(image), colormap: "gray", cal_min: -1350, cal_max: 150 });
  const over = await NVImage.loadFromFile({ file: await named(mask), colormap: "chestseg", cal_min: 0, cal_max: 1, opacity: 0.5 });
  viewer.addVolume(shown);
  viewer.addVolume(over);
  const view = new Slices(ui, shown, over);
  view.controls(present);
  if (present) view.goTo(fullest(over));
  view.show();
}

async function open(canvas) {
  const library = await import(`./${VIEWER}`);
  if (viewer) return library;
  viewer = new library.Niivue({
    backColor: [0, 0, 0, 1], crosshairWidth: 0, show3Dcrosshair: false, isRadiologicalConvention: true, isColorbar: false, loadingText: "",
    dragAndDropEnabled: false, dragMode: library.DRAG_MODE.none, multiplanarShowRender: library.SHOW_RENDER.NEVER, viewModeHotKey: "",
    clipPlaneHotKey: "", cycleClipPlaneHotKey: "", logLevel: "error", isAntiAlias: false, sagittalNoseLeft: true,
  });
  viewer.addColormap("chestseg", ORANGE);
  await viewer.attachToCanvas(canvas);
  viewer.setInterpolation(true);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "Slices; arrow keys and Page Up or Down scroll");
  return library;
}

// NiiVue tells packed from plain by the name.
async function named(blob) {
  const start = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  return new File([blob], GZIP.every((byte, k) => start[k] === byte) ? "volume.nii.gz" : "volume.nii");
}

// In mm, RAS+: the middle of the mask in the plane of its array that holds most of it.
function fullest({ img, hdr }) {
  const [, columns, rows, slices] = hdr.dims;
  const size = columns * rows;
  let best = { count: 0 };
  for (let k = 0; k < slices; k += 1) {
    let [count, x, y] = [0, 0, 0];
    for (let p = 0; p < size; p += 1) if (img[k * size + p]) { count += 1; x += p % columns; y += Math.floor(p / columns); }
    if (count > best.count) best = { count, at: [x / count, y / count, k, 1] };
  }
  return hdr.affine.slice(0, 3).map((row) => row.reduce((sum, value, axis) => sum + value * best.at[axis], 0));
}

class Slices {
  constructor(ui, shown, over) {
    Object.assign(this, { ui, shown, over, view: VIEWS.axial });
    viewer.onLocationChange = () => this.follow();
    ui.canvas.onkeydown = (event) => {
      if (event.code in KEYS && !event.altKey && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        this.to(this.place() + KEYS[event.code]);
      }
      if (event.code !== "Tab") event.stopImmediatePropagation();
    };
  }

  get count() { return this.shown.dimsRAS[this.view.axis + 1]; }

  place() { return Math.min(this.count - 1, Math.floor(viewer.scene.crosshairPos[this.view.axis] * this.count)); }

  to(place) {
    const whole = Math.max(0, Math.min(this.count - 1, place));
    viewer.scene.crosshairPos[this.view.axis] = (whole + 0.5) / this.count;
    this.show();
  }

  goTo(mm) {
    viewer.scene.crosshairPos = viewer.mm2frac(mm);
  }

  show() { viewer.drawScene(); this.follow(); }

  // The slider says where the view is, whoever moved it.
  follow() { this.slice.max = this.count - 1; this.slice.value = this.place(); this.slice.show(); }

  words(place) {
    const at = [...viewer.scene.crosshairPos];
    at[this.view.axis] = (place + 0.5) / this.count;
    return `${place + 1} of ${this.count}, ${"xyz"[this.view.axis]} ${(TO_DICOM[this.view.axis] * viewer.frac2mm(at)[this.view.axis]).toFixed(0)} mm`;
  }

  controls(present) {
    const { controls } = this.ui;
    controls.replaceChildren();
    this.slice = slider(controls, "Slice", { min: 0, max: this.count - 1, value: this.place(), words: (place) => this.words(place) }, (place) => this.to(place));
    choice(controls, "View", [["axial", "Axial"], ["coronal", "Coronal"], ["sagittal", "Sagittal"], ["all", "All three"]], (name) => {
      this.view = VIEWS[name];
      viewer.setSliceType(this.view.type);
      this.follow();
    });
    slider(controls, "Mask opacity", { min: 0, max: 1, step: 0.05, value: 0.5, words: (v) => `${Math.round(v * 100)} %` }, (share) => viewer.setOpacity(1, share));
    const preset = choice(controls, "Window", WINDOWS, (value) => {
      if (value) [this.level.value, this.width.value] = value.split(" ");
      this.window();
    });
    const own = () => { preset.value = ""; this.window(); };
    this.level = slider(controls, "Level", { min: -1000, max: 1000, step: 10, value: -600, words: (v) => `${v} HU` }, own);
    this.width = slider(controls, "Width", { min: 50, max: 3000, step: 10, value: 1500, words: (v) => `${v} HU` }, own);
    slider(controls, "Zoom", { min: 1, max: 6, step: 0.25, value: 1, words: (v) => `${v} ×` }, (zoom) => this.zoom(zoom));
    if (present) button(controls, "Go to the fullest slice", () => { this.goTo(fullest(this.over)); this.show(); });
    viewer.setPan2Dxyzmm([0, 0, 0, 1]);
    viewer.setSliceType(this.view.type);
  }

  // About the place that was clicked last.
  zoom(zoom) {
    const [x, y, z] = viewer.frac2mm(viewer.scene.crosshairPos);
    viewer.setPan2Dxyzmm([(1 - zoom) * x, (1 - zoom) * y, (1 - zoom) * z, zoom]);
  }

  window() {
    const [level, width] = [Number(this.level.value), Number(this.width.value)];
    this.shown.cal_min = level - width / 2;
    this.shown.cal_max = level + width / 2;
    viewer.updateGLVolume();
    this.level.show();
    this.width.show();
  }
}
