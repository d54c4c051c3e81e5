// Every request to the service: the token, errors as sentences.

const params = new URLSearchParams(location.hash.slice(1));
if (params.has("token")) {
  sessionStorage.setItem("token", params.get("token"));
  history.replaceState(null, "", location.pathname); // a token has no place in an address bar
}

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The service does not answer. Is it still running?", 0);
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Refused(said.error ?? `The service answered ${response.status}.`, response.status);
}

const query = (values) => new URLSearchParams(Object.entries(values).filter(([, v]) => v != null));
const runPath = (run, rest) => `api/runs/${encodeURIComponent(run)}/${rest}`;
const json = async (path, options) => (await ask(path, options)).json();

export const runs = () => json("api/runs");
export const training = (run) => json(runPath(run, "training"));
export const results = (run) => json(runPath(run, "results"));
export const mistakes = (run) => json(runPath(run, "mistakes"));
export const cell = (run, truth, said) => json(runPath(run, `cell?${query({ truth, said })}`));
export const testImages = (run, start, count) => json(runPath(run, `test?${query({ start, count })}`));
export const compare = (first, second) => json(`api/compare?${query({ first, second })}`);

export async function testImage(run, index) {
  return (await ask(runPath(run, `test/${index}.png`))).blob();
}

export async function predict(run, picture, signal) {
  const path = `api/predict?${query({ run, seen: true })}`;
  return (await json(path, { method: "POST", body: picture, signal })).predictions[0];
}

export async function inside(run, picture, className, signal) {
  const path = `api/inside?${query({ run, of: className })}`;
  const response = await ask(path, { method: "POST", body: picture, signal });
  const buffer = await response.arrayBuffer();
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
