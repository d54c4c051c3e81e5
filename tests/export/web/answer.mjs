// node answer.mjs ONNXRUNTIME-WEB MODEL.onnx IMAGES.bin N H W C: the probabilities, as JSON.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [runtime, model, images, ...shape] = process.argv.slice(2);
const ort = await import(pathToFileURL(`${runtime}/dist/ort.node.min.mjs`));
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(model), {
  executionProviders: ["wasm"],
});
const tensor = new ort.Tensor("uint8", new Uint8Array(readFileSync(images)), shape.map(Number));
const { probabilities, label } = await session.run({ images: tensor });
console.log(
  JSON.stringify({
    probabilities: Array.from(probabilities.data),
    labels: Array.from(label.data, Number),
  }),
);
