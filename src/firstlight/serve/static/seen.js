// The exact image that the network saw, pixel by pixel, optionally with Grad-CAM over it.

import { byId, cellAt, make, number, tip } from "./elements.js";

const canvas = byId("seen");
const pen = canvas.getContext("2d", { willReadFrequently: true });
let plain = null; // its pixels without the colours of Grad-CAM
let heat = null;

export function clearSeen(run) {
  plain = heat = null;
  canvas.width = run.image.width;
  canvas.height = run.image.height;
  canvas.setAttribute("aria-label", "Nothing yet");
}

export async function decoded(url) {
  const image = make("img", { src: url });
  await image.decode();
  return image;
}

export function showSeen(image, cam, name) {
  if (canvas.width !== image.naturalWidth) canvas.width = image.naturalWidth;
  if (canvas.height !== image.naturalHeight) canvas.height = image.naturalHeight;
  pen.drawImage(image, 0, 0);
  plain = pen.getImageData(0, 0, canvas.width, canvas.height);
  heat = cam;
  canvas.setAttribute("aria-label", `${name}, ${canvas.width} by ${canvas.height} pixels, as the network sees it`);
  if (cam) pen.putImageData(warmed(plain, cam.values), 0, 0);
}

const WARM = [255, 130, 0];

// Dark where the values are 0, and warm light where they are large.
export function warmed(pixels, values) {
  const result = new ImageData(new Uint8ClampedArray(pixels.data), pixels.width, pixels.height);
  let top = 0;
  for (const value of values) top = Math.max(top, value);
  for (let at = 0; top > 0 && at < values.length; at++) {
    const share = values[at] / top;
    WARM.forEach((warm, channel) => {
      const value = result.data[4 * at + channel] * (0.35 + 0.65 * share);
      result.data[4 * at + channel] = value + (warm - value) * 0.5 * share;
    });
  }
  return result;
}

export const seenPixels = () => plain;

canvas.addEventListener("pointermove", (event) => {
  const place = plain && cellAt(event, canvas, plain.width, plain.height);
  if (!place) return tip(event, "");
  const [column, row] = place;
  const at = row * plain.width + column;
  const [red, green, blue] = plain.data.slice(4 * at, 4 * at + 3);
  const colour = red === green && green === blue ? `${red}` : `red ${red}, green ${green}, blue ${blue}`;
  const cam = heat ? `, ${heat.title} ${number(heat.values[at])}` : "";
  tip(event, `row ${row}, column ${column}: ${colour}${cam}`);
});
canvas.addEventListener("pointerleave", (event) => tip(event, ""));
