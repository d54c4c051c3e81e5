// The confusion matrix: a table whose cells open their pictures, or a list if there are many
// classes.

import { count, make, percent } from "./elements.js";

const MOST = 30; // classes in a table that can still be read
const LISTED = 40;

export function confusion({ run, tested }, titled, opened) {
  const matrix = tested.metrics.confusion;
  const title = titled ? [make("h3", {}, run.name)] : [];
  const content = run.classes.length <= MOST ? table(run, matrix, opened) : list(run, matrix, opened);
  return make("div", { className: "confusion" }, ...title, content);
}

const sum = (row) => row.reduce((a, b) => a + b, 0);

function cell(run, matrix, truth, said, opened) {
  const number = matrix[truth][said];
  const share = number / (sum(matrix[truth]) || 1);
  const button = make("button", { type: "button", disabled: number === 0 }, number ? count(number) : "·");
  button.setAttribute("aria-label", `${run.classes[truth]} predicted as ${run.classes[said]}: ${number}`);
  button.title = `${run.classes[truth]} predicted as ${run.classes[said]}: ${count(number)}, ${percent(share)} of all ${run.classes[truth]}`;
  button.className = truth === said ? "right" : "wrong";
  button.style.setProperty("--share", `${Math.round((truth === said ? 40 : 85) * Math.sqrt(share))}%`);
  button.addEventListener("click", () => opened(truth, said));
  return make("td", {}, button);
}

function table(run, matrix, opened) {
  const names = run.classes;
  const head = make("tr", {}, make("th", { scope: "col" }, "true class"), ...names.map((name) => make("th", { scope: "col", title: name }, name)));
  const rows = names.map((name, truth) => make("tr", {},
    make("th", { scope: "row", title: name }, name),
    ...names.map((_, said) => cell(run, matrix, truth, said, opened))));
  const whole = make("table", { className: "matrix" }, make("thead", {}, head), make("tbody", {}, ...rows));
  whole.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (!(event.key in steps)) return;
    event.preventDefault();
    walk(event.target.closest("td"), steps[event.key]);
  });
  return make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `Confusion matrix of ${run.name}` }, whole);
}

// Moves to the next cell that has pictures.
function walk(from, [down, right]) {
  const rows = [...(from?.closest("tbody").rows ?? [])];
  let row = rows.indexOf(from?.parentElement);
  let column = from?.cellIndex;
  while (rows[row]?.cells[column]) {
    row += down;
    column += right;
    const button = rows[row]?.cells[column]?.querySelector("button:enabled");
    if (button) return button.focus();
  }
}

function list(run, matrix, opened) {
  // With many classes, a screen reader hears only the cells that hold images.
  const pairs = Array.isArray(matrix)
    ? matrix.flatMap((row, truth) => row.map((number, said) => ({ number, truth, said })))
    : matrix.count.map((number, at) => ({ number, truth: matrix.true[at], said: matrix.predicted[at] }));
  const most = pairs.filter((p) => p.number && p.truth !== p.said).sort((a, b) => b.number - a.number).slice(0, LISTED);
  const items = most.map(({ number, truth, said }) => {
    const button = make("button", { type: "button" }, `${run.classes[truth]} predicted as ${run.classes[said]}: ${count(number)}`);
    button.addEventListener("click", () => opened(truth, said));
    return make("li", {}, button);
  });
  const choose = (label) => make("select", { "aria-label": label }, ...run.classes.map((name, at) => make("option", { value: at }, name)));
  const [truth, said] = [choose("True class"), choose("Answer")];
  const open = make("button", { type: "button" }, "Show");
  open.addEventListener("click", () => opened(Number(truth.value), Number(said.value)));
  return make("div", {},
    make("p", { className: "row" }, truth, " predicted as ", said, open),
    make("ul", { className: "pairs" }, ...items));
}
