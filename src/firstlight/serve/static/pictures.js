// Pictures from elsewhere: dropped, pasted, chosen, taken with the webcam, or of the test set.

import { testImage, testImages } from "./api.js";
import { byId, make, notice } from "./elements.js";

const STRIP = 14;

export function pictures(given) {
  const drop = byId("drop");
  const file = byId("file");
  let stream = null;

  const take = (list) => {
    const found = [...(list ?? [])].find((f) => f.type.startsWith("image/") || f.name);
    if (found) given(found, found.name);
    else notice("That was no picture file.");
  };
  byId("choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length) take(file.files);
    file.value = "";
  });
  for (const name of ["dragover", "drop", "dragleave"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") take(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take(event.clipboardData.files);
  });

  function stop() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    byId("camera").hidden = true;
    byId("webcam").textContent = "Webcam";
  }
  byId("webcam").addEventListener("click", async () => {
    if (stream) return stop();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: true });
      byId("video").srcObject = stream;
      byId("camera").hidden = false;
      byId("webcam").textContent = "Stop the webcam";
    } catch {
      notice("There is no webcam that this page may use.");
    }
  });
  byId("snap").addEventListener("click", () => {
    const video = byId("video");
    if (!video.videoWidth) return;
    const still = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    still.getContext("2d").drawImage(video, 0, 0);
    still.toBlob((blob) => given(blob, "webcam"), "image/png");
  });
}

export function strip(chosen) {
  let run = null;
  let start = 0;

  async function show() {
    const { total, pictures: found } = await testImages(run, start, STRIP);
    byId("strip-box").hidden = total === 0;
    byId("more").disabled = total <= STRIP;
    const items = await Promise.all(
      found.map(async ({ index, truth }) => {
        const blob = await testImage(run, index);
        const image = make("img", { src: URL.createObjectURL(blob), alt: "" });
        image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
        const button = make("button", { type: "button", title: truth }, image);
        button.setAttribute("aria-label", `Test image ${index}, ${truth}`);
        button.addEventListener("click", () => chosen(blob, index, truth));
        return make("li", {}, button);
      }),
    );
    byId("strip").replaceChildren(...items);
    return total;
  }
  byId("more").addEventListener("click", async () => {
    start += STRIP;
    const total = await show().catch((error) => notice(error.message));
    if (start + STRIP >= total) start = -STRIP;
  });
  return (name) => {
    run = name;
    start = 0;
    byId("strip").replaceChildren();
    return show();
  };
}
