// The view "Results": training, the test, and a second run for comparison.

import * as api from "./api.js";
import { chart } from "./charts.js";
import { confusion } from "./confusion.js";
import { byId, count, make, percent, tip } from "./elements.js";
import { gallery } from "./gallery.js";
import { plane } from "./plane.js";
import { sizes } from "./sizes.js";
import { threshold } from "./threshold.js";

const MOST_SHOWN = 60; // pictures of those that are chosen on the map
const EVERY = 2000; // ms between looks at a run that is not done

// `again` is called when a run has made progress; `tried` opens one of its test images.
export function results({ failed, again, tried }) {
  const pictures = gallery(failed, tried);
  const setThreshold = threshold();
  const map = plane(failed, (of, title, points, remark) => {
    pictures.show(of, title, { count: points.length, pictures: points.slice(0, MOST_SHOWN) }, remark);
    byId("gallery-title").scrollIntoView({ block: "nearest" });
  });
  let run = null;
  let runs = [];
  let shown = false;
  let known = new Map(); // what was fetched of each run, by name
  let timer = null;

  const busy = (is) => byId("view-results").setAttribute("aria-busy", String(is));
  const other = () => runs.find((each) => each.name === byId("other").value) ?? null;
  const both = () => [run, other()].filter(Boolean).map((each) => ({ run: each, ...known.get(each.name) }));

  async function fetched(name) {
    const [training, tested] = await Promise.all([api.training(name), api.results(name)]);
    known.set(name, { training, tested });
  }

  async function show() {
    const asked = [run, other()];
    busy(true);
    const still = () => asked[0] === run && asked[1] === other();
    try {
      await Promise.all(asked.filter((each) => each && !known.has(each.name)).map((each) => fetched(each.name)));
      if (!still()) return;
      const sides = both();
      lead(sides[0]);
      figures(sides);
      curves(sides);
      sizes(sides[0].training.layers);
      const tested = sides.filter((side) => side.tested);
      byId("tested").hidden = sides[0].tested === null;
      byId("pair").hidden = sides.length < 2;
      if (sides.length === 2) await compare(run, asked[1]);
      if (!still()) return;
      if (sides[0].tested) {
        const several = Boolean(run.labels);
        const ofClasses = tested.filter((side) => !side.run.labels);
        byId("unknown-card").hidden = byId("confusion-card").hidden = several;
        byId("labels-card").hidden = !several;
        if (several) labelTable(sides[0].tested.metrics.per_class);
        else {
          setThreshold(ofClasses);
          byId("confusions").replaceChildren(...ofClasses.map((side) => confusion(side, ofClasses.length > 1, (truth, said) => {
            pictures.cell(side.run, truth, said);
            if (side.run === run) map.cell(truth, said);
          })));
        }
        map.open(run);
        await pictures.mistakes(run);
      }
      byId("results-body").hidden = false;
      busy(false);
    } catch (error) {
      if (!still()) return;
      busy(false);
      failed(error);
    }
  }

  async function compare(first, second) {
    byId("compared").textContent = "";
    byId("only").replaceChildren();
    differ(null);
    try {
      const found = await api.compare(first.name, second.name);
      const sure = found.p < 0.001 ? "less than 0.1\u00a0%" : percent(found.p);
      byId("compared").textContent = found.only_first.count + found.only_second.count === 0
        ? `Both get the same ones right of the ${count(found.images)} test images they share.`
        : `On the ${count(found.images)} test images they share. If both were equally good, they would differ at least this much with a probability of ${sure} (exact McNemar test).`;
      for (const [part, one] of [[found.only_first, first], [found.only_second, second]]) {
        const text = `${count(part.count)} that only ${one.name} gets right`;
        const button = make("button", { type: "button", disabled: part.count === 0 }, text);
        const saying = one === first ? second : first;
        button.addEventListener("click", () => pictures.show(saying, `Only ${one.name} gets these right`, part, `answers of ${saying.name}`));
        byId("only").append(button);
      }
      differ(found.differences, first, second);
    } catch (error) {
      if (error.status === 0 || error.status === 401) throw error;
      byId("compared").textContent = error.message;
    }
  }

  // Polls a run that is training, or that has not been evaluated yet.
  async function watch() {
    clearTimeout(timer);
    if (!shown || !run || both().every((side) => side.tested)) return;
    timer = setTimeout(async () => {
      try {
        const before = both();
        for (const side of before) if (!side.tested) await fetched(side.run.name);
        const now = both();
        const further = now.some((side) => side.training?.state !== side.run.state || (side.tested && !side.run.evaluated));
        if (further) return again();
        if (JSON.stringify(now.map((s) => s.training)) !== JSON.stringify(before.map((s) => s.training))) await show();
      } catch (error) {
        return failed(error);
      }
      watch();
    }, EVERY);
  }

  byId("other").addEventListener("change", () => show().then(watch));

  return {
    open(opened, all) {
      const beside = byId("other").value;
      if (run?.name !== opened.name) byId("results-body").hidden = true;
      [run, runs, known] = [opened, all, new Map()];
      const names = all.filter((each) => each.name !== run.name).map((each) => each.name);
      byId("beside").hidden = names.length === 0;
      byId("other").replaceChildren(make("option", { value: "" }, "no other run"), ...names.map((name) => make("option", { value: name }, name)));
      byId("other").value = names.includes(beside) ? beside : "";
      if (shown) show().then(watch);
    },
    visible(is) {
      if (shown === is) return;
      shown = is;
      clearTimeout(timer);
      if (shown) (known.has(run.name) ? Promise.resolve() : show()).then(watch);
    },
  };
}

