// The answer: its name, its confidence, and a bar for every class.

import { byId, make, percent, sureness } from "./elements.js";

const FEW = 12; // as many classes stand in their own order; of more, the likely ones come first
const MOST = 100;

export function showAnswer(prediction, run, truth) {
  byId("answer").textContent = prediction ? prediction.answer : "–";
  // On a phone the answer stays visible while the user draws.
  byId("answer-now").textContent = byId("answer").textContent;
  byId("sure-now").textContent = prediction && !prediction.labels ? sureness(prediction.confidence) : "";
  byId("sure").textContent = prediction ? howSure(prediction, run, truth) : "";
  byId("notes").textContent = prediction?.notes.length
    ? `The picture was changed first: ${prediction.notes.join("; ")}.`
    : "";
  showBars(byId("bars"), prediction, run);
}

export function howSure(prediction, run, truth) {
  if (prediction.labels) return ofLabels(prediction, run, truth);
  const share = sureness(prediction.confidence);
  const sentences = [
    prediction.unknown
      ? `Not confident enough to answer. The best guess is ${prediction.best}: ${prediction.reason}.`
      : `${share} confident${run.calibration ? ", calibrated on held-out images" : ", not calibrated; it never answers “unknown”"}.`,
  ];
  sentences[0] = sentences[0][0].toUpperCase() + sentences[0].slice(1);
  if (truth != null) {
    sentences.push(truth === prediction.best ? `Correct: it is ${truth}.` : `Actually it is ${truth}.`);
  }
  return sentences.join(" ");
}

function ofLabels(prediction, run, truth) {
  const given = prediction.labels.map((name) => `${name} ${percent(prediction.probabilities[name])}`);
  const sentences = [
    given.length ? `${given.join(", ")}.` : "No label reaches its threshold.",
    run.calibration ? "Calibrated on held-out images." : "Not calibrated.",
  ];
  if (truth != null) sentences.push(truth === prediction.answer ? `Correct: it is ${truth}.` : `Actually it is ${truth}.`);
  return sentences.join(" ");
}

// A bar for each class in the list, which may be without a prediction.
export function showBars(list, prediction, run) {
  // An object's keys may be numbers, which JavaScript would sort.
  const shares = new Map(prediction ? Object.entries(prediction.probabilities) : []);
  const names = [...run.classes];
  if (names.length > FEW) names.sort((a, b) => (shares.get(b) ?? 0) - (shares.get(a) ?? 0));
  const shown = names.slice(0, MOST);
  while (list.children.length > shown.length) list.lastChild.remove();
  while (list.children.length < shown.length) {
    const fill = make("span", { className: "fill" });
    list.append(
      make("li", {}, make("span", { className: "name" }), make("span", { className: "track" }, fill), make("span", { className: "share" })),
    );
  }
  list.classList.toggle("many", names.length > FEW);
  if (names.length > FEW) list.tabIndex = 0; // it scrolls, also by keys
  else list.removeAttribute("tabindex");
  list.style.setProperty("--longest", `${Math.max(...names.map((name) => name.length))}ch`);
  shown.forEach((name, at) => {
    const row = list.children[at];
    const share = shares.get(name) ?? 0;
    row.className = (prediction?.labels ? prediction.labels.includes(name) : name === prediction?.best) ? "best" : "";
    row.children[0].textContent = row.children[0].title = name;
    row.children[1].firstChild.style.width = `${100 * share}%`;
    row.children[2].textContent = prediction ? percent(share) : "";
  });
}
