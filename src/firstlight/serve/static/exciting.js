// The test images with the largest values in one map, with the place framed.

import * as api from "./api.js";
import { count, make, notice, number } from "./elements.js";

// `source` returns the run and what opens a picture.
export function exciting(layer, source) {
  const list = make("ul", { className: "excited", "aria-label": "Test images that excite this map most" });
  const says = make("p", { className: "faint" });
  const element = make("div", { hidden: true }, make("h4", {}, "What excites it most"), list, says);
  let chosen = null; // the map

  async function show(channel) {
    if (channel === chosen) return;
    chosen = channel;
    list.replaceChildren();
    says.textContent = "";
    if (channel === null) return;
    const { run } = source();
    const wanted = () => chosen === channel;
    try {
      const found = await api.exciting(run.name, layer, channel, wanted, (done, total) => {
        element.hidden = false;
        says.textContent = total ? `Looking at the test images: ${count(done)} of ${count(total)}.` : "Waits for its turn.";
      });
      if (!found) return;
      element.hidden = false;
      says.textContent = found.pictures.length ? found.says : "No test image excites it: it is zero for all that were looked at.";
      const items = found.pictures.map((one) => item(run, one));
      list.replaceChildren(...items.map((each) => each.element));
      for (const each of items) each.fill(await api.testImage(run.name, each.index));
    } catch (error) {
      if (!wanted()) return;
      element.hidden = true; // its test images may not be on this machine
      if (error.status !== 404) notice(error.message);
    }
  }

  function item(run, { index, truth, value, box }) {
    const image = make("img", { alt: "" });
    const framed = make("span", { className: "framed" }, image);
    if (box) framed.append(frame(box, run.image));
    const words = `Test image ${index}, ${truth}: ${number(value)}`;
    const button = make("button", { type: "button", disabled: true, title: `${words}. Choose it to look inside`, "aria-label": words }, framed, make("span", { className: "value" }, number(value)));
    let picture = null;
    button.addEventListener("click", () => source().take(picture, `test image ${index}`, truth));
    return {
      index,
      element: make("li", {}, button),
      fill(blob) {
        picture = blob;
        image.src = URL.createObjectURL(blob);
        image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
        button.disabled = false;
      },
    };
  }
  return { element, show };
}

function frame([top, left, bottom, right], { width, height }) {
  const place = make("span", { className: "frame" });
  Object.assign(place.style, {
    top: `${(100 * top) / height}%`, left: `${(100 * left) / width}%`,
    width: `${(100 * (right - left)) / width}%`, height: `${(100 * (bottom - top)) / height}%`,
  });
  return place;
}
