// The view "Network": layers as blocks beside the recipe that they stand for.

import * as api from "../api.js";
import { byId, count, make } from "../elements.js";
import { clock } from "./clock.js";

const TYPING = 350; // ms after the last key before the text is checked
const IDLE = 1500; // ms without a change before an epoch is measured
const MOST_UNDO = 100;
const FIRST = "mnist-tutorial";
const ALWAYS = ["kernel"]; // settings that are never folded

export const KEPT = "firstlight.recipe";
let own = null; // what this page has written; another one may write meanwhile
export const kept = () => {
  try {
    return own ?? localStorage.getItem(KEPT);
  } catch {
    return own;
  }
};
function keep(toml) {
  own = toml;
  try {
    localStorage.setItem(KEPT, toml);
  } catch {
    // it lasts as long as the page then
  }
}

const short = (value) => (value >= 1e9 ? `${(value / 1e9).toFixed(1)} G` : value >= 1e6 ? `${(value / 1e6).toFixed(1)} M` : value >= 1e4 ? `${(value / 1e3).toFixed(0)} k` : count(value));

// A place in the list: the numbers and names that lead to it. Layers are in arrays, so the last
// one is a number.
const inner = (layers, path) => path.slice(0, -1).reduce((at, step) => at[step], layers);
const same = (a, b) => a.length === b.length && a.every((step, at) => step === b[at]);

