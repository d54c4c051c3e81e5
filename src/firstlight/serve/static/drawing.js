// A canvas to draw on with mouse, finger, pen or keys: light strokes on a dark background, as in
// MNIST.

import { byId } from "./elements.js";

const STEP = 10;
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

// `changed` is called after every part of a stroke, with whether anything is drawn.
export function drawing(changed) {
  const paper = byId("paper");
  const pen = paper.getContext("2d", { willReadFrequently: true });
  const cursor = byId("pen");
  let strokes = [];
  let current = null;
  let at = { x: paper.width / 2, y: paper.height / 2 };

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
    byId("undo").disabled = byId("clear").disabled = strokes.length === 0;
    byId("hint").hidden = strokes.length > 0;
  }

  function told() {
    redraw();
    changed(strokes.length > 0);
  }

  function begin(point, pointer) {
    current = { width: Number(byId("brush").value), points: [point], pointer };
    strokes.push(current);
    told();
  }

  function place(event) {
    const box = paper.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) * paper.width) / box.width,
      y: ((event.clientY - box.top) * paper.height) / box.height,
    };
  }

  paper.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || current) return; // a second finger draws nothing
    paper.setPointerCapture(event.pointerId);
    begin(place(event), event.pointerId);
  });
  paper.addEventListener("pointermove", (event) => {
    if (current?.pointer !== event.pointerId) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) current.points.push(place(each));
    told();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    paper.addEventListener(end, (event) => {
      if (current?.pointer === event.pointerId) current = null;
    });
  }

  function undo() {
    if (!strokes.length) return;
    strokes.pop();
    current = null;
    told();
  }

  function showPen() {
    const down = current?.pointer === "keys";
    cursor.classList.toggle("down", down);
    cursor.style.left = `${(100 * at.x) / paper.width}%`;
    cursor.style.top = `${(100 * at.y) / paper.height}%`;
    byId("pen-says").textContent = down ? "Pen down." : "Pen up.";
  }

  paper.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z") undo();
    else if (event.key === " ") {
      if (current?.pointer === "keys") current = null;
      else if (!current) begin({ ...at }, "keys");
    } else if (event.key in ARROWS && !event.altKey && !event.ctrlKey && !event.metaKey) {
      const [x, y] = ARROWS[event.key];
      at = {
        x: Math.min(paper.width, Math.max(0, at.x + x)),
        y: Math.min(paper.height, Math.max(0, at.y + y)),
      };
      if (current?.pointer === "keys") {
        current.points.push({ ...at });
        told();
      }
    } else return;
    event.preventDefault();
    showPen();
  });
  paper.addEventListener("blur", () => {
    if (current?.pointer === "keys") current = null;
    showPen();
  });
  byId("undo").addEventListener("click", undo);

  function clear() {
    strokes = [];
    current = null;
    redraw();
  }
  byId("clear").addEventListener("click", () => {
    clear();
    changed(false);
  });
  clear();
  showPen();
  // Browsers put off toBlob until they are idle, up to a tenth of a second; this takes 2 ms.
  const picture = () => {
    const content = atob(paper.toDataURL("image/png").split(",")[1]);
    return new Blob([Uint8Array.from(content, (letter) => letter.charCodeAt(0))], { type: "image/png" });
  };
  return { clear, picture };
}
