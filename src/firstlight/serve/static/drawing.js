// A canvas to draw on with mouse, finger or pen: light strokes on a dark ground, as in MNIST.

import { byId } from "./elements.js";

export function drawing(changed) {
  const paper = byId("paper");
  const pen = paper.getContext("2d", { willReadFrequently: true });
  let strokes = [];
  let current = null;

  function redraw() {
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, paper.width, paper.height);
    pen.strokeStyle = "#fff";
    pen.lineCap = pen.lineJoin = "round";
    for (const stroke of strokes) {
      pen.lineWidth = stroke.width;
      pen.beginPath();
      const [first, ...rest] = stroke.points;
      pen.moveTo(first.x, first.y);
      if (rest.length === 0) pen.lineTo(first.x + 0.01, first.y);
      for (const point of rest) pen.lineTo(point.x, point.y);
      pen.stroke();
    }
  }

  function place(event) {
    const box = paper.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) * paper.width) / box.width,
      y: ((event.clientY - box.top) * paper.height) / box.height,
    };
  }

  function told() {
    redraw();
    byId("undo").disabled = byId("clear").disabled = strokes.length === 0;
    changed(strokes.length > 0 ? picture : null);
  }

  const picture = () => new Promise((resolve) => paper.toBlob(resolve, "image/png"));

  paper.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    paper.setPointerCapture(event.pointerId);
    current = { width: Number(byId("brush").value), points: [place(event)] };
    strokes.push(current);
    told();
  });
  paper.addEventListener("pointermove", (event) => {
    if (!current) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) current.points.push(place(each));
    told();
  });
  for (const end of ["pointerup", "pointercancel"]) paper.addEventListener(end, () => (current = null));

  const undo = () => {
    strokes.pop();
    told();
  };
  byId("undo").addEventListener("click", undo);
  paper.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z") undo();
  });
  const clear = () => {
    strokes = [];
    current = null;
    redraw();
    byId("undo").disabled = byId("clear").disabled = true;
  };
  byId("clear").addEventListener("click", () => {
    clear();
    changed(null);
  });
  clear();
  return { clear };
}
