// The model runs in the program that serves this page.

/** Makes translate(values, seed), which returns a promise of the translation's values. */
export async function open() {
  return async function translate(values, seed) {
    for (;;) {
      const answer = await fetch(`translate?seed=${seed}`, {
        method: "POST",
        headers: { "Content-Type": "application/octet-stream" },
        body: values,
      });
      if (answer.ok) return new Uint8Array(await answer.arrayBuffer());
      if (answer.status !== 409) throw new Error(`${(await answer.text()).trim()} (${answer.status})`);
      await new Promise((done) => setTimeout(done, 100)); // another window's drawing came between
    }
  };
}
