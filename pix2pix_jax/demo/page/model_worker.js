// The thread that runs the model, by ONNX Runtime.

import * as ort from "./ort/ort.js";

let session, size;

self.onmessage = async ({ data }) => {
  try {
    if (data.values) {
      const values = await translate(data.values);
      self.postMessage({ values }, [values.buffer]);
    } else {
      await open(data);
      self.postMessage({});
    }
  } catch (error) {
    self.postMessage({ error: error.message ?? `${error}` });
  }
};

async function open({ model, backend, width, height, channels }) {
  size = { width, height, channels };
  const place = (name) => new URL(`./ort/${name}`, import.meta.url).href;
  ort.env.wasm.wasmPaths = { mjs: place("ort-wasm.js"), wasm: place("ort-wasm.wasm") };
  // Threads share memory, which browsers allow to pages only that their host isolates from others (COOP and COEP).
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1;
  const executionProviders = backend === "webgpu" && navigator.gpu ? ["webgpu", "wasm"] : ["wasm"];
  session = await ort.InferenceSession.create(await download(model), { executionProviders });
}

/** Fetches a file, and says which part of it is here. */
async function download(path) {
  const answer = await fetch(new URL(path, import.meta.url));
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  const total = Number(answer.headers.get("Content-Length"));
  const parts = [];
  let loaded = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    loaded += value.length;
    if (total) self.postMessage({ progress: Math.min(loaded / total, 1) });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Translates bytes, pixel by pixel, by the model's floats in [-1, 1], channel by channel. */
async function translate(values) {
  const { width, height, channels } = size;
  const count = width * height;
  const floats = new Float32Array(values.length);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < channels; c++) floats[c * count + i] = values[i * channels + c] / 127.5 - 1;
  }
  const image = new ort.Tensor("float32", floats, [1, channels, height, width]);
  const { translation } = await session.run({ image });
  const depth = translation.dims[1];
  const shown = depth === 1 ? 1 : 3; // of two channels red and green, of many the first three
  const out = new Uint8Array(shown * count);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < Math.min(shown, depth); c++) {
      out[shown * i + c] = Math.min(Math.max(Math.round((translation.data[c * count + i] + 1) * 127.5), 0), 255);
    }
  }
  return out;
}
