// The view "Teach": collect pictures for classes named on the spot, train, and see it live.

import * as api from "../api.js";
import { howSure, showBars } from "../answer.js";
import { camera } from "../camera.js";
import { byId, count, make, notice } from "../elements.js";
import { byClass, chosen, dropped } from "./dropped.js";
import { taughtClass } from "./taught.js";
import { told } from "./train.js";

const AT = "api/studio/collected";
const SIDE = 256; // pixels a side of the camera's pictures
const AT_ONCE = 4; // pictures on their way
const LEAST = 8; // pictures of each class that training needs
const FEW = 20; // pictures of a class that are few
const SCRATCH = 40; // seconds of a training without a pretrained network
const EVERY = 700; // ms between looks at a training
const LIVE = 100; // ms between two live answers, at least
const STATES = { waiting: "Starts when the trainings before it have finished.", stopped: "Stopped.", failed: "Failed." };
const NEW = " new"; // no set is called so: names have no space around them

export function teaching({ studio, failed, reload }) {
  let shown = false;
  let name = null; // of the set, or null for a new one
  let most = 0;
  let sets = [];
  const cards = new Map(); // by class name
  const waiting = []; // pictures to send
  let sending = 0;
  let timer = null;
  let turn = 0; // counts the sets that were opened
  let now = null; // the set's latest training
  let run = null; // the run that answers
  let live = 0; // counts up when live answers stop

  const guarded = (work) => async (...given) => {
    try {
      return await work(...given);
    } catch (error) {
      failed(error);
    }
  };
  const post = (path, values) => api.post(`${AT}/${path}`, { set: name, ...values });
  const webcam = camera(byId("teach-video"), cameraChanged);

  // The set

  async function open(asked) {
    turn += 1;
    const mine = turn;
    ({ sets, most } = await api.get(AT));
    if (mine !== turn) return;
    name = asked === NEW ? null : sets.includes(asked) ? asked : sets[0] ?? null;
    const options = [...sets.map((one) => make("option", { value: one }, one)), make("option", { value: NEW }, "a new set …")];
    byId("teach-set").replaceChildren(...options);
    byId("teach-set").value = name ?? NEW;
    byId("teach-new").hidden = name !== null;
    if (name === null) byId("teach-name").value = free("things");
    address();
    for (const card of cards.values()) card.element.remove();
    cards.clear();
    waiting.length = 0;
    byId("teach-sent").textContent = "";
    [now, run] = [null, null];
    if (name !== null) {
      const found = await api.get(`${AT}/set?${new URLSearchParams({ set: name })}`);
      if (mine !== turn) return;
      for (const one of found.classes) card(one.name).fill(one.pictures);
    }
    tell();
    await look();
    byId("view-teach").setAttribute("aria-busy", "false");
  }

  const free = (stem) => {
    let number = 1;
    const next = () => (number === 1 ? stem : `${stem}-${number}`);
    while (sets.includes(next())) number += 1;
    return next();
  };

  function address() {
    byId("teach-place").textContent = `pictures/${name ?? "…"}`;
    const hash = name === null ? "#teach" : `#teach/${encodeURIComponent(name)}`;
    if (shown && location.hash !== hash) history.replaceState(null, "", hash);
  }

  // Classes

  function card(label) {
    const made = taughtClass(label, {
      take: () => take(made),
      canTake: () => waiting.length < 2 * AT_ONCE,
      ready,
      files: guarded((files) => send(new Map([["", files]]), made)),
      small: (picture) => api.blob(`${AT}/small?${new URLSearchParams({ set: name, class: made.label, picture })}`),
      remove: guarded(async (picture) => {
        await post("remove", { class: made.label, picture });
        made.removed(picture);
        tell();
      }),
      removeAll: guarded(async () => {
        const pictures = made.pictures.length;
        if (pictures && !confirm(`Remove ${made.label} and its ${count(pictures)} pictures?`)) return;
        await post("remove", { class: made.label });
        cards.delete(made.label);
        made.element.remove();
        if (!cards.size) await open(name);
        else tell();
      }),
      rename: async (to) => {
        const before = made.label;
        try {
          const { class: written } = await post("rename", { class: before, to });
          cards.delete(before);
          cards.set(written, made);
          notice("");
          return written;
        } catch (error) {
          failed(error);
          return before;
        }
      },
    });
    cards.set(label, made);
    byId("teach-classes").append(made.element);
    return made;
  }

  // Returns the card of a class, which is made if there is none.
  async function classed(label) {
    const there = [...cards.values()].find((one) => one.label === label.trim().normalize("NFC"));
    if (there) return there;
    const set = name ?? byId("teach-name").value;
    const { class: written } = await api.post(`${AT}/class`, { set, class: label });
    if (name === null) await open(set.trim().normalize("NFC"));
    return cards.get(written) ?? card(written);
  }

  byId("teach-add").addEventListener("submit", guarded(async (event) => {
    event.preventDefault();
    const made = await classed(byId("teach-class").value);
    byId("teach-class").value = "";
    notice("");
    tell();
    if (byId("teach-class").matches(":focus") && cards.size > 1) made.element.querySelector(".record").focus();
  }));

  // Pictures

  // Resolves to whether the camera gives pictures.
  async function ready() {
    if (webcam.isReady()) return true;
    if (!webcam.isOn() && !(await startCamera())) return false;
    if (!webcam.isReady()) await new Promise((resolve) => byId("teach-video").addEventListener("loadeddata", resolve, { once: true }));
    return true;
  }

  async function take(of) {
    const blob = await webcam.still(SIDE);
    if (blob) queue(of, blob, "the picture");
  }

  // `batch` counts what became of several files.
  function queue(of, blob, title, batch) {
    waiting.push({ of, blob, title, batch, in: turn });
    work();
  }

  function work() {
    while (sending < AT_ONCE && waiting.length) sendOne(waiting.shift());
  }

  async function sendOne({ of, blob, title, batch, in: set }) {
    sending += 1;
    try {
      const asked = new URLSearchParams({ set: name, class: of.label });
      const { picture, new: isNew } = await api.json(`${AT}/picture?${asked}`, { method: "POST", body: blob });
      if (set === turn && isNew) of.added(picture, blob);
      if (batch && !isNew) batch.twice += 1;
    } catch (error) {
      if (error.status === 422 && batch) batch.refused.push(`${title}: ${error.message.replace(/^The picture: /, "")}`);
      else {
        for (const one of cards.values()) one.release();
        waiting.length = 0;
        failed(error);
      }
    } finally {
      sending -= 1;
      if (batch) {
        batch.done += 1;
        sent(batch);
      }
      tell();
      work();
    }
  }

  // Sends files by class; those without one go to `of`.
  async function send(classes, of) {
    const homeless = classes.get("") ?? [];
    if (homeless.length && !of) {
      notice("Drop pictures on a class. A folder of pictures becomes a class.");
      if (homeless.length === [...classes.values()].flat().length) return;
    }
    const batch = { all: 0, done: 0, twice: 0, refused: [] };
    for (const [label, files] of classes) {
      if (label === "" && !of) continue;
      let to = of;
      if (label !== "") {
        try {
          to = await classed(label);
        } catch (error) {
          if (error.status !== 422) throw error;
          batch.refused.push(error.message);
          continue;
        }
      }
      batch.all += files.length;
      for (const file of files) queue(to, file, file.name, batch);
    }
    sent(batch);
  }

  function sent({ all, done, twice, refused }) {
    const text = [`${count(done)} of ${count(all)} files sent.`];
    if (twice) text.push(`${count(twice)} were there already.`);
    if (refused.length) text.push(`${count(refused.length)} refused: ${refused.slice(0, 3).join(" ")}${refused.length > 3 ? " …" : ""}`);
    byId("teach-sent").textContent = text.join(" ");
  }

  byId("teach-choose").addEventListener("click", () => byId("teach-folder").click());
  byId("teach-folder").addEventListener("change", guarded(async () => {
    const files = chosen(byId("teach-folder").files);
    byId("teach-folder").value = "";
    await send(byClass(files), null);
  }));
  // The page's own drop is for pictures to try.
  for (const kind of ["dragover", "dragleave", "drop"]) {
    byId("view-teach").addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.stopPropagation();
      const over = [...cards.values()].find((one) => one.element.contains(event.target));
      for (const one of cards.values()) one.element.classList.toggle("over", kind === "dragover" && one === over);
      byId("teach-drop").classList.toggle("over", kind === "dragover" && !over);
      if (kind === "drop") guarded(async (files) => send(byClass(await files), over))(dropped(event.dataTransfer));
    });
  }

  // The camera

  async function startCamera() {
    const on = await webcam.start(byId("teach-device").value);
    if (!on) {
      notice(window.isSecureContext ? "This page cannot use a camera." : "Browsers allow the camera only on localhost or over https.");
      return false;
    }
    notice("");
    const all = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
    const options = all.map((one, at) => make("option", { value: one.deviceId }, one.label || `Camera ${at + 1}`));
    const before = byId("teach-device").value;
    byId("teach-device").replaceChildren(...options);
    if (all.some((one) => one.deviceId === before)) byId("teach-device").value = before;
    byId("teach-which").hidden = all.length < 2;
    return true;
  }

  function cameraChanged() {
    byId("teach-camera").textContent = webcam.isOn() ? "Stop the camera" : "Start the camera";
    byId("teach-view").classList.toggle("off", !webcam.isOn());
    answer();
  }

  byId("teach-camera").addEventListener("click", guarded(async () => (webcam.isOn() ? webcam.stop() : startCamera())));
  byId("teach-device").addEventListener("change", guarded(startCamera));

  // Training

  function tell() {
    const all = [...cards.values()];
    const few = all.filter((one) => one.pictures.length < LEAST);
    const total = all.reduce((sum, one) => sum + one.pictures.length, 0);
    const busy = ["waiting", "training"].includes(now?.state);
    byId("teach-train").disabled = all.length < 2 || few.length > 0 || busy;
    byId("teach-stop").hidden = !busy;
    const text = [];
    if (all.length < 2) text.push(all.length ? "Add a second class." : "Add the first class: type its name.");
    else if (few.length) text.push(`Each class needs at least ${LEAST} pictures, better 40: ${few.map((one) => `${one.label} has ${one.pictures.length}`).join(", ")}.`);
    else text.push(`${count(total)} pictures in ${all.length} classes.`);
    if (total > 0.9 * most) text.push(`A set may have up to ${count(most)} pictures.`);
    text.push(studio.about?.backbone
      ? `Starts from ${studio.about.backbone}, a network pretrained on photographs, and fits its last layer to your classes.`
      : `Trains from scratch in about ${SCRATCH} seconds. A pretrained network is more accurate: firstlight backbones fetch ${studio.about?.backbones[0]}`);
    byId("teach-says").textContent = text.join(" ");
  }

  byId("teach-train").addEventListener("click", guarded(async () => {
    byId("teach-train").disabled = true;
    const { backbone } = studio.about;
    try {
      const added = await api.post("api/studio/trainings", { data: `pictures/${name}`, start: backbone || "none", budget: backbone ? null : SCRATCH });
      now = { number: added.number, state: "waiting", progress: {} };
      notice("");
    } finally {
      tell();
    }
    await look();
  }));
  byId("teach-stop").addEventListener("click", guarded(async () => {
    byId("teach-stop").hidden = true;
    await api.post(`api/studio/trainings/${now.number}/stop`);
    await look();
  }));

  async function look() {
    clearTimeout(timer);
    const mine = turn;
    const all = (await api.get("api/studio/trainings")).filter((one) => one.data === `pictures/${name}`);
    if (mine !== turn) return;
    const before = now;
    now = all.at(-1) ?? null;
    const busy = ["waiting", "training"].includes(now?.state);
    byId("teach-now").hidden = now === null || now.state === "finished";
    byId("teach-bar").value = now?.progress.share ?? 0;
    byId("teach-progress").textContent = now?.state === "training" ? told(now) : STATES[now?.state] ?? "";
    byId("teach-message").textContent = now?.message ?? "";
    tell();
    const finished = all.filter((one) => one.state === "finished").at(-1);
    if (busy) run = null;
    else if (finished && run?.name !== finished.run) {
      if (before?.number === finished.number && before.state !== "finished") reload();
      const found = (await api.runs()).find((one) => one.name === finished.run && one.state === "finished");
      if (mine !== turn) return;
      run = found ?? null;
      await advise();
    }
    byId("teach-done").hidden = run === null;
    answer();
    if (shown && busy) timer = setTimeout(guarded(look), EVERY);
  }

  // What the latest run tells of what to collect.
  async function advise() {
    if (!run) return;
    const found = run.evaluated ? await api.results(run.name) : null;
    const texts = [...ofCounts(), ...(found ? ofMistakes(found.metrics) : [])];
    byId("teach-advice").replaceChildren(...texts.map((text) => make("li", {}, text)));
    byId("teach-try").href = `#try/${encodeURIComponent(run.name)}`;
    byId("teach-results").href = `#results/${encodeURIComponent(run.name)}`;
    byId("teach-run").textContent = `runs/${run.name}`;
  }

  function ofCounts() {
    const all = [...cards.values()].map((one) => ({ label: one.label, size: one.pictures.length }));
    if (!all.length) return [];
    const [fewest, largest] = [Math.min, Math.max].map((f) => f(...all.map((one) => one.size)));
    const least = all.find((one) => one.size === fewest);
    if (fewest >= FEW && 2 * fewest > largest) return [];
    return [`Collect more of ${least.label}: it has only ${count(fewest)} pictures.`];
  }

  function ofMistakes(metrics) {
    const names = metrics.per_class.map((one) => one.name);
    const rows = metrics.confusion.map((row, truth) => {
      const wrong = row.map((times, said) => (said === truth ? 0 : times));
      return { truth, wrong: wrong.reduce((a, b) => a + b, 0), all: row.reduce((a, b) => a + b, 0), mostly: wrong.indexOf(Math.max(...wrong)) };
    });
    const worst = rows.reduce((a, b) => (b.wrong > a.wrong ? b : a));
    if (!worst.wrong) {
      return [`All ${count(metrics.count)} test pictures were right. They look much like its training pictures. Try other light, places and distances too, and collect what it gets wrong.`];
    }
    return [`Of ${count(worst.all)} test pictures of ${names[worst.truth]}, ${count(worst.wrong)} got another answer, most often ${names[worst.mostly]}. Collect more of ${names[worst.truth]}, especially pictures that look like ${names[worst.mostly]}.`];
  }

  // Live answers

  async function answer() {
    live += 1;
    const mine = live;
    const on = shown && run !== null && webcam.isOn();
    byId("live").hidden = !on;
    if (!on) return;
    const of = run;
    try {
      await ready();
      while (mine === live) {
        const began = performance.now();
        const blob = await webcam.still(SIDE);
        if (!blob || mine !== live) return;
        const found = await api.predict(of.name, blob);
        if (mine !== live) return;
        say(found, of);
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, LIVE - (performance.now() - began))));
      }
    } catch (error) {
      if (mine === live) failed(error);
    }
  }

  function say(found, of) {
    // A screen reader reads a new answer only.
    if (byId("live-answer").textContent !== found.answer) byId("live-answer").textContent = found.answer;
    byId("live-sure").textContent = howSure(found, of);
    showBars(byId("live-bars"), found, of);
  }

  byId("teach-set").addEventListener("change", guarded(() => open(byId("teach-set").value)));

  return {
    visible(is, rest) {
      const asks = is && rest && rest !== name;
      if (shown === is && !asks) {
        if (is) address();
        return;
      }
      shown = is;
      clearTimeout(timer);
      if (!is) {
        for (const one of cards.values()) one.release();
        webcam.stop();
        answer();
      } else guarded(async () => {
        if (!studio.about) await studio.find();
        await open(rest || name);
      })();
    },
  };
}
