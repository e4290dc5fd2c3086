// The model runs here, in a thread of its own, so that the page stays quick.

/** Loads the model, and makes translate(values, seed), which returns a promise of the translation's values. */
export async function open({ runsIn, width, height, channels }, progress) {
  const worker = new Worker(new URL("./model_worker.js", import.meta.url), { type: "module" });
  const ask = (message, transfer = []) =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => {
        if ("progress" in data) progress(data.progress);
        else if ("error" in data) reject(new Error(data.error));
        else resolve(data);
      };
      worker.onerror = (event) => reject(new Error(event.message || "the model's thread has failed"));
      worker.postMessage(message, transfer);
    });
  await ask({ ...runsIn, width, height, channels });
  return async (values) => (await ask({ values }, [values.buffer])).values;
}
