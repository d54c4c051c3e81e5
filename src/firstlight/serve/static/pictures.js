// Pictures from outside: dropped, pasted, chosen, from the webcam, or from the test set.

import { testImage, testImages } from "./api.js";
import { camera } from "./camera.js";
import { byId, make, notice } from "./elements.js";

const STRIP = 14;

// `given` receives a picture and its name.
export function pictures(given) {
  const drop = byId("drop");
  const file = byId("file");

  const take = (files) => given(files[0], files[0].name || "the pasted picture");
  byId("choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length) take(file.files);
    file.value = "";
  });
  for (const name of ["dragover", "drop", "dragleave"]) {
    document.addEventListener(name, (/** @type {DragEvent} */ event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take(event.clipboardData.files);
  });

  const webcam = camera(byId("video"), () => {
    byId("camera").hidden = !webcam.isOn();
    byId("snap").disabled = true;
    byId("webcam").textContent = webcam.isOn() ? "Stop the webcam" : "Webcam";
  });
  byId("webcam").addEventListener("click", async () => {
    if (webcam.isOn()) return webcam.stop();
    if (!(await webcam.start())) notice("This page cannot use a webcam.");
  });
  byId("video").addEventListener("loadeddata", () => (byId("snap").disabled = false));
  byId("snap").addEventListener("click", async () => given(await webcam.still(), "the webcam's picture"));
}

// Test images to click. `chosen` receives the image, its name and its class.
export function strip(chosen) {
  const list = byId("strip");
  let run = null;
  let page = 0;
  let pages = 1;

  async function show() {
    const asked = run;
    const found = await testImages(asked, page, STRIP);
    const blobs = await Promise.all(found.pictures.map(({ index }) => testImage(asked, index)));
    if (asked !== run) return;
    pages = Math.ceil(found.total / STRIP);
    byId("strip-missing").hidden = found.total > 0;
    byId("more").disabled = pages < 2;
    list.replaceChildren(...found.pictures.map((row, at) => item(row, blobs[at])));
  }

  function item({ index, truth }, blob) {
    const image = make("img", { src: URL.createObjectURL(blob), alt: "" });
    image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
    const button = make("button", { type: "button", title: truth, "aria-label": `Test image ${index}, ${truth}`, "aria-pressed": "false" }, image);
    button.addEventListener("click", () => {
      mark(button);
      chosen(blob, `test image ${index}`, truth);
    });
    return make("li", {}, button);
  }

  function mark(button) {
    for (const other of list.querySelectorAll("[aria-pressed=true]")) other.setAttribute("aria-pressed", "false");
    button?.setAttribute("aria-pressed", "true");
  }

  byId("more").addEventListener("click", () => {
    page = (page + 1) % pages;
    show().catch((error) => notice(error.message));
  });

  return {
    unmark: () => mark(null),
    first: () => list.querySelector("button")?.click(),
    async of(name) {
      run = name;
      page = 0;
      byId("strip-missing").hidden = true;
      list.replaceChildren();
      await show();
    },
  };
}
