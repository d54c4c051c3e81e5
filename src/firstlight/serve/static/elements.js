// Small ways to make and find elements.

export const byId = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const percent = (share, places = 1) => `${(100 * share).toFixed(places)} %`;

export function number(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 10000)) return value.toExponential(2);
  return value.toFixed(size < 1 ? 3 : 2);
}

export function notice(message) {
  const box = byId("notice");
  box.textContent = message;
  box.hidden = !message;
}

export function tip(event, text) {
  const box = byId("tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  const left = Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8);
  const top = event.clientY + 18 + box.offsetHeight > innerHeight ? event.clientY - 34 : event.clientY + 18;
  box.style.left = `${Math.max(4, left)}px`;
  box.style.top = `${top}px`;
}
