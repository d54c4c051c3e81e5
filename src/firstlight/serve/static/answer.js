// The answer: its name, how sure, every class as a bar; and the image that the network saw.

import { byId, make, percent } from "./elements.js";

const MOST = 100;

export function showAnswer(prediction, run, truth) {
  const said = byId("answer");
  if (!prediction) {
    said.textContent = "–";
    byId("sure").textContent = byId("notes").textContent = "";
    showBars(Object.fromEntries(run.classes.map((name) => [name, 0])), null);
    return;
  }
  said.textContent = prediction.answer;
  const share = percent(prediction.confidence);
  const sentences = [
    prediction.unknown
      ? `Too unsure to say: ${prediction.best} with ${share}, less than for ordinary pictures.`
      : `${share} sure${run.calibration ? ", calibrated on held-out images" : ""}.`,
  ];
  if (truth != null) sentences.push(truth === prediction.best ? "That is right." : `In truth: ${truth}.`);
  byId("sure").textContent = sentences.join(" ");
  byId("notes").textContent = prediction.notes.length
    ? `The picture was changed first: ${prediction.notes.join("; ")}.`
    : "";
  const shown = run.classes.length <= 12
    ? Object.fromEntries(run.classes.map((name) => [name, prediction.probabilities[name]]))
    : Object.fromEntries(Object.entries(prediction.probabilities).slice(0, MOST));
  showBars(shown, prediction.best);
}

function showBars(probabilities, best) {
  const list = byId("bars");
  const names = Object.keys(probabilities).sort(new Intl.Collator("en", { numeric: true }).compare);
  const ordered = names.length <= 12 ? names : Object.keys(probabilities);
  while (list.children.length > ordered.length) list.lastChild.remove();
  while (list.children.length < ordered.length) {
    const fill = make("span", { className: "fill" });
    list.append(
      make("li", {}, make("span", { className: "name" }), make("span", { className: "track" }, fill), make("span", { className: "share" })),
    );
  }
  ordered.forEach((name, at) => {
    const row = list.children[at];
    const share = probabilities[name];
    row.className = name === best ? "best" : "";
    row.children[0].textContent = row.children[0].title = name;
    row.children[1].firstChild.style.width = percent(share);
    row.children[2].textContent = best === null ? "" : percent(share);
  });
}

export async function showSeen(url, cam, describe) {
  const canvas = byId("seen");
  const pen = canvas.getContext("2d");
  if (!url) {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    canvas.setAttribute("aria-label", "Nothing yet");
    return;
  }
  const image = make("img", { src: url });
  await image.decode();
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  pen.drawImage(image, 0, 0);
  canvas.setAttribute("aria-label", describe);
  if (!cam) return;
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  const top = Math.max(...cam.values) || 1;
  cam.values.forEach((value, at) => {
    const heat = 0.75 * (value / top);
    [255, 140, 0].forEach((tint, channel) => {
      const place = 4 * at + channel;
      pixels.data[place] = pixels.data[place] * (1 - heat) + tint * heat;
    });
  });
  pen.putImageData(pixels, 0, 0);
}
