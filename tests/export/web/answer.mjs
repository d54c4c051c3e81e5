// node answer.mjs MODEL.onnx IMAGES.bin N H W C: the probabilities that onnxruntime-web gives, as JSON.
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";

const [model, images, ...shape] = process.argv.slice(2);
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
