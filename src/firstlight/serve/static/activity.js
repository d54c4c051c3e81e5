// Which maps of each activation are dead, often off, or saturated, over many test images.

import * as api from "./api.js";
import { byId, count, make, percent, shape, tip } from "./elements.js";

const MOST_NAMED = 24; // dead maps of a layer
const HIGH = 100; // of a chart, in its own units

// `failed` is called with errors; `opened` shows a map of a layer, if the layer is on the page.
export function activity(failed, opened) {
  const card = byId("activity");
  const body = byId("activity-body");
  let run = null;
  let shown = null; // the run whose maps are on the card

  async function show() {
    if (!card.open || !run || shown === run) return;
    const asked = (shown = run);
    const wanted = () => run === asked && card.open;
    body.setAttribute("aria-busy", "true");
    try {
      const found = await api.activity(run.name, wanted, (done, total) => {
        body.replaceChildren(make("p", { className: "faint" }, total ? `Looking at the test images: ${count(done)} of ${count(total)}.` : "Waits for its turn."));
      });
      if (found) body.replaceChildren(...cards(found));
      else if (shown === asked) shown = null;
    } catch (error) {
      shown = null;
      if (!wanted()) return;
      card.open = false;
      if (error.status === 404) card.hidden = true;
      failed(error);
    } finally {
      if (run === asked) body.setAttribute("aria-busy", "false");
    }
  }

  function cards({ layers, says }) {
    if (!layers.length) return [make("p", { className: "faint" }, "This network has no activations.")];
    const dead = layers.reduce((sum, layer) => sum + layer.dead.length, 0);
    const maps = layers.reduce((sum, layer) => sum + layer.off.length, 0);
    return [
      make("p", { className: "faint" }, says),
      make("p", {}, dead ? `${count(dead)} of ${count(maps)} maps are dead.` : `None of ${count(maps)} maps is dead.`),
      make("div", { className: "stubs" }, ...layers.map(stub)),
    ];
  }

  function stub(layer) {
    const values = layer.saturated ?? layer.off;
    const what = layer.saturated ? "saturated" : zeros(layer.kind);
    const sorted = [...values].sort((a, b) => a - b);
    const middle = sorted[Math.floor(sorted.length / 2)];
    const range = `${percent(middle, 0)} ${what} in the middle map, ${percent(sorted[0], 0)} to ${percent(sorted.at(-1), 0)} in all`;
    const named = layer.dead.slice(0, MOST_NAMED).map((map) => deadMap(layer, map));
    const more = layer.dead.length - named.length;
    return make("section", { className: "stub", "aria-label": `${layer.name}, ${layer.kind}` },
      make("h3", {}, layer.name),
      make("p", { className: "faint" }, `${layer.kind}, ${count(values.length)} ${values.length === 1 ? "map" : "maps"}`),
      bars(layer, values, what, range),
      make("p", { className: "faint" }, `${range}.`),
      ...(named.length ? [make("p", { className: "faint" }, `${layer.dead.length} dead: `, ...named, ...(more ? [` and ${more} more`] : []))] : []));
  }

  function deadMap(layer, map) {
    const button = make("button", { type: "button", "aria-label": `Map ${map} of ${layer.name}` }, String(map));
    button.addEventListener("click", () => opened(layer.number, map));
    return button;
  }

  card.addEventListener("toggle", show);
  return {
    open(now) {
      if (run?.name !== now.name) card.open = false;
      [run, shown] = [now, null];
      card.hidden = !run.layers;
      body.replaceChildren();
    },
  };
}

// What is not above zero is zero after a ReLU.
const zeros = (kind) => (kind.startsWith("ReLU") ? "zeros" : "not above zero");

// One bar for each map, in their order.
function bars(layer, values, what, words) {
  const svg = shape("svg", { viewBox: `0 0 ${values.length} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": words });
  const dead = new Set(layer.dead);
  const gap = values.length > 64 ? 0 : 0.15;
  values.forEach((value, map) => {
    const high = dead.has(map) ? HIGH : HIGH * value;
    svg.append(shape("rect", { x: map + gap / 2, y: HIGH - high, width: 1 - gap, height: high, class: dead.has(map) ? "dead" : "" }));
  });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const map = Math.min(values.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * values.length)));
    tip(event, `Map ${map}: ${percent(values[map])} ${what}${dead.has(map) ? ", never above zero" : ""}`);
  });
  svg.addEventListener("pointerleave", (event) => tip(event, ""));
  return svg;
}