// What two recipes differ in.
function differ(found, first, second) {
  byId("differ").parentElement.hidden = !found?.length;
  byId("differ-says").textContent = found && (found.length ? "What their recipes differ in" : "Their recipes have the same settings.");
  if (!found?.length) return;
  const cells = (tag, values) => make("tr", {}, ...values.map((value) => make(tag, {}, value)));
  byId("differ").replaceChildren(
    make("thead", {}, cells("th", ["choice", first.name, second.name])),
    make("tbody", {}, ...found.map((each) => cells("td", [each.choice, ...each.values]))),
  );
}

function lead({ run, training, tested }) {
  const done = training.epochs.length;
  const words = {
    training: `This run is still training: ${done} of ${training.total} epochs so far. The curves are updated as it trains.`,
    stopped: `This run was stopped after ${done} of ${training.total} epochs. Continue with: firstlight train --resume RUN`,
    finished: tested
      ? `${run.recipe} on ${run.data}, evaluated on ${count(tested.metrics.count)} test images.`
      : "This run has not been evaluated on its test images yet. Evaluate it with: firstlight evaluate RUN. This page then shows the rest.",
  };
  byId("results-lead").textContent = words[training.state];
}

function figures(sides) {
  const several = sides.some((side) => side.run.labels);
  const share = (key) => ({ tested }) => tested && tested.metrics[key] != null && percent(tested.metrics[key], 2);
  /** @type {[string, (side: any) => any, ((side: any) => any)?][]} A name, its value, and a note. */
  const rows = [
    [several ? "Exact match" : "Test accuracy", ({ tested }) => tested && percent(tested.metrics.accuracy, 2), ({ tested }) => tested && `95\u00a0% interval ${tested.metrics.accuracy_interval.map((v) => (100 * v).toFixed(2)).join(" to ")}\u00a0%`],
    ["Log loss", ({ tested }) => tested && tested.metrics.log_loss.toFixed(4)],
    ["Calibration error", ({ tested }) => tested && percent(tested.metrics.expected_calibration_error, 2)],
    ["Parameters", ({ training }) => training.summary && count(training.summary.parameters)],
    ["Training", ({ training }) => training.summary && `${training.summary.train_seconds.toFixed(1)} s`, ({ training }) => training.summary && `${training.summary.epochs} epoch${training.summary.epochs === 1 ? "" : "s"}`],
  ];
  if (several) rows.unshift(["Mean average precision", share("mean_average_precision")], ["F1, mean of labels", share("f1_macro")], ["F1, all labels", share("f1_micro")]);
  byId("figures").replaceChildren(...rows.map(([name, value, note]) => {
    const values = sides.map((side, at) => make("dd", { className: sides.length > 1 ? `side ${"ab"[at]}` : "" },
      make("span", {}, value(side) || "–"),
      ...(note && note(side) ? [make("small", {}, note(side))] : [])));
    return make("div", {}, make("dt", {}, name), ...values);
  }));
}

function labelTable(rows) {
  const cells = (tag, values) => make("tr", {}, ...values.map((value) => make(tag, {}, value)));
  const told = (value) => (value === null ? "–" : percent(value, 1));
  byId("labels").replaceChildren(
    make("thead", {}, cells("th", ["label", "precision", "recall", "F1", "average precision", "threshold", "images"])),
    make("tbody", {}, ...rows.map((row) => cells("td", [row.name, ...[row.precision, row.recall, row.f1, row.average_precision, row.threshold].map(told), count(row.support)]))),
  );
}

function curves(sides) {
  const lines = (field) => sides.flatMap(({ run, training }, at) => ["train", "validation"].map((part) => ({
    name: `${part === "train" ? "training" : "held out"}${sides.length > 1 ? `, ${run.name}` : ""}`,
    kind: part === "train" ? "cd"[at] : "ab"[at],
    points: training.epochs.filter((row) => row[`${part}_${field}`] != null).map((row) => [row.epoch, row[`${part}_${field}`]]),
  })));
  const any = sides.some((side) => side.training.epochs.length);
  byId("no-epochs").hidden = any;
  byId("curves").hidden = !any;
  if (!any) return;
  tip({}, "");
  const shared = { across: "epoch", xText: String, whole: true };
  byId("curves").replaceChildren(
    chart({ ...shared, title: sides[0].run.labels ? "Exact match" : "Accuracy", lines: lines("accuracy"), yText: (v) => percent(v, v > 0.9 ? 1 : 0) }).element,
    chart({ ...shared, title: "Loss", lines: lines("loss"), yText: (v) => v.toFixed(2) }).element,
  );
}
