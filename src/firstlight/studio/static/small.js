// Small pictures: few requests at a time, so that others get their turn.

import { make } from "../elements.js";

const AT_ONCE = 3;
const UNREADABLE = 422; // the status of the answer for a damaged picture
const waiting = [];
let working = 0;

async function work() {
  if (working === AT_ONCE || !waiting.length) return;
  const { read, image } = waiting.shift();
  working += 1;
  try {
    if (image.isConnected) showPicture(image, await read());
  } catch (error) {
    // Where it was removed meanwhile, or the service is gone, the image stays empty.
    if (error.status === UNREADABLE) image.replaceWith(make("span", { className: "missing" }, "cannot be read"));
  } finally {
    working -= 1;
    work();
  }
}

export function showPicture(image, blob) {
  image.src = URL.createObjectURL(blob);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
}

// An image element of a blob, or of what `read` resolves to.
export function smallPicture(blob, read) {
  const image = make("img", { alt: "" });
  if (blob) showPicture(image, blob);
  else {
    waiting.push({ read, image });
    queueMicrotask(work); // once it is in the page
  }
  return image;
}
