// The answer with one map set to zero, beside the answer with it.

import { without } from "./api.js";
import { make, notice, percent, sureness } from "./elements.js";
import { newest } from "./newest.js";

const MOST = 5; // classes
const LEAST = 0.0005; // a smaller change of a probability is not listed

// `source` returns the current picture.
export function switchedOff(layer, source) {
  const box = make("input", { type: "checkbox" });
  const result = make("div", { "aria-live": "polite" });
  const element = make("div", { className: "off" }, make("label", { className: "switch" }, box, "Switch this map off"), result);
  let chosen = null; // the map

  const ask = newest(async (channel) => {
    const { run, picture, series } = source();
    const wanted = () => box.checked && chosen === channel && source().series === series;
    if (!picture || !wanted()) return;
    try {
      const found = await without(run.name, picture, layer, channel);
      if (wanted()) result.replaceChildren(...told(found, run));
    } catch (error) {
      if (wanted()) notice(error.message);
    }
  });

  box.addEventListener("change", () => {
    result.replaceChildren();
    if (box.checked) ask(chosen);
  });

  return {
    element,
    show(channel) {
      if (channel !== chosen) {
        box.checked = false;
        result.replaceChildren();
      }
      chosen = channel;
      if (box.checked) ask(channel);
    },
  };
}

function told(found, run) {
  const [whole, rest] = [found.with, found.without];
  const change = (name) => rest.probabilities[name] - whole.probabilities[name];
  const most = run.classes
    .filter((name) => Math.abs(change(name)) >= LEAST)
    .sort((a, b) => Math.abs(change(b)) - Math.abs(change(a)))
    .slice(0, MOST);
  const rows = most.map((name) => {
    const bars = [whole, rest].map((answer) => {
      const bar = make("span");
      bar.style.width = `${100 * answer.probabilities[name]}%`;
      return bar;
    });
    return make("li", {}, make("span", { className: "name", title: name }, name), make("span", { className: "pair" }, ...bars),
      make("span", {}, `${percent(whole.probabilities[name])} → ${percent(rest.probabilities[name])}`));
  });
  const list = most.length
    ? [make("p", { className: "faint" }, "What changes most:"), make("ol", { className: "changed" }, ...rows)]
    : [make("p", { className: "faint" }, `No probability changes by ${percent(LEAST, 2)} or more.`)];
  return [
    make("p", {}, make("span", { className: "whole" }, `With it: ${said(whole)}`), make("br"), make("span", { className: "rest" }, `Without it: ${said(rest)}`)),
    ...list,
    make("p", { className: "faint" }, found.says),
  ];
}

const said = (answer) => (answer.labels ? answer.answer : `${answer.answer}, ${sureness(answer.confidence)}`);
