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

// Ten classes can be told apart also without seeing colours well. More have a hue each.
const CLASSES = ["#4477aa", "#ee6677", "#228833", "#bba622", "#22aabb", "#aa3377", "#888888", "#ee8833", "#8866dd", "#8a6a3a"];
const ON_DARK = ["#77aadd", "#ff8899", "#44bb66", "#ddcc55", "#55d0dd", "#e06fb0", "#bbbbbb", "#ffaa66", "#aa99ff", "#c8a46c"];

export function classColour(label, classes) {
  if (classes <= CLASSES.length) return (dark.matches ? ON_DARK : CLASSES)[label];
  return `hsl(${Math.round((360 * label) / classes)} 60% ${(dark.matches ? 58 : 42) + (label % 2 ? 10 : 0)}%)`;
}

export const colour = (value, top) => {
  const [red, green, blue] = paint({ data: [] }, [value], 0, 1, top).data;
  return `rgb(${red} ${green} ${blue})`;
};
