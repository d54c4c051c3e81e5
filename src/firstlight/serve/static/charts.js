// Line charts as SVG, in little code.

import { make, shape, tip } from "./elements.js";

const [WIDTH, HEIGHT] = [420, 250];
const [LEFT, RIGHT, TOP, BOTTOM] = [62, 14, 10, 40];

// Returns about `wanted` round numbers from low to high.
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * unit).find((s) => s >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}

function span(values, floor) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * 0.06 || Math.abs(high) * 0.02 || 1;
  if (floor !== undefined) return [floor, Math.max(high, floor + 1)];
  return [low - room, high + room];
}

// `lines`: {name, kind, points: [[x, y], …]}; `kind` selects colour and dash in the style sheet.
// Returns the figure, whose `mark(x)` draws a vertical line. `up` replaces the title above it.
export function chart({ title, lines, across, up = title, xText, yText, whole = false }) {
  const drawn = lines.filter((line) => line.points.length);
  const xs = drawn.flatMap((line) => line.points.map((point) => point[0]));
  const ys = drawn.flatMap((line) => line.points.map((point) => point[1]));
  const [x0, x1] = whole ? [Math.min(...xs) - (xs.length ? 0.25 : 0), Math.max(...xs) + 0.25] : span(xs);
  const [y0, y1] = span(ys);
  const x = (value) => LEFT + ((value - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const last = drawn.map((line) => `${line.name} ${yText(line.points.at(-1)[1])}`).join(", ");
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}, final values: ${last}` });
  for (const value of ticks(y0, y1, 5)) {
    svg.append(shape("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    svg.append(shape("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, yText(value)));
  }
  const steps = ticks(x0, x1, 5).filter((value) => !whole || Number.isInteger(value));
  for (const value of steps) svg.append(shape("text", { x: x(value), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, xText(value)));
  svg.append(shape("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, across));
  for (const { points, kind } of drawn) {
    const path = points.map(([a, b], at) => `${at ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    svg.append(shape("path", { class: kind, d: path }));
    if (points.length <= 12) for (const [a, b] of points) svg.append(shape("circle", { class: `dot ${kind}`, cx: x(a), cy: y(b), r: 3.5 }));
  }
  const line = shape("line", { class: "mark", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  svg.append(line);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = x0 + (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT) * (x1 - x0);
    const texts = drawn.map(({ name, points }) => {
      const near = points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));
      return `${across} ${xText(near[0])}, ${name}: ${yText(near[1])}`;
    });
    tip(event, texts.join("\n"));
  });
  svg.addEventListener("pointerleave", (event) => tip(event, ""));
  const legend = drawn.map(({ name, kind }) => make("span", { className: `legend ${kind}` }, name));
  const element = make("figure", { className: "chart" }, make("h3", {}, up), svg, make("figcaption", {}, ...legend));
  return {
    element,
    mark(value) {
      line.setAttribute("x1", x(value));
      line.setAttribute("x2", x(value));
      line.setAttribute("visibility", "visible");
    },
  };
}
