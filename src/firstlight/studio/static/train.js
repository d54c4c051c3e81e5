// The view "Train": choose what to train, watch it, and the queue.

import * as api from "../api.js";
import { chart } from "../charts.js";
import { byId, count, find, make, percent, sureness } from "../elements.js";
import { clock } from "./clock.js";
import { kept } from "./network.js";

const EVERY = 700; // ms between looks while something trains
const RARELY = 5000; // ms between looks otherwise
const TIMES = [null, 10, 20, 30, 60, 120, 180, 300, 600, 1800, 3600]; // seconds

const STATES = { waiting: "waits", training: "is training", finished: "finished", stopped: "stopped", failed: "failed" };
const at = (training, rest = "") => `api/studio/trainings/${training.number}${rest}`;

// How far a training is, in words.
export function told({ state, progress }) {
  if (state === "waiting") return "Starts when the trainings before it have finished.";
  if (state === "training" && !progress.stage) return "Starting.";
  if (state === "training" && progress.stage === "preparing") return `Preparing: ${progress.says?.at(-1) ?? "reading the images"}`;
  if (state === "training" && progress.stage === "evaluating") return "Evaluating on the test images.";
  const parts = [];
  if (state === "finished" && progress.tested) {
    const { accuracy, images } = progress.tested;
    parts.push(`${percent(accuracy, 2)} of ${count(images)} test image${images === 1 ? "" : "s"} right`);
  }
  if (progress.epochs) parts.push(`epoch ${progress.epoch || 1} of ${progress.epochs}`);
  if (progress.loss != null) parts.push(`loss ${progress.loss.toFixed(3)}`, `accuracy ${percent(progress.accuracy)}`);
  if (state === "training" && progress.images_per_second) parts.push(`${count(Math.round(progress.images_per_second))} images per second`);
  if (state === "training" && progress.seconds_left != null) parts.push(`${clock(progress.seconds_left)} left`);
  return parts.join(" · ");
}

