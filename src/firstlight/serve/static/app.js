// The page: the current run and view, and what to do if the service cannot be reached.

import * as api from "./api.js";
import { byId, find, findAll, make, notice } from "./elements.js";
import { results } from "./results.js";
import { trying } from "./trying.js";

const OF_A_RUN = ["try", "results"];
const RETRY = 1000; // ms between looks for a service that is gone
let runs = [];
let gone = false;
let opened = null; // what of which run is on the page
const more = new Map(); // other views by name, with visible(is, rest of the address)

function failed(error) {
  if (!(error instanceof api.Refused)) throw error;
  if (error.status === 0) waitForService();
  else if (error.status === 401) byId("door").hidden = false;
  else notice(error.message);
}

async function waitForService() {
  if (gone) return;
  gone = true;
  notice("The service does not respond. This page continues as soon as it is back.");
  while (!(await api.alive())) await new Promise((resolve) => setTimeout(resolve, RETRY));
  gone = false;
  notice("");
  await load();
}

// The address holds the state: #VIEW/RUN, or #VIEW/REST of a view that is not of a run.
function asked() {
  const [view, ...rest] = location.hash.slice(1).split("/");
  let name = rest.join("/");
  try {
    name = decodeURIComponent(name);
  } catch {
    // a truncated address: use the first run
  }
  const named = (of) => runs.find((each) => each.name === of);
  if (more.has(view) || (!OF_A_RUN.includes(view) && more.size)) {
    return { view: more.has(view) ? view : more.keys().next().value, run: named(opened?.run?.name) ?? runs[0], rest: more.has(view) ? name : "" };
  }
  const run = named(name);
  return { view: OF_A_RUN.includes(view) ? view : "try", run: run ?? runs[0], rest: "", missing: run ? "" : name };
}

const address = (view, run) => (more.has(view) ? `#${view}` : `#${view}/${encodeURIComponent(run.name)}`);

function show() {
  const { view, run, rest, missing } = asked();
  const ofRun = OF_A_RUN.includes(view);
  const here = rest ? `#${view}/${encodeURIComponent(rest)}` : address(view, run);
  if (location.hash !== here) history.replaceState(null, "", here);
  for (const link of findAll("[data-view]")) {
    link.href = address(link.dataset.view, run);
    link.toggleAttribute("aria-current", false);
    if (link.dataset.view !== view) continue;
    link.setAttribute("aria-current", "page");
    link.scrollIntoView({ block: "nearest", inline: "nearest" }); // on a phone not all fit
  }
  document.title = ofRun ? `${run.name} – firstlight` : `${document.querySelector("[data-view][aria-current]").textContent} – firstlight`;
  byId("run").value = run.name;
  byId("run").parentElement.hidden = !ofRun;
  for (const name of [...OF_A_RUN, ...more.keys()]) byId(`view-${name}`).hidden = name !== view;
  for (const [name, one] of more) one.visible(name === view, name === view ? rest : "");
  if (!ofRun) {
    if (opened?.view !== view) notice("");
    if (opened) views.results.visible(false);
    opened = { run: opened?.run ?? null, view };
    return;
  }
  if (!gone && (opened?.run?.name !== run.name || opened.view !== view)) notice("");
  if (opened?.run !== run) {
    views.try.open(run);
    views.results.open(run, runs);
  }
  if (missing) notice(`There is no run “${missing}” here. This is ${run.name}.`);
  if (opened?.run !== run || opened.view !== view) views.results.visible(view === "results");
  opened = { run, view };
}

async function load() {
  try {
    runs = await api.runs();
  } catch (error) {
    return failed(error);
  }
  byId("door").hidden = true;
  byId("run").replaceChildren(...runs.map((run) => make("option", { value: run.name }, label(run))));
  show();
}

const label = (run) => (run.state === "finished" ? run.name : `${run.name} (${run.state})`);

function tried(run, blob, index, truth) {
  history.pushState(null, "", address("try", run));
  show();
  views.try.take(blob, `test image ${index}`, truth);
  scrollTo({ top: 0 });
}

// What other parts of the service add to the page.
async function extend() {
  const named = find("meta[name=more]");
  if (!named) return;
  const { start } = await import(`./${named.content}`);
  for (const [name, view] of await start({ failed, reload: load })) more.set(name, view);
}

const views = { try: trying(failed), results: results({ failed, again: load, tried }) };
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
addEventListener("hashchange", () => {
  if (runs.length) show();
});
byId("run").addEventListener("change", () => {
  location.hash = address(asked().view, { name: byId("run").value });
});
byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  api.enter(byId("token").value.trim());
  byId("token").value = "";
  load();
});
extend().then(load);
