// Test pictures with their answers: the worst mistakes, or those of one cell.

import * as api from "./api.js";
import { byId, count, make, sureness } from "./elements.js";

export function gallery(failed, tried) {
  let shown = 0; // which showing; an older one that comes late is dropped

  async function show(run, title, found, said = "") {
    const mine = ++shown;
    byId("gallery-title").textContent = title;
    byId("gallery-says").textContent = says(found, said);
    const items = found.pictures.map((row) => item(run, row));
    byId("gallery").replaceChildren(...items.map((one) => one.element));
    for (const one of items) {
      if (mine !== shown) return;
      try {
        one.fill(await api.testImage(run.name, one.row.index));
      } catch (error) {
        if (error.status !== 404) return failed(error);
        byId("gallery-says").textContent += " The images themselves are not on this machine.";
        return;
      }
    }
  }

  function item(run, row) {
    const [truth, said] = [named(run, row.truth), named(run, row.said)];
    const sure = row.confidence === null ? "" : sureness(row.confidence);
    const image = make("img", { alt: "" });
    const button = make("button", { type: "button", disabled: true, title: "Look inside" }, image,
      make("b", { title: said }, said), make("span", { title: truth }, truth === said ? "correct" : `actually ${truth}`),
      make("span", {}, row.confidence === null ? "" : sureness(row.confidence, ">\u00a0")));
    button.setAttribute("aria-label", `Test image ${row.index}: answer ${said}, actually ${truth}${sure && `, ${sure} confident`}`);
    let picture = null;
    button.addEventListener("click", () => tried(run, picture, row.index, truth));
    return {
      row,
      element: make("li", {}, button),
      fill(blob) {
        picture = blob;
        image.src = URL.createObjectURL(blob);
        image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
        button.disabled = run.state !== "finished";
      },
    };
  }

  return {
    show,
    async mistakes(run) {
      const found = await api.mistakes(run.name);
      show(run, "Worst mistakes", found, `lowest probability of the correct ${run.labels ? "labels" : "class"} first`);
    },
    async cell(run, truth, said) {
      try {
        const found = await api.cell(run.name, truth, said);
        show(run, `${run.classes[truth]} predicted as ${run.classes[said]} by ${run.name}`, found, "most confident first");
        byId("gallery-title").scrollIntoView({ block: "nearest" });
      } catch (error) {
        failed(error);
      }
    },
  };
}

// A class, or several labels as a picture of the test set has them.
function named(run, at) {
  return Array.isArray(at) ? at.map((one) => run.classes[one]).join(";") || "(none)" : run.classes[at];
}

function says(found, said) {
  if (found.count === 0) return "There are none.";
  const many = `${count(found.count)} ${found.count === 1 ? "image" : "images"}`;
  const some = found.pictures.length < found.count ? `, ${found.pictures.length} of them shown` : "";
  return `${many}${some}${said ? `; ${said}` : ""}. Choose one to look inside.`;
}
