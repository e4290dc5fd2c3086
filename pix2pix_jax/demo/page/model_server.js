// The model runs in the program that serves this page.

/** Makes translate(values, seed), which returns a promise of the translation's values. */
export async function open() {
  return async function translate(values, seed) {
    for (;;) {
      const answer = await ask(values, seed);
      if (answer.ok) return new Uint8Array(await answer.arrayBuffer());
      if (answer.status !== 409) throw new Error(`${(await answer.text()).trim()} (${answer.status})`);
      await new Promise((done) => setTimeout(done, 100)); // another window's drawing came between
    }
  };
}

async function ask(values, seed) {
  const headers = { "Content-Type": "application/octet-stream" };
  try {
    return await fetch(`translate?seed=${seed}`, { method: "POST", headers, body: values });
  } catch {
    throw new Error("No answer. Is pix2pix demo still running? It prints a new address when it is started again.");
  }
}
