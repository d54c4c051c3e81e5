// The size of each layer's weights, gradients and updates over the epochs, as small lines.

import { byId, make, number, shape, tip } from "./elements.js";

const [WIDTH, HEIGHT, EDGE] = [120, 30, 3];
/** @type {[string, string, (value: number) => string][]} */
const FIGURES = [
  ["weights", "weights", number],
  ["gradients", "gradients", number],
  ["update", "change in one step", (share) => `${number(100 * share)}\u00a0%`],
];

export function sizes(layers) {
  byId("sizes").hidden = layers.length === 0;
  const head = ["layer", ...FIGURES.map(([, title]) => title)];
  byId("sizes-table").replaceChildren(
    make("thead", {}, make("tr", {}, ...head.map((title) => make("th", { scope: "col" }, title)))),
    make("tbody", {}, ...layers.map((layer) => make("tr", {},
      make("th", { scope: "row" }, layer.layer),
      ...FIGURES.map(([key, , text]) => make("td", {}, line(layer, key, text), make("span", {}, text(layer[key].at(-1))))))))
  );
}

// On a logarithmic scale of its own, of at least a factor of two.
function line(layer, key, text) {
  const [epoch, values] = [layer.epoch, layer[key]];
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `from ${text(values[0])} to ${text(values.at(-1))}` });
  const logs = values.map((value) => (value > 0 ? Math.log2(value) : null));
  const known = logs.filter((value) => value !== null);
  const middle = (Math.min(...known) + Math.max(...known)) / 2;
  const reach = Math.max(0.5, (Math.max(...known) - Math.min(...known)) / 2);
  const x = (at) => EDGE + ((WIDTH - 2 * EDGE) * at) / Math.max(1, values.length - 1);
  const y = (value) => HEIGHT / 2 - ((value - middle) / reach) * (HEIGHT / 2 - EDGE);
  const points = logs.map((value, at) => (value === null ? "" : `${x(at).toFixed(1)},${y(value).toFixed(1)}`)).filter(Boolean);
  svg.append(points.length === 1 ? shape("circle", { cx: points[0].split(",")[0], cy: points[0].split(",")[1], r: 2 }) : shape("polyline", { points: points.join(" ") }));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = Math.round((((event.clientX - box.left) / box.width) * WIDTH - EDGE) / ((WIDTH - 2 * EDGE) / Math.max(1, values.length - 1)));
    const place = Math.min(values.length - 1, Math.max(0, at));
    tip(event, `epoch ${epoch[place]}: ${text(values[place])}`);
  });
  svg.addEventListener("pointerleave", (event) => tip(event, ""));
  return svg;
}
