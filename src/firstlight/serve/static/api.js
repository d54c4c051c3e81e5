// Every request to the service: the token, errors as sentences.

// In a frame of a notebook a browser may refuse storage; then a token lasts as long as the page.
const stored = (use) => {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
};

let token = stored((storage) => storage.getItem("token"));
export const enter = (given) => {
  token = given;
  stored((storage) => storage.setItem("token", given));
};

const params = new URLSearchParams(location.hash.slice(1));
if (params.has("token")) {
  enter(params.get("token"));
  history.replaceState(null, "", location.pathname); // a token has no place in an address bar
}

export class Refused extends Error {
  // status 0: the service could not be reached.
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Refused("The service does not respond.", 0);
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Refused(sentence(said.error) ?? `The service responded with status ${response.status}.`, response.status);
}

const sentence = (text) => text && `${text[0].toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? "" : "."}`;
const query = (values) => new URLSearchParams(Object.entries(values).filter(([, v]) => v != null));
const runPath = (run, rest) => `api/runs/${encodeURIComponent(run)}/${rest}`;

// A body may break off after its headers: the service is gone then too.
async function whole(response, read) {
  try {
    return await response[read]();
  } catch {
    throw new Refused("The service does not respond.", 0);
  }
}
export const json = async (path, options) => whole(await ask(path, options), "json");

export const alive = () => fetch("v2/health/live").then((response) => response.ok, () => false);
export const get = (path) => json(path);
export const blob = async (path) => whole(await ask(path), "blob");
export const post = (path, values) => json(path, { method: "POST", body: JSON.stringify(values ?? {}), headers: { "Content-Type": "application/json" } });
export const openapi = () => json("openapi.json");
export const runs = () => json("api/runs");
export const training = (run) => json(runPath(run, "training"));
export const results = (run) => json(runPath(run, "results"));
export const mistakes = (run) => json(runPath(run, "mistakes"));
export const cell = (run, truth, said) => json(runPath(run, `cell?${query({ truth, said })}`));
export const testImages = (run, page, count) => json(runPath(run, `test?${query({ page, count })}`));
export const compare = (first, second) => json(`api/compare?${query({ first, second })}`);

export const networkDrawn = async (run) => whole(await ask(runPath(run, "network.svg")), "blob");

export const testImage = async (run, index) =>
  whole(await ask(runPath(run, `test/${index}.png`)), "blob");

export async function predict(run, picture) {
  const path = `api/predict?${query({ run, seen: true })}`;
  return (await json(path, { method: "POST", body: picture })).predictions[0];
}

export async function inside(run, picture, className, every) {
  const path = `api/inside?${query({ run, of: className, whole: every || null })}`;
  const buffer = await whole(await ask(path, { method: "POST", body: picture }), "arrayBuffer");
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const take = (part) =>
    new Float32Array(buffer, 4 + length + 4 * part.offset, part.shape.reduce((a, b) => a * b, 1));
  for (const layer of head.layers) layer.values = take(layer);
  head.cam.values = take(head.cam);
  return head;
}

export const oneMap = (run, picture, layer, channel) =>
  json(`api/map?${query({ run, layer, channel })}`, { method: "POST", body: picture });

export const without = (run, picture, layer, channel) =>
  json(`api/without?${query({ run, layer, channel })}`, { method: "POST", body: picture });

// Asks until long work is done, and returns its result; null once nobody wants it any more. The
// service itself waits a while before it answers. `told` receives how many of how many images are
// done.
async function study(path, wanted, told) {
  while (wanted()) {
    const found = await json(path);
    if (found.state === "done") return wanted() ? found : null;
    told(found.done, found.total);
  }
  return null;
}

export const exciting = (run, layer, channel, wanted, told) =>
  study(runPath(run, `exciting?${query({ layer, channel })}`), wanted, told);
export const plane = (run, way, wanted, told) => study(runPath(run, `plane?${query({ way })}`), wanted, told);
export const activity = (run, wanted, told) => study(runPath(run, "activity"), wanted, told);
