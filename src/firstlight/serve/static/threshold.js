// When to say "unknown": how much a threshold leaves answered, and how much of that is right.

import { chart } from "./charts.js";
import { byId, percent } from "./elements.js";

export function threshold() {
  const slider = byId("threshold");
  let sides = [];
  let drawn = null;

  // Returns the last point of a curve with at least this share of images answered.
  const pointAt = (curve, share) => curve.findLast((point) => point.coverage <= share + 1e-9) ?? curve[0];

  function say() {
    const curve = ascending(sides[0]);
    const point = curve[curve.length - 1 - Number(slider.value)];
    const words = [`Below ${exact(point.threshold)}, the answer is “unknown”: ${percent(point.coverage)} of the test images are answered, ${percent(point.accuracy, 2)} of those correctly.`];
    if (point.own) words.push("This is the threshold in use.");
    if (sides[1]) {
      const beside = pointAt(ascending(sides[1]), point.coverage);
      words.push(`With the same share answered, ${sides[1].run.name} gets ${percent(beside.accuracy, 2)} right.`);
    }
    byId("threshold-says").textContent = words.join(" ");
    slider.setAttribute("aria-valuetext", words[0]);
    drawn.mark(point.coverage);
  }

  slider.addEventListener("input", say);
  byId("own").addEventListener("click", () => {
    slider.value = own(sides[0]);
    say();
  });

  return (tested) => {
    sides = tested;
    drawn = chart({
      title: "Accuracy of the answers", across: "share answered",
      xText: (v) => percent(v, 0), yText: (v) => percent(v, 1),
      lines: sides.map((side, at) => ({
        name: sides.length > 1 ? side.run.name : "correct, of those answered",
        kind: "ab"[at],
        points: ascending(side).map((point) => [point.coverage, point.accuracy]),
      })),
    });
    byId("coverage").replaceChildren(drawn.element);
    slider.max = ascending(sides[0]).length - 1;
    byId("own").hidden = own(sides[0]) === null;
    slider.value = own(sides[0]) ?? 0;
    say();
  };
}

// The curve from the most confident answers to all, including the run's own threshold as a point.
function ascending({ run, tested }) {
  const own = run.calibration && tested.metrics.answered;
  const points = own ? [...tested.coverage, { ...own, own: true }] : [...tested.coverage];
  return points.sort((a, b) => a.coverage - b.coverage || Number(Boolean(a.own)) - Number(Boolean(b.own)));
}

const exact = (share) => percent(share, share > 0.99 ? 3 : 1);

// Returns the slider's position for the run's own threshold; null if it has none.
function own(side) {
  const at = ascending(side).findIndex((point) => point.own);
  return at < 0 ? null : ascending(side).length - 1 - at;
}
