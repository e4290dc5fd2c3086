// Pictures in and out: files that are picked, dropped or pasted, examples, and what is saved.

/** Draws a picture over the whole grid; returns its own [width, height]. Throws where it is none. */
export async function load(blob, grid, { half, kind, colours }) {
  let picture;
  try {
    picture = await createImageBitmap(blob); // turned upright, as its camera says
  } catch {
    throw new Error("This file is not a picture that the browser can read.");
  }
  // Twice as wide as the model's: an A|B pair, of which the half is taken that the model translates.
  const { height } = picture;
  const pair = picture.width * grid.height === 2 * height * grid.width;
  const width = pair ? picture.width / 2 : picture.width;
  const left = pair && half === "right" ? width : 0;
  const canvas = new OffscreenCanvas(grid.width, grid.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // shows through what is transparent, as in training
  context.fillRect(0, 0, grid.width, grid.height);
  context.imageSmoothingEnabled = kind !== "labels";
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, left, 0, width, height, 0, 0, grid.width, grid.height);
  grid.image.data.set(context.getImageData(0, 0, grid.width, grid.height).data);
  if (kind === "labels") grid.snap(colours);
  picture.close();
  return [width, height];
}

/** Saves an image as a PNG, at another [width, height] if the picture it comes from had one. */
export async function save(image, name, [width, height], crisp) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  let saved = canvas;
  if (width !== image.width || height !== image.height) {
    saved = new OffscreenCanvas(width, height);
    const context = saved.getContext("2d");
    context.imageSmoothingEnabled = !crisp;
    context.imageSmoothingQuality = "high";
    context.drawImage(canvas, 0, 0, width, height);
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await saved.convertToBlob({ type: "image/png" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** Calls `take` with each picture that is dropped on the page, pasted into it, or picked. */
export function listen({ take, fail, input, target }) {
  const first = (items) => [...items].find((file) => file.type.startsWith("image/"));
  const use = (files) => {
    const file = first(files);
    if (file) take(file);
    else if (files.length) fail("This file is not a picture.");
  };
  input.addEventListener("change", () => {
    use(input.files);
    input.value = "";
  });
  document.addEventListener("paste", (event) => use(event.clipboardData.files));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || target.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("dropping");
    use(event.dataTransfer.files);
  });
}