// `studio` knows the folder and the sets; `reload` fetches the runs again.
export function training({ studio, failed, reload }) {
  let shown = false;
  let timer = null;
  let all = [];
  let chosen = null; // the number of the training that is shown, or null for the latest
  let drawn = ""; // what the curves show
  let looks = null; // the answers of the strip
  let states = "";

  const guarded = (work) => async (...given) => {
    try {
      return await work(...given);
    } catch (error) {
      failed(error);
    }
  };

  function time() {
    const seconds = TIMES[byId("train-time").value];
    byId("train-time-says").value = seconds ? `about ${clock(seconds)}` : "set by the recipe";
    return seconds;
  }

  function fill() {
    const before = studio.chosen ?? byId("train-data").value;
    studio.chosen = null;
    const here = studio.sets.filter((set) => set.here && (set.named || set.classes.length > 1));
    const group = (label, sets) => make("optgroup", { label }, ...sets.map((set) => make("option", { value: set.word }, set.title)));
    byId("train-data").replaceChildren(
      ...[["Your pictures", here.filter((set) => !set.named)], ["Named data sets", here.filter((set) => set.named)]]
        .filter(([, sets]) => sets.length)
        .map(([label, sets]) => group(label, sets)),
    );
    if (here.some((set) => set.word === before)) byId("train-data").value = before;
    networks();
  }

  function networks() {
    const set = studio.sets.find((one) => one.word === byId("train-data").value);
    const { backbone } = studio.about;
    const options = [["", "chosen for the data"]];
    if (kept()) options.push(["mine", "yours, from Network"]);
    if (backbone) options.push([`from:${backbone}`, `pretrained: ${backbone}`]);
    if (set && !set.named) options.push(["from:none", "from scratch"]);
    const before = byId("train-network").value;
    byId("train-network").replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
    if (options.some(([value]) => value === before)) byId("train-network").value = before;
    says();
  }

  function says() {
    const set = studio.sets.find((one) => one.word === byId("train-data").value);
    const texts = [];
    if (set) texts.push(`${count(set.images)} images in ${set.classes.length} classes.`);
    if (set && !set.named && !studio.about.backbone) {
      texts.push(`A pretrained network is often more accurate on photographs. Get one in a terminal with: firstlight backbones fetch ${studio.about.backbones[0]}`);
    }
    byId("train-says").textContent = texts.join(" ");
  }

  async function add() {
    const network = byId("train-network").value;
    const added = await api.post("api/studio/trainings", {
      data: byId("train-data").value,
      run: byId("train-name").value || null,
      recipe: network === "mine" ? kept() : null,
      start: network.startsWith("from:") ? network.slice(5) : null,
      budget: time(),
    });
    byId("train-name").value = "";
    chosen = added.number;
    await look();
    byId("train-now").scrollIntoView({ block: "nearest" });
  }

  const go = guarded(async () => {
    if (byId("train-go").disabled) return; // a second press would be a second training
    byId("train-go").disabled = true;
    try {
      await add();
    } finally {
      byId("train-go").disabled = false;
    }
  });

  async function look() {
    clearTimeout(timer);
    all = await api.get("api/studio/trainings");
    const now = all.map((one) => `${one.run} ${one.state} ${one.has_run}`).join();
    if (states && now !== states) reload();
    states = now;
    list();
    await one();
    const busy = all.some((each) => ["waiting", "training"].includes(each.state));
    if (shown) timer = setTimeout(guarded(look), busy ? EVERY : RARELY);
  }

  // The training to show: the chosen one, else the one at work, else the last.
  const current = () => all.find((each) => each.number === chosen) ?? all.find((each) => each.state === "training") ?? all.at(-1) ?? null;

  function button(text, work, name) {
    const made = make("button", { type: "button", "aria-label": `${text} ${name}` }, text);
    made.addEventListener("click", guarded(async () => {
      made.disabled = true;
      await work();
      await look();
    }));
    return made;
  }

  function buttons(one) {
    const found = [];
    if (one.state === "training") {
      const stop = button(one.stopping ? "Stopping …" : "Stop", () => api.post(at(one, "/stop")), one.run);
      stop.disabled = one.stopping;
      found.push(stop);
    }
    if (one.state === "waiting") found.push(button("Remove", () => api.post(at(one, "/remove")), one.run));
    if (["stopped", "failed"].includes(one.state)) {
      found.push(button(one.has_run ? "Resume" : "Try again", () => api.post(at(one, "/resume")), one.run));
    }
    if (["stopped", "failed", "finished"].includes(one.state)) found.push(button("Forget", () => api.post(at(one, "/remove")), one.run));
    return found;
  }

  function list() {
    byId("train-none").hidden = all.length > 0;
    const focused = document.activeElement?.getAttribute("aria-label");
    byId("trainings").replaceChildren(...[...all].reverse().map((one) => {
      const name = make("button", { type: "button", className: "name", "aria-label": `Show ${one.run}` }, one.run);
      name.addEventListener("click", guarded(async () => {
        chosen = one.number;
        await look();
        byId("train-now").scrollIntoView({ block: "nearest" });
      }));
      const done = one.state === "training" ? `, ${percent(one.progress.share ?? 0, 0)}` : "";
      const lost = one.state === "finished" && !one.has_run;
      const text = `${one.data} ${STATES[one.state]}${done}${one.message ? `: ${one.message}` : ""}${lost ? ". Its run folder is gone" : ""}`;
      const links = one.state === "finished" && !lost
        ? ["try", "results"].map((view) => make("a", { href: `#${view}/${encodeURIComponent(one.run)}` }, view === "try" ? "Try it" : "Results"))
        : [];
      return make("li", {},
        make("div", {}, name, make("div", { className: "state" }, text)),
        make("div", { className: "row" }, ...links, ...buttons(one)));
    }));
    if (focused) find(`#trainings [aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  async function one() {
    const shows = current();
    byId("train-now").hidden = shows === null;
    if (shows === null) return;
    byId("now-title").textContent = `${shows.run} ${STATES[shows.state]}`;
    byId("now-buttons").replaceChildren(...buttons(shows));
    const { progress } = shows;
    byId("now-bar").value = shows.state === "finished" ? 1 : progress.share ?? 0;
    byId("now-says").textContent = told(shows);
    byId("now-message").textContent = shows.message;
    const [curves, forming] = await Promise.all([shows.has_run ? trained(shows) : null, api.get(at(shows, "/forming"))]);
    if (current()?.number !== shows.number) return;
    draw(shows, curves);
    strip(shows, forming, curves?.classes);
    filters(forming.filters);
  }

  // The curves of a run's epochs; null while its folder is still being written.
  async function trained(shows) {
    try {
      const { epochs } = await api.training(shows.run);
      const run = (await api.runs()).find((each) => each.name === shows.run);
      return { epochs, classes: run?.classes };
    } catch (error) {
      if (error.status === 404 || error.status === 409) return null;
      throw error;
    }
  }

  function draw(shows, found) {
    const epochs = found?.epochs ?? [];
    const key = `${shows.number} ${epochs.length}`;
    if (key === drawn) return;
    drawn = key;
    // A last layer that was only fitted has no epochs, so no curve.
    byId("now-curves").hidden = !epochs.some((row) => row.epoch > 0);
    const lines = (field) => ["train", "validation"].map((part, index) => ({
      name: part === "train" ? "training" : "held out",
      kind: "ca"[index],
      points: epochs.filter((row) => row[`${part}_${field}`] != null).map((row) => [row.epoch, row[`${part}_${field}`]]),
    }));
    if (!epochs.length) return;
    const shared = { across: "epoch", xText: String, whole: true };
    byId("now-curves").replaceChildren(
      chart({ ...shared, title: "Accuracy", lines: lines("accuracy"), yText: (v) => percent(v, v > 0.9 ? 1 : 0) }).element,
      chart({ ...shared, title: "Loss", lines: lines("loss"), yText: (v) => v.toFixed(2) }).element,
    );
  }

  function strip(shows, forming, classes) {
    const last = (forming.looks ?? []).length - 1;
    byId("now-strip-box").hidden = last < 0;
    if (last < 0) return;
    const slider = byId("now-look");
    const following = looks === null || looks.number !== shows.number || Number(slider.value) === Number(slider.max);
    looks = { number: shows.number, forming, classes };
    slider.max = last;
    if (following) slider.value = last;
    if (byId("now-strip").dataset.of !== shows.number || byId("now-strip").children.length !== forming.truth.length) {
      byId("now-strip").dataset.of = shows.number;
      byId("now-strip").replaceChildren(...forming.truth.map((_, index) => {
        const image = make("img", { alt: `Held-out image ${index + 1}` });
        picture(at(shows, `/images/${index}.png`), image);
        return make("li", {}, image, make("b"), make("span"));
      }));
    }
    say();
  }

  const picture = guarded(async (path, image) => {
    image.src = URL.createObjectURL(await api.blob(path));
  });

  function say() {
    const { forming, classes } = looks;
    const found = forming.looks[byId("now-look").value];
    const name = (label) => classes?.[label] ?? String(label);
    [...byId("now-strip").children].forEach((item, index) => {
      const right = found.said_B[index] === forming.truth[index];
      item.className = right ? "" : "wrong";
      item.children[1].textContent = name(found.said_B[index]);
      item.children[2].textContent = right ? sureness(found.sure_B[index], ">\u00a0") : `actually ${name(forming.truth[index])}`;
    });
    const right = found.said_B.filter((said, index) => said === forming.truth[index]).length;
    byId("now-look-says").value = `after ${count(found.seen)} images: ${right} of ${forming.truth.length} right`;
  }

  function filters(found) {
    byId("now-filters-box").hidden = !found;
    if (!found) return;
    const { values } = found;
    const size = Math.max(...values.flat(3).map(Math.abs)) || 1;
    const canvases = values.map((channels) => {
      const [height, width] = [channels[0].length, channels[0][0].length];
      const pixels = new ImageData(width, height);
      for (let row = 0; row < height; row++) for (let column = 0; column < width; column++) {
        const place = 4 * (row * width + column);
        for (let part = 0; part < 3; part++) pixels.data[place + part] = 127.5 + 127.5 * (channels[channels.length === 3 ? part : 0][row][column] / size);
        pixels.data[place + 3] = 255;
      }
      const canvas = make("canvas", { width, height });
      canvas.getContext("2d").putImageData(pixels, 0, 0);
      return canvas;
    });
    const colour = values[0].length === 3;
    byId("now-filters").setAttribute("role", "img");
    byId("now-filters").setAttribute("aria-label", `${values.length} filters of the first layer`);
    byId("now-filters").replaceChildren(...canvases);
    byId("now-filters-says").textContent = `${values.length < found.count ? `The first ${values.length} of ${found.count}. ` : ""}${colour ? "In the colours that each responds to; grey is zero." : "Bright is above zero, dark below, grey zero."} It shows what the first layer looks for in a small patch, not what the whole network sees.`;
  }

  byId("train-time").addEventListener("input", time);
  byId("train-data").addEventListener("change", networks);
  byId("now-look").addEventListener("input", say);
  byId("train-new").addEventListener("submit", (event) => {
    event.preventDefault();
    go();
  });

  return {
    visible(is, rest) {
      if (is && rest) chosen = rest;
      if (shown === is) return;
      shown = is;
      clearTimeout(timer);
      if (is) guarded(async () => {
        byId("view-train").setAttribute("aria-busy", "true");
        time();
        await studio.find();
        fill();
        const { wish } = studio;
        studio.wish = null;
        if (wish) {
          byId("train-data").value = wish.data;
          networks();
          byId("train-network").value = wish.network;
        }
        await look();
        byId("view-train").setAttribute("aria-busy", "false");
      })();
    },
  };
}
