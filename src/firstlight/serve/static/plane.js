// The test images in two dimensions, by their features: chosen points open their pictures, and a
// class or a cell of the confusion matrix lights its points.

import * as api from "./api.js";
import { classColour, whenThemeChanges } from "./colours.js";
import { byId, count, make, sureness } from "./elements.js";

const [NEAR, MARGIN] = [14, 14]; // CSS pixels: how far a pointer may miss a point; around the points
const NEAREST = 12; // pictures shown for one point: itself and those around it
const MOST_NAMED = 40; // classes with a button each
const MOST_THUMBNAILS = 200; // kept in memory
const CHOSEN = "chosen here";
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// `failed` is called with errors; `chosen` shows pictures with a title and a remark on their order.
export function plane(failed, chosen) {
  const card = byId("plane-card");
  const canvas = byId("plane");
  const pen = canvas.getContext("2d");
  const thumbnail = byId("plane-thumbnail");
  const thumbnails = new Map(); // addresses of pictures in memory, by number
  let run = null;
  let arranged = new Map(); // what was found, by way
  let found = null; // what is on the plane
  let at = []; // x and y of each point in CSS pixels
  let lit = null; // which points; null for all
  let why = ""; // they are lit
  let current = -1; // the point under the pointer or the keys
  let corner = null; // where a rectangle begins, and where it is now

  const way = () => byId("plane-way").value;
  const named = (label) => (Array.isArray(label) ? label.map((one) => run.classes[one]).join(";") || "(none)" : run.classes[label]);
  const isOf = (point, label) => (Array.isArray(point.truth) ? point.truth.includes(label) : point.truth === label);
  const words = (point) => `Test image ${point.index}: ${named(point.truth)}${point.right ? ", correct" : `, taken for ${named(point.said)}`}${point.confidence === null ? "" : `, ${sureness(point.confidence)} confident`}`;

  async function show() {
    if (!run || card.hidden) return;
    const [asked, by] = [run, way()];
    const wanted = () => run === asked && way() === by;
    if (!arranged.has(by)) {
      card.setAttribute("aria-busy", "true");
      try {
        const got = await api.plane(asked.name, by, wanted, (done, total) => {
          byId("plane-says").textContent = total && done < total
            ? `Looking at the test images: ${count(done)} of ${count(total)}.`
            : by === "tsne" ? "Arranging the images; this takes up to a minute." : "Arranging the images.";
        });
        if (!got) return;
        arranged.set(by, got);
      } catch (error) {
        if (!wanted()) return;
        card.setAttribute("aria-busy", "false");
        if (arranged.size === 0) card.hidden = true; // there are no test images, or no features
        else byId("plane-way").value = found.way;
        if (error.status !== 404) failed(error);
        return;
      }
    }
    found = { ...arranged.get(by), way: by };
    byId("plane-says").textContent = found.says;
    const option = byId("plane-way").options[1];
    option.disabled = !found.tsne;
    option.textContent = found.tsne ? "t-SNE" : "t-SNE (needs scikit-learn)";
    byId("plane-missing").hidden = found.tsne;
    legend();
    card.setAttribute("aria-busy", "false");
    place();
  }

  // Both axes have the same scale.
  function place() {
    const wide = canvas.parentElement.clientWidth;
    if (!found || wide < 2 * MARGIN) return;
    const high = Math.min(wide, 520);
    const density = Math.min(2, devicePixelRatio);
    [canvas.width, canvas.height] = [Math.round(wide * density), Math.round(high * density)];
    canvas.style.height = `${high}px`;
    const ends = ["x", "y"].map((axis) => {
      const values = found.points.map((point) => point[axis]);
      return [Math.min(...values), Math.max(...values)];
    });
    const [[left, right], [bottom, top]] = ends;
    const scale = Math.min((wide - 2 * MARGIN) / (right - left || 1), (high - 2 * MARGIN) / (top - bottom || 1));
    at = found.points.map(({ x, y }) => [wide / 2 + (x - (left + right) / 2) * scale, high / 2 - (y - (bottom + top) / 2) * scale]);
    draw();
  }

  function draw() {
    if (!found) return;
    const style = getComputedStyle(document.documentElement);
    const [ink, tint, bad] = ["--ink", "--tint", "--bad"].map((name) => style.getPropertyValue(name).trim());
    const density = Math.min(2, devicePixelRatio);
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const byClass = byId("plane-colour").value === "class";
    const size = found.points.length > 600 ? 2.6 : 3.6;
    const colours = run.classes.map((_, label) => classColour(label, run.classes.length));
    const order = [...found.points.keys()];
    const front = (point) => (isLit(point) ? 2 : 0) + (found.points[point].right ? 0 : 1);
    order.sort((a, b) => front(a) - front(b));
    for (const number of order) {
      const point = found.points[number];
      const [x, y] = at[number];
      pen.globalAlpha = isLit(number) ? 0.9 : 0.13;
      pen.fillStyle = pen.strokeStyle = byClass ? colours[point.truth] ?? tint : point.right ? tint : bad;
      if (point.right) {
        pen.beginPath();
        pen.arc(x, y, size, 0, 2 * Math.PI);
        pen.fill();
      } else cross(x, y, size + 1.5);
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = ink;
    pen.lineWidth = 1.5;
    if (current >= 0) {
      pen.beginPath();
      pen.arc(...at[current], size + 4, 0, 2 * Math.PI);
      pen.stroke();
    }
    if (corner?.to) {
      pen.setLineDash([4, 3]);
      pen.strokeRect(corner.from[0], corner.from[1], corner.to[0] - corner.from[0], corner.to[1] - corner.from[1]);
      pen.setLineDash([]);
    }
  }

  const isLit = (number) => lit === null || lit.has(number);

  // A wrong answer, whatever the colours.
  function cross(x, y, size) {
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(x - size, y - size);
    pen.lineTo(x + size, y + size);
    pen.moveTo(x + size, y - size);
    pen.lineTo(x - size, y + size);
    pen.stroke();
  }

  function legend() {
    const classes = run.classes.length <= MOST_NAMED ? run.classes : [];
    const coloured = byId("plane-colour").value === "class";
    const items = classes.map((name, label) => {
      const button = make("button", { type: "button", "aria-pressed": "false", title: name }, name);
      button.classList.toggle("plain-swatch", !coloured);
      button.addEventListener("click", () => {
        const was = button.getAttribute("aria-pressed") === "true";
        light(was ? null : (point) => isOf(point, label), `of ${name}`);
        if (!was) button.setAttribute("aria-pressed", "true");
      });
      return make("li", {}, button);
    });
    const wrong = make("button", { type: "button", "aria-pressed": "false", className: "wrong-swatch" }, "wrong answers");
    wrong.addEventListener("click", () => {
      const was = wrong.getAttribute("aria-pressed") === "true";
      light(was ? null : (point) => !point.right, "with a wrong answer");
      if (!was) wrong.setAttribute("aria-pressed", "true");
    });
    byId("plane-legend").replaceChildren(...items, make("li", {}, wrong));
    swatches();
    tellLit();
  }

  function swatches() {
    [...byId("plane-legend").querySelectorAll("button:not(.wrong-swatch)")].forEach((button, label) =>
      button.style.setProperty("--swatch", classColour(label, run.classes.length)));
  }

  // Lights the points that a function accepts; null for all.
  function light(accepts, reason) {
    lit = accepts && found ? new Set([...found.points.keys()].filter((number) => accepts(found.points[number]))) : null;
    why = lit ? reason : "";
    for (const button of byId("plane-legend").querySelectorAll("[aria-pressed=true]")) button.setAttribute("aria-pressed", "false");
    tellLit();
    draw();
  }

  function tellLit() {
    const all = found ? count(found.points.length) : "";
    byId("plane-lit").textContent = lit ? `${count(lit.size)} of ${all} images, ${why}.` : `${all} images; a cross is a wrong answer.`;
    byId("plane-all").hidden = !lit;
  }

  function choose(numbers, title, remark) {
    const points = numbers.map((number) => found.points[number]);
    const taken = new Set(points);
    light((point) => taken.has(point), CHOSEN);
    chosen(run, title, points, remark);
  }

  function chooseAround(number) {
    const far = (other) => Math.hypot(at[other][0] - at[number][0], at[other][1] - at[number][1]);
    const near = [...at.keys()].sort((a, b) => far(a) - far(b)).slice(0, NEAREST);
    choose(near, `Around test image ${found.points[number].index}`, "the nearest on the map first");
  }

  function chooseInside({ from, to }) {
    const between = (value, a, b) => value >= Math.min(a, b) && value <= Math.max(a, b);
    const inside = [...at.keys()].filter((number) => [0, 1].every((axis) => between(at[number][axis], from[axis], to[axis])));
    if (!inside.length) {
      light(null);
      return;
    }
    const sure = (number) => found.points[number].right * 2 + (found.points[number].confidence ?? 0);
    inside.sort((a, b) => sure(a) - sure(b));
    choose(inside, `${count(inside.length)} ${inside.length === 1 ? "image" : "images"} of the map`, "wrong answers first, then the least confident");
  }

  async function look(number) {
    if (number === current) return;
    current = number;
    draw();
    const point = found?.points[number];
    byId("plane-at").textContent = point ? words(point) : "";
    thumbnail.hidden = true;
    if (!point) return;
    try {
      const address = await pictureOf(point.index);
      if (current !== number) return;
      thumbnail.src = address;
      thumbnail.hidden = false;
      const [x, y] = at[number];
      const side = x > canvas.clientWidth / 2 ? x - 84 : x + 14;
      Object.assign(thumbnail.style, { left: `${side}px`, top: `${Math.min(Math.max(0, y - 35), canvas.clientHeight - 70)}px` });
    } catch (error) {
      if (error.status !== 404) failed(error);
    }
  }

  async function pictureOf(index) {
    const known = thumbnails.get(index);
    if (known) return known;
    const address = URL.createObjectURL(await api.testImage(run.name, index));
    thumbnails.set(index, address);
    if (thumbnails.size > MOST_THUMBNAILS) {
      const [oldest, old] = thumbnails.entries().next().value;
      thumbnails.delete(oldest);
      URL.revokeObjectURL(old);
    }
    return address;
  }

  const where = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  function under(event) {
    const [x, y] = where(event);
    let [best, least] = [-1, NEAR];
    at.forEach((place, number) => {
      const far = Math.hypot(place[0] - x, place[1] - y);
      if (far < least && (isLit(number) || best < 0)) [best, least] = [number, far];
    });
    return best;
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!found || event.button !== 0) return;
    corner = { from: where(event), to: null, pointer: event.pointerId };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!found) return;
    if (corner?.pointer !== event.pointerId) {
      look(under(event));
      return;
    }
    const now = where(event);
    if (corner.to || Math.hypot(now[0] - corner.from[0], now[1] - corner.from[1]) > 5) {
      look(-1);
      corner.to = now;
      draw();
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (corner?.pointer !== event.pointerId) return;
    const done = corner;
    corner = null;
    if (done.to) chooseInside(done);
    else {
      const number = under(event);
      look(number);
      if (number >= 0) chooseAround(number);
      else light(null);
    }
  });
  canvas.addEventListener("pointercancel", () => {
    corner = null;
    draw();
  });
  canvas.addEventListener("pointerleave", () => look(-1));
  canvas.addEventListener("blur", () => look(-1));

  // The next point in a direction: near, and not too far aside.
  function next([right, down]) {
    const open = (number) => why === CHOSEN || isLit(number);
    if (current < 0) return at.findIndex((_, number) => open(number));
    const [x, y] = at[current];
    let [best, least] = [current, Infinity];
    at.forEach(([a, b], number) => {
      const along = (a - x) * right + (b - y) * down;
      const aside = Math.abs((a - x) * down) + Math.abs((b - y) * right);
      const far = along + 2 * aside;
      if (open(number) && along > 0.5 && aside <= along && far < least) [best, least] = [number, far];
    });
    return best;
  }

  canvas.addEventListener("keydown", (event) => {
    if (!found) return;
    if (event.key in ARROWS && !event.altKey && !event.ctrlKey && !event.metaKey) look(next(ARROWS[event.key]));
    else if (event.key === "Enter" && current >= 0) chooseAround(current);
    else if (event.key === "Escape") light(null);
    else return;
    event.preventDefault();
  });

  byId("plane-way").addEventListener("change", show);
  byId("plane-colour").addEventListener("change", () => {
    if (!found) return;
    legend();
    light(null);
  });
  byId("plane-all").addEventListener("click", () => light(null));
  new ResizeObserver(place).observe(canvas.parentElement);
  whenThemeChanges(() => {
    swatches();
    draw();
  });
  // Its features take a while, so it begins when it comes into view.
  let seen = false;
  new IntersectionObserver(([entry]) => {
    seen = entry.isIntersecting;
    if (seen && !found) show();
  }).observe(card);

  return {
    // Of a run without layers or test images nothing is shown.
    open(now) {
      if (run === now) return;
      run = now;
      for (const address of thumbnails.values()) URL.revokeObjectURL(address);
      thumbnails.clear();
      [arranged, found, lit, current] = [new Map(), null, null, -1];
      thumbnail.hidden = true;
      pen.clearRect(0, 0, canvas.width, canvas.height);
      card.hidden = !run.layers;
      byId("plane-says").textContent = byId("plane-lit").textContent = byId("plane-at").textContent = "";
      byId("plane-way").value = "pca";
      byId("plane-colour").value = run.labels || run.classes.length > MOST_NAMED ? "right" : "class";
      byId("plane-colour").parentElement.hidden = Boolean(run.labels);
      byId("plane-legend").replaceChildren();
      if (seen) show();
    },
    cell(truth, said) {
      light((point) => point.truth === truth && point.said === said, `${run.classes[truth]} predicted as ${run.classes[said]}`);
    },
  };
}