export function network({ studio, failed }) {
  let kinds = new Map();
  let draft = { toml: "", layers: [], rows: {}, totals: [], error: "", at: "" };
  let chosen = [0]; // the path of the current block
  let open = new Set(); // the blocks whose settings are unfolded, by path
  let undone = []; // earlier recipes
  let shown = false;
  let asked = 0;
  let latest = Promise.resolve(); // the last check, which may be on its way
  let readable = ""; // the last recipe that could be read
  let timer = null;
  let measuring = null;
  let typing = null; // the field that is being typed in, or the list that may be open
  let pressed = false; // whether a button of the mouse is down
  let late = false; // whether the blocks are to be drawn once neither is

  const guarded = (work) => async (...given) => {
    try {
      return await work(...given);
    } catch (error) {
      failed(error);
    }
  };

  // Ask the service what a changed recipe comes to. `layers` replace those of the text.
  function check(recipe, how = {}) {
    clearTimeout(timer);
    byId("net-blocks").ariaBusy = "true";
    const answer = checked(recipe, how);
    const mine = asked;
    latest = answer.finally(() => {
      if (mine === asked) byId("net-blocks").ariaBusy = "false";
    });
    return latest;
  }

  async function checked({ toml, layers = undefined }, { typed = false, remember = true }) {
    const mine = ++asked;
    const text = byId("net-toml").value;
    const found = await api.post("api/studio/written", { toml, layers, data: byId("net-data").value });
    if (mine !== asked) return;
    if (remember && draft.toml && draft.toml !== found.toml) undone = [...undone, draft.toml].slice(-MOST_UNDO);
    // Those of the text may be other layers than the one that is being typed in.
    if (!layers && found.layers && JSON.stringify(found.layers) !== JSON.stringify(draft.layers)) typing = null;
    draft = { ...found, layers: found.layers ?? draft.layers };
    if (found.readable) readable = draft.toml;
    byId("net-undo").disabled = undone.length === 0;
    byId("net-add").disabled = !readable;
    if (!typed && byId("net-toml").value === text) byId("net-toml").value = draft.toml;
    keep(draft.toml);
    draw();
    told();
  }

  // Wait until all that was written is checked.
  async function settled() {
    await latest.catch(() => {});
    const toml = byId("net-toml").value;
    if (toml !== draft.toml) await check({ toml }, { typed: true });
  }

  function told() {
    clearTimeout(measuring);
    const { error, totals } = draft;
    byId("net-error").textContent = /^\w+\./.test(error) ? error : error && error[0].toUpperCase() + error.slice(1);
    byId("net-train").disabled = Boolean(error);
    byId("net-says").textContent = error ? "" : totals.slice(0, 3).join(" ");
    if (!error && shown) measuring = setTimeout(guarded(measure), IDLE);
  }

  async function measure() {
    const { toml, totals } = draft;
    let found;
    try {
      found = await api.post("api/studio/pace", { toml, data: byId("net-data").value });
    } catch (error) {
      if (!error.status) throw error; // the service is gone
      return; // those who only look do not measure, and a busy machine does not in time
    }
    if (toml !== draft.toml || draft.error || !shown) return;
    if (found.working) measuring = setTimeout(guarded(measure), IDLE);
    if (found.seconds == null) return;
    const time = found.seconds < 1 ? "less than a second" : `about ${clock(found.seconds)}`;
    byId("net-says").textContent = `${totals.slice(0, 3).join(" ")} An epoch takes ${time} on this machine.`;
  }

  // Change a copy of the layers, and check it.
  const change = guarded(async (work, focus = null) => {
    if (byId("net-toml").value !== draft.toml) {
      const before = JSON.stringify(draft.layers);
      await settled();
      if (JSON.stringify(draft.layers) !== before) return; // the place may be another layer now
    }
    const layers = structuredClone(draft.layers);
    work(layers);
    draft.layers = layers;
    if (focus) {
      // Places have moved: draw at once, as the next click may come before the answer.
      draft.rows = {};
      draw();
      block(focus)?.focus();
    }
    // A text with a mistake cannot be changed by its blocks: the last one without is.
    await check({ toml: readable, layers });
    if (focus && document.activeElement === document.body) block(focus)?.focus();
  });

  const block = (path) => byId("net-blocks").querySelector(`[data-path='${JSON.stringify(path)}']`);

  function add() {
    const kind = kinds.get(byId("net-kind").value);
    const made = { [kind.kind]: kind.main ? standard(kind) : true };
    if (kind.main !== "layers" && kind.settings.some((one) => one.name === "layers")) made.layers = [{ conv: 32, padding: "same" }];
    const place = [...chosen];
    const list = inner(draft.layers, place);
    const last = place.length === 1 && list?.at(-1)?.dense === "classes" && place[0] >= list.length - 1;
    const at = list ? Math.min(place.at(-1) + (last ? 0 : 1), list.length) : 0;
    const target = list ? [...place.slice(0, -1), at] : [0];
    chosen = target;
    change((layers) => (inner(layers, target) ?? layers).splice(at, 0, made), target);
  }

  // What a new layer begins with: its default, or what any such layer could hold.
  function standard(kind) {
    const main = kind.settings.find((one) => one.name === kind.main);
    if (kind.kind === "dense") return 64;
    if (main.default !== null && !(Array.isArray(main.default) && !main.default.length)) return main.default;
    if (main.name === "paths" || kind.kind === "branches") return [[{ conv: 16, padding: "same" }], [{ conv: 16, kernel: 1, padding: "same" }]];
    if (main.type === "other") return [{ conv: 32, padding: "same" }, { activation: "relu" }];
    return main.least ?? main.names[0] ?? 1;
  }

  function remove(path) {
    const list = inner(draft.layers, path);
    const at = path.at(-1);
    const next = [...path.slice(0, -1), Math.max(0, Math.min(at, list.length - 2))];
    chosen = next;
    change((layers) => inner(layers, path).splice(at, 1), next);
  }

  function move(path, by) {
    const at = path.at(-1);
    const to = at + by;
    if (to < 0 || to >= inner(draft.layers, path).length) return;
    place(path, [...path.slice(0, -1), to]);
  }

  // Move a layer to another place of the same list.
  function place(from, to) {
    if (same(from, to) || !same(from.slice(0, -1), to.slice(0, -1))) return;
    chosen = to;
    change((layers) => {
      const list = inner(layers, from);
      list.splice(to.at(-1), 0, ...list.splice(from.at(-1), 1));
    }, to);
  }

  function set(path, kind, name, value) {
    change((layers) => {
      const layer = inner(layers, path)[path.at(-1)];
      const key = name === kind.main ? kind.kind : name;
      if (value === undefined) delete layer[key];
      else layer[key] = value;
    });
  }

  function draw() {
    late = pressed || (typing !== null && typing === document.activeElement); // it would be lost
    if (late) return;
    /** @type {any} */
    const focused = document.activeElement;
    const back = byId("net-blocks").contains(focused) ? [focused.closest(".block")?.dataset.path, focused.dataset.name, focused.selectionStart, focused.selectionEnd] : null;
    byId("net-blocks").replaceChildren(...list(draft.layers, [], ""));
    if (back?.[0]) {
      const again = byId("net-blocks").querySelector(`[data-path='${back[0]}']`);
      const field = (back[1] && again?.querySelector(`:scope > * [data-name='${back[1]}']`)) || again;
      field?.focus({ preventScroll: true });
      if (field?.type === "text") field.setSelectionRange(back[2], back[3]);
    }
  }

  // Draw what was put off, once the click has come or the next field has the focus.
  const drawLate = () => setTimeout(() => late && draw());
  const left = () => {
    typing = null;
    drawLate();
  };

  for (const name of ["pointerdown", "pointerup", "pointercancel"]) {
    addEventListener(name, (event) => {
      pressed = event.type === "pointerdown";
      if (!pressed) drawLate();
    }, true);
  }

  // The blocks of a list. `prefix` begins their numbers, such as "4.".
  const list = (layers, path, prefix) => (Array.isArray(layers) ? layers : []).map((layer, at) => one(layer, [...path, at], `${prefix}${at + 1}`));

  const kindOf = (layer) => {
    const words = Object.keys(layer ?? {}).filter((key) => kinds.has(key));
    return kinds.get(words.length > 1 ? words.find((word) => word !== "activation") : words[0]);
  };

  function one(layer, path, number) {
    const kind = kindOf(layer);
    const row = draft.rows[number];
    const title = kind?.title ?? "unknown layer";
    const wrong = draft.at === number;
    const said = `Layer ${number}, ${title}`;
    const item = make("li", {
      className: `block${wrong ? " wrong" : ""}`, tabIndex: 0, draggable: true, "aria-label": said, "data-path": JSON.stringify(path),
    });
    if (same(path, chosen)) item.setAttribute("aria-current", "true");
    const button = (text, name, work) => {
      const made = make("button", { type: "button", "aria-label": `${name} ${said}`, title: name, "data-name": name }, text);
      made.addEventListener("click", (event) => {
        event.stopPropagation();
        work();
      });
      return made;
    };
    const shape = row ? `${row.output.join("×")}${row.trained ? ` · ${short(row.trained)} parameters` : ""}${row.multiply_adds ? ` · ${short(row.multiply_adds)} multiply-adds` : ""}` : "";
    const head = make("div", { className: "block-head" },
      make("span", { className: "number", title: "Drag to move" }, number),
      make("span", { className: "title", title: kind?.does ?? "" }, title),
      make("span", { className: "shape" }, shape),
      make("span", { className: "tools" },
        button("↑", "Move up", () => move(path, -1)),
        button("↓", "Move down", () => move(path, 1)),
        button("×", "Remove", () => remove(path))));
    item.append(head);
    if (kind) item.append(...settings(layer, kind, path, number));
    if (wrong) item.append(make("p", { className: "block-error" }, draft.error));
    item.addEventListener("focus", () => choose(path));
    item.addEventListener("click", (event) => {
      event.stopPropagation();
      choose(path);
    });
    item.addEventListener("keydown", (event) => keys(event, item, path));
    dragged(item, path);
    return item;
  }

  function choose(path) {
    if (same(path, chosen)) return;
    block(chosen)?.removeAttribute("aria-current");
    chosen = path;
    block(path)?.setAttribute("aria-current", "true");
  }

  function keys(event, item, path) {
    if (event.target !== item) return;
    const steps = { ArrowUp: -1, ArrowDown: 1 };
    if (event.key in steps) {
      event.preventDefault();
      if (event.altKey) return move(path, steps[event.key]);
      const all = [...byId("net-blocks").querySelectorAll(".block")];
      all[all.indexOf(item) + steps[event.key]]?.focus();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      remove(path);
    }
  }

  function dragged(item, path) {
    item.addEventListener("dragstart", (event) => {
      event.stopPropagation();
      event.dataTransfer.setData("text/plain", JSON.stringify(path));
      event.dataTransfer.effectAllowed = "move";
      item.classList.add("dragged");
    });
    item.addEventListener("dragend", () => item.classList.remove("dragged"));
    item.addEventListener("dragover", (event) => {
      event.preventDefault();
      event.stopPropagation();
      item.classList.add("over");
    });
    item.addEventListener("dragleave", () => item.classList.remove("over"));
    item.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      item.classList.remove("over");
      try {
        place(JSON.parse(event.dataTransfer.getData("text/plain")), path);
      } catch {
        // something else was dropped here
      }
    });
  }

  const isNested = (value) => Array.isArray(value) && value.some((each) => each !== null && typeof each === "object");

  // The layers inside a layer. An empty list has no block to add below, so it has a button.
  function held(layers, path, prefix, label) {
    const found = make("ol", { className: "blocks", "aria-label": label }, ...list(layers, path, prefix));
    if (layers.length) return found;
    const fill = make("button", { type: "button", "aria-label": `Add a layer: ${label}` }, "Add a layer here");
    fill.addEventListener("click", (event) => {
      event.stopPropagation();
      chosen = [...path, 0];
      add();
    });
    found.append(make("li", {}, fill));
    return found;
  }

  // The settings of a layer: those that were changed are always there, most others unfold.
  function settings(layer, kind, path, number) {
    const shownNow = [];
    const folded = [];
    const nested = [];
    for (const spec of kind.settings) {
      const key = spec.name === kind.main ? kind.kind : spec.name;
      const value = layer[key] ?? spec.default;
      const plain = ["number", "string"].includes(typeof value);
      if (isNested(value) || (spec.name === "layers" && Array.isArray(value))) nested.push([key, value]);
      else if (spec.type !== "other" || plain) (key in layer || ALWAYS.includes(spec.name) ? shownNow : folded).push(field(layer, kind, spec, path));
    }
    const found = [];
    if (shownNow.length) found.push(make("div", { className: "settings" }, ...shownNow));
    for (const [key, value] of nested) {
      if (Array.isArray(value[0])) {
        value.forEach((way, at) => found.push(held(way, [...path, key, at], `${number}.${at + 1}.`, `Path ${at + 1} of layer ${number}`)));
      } else {
        found.push(held(value, [...path, key], `${number}.`, `Layers inside layer ${number}`));
      }
    }
    if (folded.length) {
      const details = make("details", { open: open.has(JSON.stringify(path)) }, make("summary", {}, "more settings"), make("div", { className: "settings" }, ...folded));
      details.addEventListener("toggle", () => open[details.open ? "add" : "delete"](JSON.stringify(path)));
      found.push(details);
    }
    return found;
  }

  function field(layer, kind, spec, path) {
    const key = spec.name === kind.main ? kind.kind : spec.name;
    const value = layer[key] ?? spec.default;
    const change = (given) => set(path, kind, spec.name, given);
    let input;
    if (spec.type === "choice") {
      input = make("select", {}, ...spec.names.map((name) => make("option", { value: name }, name)));
      input.value = value;
      input.addEventListener("pointerdown", () => (typing = input));
      input.addEventListener("focusout", left);
      input.addEventListener("change", () => {
        typing = null;
        change(key !== kind.kind && input.value === spec.default ? undefined : input.value);
      });
    } else if (spec.type === "yes") {
      input = make("input", { type: "checkbox", checked: Boolean(value) });
      input.addEventListener("change", () => change(key !== kind.kind && input.checked === spec.default ? undefined : input.checked));
    } else {
      input = make("input", { type: "text", value: String(value ?? ""), inputMode: spec.type === "text" ? "text" : "decimal", autocomplete: "off", spellcheck: false });
      input.addEventListener("input", () => (typing = input));
      input.addEventListener("focusout", left);
      input.addEventListener("change", () => {
        if (typing !== input) return; // browsers also send it when a field is taken away
        typing = null;
        const text = input.value.trim();
        const parsed = text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
        change(key !== kind.kind && parsed === spec.default ? undefined : parsed);
      });
    }
    input.dataset.name = spec.name;
    const range = spec.least != null ? ` From ${spec.least} to ${spec.most}.` : "";
    return make("label", { title: `${spec.told.replaceAll("`", "")}${range}` }, spec.name.replaceAll("_", " "), input);
  }

  function does() {
    byId("net-does").textContent = kinds.get(byId("net-kind").value)?.does ?? "";
  }

  const begin = guarded(async () => {
    const [layers, recipes] = await Promise.all([api.get("api/studio/layers"), api.get("api/studio/recipes"), studio.find()]);
    kinds = new Map(layers.map((one) => [one.kind, one]));
    byId("net-kind").replaceChildren(...layers.map((one) => make("option", { value: one.kind }, one.title)));
    does();
    byId("net-recipe").append(...recipes.map((one) => make("option", { value: one.name, title: one.description }, one.name)));
    const before = byId("net-data").value;
    const sets = studio.sets.filter((set) => set.named || set.classes.length > 1);
    byId("net-data").replaceChildren(...sets.map((set) => make("option", { value: set.word }, set.title)));
    if (before) byId("net-data").value = before;
    const toml = kept();
    if (toml) await check({ toml });
    else await load(FIRST);
    byId("view-network").setAttribute("aria-busy", "false");
  });

  const load = guarded(async (name) => {
    const { toml } = await api.get(`api/studio/recipes/${encodeURIComponent(name)}`);
    const set = studio.sets.find((one) => name.startsWith(one.word));
    if (set) byId("net-data").value = set.word;
    open = new Set();
    chosen = [0];
    await check({ toml });
  });

  byId("net-kind").addEventListener("change", does);
  byId("net-add").addEventListener("click", add);
  byId("net-data").addEventListener("change", guarded(async () => {
    await settled();
    await check({ toml: draft.toml }, { remember: false });
  }));
  byId("net-recipe").addEventListener("change", () => {
    const name = byId("net-recipe").value;
    byId("net-recipe").value = "";
    if (name) load(name);
  });
  byId("net-toml").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(guarded(() => check({ toml: byId("net-toml").value }, { typed: true })), TYPING);
  });
  byId("net-undo").addEventListener("click", guarded(async () => {
    await settled();
    const toml = undone.pop();
    if (toml !== undefined) await check({ toml }, { remember: false });
  }));
  byId("net-train").addEventListener("click", guarded(async () => {
    await settled();
    if (draft.error) return;
    studio.wish = { network: "mine", data: byId("net-data").value };
    location.hash = "#train";
  }));

  return {
    visible(is) {
      if (shown === is) return;
      shown = is;
      clearTimeout(measuring);
      if (is && !kinds.size) begin();
      else if (is) told();
    },
  };
}
