// Every layer's maps for one picture, each layer on its own canvas.

import { make, number, tip } from "./elements.js";
import { largest, paint, whenThemeChanges } from "./colours.js";
import { detail } from "./detail.js";

const GAP = 6;
const SIDE = 48; // CSS pixels of a map, at least
const NUMBER = 16; // and of a single number
const LARGE = 72; // and of a map, at most
const MOST_MAPS = matchMedia("(max-width: 40rem)").matches ? 12 : 32; // of a layer, until all are asked for

// `source` returns the current picture, for requests about a selected map.
export function layers(place, source) {
  let rows = [];

  function show(head, run) {
    const same = rows.length === head.layers.length && rows.every((row, at) => row.fits(head.layers[at]));
    if (!same) {
      rows = head.layers.map((layer) => layerRow(layer, source));
      place.replaceChildren(...rows.map((row) => row.element));
    }
    rows.forEach((row, at) => {
      const layer = head.layers[at];
      const isScores = layer.number === head.all_layers - 1 && layer.shape[0] === run.classes.length;
      row.show(layer, isScores ? run.classes : null);
    });
  }

  function clear() {
    for (const row of rows) row.clear();
  }

  function forget() {
    rows = [];
    place.replaceChildren();
  }

  // Shows a map of the layer with this number, if the layer is on the page.
  function open(number, channel) {
    rows.find((row) => row.number === number)?.open(channel);
  }

  const redraw = () => rows.forEach((row) => row.draw());
  new ResizeObserver(redraw).observe(place);
  whenThemeChanges(redraw);
  return { show, clear, forget, open };
}

