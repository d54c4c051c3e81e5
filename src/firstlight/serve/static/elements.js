// Helpers to create and find elements, and to format numbers.

/** @type {(id: string) => any} The caller knows which kind of element it is. */
export const byId = (id) => document.getElementById(id);

/** @type {(selector: string, within?: ParentNode) => any} */
export const find = (selector, within = document) => within.querySelector(selector);

/** @type {(selector: string, within?: ParentNode) => any[]} */
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

/** @type {(tag: string, properties?: Record<string, unknown>, ...children: (Node | string)[]) => any} */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/** @type {(tag: string, attributes: Record<string, unknown>, ...children: (Node | string)[]) => any} */
export function shape(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

export const percent = (share, places = 1) => `${(100 * share).toFixed(places)}\u00a0%`;

// Rounding must not make a probability look certain.
export const sureness = (share, above = "more than ") => (share > 0.999 ? `${above}99.9\u00a0%` : percent(share));

export const count = (value) => value.toLocaleString("en");

export function number(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.001 || size >= 10000) return value.toExponential(2);
  return value.toFixed(size < 1 ? 3 : 2);
}

export function notice(message) {
  const box = byId("notice");
  if (box.textContent !== message) box.textContent = message;
  box.hidden = !message;
}

export function tip(event, text) {
  const box = byId("tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  const left = Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8);
  const below = event.clientY + 18;
  const top = below + box.offsetHeight > innerHeight ? event.clientY - 14 - box.offsetHeight : below;
  box.style.left = `${Math.max(4, left)}px`;
  box.style.top = `${top}px`;
}

// Returns the grid cell of an element under the mouse, as [column, row], or null.
export function cellAt(event, element, columns, rows) {
  const box = element.getBoundingClientRect();
  const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
  const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
  return column >= 0 && row >= 0 && column < columns && row < rows ? [column, row] : null;
}
