// Colours for numbers: warm above zero, cool below, the page's background at zero.

function parts(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim().split(" ").map(Number);
}

let ends = null;
const dark = matchMedia("(prefers-color-scheme: dark)");

export function whenThemeChanges(then) {
  dark.addEventListener("change", () => {
    ends = null;
    then();
  });
}

export function largest(values) {
  let top = 0;
  for (let at = 0; at < values.length; at++) {
    const size = Math.abs(values[at]);
    if (size > top) top = size; // a value that is no number stays out
  }
  return top;
}

// Writes `count` values from `start` into the pixels of an image; `top` gets the full colour.
export function paint(pixels, values, start, count, top) {
  ends ??= { zero: parts("--zero"), above: parts("--above"), below: parts("--below") };
  const { zero } = ends;
  for (let at = 0; at < count; at++) {
    const value = values[start + at];
    const end = value >= 0 ? ends.above : ends.below;
    const share = top > 0 ? (Math.min(1, Math.abs(value) / top) || 0) ** 0.75 : 0;
    for (let channel = 0; channel < 3; channel++) {
      pixels.data[4 * at + channel] = zero[channel] + (end[channel] - zero[channel]) * share;
    }
    pixels.data[4 * at + 3] = 255;
  }
  return pixels;
}

export const colour = (value, top) => {
  const [red, green, blue] = paint({ data: [] }, [value], 0, 1, top).data;
  return `rgb(${red} ${green} ${blue})`;
};
