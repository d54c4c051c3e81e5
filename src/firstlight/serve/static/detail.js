// One map in detail: its numbers, its filter, and the pixels that change it.

import { oneMap } from "./api.js";
import { largest, paint } from "./colours.js";
import { cellAt, make, notice, number, tip } from "./elements.js";
import { exciting } from "./exciting.js";
import { newest } from "./newest.js";
import { seenPixels, warmed } from "./seen.js";
import { switchedOff } from "./switched_off.js";

const MOST_FILTERS = 64;

export function detail(place, { layer, index, one, source, named }) {
  const [, height, width] = layer.shape;
  const state = { channel: null, show, close };
  const [off, excited] = [switchedOff(index, source), exciting(index, source)];
  const beyond = make("div", { className: "beyond" }, off.element, excited.element);
  const whole = make("div", { role: "group" }, make("div"), beyond);

  const ask = newest(async ({ channel, values }) => {
    const { run, picture, series } = source();
    if (!picture) return;
    try {
      const found = await oneMap(run.name, picture, index, channel);
      if (state.channel === channel && source().series === series) draw(channel, values, found);
    } catch (error) {
      notice(error.message);
    }
  });

  function show(channel, values) {
    state.channel = channel;
    if (!place.firstChild) place.append(make("div", { className: "detail" }, make("p", { className: "faint" }, "…")));
    ask({ channel, values });
    off.show(channel);
    excited.show(channel);
  }

  function close() {
    state.channel = null;
    off.show(null);
    excited.show(null);
    place.replaceChildren();
  }

  function draw(channel, values, found) {
    const shut = make("button", { type: "button", className: "shut", "aria-label": "Close" }, "×");
    shut.addEventListener("click", () => {
      close();
      place.previousElementSibling.focus();
    });
    const figures = [];
    if (width * height > 1) {
      const part = values.slice(channel * width * height, (channel + 1) * width * height);
      figures.push(figure(grid(part, width, height, found), `${named(channel)}. Its largest value is ${number(found.value)}, framed: row ${found.row}, column ${found.column}.`));
    }
    const seen = seenPixels();
    const moves = found.pixels.flat();
    const about = width * height > 1 ? "that value" : `${named(channel).toLowerCase()}, now ${number(found.value)},`;
    const where = largest(moves) > 0
      ? `Where it looks: the brighter a pixel, the more it changes ${about}.`
      : `Where it looks: no pixel changes ${about} for this picture.`;
    figures.push(figure(looks(seen, moves), where));
    if (found.filter) figures.push(filterFigure(found));
    const drawn = make("div", { className: "detail" }, ...figures, shut);
    whole.setAttribute("aria-label", `${one} ${channel} of ${layer.name}`);
    // What is beyond stays in the page, so that it keeps the focus.
    whole.firstChild.replaceWith(drawn);
    if (!whole.isConnected) place.replaceChildren(whole);
  }
  return state;
}

const figure = (content, words) => make("figure", {}, content, make("figcaption", {}, words));

function shown(pixels, words) {
  const canvas = make("canvas", { width: pixels.width, height: pixels.height, role: "img", "aria-label": words });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function hover(canvas, values, width, height) {
  canvas.addEventListener("pointermove", (event) => {
    const spot = cellAt(event, canvas, width, height);
    tip(event, spot ? `row ${spot[1]}, column ${spot[0]}: ${number(values[spot[1] * width + spot[0]])}` : "");
  });
  canvas.addEventListener("pointerleave", (event) => tip(event, ""));
  return canvas;
}

// A map with a frame around its largest value.
function grid(values, width, height, found) {
  const scale = Math.max(1, Math.round(240 / Math.max(width, height)));
  const small = shown(paint(new ImageData(width, height), values, 0, values.length, largest(values)), "");
  const canvas = make("canvas", { width: width * scale, height: height * scale, role: "img", "aria-label": "The map" });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  pen.lineWidth = 2;
  pen.strokeStyle = getComputedStyle(document.body).color;
  pen.strokeRect(found.column * scale + 1, found.row * scale + 1, Math.max(2, scale - 2), Math.max(2, scale - 2));
  return hover(canvas, values, width, height);
}

function looks(seen, moves) {
  return hover(shown(warmed(seen, moves), "The picture; pixels that change the value are bright"), moves, seen.width, seen.height);
}

// The filter as applied to the picture, in colour; a deeper filter as one square per input map,
// those with the largest weights first.
function filterFigure(found) {
  const [rows, columns] = [found.filter[0].length, found.filter[0][0].length];
  const flat = found.filter.map((square) => square.flat());
  if (found.first && flat.length === 3) {
    const size = largest(flat.flat()) || 1;
    const pixels = new ImageData(columns, rows);
    for (let at = 0; at < rows * columns; at++) {
      for (let channel = 0; channel < 3; channel++) pixels.data[4 * at + channel] = 127.5 + 127.5 * (flat[channel][at] / size);
      pixels.data[4 * at + 3] = 255;
    }
    return figure(shown(pixels, "The filter"), `Its filter, ${columns}×${rows} pixels, in the colours it responds to; grey is zero.`);
  }
  const order = flat.map((_, at) => at).sort((a, b) => largest(flat[b]) - largest(flat[a]));
  const some = order.slice(0, MOST_FILTERS);
  const across = Math.ceil(Math.sqrt(some.length));
  const down = Math.ceil(some.length / across);
  const scale = Math.max(2, Math.floor(240 / (across * (columns + 0.5))));
  const step = [columns * scale + scale / 2, rows * scale + scale / 2];
  const canvas = make("canvas", { width: across * step[0] - scale / 2, height: down * step[1] - scale / 2, role: "img", "aria-label": "The filter" });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  const top = largest(flat.flat());
  some.forEach((map, at) => {
    const square = shown(paint(new ImageData(columns, rows), flat[map], 0, rows * columns, top), "");
    pen.drawImage(square, (at % across) * step[0], Math.floor(at / across) * step[1], columns * scale, rows * scale);
  });
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) * (canvas.width / box.width), (event.clientY - box.top) * (canvas.height / box.height)];
    const map = some[Math.floor(y / step[1]) * across + Math.floor(x / step[0])];
    const [column, row] = [Math.floor((x % step[0]) / scale), Math.floor((y % step[1]) / scale)];
    const inside = map !== undefined && column < columns && row < rows;
    tip(event, inside ? `${flat.length > 1 ? `from map ${map}: ` : ""}${number(flat[map][row * columns + column])}` : "");
  });
  canvas.addEventListener("pointerleave", (event) => tip(event, ""));
  const many = some.length < flat.length ? `; the ${MOST_FILTERS} of ${flat.length} with the largest weights` : "";
  return figure(canvas, flat.length === 1
    ? `Its filter, ${columns}×${rows}.`
    : `Its filter, ${columns}×${rows} for each input map${many}.`);
}
