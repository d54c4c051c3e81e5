// What the studio adds to the page: its views, from studio.html, and their styles.

import * as api from "../api.js";
import { byId, make } from "../elements.js";
import { looking } from "./data.js";
import { network } from "./network.js";
import { teaching } from "./teach.js";
import { training } from "./train.js";

// Returns the views by name, in the order of the navigation. `reload` fetches the runs again.
export async function start({ failed, reload }) {
  document.head.append(make("link", { rel: "stylesheet", href: "studio/studio.css" }));
  const text = await (await fetch("studio/studio.html")).text();
  const more = new DOMParser().parseFromString(text, "text/html");
  document.querySelector("header nav").prepend(...more.querySelectorAll("nav a"));
  byId("main").append(...more.querySelectorAll("section"));
  const studio = { about: null, sets: [], chosen: null };
  studio.find = async () => {
    [studio.about, studio.sets] = await Promise.all([api.get("api/studio"), api.get("api/studio/sets")]);
    byId("folder").textContent = studio.about.folder;
  };
  return [
    ["data", looking({ studio, failed })],
    ["network", network({ studio, failed })],
    ["train", training({ studio, failed, reload })],
    ["teach", teaching({ studio, failed, reload })],
  ];
}
