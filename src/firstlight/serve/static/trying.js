// The view "Try it": a picture goes in; its answer, the network's input and every layer come out.

import { activity } from "./activity.js";
import { inside, networkDrawn, predict } from "./api.js";
import { showAnswer } from "./answer.js";
import { drawing } from "./drawing.js";
import { byId, make, notice } from "./elements.js";
import { layers } from "./layers.js";
import { newest } from "./newest.js";
import { pictures, strip } from "./pictures.js";
import { clearSeen, decoded, showSeen } from "./seen.js";

// The layers take several times as long as the answer, so they wait until the pointer rests this
// long.
const REST_MS = 40;
// Concurrent requests: the last part of a stroke need not wait for the answer to the one before.
const ON_THE_WAY = 2;

// `failed` is called with errors of the service or the connection.
export function trying(failed) {
  let run = null;
  let now = null; // the picture: a blob or a drawing, its name, its class where that is known
  let opening = null; // the picture that nobody chose, whose answer takes no notice away
  let series = 0; // counts up when answers to what was before mean nothing any more
  let asked = null; // the last picture as it was sent
  let resting; // the timer of the hand
  let sent = 0; // answers asked for so far
  let shown = 0; // which of them stands there

  const paper = drawing((drawn) => {
    tests.unmark();
    if (!drawn) return clear();
    if (now?.read !== paper.picture) series += 1;
    give({ read: paper.picture, name: "your drawing" });
  });
  const take = (blob, name, truth) => {
    paper.clear();
    series += 1;
    give({ read: async () => blob, name, truth });
  };
  const tests = strip(take);
  pictures((blob, name) => {
    tests.unmark();
    take(blob, name);
  });
  const maps = layers(byId("layers"), () => ({ run, picture: asked, series, take: taken }));
  const active = activity(failed, maps.open);

  function taken(blob, name, truth) {
    tests.unmark();
    take(blob, name, truth);
  }

  function give(picture) {
    now = picture;
    clearTimeout(resting);
    byId("answer-card").setAttribute("aria-busy", "true");
    byId("layers").setAttribute("aria-busy", String(run.layers));
    answer(series);
  }

  // The answer comes first and alone, to keep up with the drawing; everything else follows.
  const answer = newest(async (of) => {
    if (of !== series) return;
    const [picture, served, turn] = [now, run, ++sent];
    const late = () => of !== series || turn < shown;
    try {
      const blob = await picture.read();
      const found = await predict(served.name, blob);
      const image = byId("cam").checked ? null : await decoded(found.seen);
      if (late()) return;
      [asked, shown] = [blob, turn];
      if (picture !== opening) notice("");
      showAnswer(found, served, picture.truth);
      if (image) showSeen(image, null, picture.name);
      byId("from").textContent = from(picture.name);
      if (now !== picture) return; // a newer answer is on its way
      byId("answer-card").setAttribute("aria-busy", "false");
      if (run.layers) resting = setTimeout(look, REST_MS, { of, blob, served, name: picture.name });
    } catch (error) {
      if (late()) return;
      byId("answer-card").setAttribute("aria-busy", "false");
      byId("layers").setAttribute("aria-busy", "false");
      opening = null; // the next answer takes this error away
      if (error.status === 422) clear(); // it was no picture; everything else is worth another try
      failed(error);
    }
  }, ON_THE_WAY);

  const look = newest(async ({ of, blob, served, name }) => {
    if (of !== series) return;
    try {
      const head = await inside(served.name, blob, byId("cam-class").value || null, byId("whole").checked);
      if (of !== series) return;
      const cam = byId("cam").checked ? head.cam : null;
      const image = cam && (await decoded(head.seen));
      if (of !== series) return;
      if (cam) showSeen(image, cam, name);
      byId("cam-says").textContent = cam ? cam.says : "";
      byId("cam-title").textContent = head.cam.title;
      byId("cam-for").hidden = head.cam.title !== "Grad-CAM"; // attention is of no class
      maps.show(head, served);
      choice(head);
      if (asked === blob) byId("layers").setAttribute("aria-busy", "false");
    } catch (error) {
      if (asked === blob) byId("layers").setAttribute("aria-busy", "false");
      if (of !== series) return;
      opening = null;
      failed(error);
    }
  });

  const from = (name) => `${run.image.width}×${run.image.height} pixels${run.image.channels === 1 ? ", grey," : ""} of ${name}`;

  function clear() {
    clearTimeout(resting);
    series += 1;
    now = asked = null;
    showAnswer(null, run);
    clearSeen(run);
    byId("from").textContent = "Nothing yet";
    byId("cam-says").textContent = "";
    byId("answer-card").setAttribute("aria-busy", "false");
    byId("layers").setAttribute("aria-busy", "false");
    maps.clear();
  }

  for (const id of ["cam", "cam-class"]) {
    byId(id).addEventListener("change", () => {
      if (id === "cam-class" && byId("cam-class").value) byId("cam").checked = true;
      if (now) give(now);
    });
  }

  byId("whole").addEventListener("change", () => {
    if (now) give(now);
  });

  // Says which layers of a long network are shown.
  function choice(head) {
    byId("choice").hidden = !head.choice;
    byId("choice-says").textContent = byId("whole").checked ? "" : head.choice;
    byId("whole-says").textContent = `Show all ${head.all_layers} layers`;
  }

  // An exported file has no list of its layers, so there is no drawing.
  async function drawNetwork() {
    const of = run;
    byId("network").hidden = true;
    const drawn = await networkDrawn(of.name).catch(() => null);
    if (!drawn || run !== of) return;
    URL.revokeObjectURL(byId("network-drawn").src);
    byId("network-drawn").src = URL.createObjectURL(drawn);
    byId("network").hidden = false;
  }

  async function open(opened) {
    byId("view-try").setAttribute("aria-busy", "true");
    await fill(opened);
    if (run === opened) byId("view-try").setAttribute("aria-busy", "false");
  }

  async function fill(opened) {
    const changed = run?.name !== opened.name;
    run = opened;
    const ready = run.state === "finished";
    byId("bench").hidden = !ready;
    // An exported file does not show its layers.
    byId("inside").hidden = byId("cam").closest("p").hidden = !run.layers;
    if (!run.layers) byId("cam").checked = false;
    active.open(run);
    byId("not-ready").hidden = ready;
    byId("about").textContent = about(run);
    if (!ready) return;
    byId("drawing").hidden = !run.draws;
    const names = run.classes.map((name) => make("option", { value: name }, name));
    byId("cam-class").replaceChildren(make("option", { value: "" }, "its answer"), ...names);
    const kept = now && (!changed || !now.name.startsWith("test image")) ? now : null;
    if (changed) {
      maps.forget();
      byId("whole").checked = false;
      byId("choice").hidden = true;
      drawNetwork();
    }
    clear();
    if (kept) give(kept);
    const list = await tests.of(run.name).then(() => true, failed);
    if (list && !now && run === opened) {
      tests.first();
      opening = now;
    }
  }
  return { open, take: taken };
}

function about(run) {
  const what = run.image.channels === 1 ? "grey" : "colour";
  const classes = run.classes.length <= 12 ? run.classes.join(", ") : `${run.classes.length} classes`;
  return `${run.recipe} on ${run.data}: ${run.image.width}×${run.image.height} ${what} pixels in; ${classes} out.`;
}
