// The view "Data": choose a set, look through it, see what the check says, and correct labels.

import * as api from "../api.js";
import { byId, count, make, notice } from "../elements.js";
import { showPicture, smallPicture } from "./small.js";

const AT = "api/studio/data";
const PAGE = 48; // pictures on a page
const MOST_SAMPLED = 200000; // pictures of a set that is read for a strip of some of them
const [NO_ANSWER, NO_TOKEN, BUSY] = [0, 401, 503]; // statuses
const SOON = 500; // ms between looks while a set is opened or checked
const REST = 250; // ms without a key before a text is searched for

const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null && value !== ""));

// `studio` knows the sets.
export function looking({ studio, failed }) {
  let shown = false;
  let word = null; // of the set
  let set = null; // what is known of it
  let page = 0;
  let turn = 0; // counts what was opened
  let walk = 0; // counts the walks over the sets for their strips
  let asked = 0; // counts the pages that were asked for
  let timer = null;
  let typing = null;
  let anchor = null; // where a range of chosen pictures begins
  const chosen = new Set(); // names of pictures

  const guarded = (work) => async (...given) => {
    try {
      return await work(...given);
    } catch (error) {
      failed(error);
    }
  };
  const busy = (is) => byId("view-data").setAttribute("aria-busy", String(is));

  // The set

  function fill() {
    const groups = [["Your pictures", studio.sets.filter((one) => !one.named)], ["Named data sets", studio.sets.filter((one) => one.named && one.here)]].filter(([, sets]) => sets.length);
    const missing = studio.sets.filter((one) => !one.here).map((one) => one.word);
    byId("data-sets").replaceChildren(...groups.flatMap(([title, sets]) => [make("h2", {}, title), make("div", { className: "sets" }, ...sets.map(card))]));
    byId("data-missing").replaceChildren(...(missing.length ? [`Not on this machine: ${missing.join(", ")}. To download one: `, make("code", {}, `firstlight data fetch ${missing[0]}`)] : []));
  }

  const usable = (one) => one.here && (one.named || one.images > 0);

  // One set to choose: its size, its classes, and a strip of its pictures once they were fetched.
  function card(one) {
    const choice = make("input", { type: "radio", name: "data-set", value: one.word, disabled: !usable(one) });
    choice.addEventListener("change", guarded(() => open(one.word)));
    const images = `${count(one.images)} picture${one.images === 1 ? "" : "s"}, ${one.classes.length} class${one.classes.length === 1 ? "" : "es"}`;
    const says = usable(one) ? images : "No pictures yet";
    const strip = make("img", { alt: "", className: one.named ? "named" : "" });
    return make("label", { className: "set" }, choice, make("b", {}, one.title), make("span", { className: "faint" }, says), ...(usable(one) && one.images <= MOST_SAMPLED ? [strip] : []));
  }

  const setCards = () => [...byId("data-sets").querySelectorAll("input")];

  // One after the other, so that the set that was chosen comes first.
  async function strips() {
    const mine = ++walk;
    for (const choice of setCards()) {
      const strip = choice.parentElement.querySelector("img");
      while (shown && mine === walk && strip?.isConnected && !strip.src) {
        try {
          showPicture(strip, await api.blob(`${AT}/strip?${query({ set: choice.value })}`));
        } catch (error) {
          if ([NO_ANSWER, NO_TOKEN].includes(error.status)) throw error;
          if (error.status === BUSY) await new Promise((resolve) => setTimeout(resolve, SOON));
          else strip.remove(); // what is wrong with the set is said once it is chosen
        }
      }
    }
  }

  async function open(asks) {
    const here = studio.sets.filter(usable);
    word = here.find((one) => one.word === asks)?.word ?? here[0].word;
    const choice = setCards().find((one) => one.value === word);
    choice.checked = true;
    choice.parentElement.scrollIntoView({ block: "nearest", inline: "nearest" }); // a row on a phone
    const hash = `#data/${encodeURIComponent(word)}`;
    if (shown && location.hash !== hash) history.replaceState(null, "", hash);
    turn += 1;
    [page, set, anchor] = [0, null, null];
    chosen.clear();
    byId("data-open").hidden = true;
    byId("data-text").value = "";
    busy(true);
    await ask();
  }

  // Asks until the set is open and its check has ended.
  async function ask() {
    clearTimeout(timer);
    const mine = turn;
    let found;
    try {
      found = await api.get(`${AT}?${query({ set: word })}`);
    } catch (error) {
      if (mine !== turn) return;
      busy(false);
      byId("data-says").textContent = "";
      throw error;
    }
    if (mine !== turn) return;
    if (found.opening) {
      byId("data-says").textContent = "Reading the images …";
      again();
      return;
    }
    const first = set === null;
    const ended = set?.check?.running && !found.check.running;
    show(found, first);
    if (first || ended) await pictures();
    busy(false);
    if (found.check?.running) again();
  }

  function again() {
    if (shown) timer = setTimeout(guarded(ask), SOON);
  }

  function show(found, first) {
    set = found;
    const described = studio.sets.find((one) => one.word === word);
    const images = set.classes.reduce((sum, one) => sum + one.images, 0);
    const texts = [`${count(images)} pictures in ${set.classes.length} classes.`];
    if (described?.shape) texts.push(`${described.shape[1]}×${described.shape[0]} pixels, ${described.shape[2] === 1 ? "grey" : "colour"}.`);
    const { left_out: out, moved, file } = set.fixes;
    if (out || moved) texts.push(`Corrected: ${count(out)} left out, ${count(moved)} moved, in ${file}. Train uses this.`);
    byId("data-says").textContent = texts.join(" ");
    byId("data-notes").replaceChildren(...(set.own ? set.notes.map((text) => make("li", {}, text)) : []));
    byId("data-open").hidden = false;
    byId("data-act").hidden = byId("data-only-box").hidden = !set.own;
    byId("data-grid").classList.toggle("own", set.own);
    if (first) {
      byId("data-class").replaceChildren(make("option", { value: "" }, "all"), ...set.classes.map((one) => make("option", { value: one.name }, `${one.name} (${count(one.images)})`)));
      byId("data-to").replaceChildren(make("option", { value: "" }, "…"), ...set.classes.map((one) => make("option", { value: one.name }, one.name)));
    }
    const before = first ? "" : byId("data-only").value;
    const kinds = [...new Set((set.check?.findings ?? []).filter((one) => one.pictures).map((one) => one.kind))];
    const options = [["", "all"], ["fixed", "corrected"], ...kinds.map((kind) => [kind, `found: ${kind}`])];
    byId("data-only").replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
    byId("data-only").value = options.some(([value]) => value === before) ? before : "";
    checked();
  }

  // The check

  function checked() {
    const { check } = set;
    byId("data-check").hidden = !check;
    if (!check) return;
    const { what = "", done = 0, all = 0 } = check.progress;
    byId("data-check-go").disabled = byId("data-check-labels").disabled = check.running;
    byId("data-check-go").textContent = check.done ? "Check again" : "Check these pictures";
    byId("data-check-bar").hidden = !check.running;
    byId("data-check-bar").value = all ? done / all : 0;
    byId("data-check-says").textContent = told(check, what, done, all);
    byId("data-findings").replaceChildren(...check.findings.map(finding));
  }

  function told(check, what, done, all) {
    const doing = what.charAt(0).toUpperCase() + what.slice(1);
    if (check.running) return all ? `${doing} ${count(all)} picture${all === 1 ? "" : "s"}: ${count(done)} done.` : "Checking.";
    if (check.failed) return check.failed;
    if (!check.done) return "Finds copies between training and test pictures or between classes, damaged files, uneven classes and more.";
    const texts = [`Training would use ${check.shape}.`];
    if (!check.findings.length) texts.unshift("No problems found.");
    if (!check.labels) texts.push("Labels were not checked.");
    if (check.changed) texts.push("Pictures have been added or removed since then. Check again.");
    return texts.join(" ");
  }

  function finding({ kind, severe, text, pictures: number, leave_out: out }) {
    const buttons = [];
    if (number) {
      const see = make("button", { type: "button", "aria-label": `Show: ${kind}` }, `Show ${count(number)}`);
      see.addEventListener("click", guarded(async () => {
        byId("data-only").value = kind;
        byId("data-class").value = byId("data-text").value = "";
        page = 0;
        await pictures();
        byId("data-grid").scrollIntoView({ block: "nearest" });
      }));
      buttons.push(see);
    }
    if (out) {
      const leave = make("button", { type: "button", "aria-label": `Leave out: ${kind}` }, `Leave out ${count(out)}`);
      leave.addEventListener("click", guarded(() => fix({ found: kind, label: "", reason: kind })));
      buttons.push(leave);
    }
    return make("li", {}, make("b", { className: severe ? "severe" : "" }, `${kind}: `), text, make("div", { className: "row" }, ...buttons));
  }

  byId("data-check-go").addEventListener("click", guarded(async () => {
    byId("data-check-go").disabled = true;
    try {
      await api.post(`${AT}/check`, { set: word, labels: byId("data-check-labels").checked });
    } finally {
      byId("data-check-go").disabled = false;
    }
    await ask();
  }));

  // Pictures

  async function pictures() {
    asked += 1;
    const [mine, opened] = [asked, turn];
    const values = { set: word, class: byId("data-class").value, text: byId("data-text").value, only: set.own ? byId("data-only").value : "", page, count: PAGE };
    const found = await api.get(`${AT}/pictures?${query(values)}`);
    if (mine !== asked || opened !== turn) return;
    const focused = focusedName();
    byId("data-grid").replaceChildren(...found.pictures.map(item));
    const buttons = grid();
    const next = buttons.find((one) => nameOf(one) === focused) ?? buttons[0];
    only(next);
    if (focused) next?.focus();
    const pages = Math.max(1, Math.ceil(found.total / PAGE));
    byId("data-page").textContent = found.total ? `${count(found.total)} picture${found.total === 1 ? "" : "s"}, page ${count(page + 1)} of ${count(pages)}` : "No pictures match the filters.";
    byId("data-before").disabled = page === 0;
    byId("data-next").disabled = page + 1 >= pages;
    choice();
  }

  const grid = () => [...byId("data-grid").querySelectorAll("button")];
  const nameOf = (button) => button.parentElement.dataset.name;
  const focusedName = () => grid().filter((one) => one === document.activeElement).map(nameOf)[0];

  // One button of the grid is in the order of the tab key; arrow keys lead to the others.
  function only(button) {
    for (const one of grid()) one.tabIndex = one === button ? 0 : -1;
  }

  function item(one) {
    const doubtful = one.fix === null && one.suggested;
    const says = doubtful ? `${one.class}?` : one.fix === null ? one.class : one.fix === "" ? "left out" : `${one.class} → ${one.fix}`;
    const image = smallPicture(null, () => api.blob(`${AT}/picture?${query({ set: word, name: one.name })}`));
    const button = make("button", { type: "button", title: [one.name, ...one.found].join(", "), tabIndex: -1 }, image, make("b", {}, says), make("span", {}, doubtful ? `like ${one.suggested}` : set.own ? one.name.split("/").pop() : one.name));
    button.setAttribute("aria-label", `${one.name}, ${says}${doubtful ? ` like ${one.suggested}` : ""}${one.found.length ? `, found: ${one.found.join(", ")}` : ""}`);
    button.className = one.fix === null ? "" : one.fix === "" ? "changed out" : "changed";
    button.addEventListener("focus", () => only(button));
    button.addEventListener("click", (event) => {
      if (set.own) choose(one.name, event.shiftKey);
    });
    const li = make("li", {}, button);
    li.dataset.name = one.name;
    return li;
  }

  function choose(name, range) {
    const names = grid().map(nameOf);
    if (range && names.includes(anchor)) {
      const [from, to] = [names.indexOf(anchor), names.indexOf(name)].sort((a, b) => a - b);
      for (const one of names.slice(from, to + 1)) chosen.add(one);
    } else if (!chosen.delete(name)) chosen.add(name);
    anchor = name;
    choice();
  }

  function choice() {
    if (!set.own) return;
    for (const one of grid()) one.setAttribute("aria-pressed", String(chosen.has(nameOf(one))));
    byId("data-chosen").textContent = chosen.size ? `${count(chosen.size)} selected` : "Select pictures to correct them.";
    for (const id of ["data-out", "data-to", "data-back", "data-none"]) byId(id).disabled = !chosen.size;
  }

  byId("data-grid").addEventListener("keydown", (event) => {
    const buttons = grid();
    const at = buttons.indexOf(event.target.closest("button"));
    const columns = buttons.filter((one) => one.offsetTop === buttons[0].offsetTop).length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    if (!(event.key in steps)) return;
    event.preventDefault();
    buttons[at + steps[event.key]]?.focus();
  });

  // Corrections

  async function fix(values) {
    const found = await api.post(`${AT}/fix`, { set: word, ...values });
    chosen.clear();
    notice("");
    show(found, false);
    await pictures();
  }
  byId("data-out").addEventListener("click", guarded(() => fix({ pictures: [...chosen], label: "" })));
  byId("data-back").addEventListener("click", guarded(() => fix({ pictures: [...chosen], label: null })));
  byId("data-to").addEventListener("change", guarded(async () => {
    const label = byId("data-to").value;
    byId("data-to").value = "";
    if (label) await fix({ pictures: [...chosen], label });
  }));
  byId("data-all").addEventListener("click", () => {
    for (const one of grid()) chosen.add(nameOf(one));
    choice();
  });
  byId("data-none").addEventListener("click", () => {
    chosen.clear();
    choice();
  });

  // Filters

  const filtered = guarded(async () => {
    page = 0;
    await pictures();
  });
  for (const id of ["data-class", "data-only"]) byId(id).addEventListener("change", filtered);
  byId("data-text").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(filtered, REST);
  });
  const turned = (by) => guarded(async () => {
    page += by;
    await pictures();
  });
  byId("data-before").addEventListener("click", turned(-1));
  byId("data-next").addEventListener("click", turned(1));
  byId("data-train").addEventListener("click", () => {
    studio.chosen = word;
  });

  return {
    visible(is, rest) {
      const asks = is && rest && rest !== word;
      if (shown === is && !asks) {
        if (is) guarded(strips)(); // what is missing after the service was gone
        return;
      }
      shown = is;
      clearTimeout(timer);
      if (is) guarded(async () => {
        await studio.find();
        fill();
        await guarded(open)(rest || word);
        await strips();
      })();
    },
  };
}
