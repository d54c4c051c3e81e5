// One class of the view "Teach": its name, its pictures, and the button that records.

import { count, make } from "../elements.js";
import { smallPicture } from "./small.js";

const RATE = 100; // ms between two pictures while the button is held
const HELD = 300; // ms after which a button counts as held; a shorter press takes one picture
const SHOWN = 24; // pictures shown at first, and more at a time

// `does` is what the view does for it: take(), canTake(), ready(), files(files), small(picture),
// remove(picture), removeAll() and rename(to), which resolves to the name from now on.
export function taughtClass(label, does) {
  const title = make("input", { type: "text", className: "class-name", value: label, maxLength: 60, autocomplete: "off", spellcheck: false });
  const number = make("span", { className: "numbers" });
  const record = make("button", { type: "button", className: "record main" }, "Hold to record");
  const choose = make("button", { type: "button" }, "Choose pictures");
  const file = make("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
  const drop = make("button", { type: "button" }, "Remove");
  const list = make("ul", { className: "thumbs" });
  const more = make("button", { type: "button", hidden: true });
  const element = make("article", { className: "card class" },
    make("div", { className: "row between" }, title, number),
    make("div", { className: "row" }, record, choose, drop),
    file, list, more);
  const made = { label, element, pictures: [], fill, added, removed, release };
  let limit = SHOWN;
  let pressed = 0; // counts presses; 0 while nothing is held
  let presses = 0;
  let ended = -Infinity; // when the last press ended

  function named() {
    title.value = made.label;
    for (const [one, text] of [[title, "Name of the class"], [record, "Hold to record"], [choose, "Choose pictures of"], [drop, "Remove the class"], [file, "Picture files of"], [list, "Pictures of"]]) {
      one.setAttribute("aria-label", `${text} ${made.label}`);
    }
    number.textContent = `${count(made.pictures.length)} picture${made.pictures.length === 1 ? "" : "s"}`;
  }

  // Pictures

  function fill(pictures) {
    made.pictures = [...pictures];
    list.replaceChildren(...made.pictures.slice(0, limit).map((picture) => item(picture, null)));
    rest();
  }

  function added(picture, blob) {
    made.pictures.unshift(picture);
    list.prepend(item(picture, blob));
    while (list.children.length > limit) list.lastChild.remove();
    rest();
  }

  function removed(picture) {
    const at = made.pictures.indexOf(picture);
    if (at < 0) return;
    made.pictures.splice(at, 1);
    const gone = [...list.children].find((one) => one.dataset.picture === picture);
    const next = gone?.nextElementSibling ?? gone?.previousElementSibling;
    const focused = gone?.contains(document.activeElement);
    gone?.remove();
    const shown = list.children.length;
    if (shown < limit && made.pictures.length > shown) list.append(item(made.pictures[shown], null));
    if (focused) (next?.firstChild ?? choose).focus();
    rest();
  }

  function rest() {
    named();
    const hidden = made.pictures.length - list.children.length;
    more.hidden = hidden <= 0;
    more.textContent = `Show more (${count(hidden)})`;
    only(list.querySelector("button[tabindex='0']") ?? list.querySelector("button"));
  }

  // One button of the list is in the order of the tab key; arrow keys lead to the others.
  function only(button) {
    for (const one of list.querySelectorAll("button")) one.tabIndex = one === button ? 0 : -1;
  }

  function item(picture, blob) {
    const image = smallPicture(blob, () => does.small(picture));
    const button = make("button", { type: "button", title: "Remove this picture", tabIndex: -1 }, image, make("span", { "aria-hidden": "true" }, "×"));
    button.setAttribute("aria-label", `Remove this picture of ${made.label}`);
    button.addEventListener("click", () => does.remove(picture));
    button.addEventListener("focus", () => only(button));
    const li = make("li", {}, button);
    li.dataset.picture = picture;
    return li;
  }

  list.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const here = event.target.closest("li");
    if (event.key === "Delete" || event.key === "Backspace") does.remove(here.dataset.picture);
    else if (event.key in steps) (steps[event.key] > 0 ? here.nextElementSibling : here.previousElementSibling)?.firstChild.focus();
    else return;
    event.preventDefault();
  });
  more.addEventListener("click", () => {
    limit += 2 * SHOWN;
    fill(made.pictures);
  });

  // Recording

  async function press() {
    if (pressed) return;
    presses += 1;
    pressed = presses;
    const mine = presses;
    record.classList.add("recording");
    if (!(await does.ready())) return release();
    // A press that ended while the camera was starting takes nothing.
    if (pressed !== mine) return;
    await does.take();
    await new Promise((resolve) => setTimeout(resolve, HELD));
    while (pressed === mine) {
      const began = performance.now();
      if (does.canTake()) await does.take();
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, RATE - (performance.now() - began))));
    }
  }

  function release() {
    if (pressed) ended = performance.now();
    pressed = 0;
    record.classList.remove("recording");
  }

  record.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    record.setPointerCapture(event.pointerId);
    press();
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) record.addEventListener(name, release);
  record.addEventListener("contextmenu", (event) => event.preventDefault());
  record.addEventListener("keydown", (event) => {
    if (![" ", "Enter"].includes(event.key)) return;
    event.preventDefault();
    if (!event.repeat) press();
  });
  record.addEventListener("keyup", (event) => {
    if (![" ", "Enter"].includes(event.key)) return;
    event.preventDefault();
    release();
  });
  // A screen reader presses without pointer and keys.
  record.addEventListener("click", async () => {
    if (performance.now() - ended > 500 && (await does.ready())) does.take();
  });

  choose.addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    const files = [...file.files];
    file.value = "";
    if (files.length) does.files(files);
  });
  drop.addEventListener("click", () => does.removeAll());
  title.addEventListener("change", async () => {
    made.label = await does.rename(title.value);
    fill(made.pictures);
  });
  title.addEventListener("keydown", (event) => {
    if (event.key === "Enter") title.blur();
  });
  named();
  return made;
}
