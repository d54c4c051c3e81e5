// The page: the current run and view, and what to do if the service cannot be reached.

import * as api from "./api.js";
import { byId, make, notice } from "./elements.js";
import { results } from "./results.js";
import { trying } from "./trying.js";

const VIEWS = ["try", "results"];
const RETRY = 1000; // ms between looks for a service that is gone
let runs = [];
let gone = false;
let opened = null; // what of which run is on the page

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
  opened = null;
  await load();
}

// The address holds the state: #VIEW/RUN.
function asked() {
  const [view, ...rest] = location.hash.slice(1).split("/");
  let name = rest.join("/");
  try {
    name = decodeURIComponent(name);
  } catch {
    // a truncated address: use the first run
  }
  return { view: VIEWS.includes(view) ? view : "try", run: runs.find((run) => run.name === name) ?? runs[0] };
}

const address = (view, run) => `#${view}/${encodeURIComponent(run.name)}`;

function show() {
  const { view, run } = asked();
  if (location.hash !== address(view, run)) history.replaceState(null, "", address(view, run));
  document.title = `${run.name} – firstlight`;
  byId("run").value = run.name;
  for (const link of document.querySelectorAll("[data-view]")) {
    link.href = address(link.dataset.view, run);
    link.toggleAttribute("aria-current", false);
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
  }
  for (const name of VIEWS) byId(`view-${name}`).hidden = name !== view;
  if (opened?.run !== run) {
    notice("");
    views.try.open(run);
    views.results.open(run, runs);
  }
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

// A run has made progress since the last request.
async function again() {
  opened = null;
  await load();
}

function tried(run, blob, index, truth) {
  history.pushState(null, "", address("try", run));
  show();
  views.try.take(blob, `test image ${index}`, truth);
  scrollTo({ top: 0 });
}

const views = { try: trying(failed), results: results({ failed, again, tried }) };
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
load();