function layerRow(layer, source) {
  const [all, height, width] = layer.shape;
  const single = height === 1 && width === 1;
  let channels = single ? all : Math.min(all, MOST_MAPS); // that are drawn
  const what = single ? `${all} numbers` : `${all} map${all === 1 ? "" : "s"} of ${width}×${height}`;
  const one = single ? "Number" : "Map";
  const canvas = make("canvas", {
    className: "maps", tabIndex: 0, role: "slider",
    "aria-label": `${layer.name}, ${what}. Arrow keys choose one, Enter shows where it looks`,
    "aria-valuemin": "0", "aria-valuemax": String(channels - 1),
  });
  const pen = canvas.getContext("2d");
  const scratch = make("canvas", { width, height });
  const scratchPen = scratch.getContext("2d", { willReadFrequently: true });
  const pixels = new ImageData(width, height);
  const below = make("div", {});
  const more = make("button", { type: "button", hidden: channels === all }, `All ${all} maps`);
  const element = make("section", { className: "layer card", "aria-label": `Layer ${layer.name}` },
    make("div", { className: "layer-head" },
      make("h3", {}, layer.name),
      make("p", { className: "faint" }, layer.name.startsWith(layer.kind) ? what : `${layer.kind}, ${what}`),
      make("p", { className: "faint explains" }, layer.says)),
    make("div", { className: "layer-maps" }, canvas, below, more));
  let values = null;
  let names = null;
  let grid = null; // columns, and CSS width and height of a map
  let chosen = 0;
  const open = detail(below, { layer, index: layer.number, one, source, named: (channel) => title(channel) });

  const title = (channel) => (names ? `Score of ${names[channel]}` : `${one} ${channel}`);

  function measure() {
    const room = canvas.parentElement.clientWidth;
    if (room < SIDE) return null;
    const scale = single ? NUMBER : width > LARGE ? LARGE / width : Math.ceil(SIDE / width);
    const [wide, high] = [Math.min(width * scale, room), height * scale];
    const columns = Math.max(1, Math.min(channels, Math.floor((room + GAP) / (wide + GAP))));
    const across = columns * (wide + GAP) - GAP;
    const down = Math.ceil(channels / columns) * (high + GAP) - GAP;
    const density = Math.min(2, devicePixelRatio);
    if (canvas.width !== Math.round(across * density) || canvas.height !== Math.round(down * density)) {
      canvas.width = Math.round(across * density);
      canvas.height = Math.round(down * density);
      canvas.style.width = `${across}px`;
    }
    return { columns, wide, high, density };
  }

  function draw() {
    grid = measure();
    if (!grid) return;
    const { columns, wide, high, density } = grid;
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingEnabled = wide * density < width;
    const top = values ? largest(values) : 0;
    for (let channel = 0; channel < channels; channel++) {
      const [x, y] = [(channel % columns) * (wide + GAP), Math.floor(channel / columns) * (high + GAP)];
      scratchPen.putImageData(paint(pixels, values ?? [], channel * width * height, width * height, top), 0, 0);
      pen.drawImage(scratch, x, y, wide, high);
    }
    if (document.activeElement === canvas || open.channel !== null) frame(open.channel ?? chosen);
  }

  function frame(channel) {
    const { columns, wide, high } = grid;
    pen.strokeStyle = getComputedStyle(canvas).color;
    pen.lineWidth = 2;
    const [x, y] = [(channel % columns) * (wide + GAP), Math.floor(channel / columns) * (high + GAP)];
    pen.strokeRect(x + 1, y + 1, wide - 2, high - 2);
  }

  // Returns channel, row and column under the mouse.
  function under(event) {
    if (!grid) return null;
    const { columns, wide, high } = grid;
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const [across, down] = [Math.floor(x / (wide + GAP)), Math.floor(y / (high + GAP))];
    const column = Math.floor(((x - across * (wide + GAP)) / wide) * width);
    const row = Math.floor(((y - down * (high + GAP)) / high) * height);
    const channel = down * columns + across;
    const inside = column >= 0 && row >= 0 && column < width && row < height;
    return inside && across < columns && channel < channels ? { channel, row, column } : null;
  }

  function told() {
    canvas.setAttribute("aria-valuenow", String(chosen));
    const part = values?.subarray(chosen * width * height, (chosen + 1) * width * height);
    const largestOf = part ? number(part.reduce((a, b) => Math.max(a, b))) : "nothing yet";
    canvas.setAttribute("aria-valuetext", `${title(chosen)}: ${single ? "" : "at most "}${largestOf}`);
  }

  canvas.addEventListener("pointermove", (event) => {
    const spot = values && under(event);
    if (!spot) return tip(event, "");
    const value = number(values[(spot.channel * height + spot.row) * width + spot.column]);
    const where = single ? "" : `, row ${spot.row}, column ${spot.column}`;
    tip(event, `${title(spot.channel)}${where}: ${value}`);
  });
  canvas.addEventListener("pointerleave", (event) => tip(event, ""));
  canvas.addEventListener("click", (event) => {
    const spot = values && under(event);
    if (!spot) return;
    chosen = spot.channel;
    choose(open.channel === chosen ? null : chosen);
  });
  canvas.addEventListener("keydown", (event) => {
    const columns = grid?.columns ?? 1;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -channels, End: channels };
    if (event.key in steps) {
      chosen = Math.min(channels - 1, Math.max(0, chosen + steps[event.key]));
      if (open.channel === null) draw();
      else choose(chosen);
    } else if (event.key === "Enter") choose(open.channel === null ? chosen : null);
    else if (event.key === "Escape") choose(null);
    else return;
    event.preventDefault();
    told();
  });
  more.addEventListener("click", () => {
    channels = all;
    more.hidden = true;
    canvas.setAttribute("aria-valuemax", String(channels - 1));
    draw();
    canvas.focus();
  });
  for (const event of ["focus", "blur"]) canvas.addEventListener(event, draw);

  function choose(channel) {
    if (!values) return;
    if (channel === null) open.close();
    else open.show(channel, values);
    draw();
  }

  told();
  return {
    element, draw, number: layer.number,
    open(channel) {
      if (channel >= channels) more.click();
      chosen = channel;
      choose(channel);
      told();
      canvas.focus({ preventScroll: true });
      element.scrollIntoView({ block: "nearest" });
    },
    fits: (other) => other.number === layer.number && other.name === layer.name && String(other.shape) === String(layer.shape),
    show(now, classNames) {
      values = now.values;
      names = classNames;
      draw();
      told();
      if (open.channel !== null) open.show(open.channel, values);
    },
    clear() {
      values = null;
      open.close();
      draw();
      told();
    },
  };
}
