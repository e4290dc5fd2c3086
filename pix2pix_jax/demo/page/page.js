// The page: reads what it has to know of the model from page.json, and translates the drawing as it changes.

import { Grid, History, toImage, unpack } from "./grid.js";
import { listen, load, save } from "./pictures.js";
import { Pen } from "./tools.js";

const element = (id) => document.getElementById(id);
const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const TOOL_KEYS = { b: "brush", e: "eraser", l: "line", r: "rectangle", f: "fill" };

async function start() {
  const settings = await (await fetch("page.json")).json();
  const place = settings.runsIn.place === "server" ? "./model_server.js" : "./model_browser.js";
  describe(settings);
  const [{ open }, first] = await Promise.all([import(place), firstExample(settings)]);
  const page = new Page(settings);
  const tell = (part) => (element("about").textContent = `Loading the model${part ? `: ${Math.floor(100 * part)} %` : ""} …`);
  tell(0);
  page.translate = await open(settings, tell);
  describe(settings);
  document.querySelector("main").hidden = false;
  if (first) await page.take(first);
  page.history.past = []; // the first picture is where one starts, not a step
  page.changed();
}

function describe({ title, width, height, runsIn }) {
  document.title = `${title} – draw`;
  element("title").textContent = title;
  const where = runsIn.place === "server" ? "" : " · runs in this browser";
  element("about").textContent = `${width} × ${height} pixels${where}`;
}

async function firstExample({ examples }) {
  return examples.length ? (await fetch(examples[0])).blob() : null;
}

class Page {
  constructor(settings) {
    this.settings = settings;
    this.seed = 0;
    this.asked = this.answered = 0; // numbers of drawings
    const { width, height, brushes } = settings;
    this.grid = new Grid(width, height);
    this.grid.clear(packed(brushes.paper));
    this.history = new History(this.grid);
    this.shown = [width, height]; // in pixels, of the picture that was opened
    this.output = null;
    for (const id of ["input", "output"]) Object.assign(element(id), { width, height });
    this.setUpTools(brushes);
    this.setUpButtons();
    this.setUpExamples();
    this.setAspect();
    document.addEventListener("keydown", (event) => this.onKey(event));
  }

  setUpTools({ kind, colours, paper }) {
    const { width, height } = this.settings;
    document.body.dataset.kind = kind;
    if (kind === "edges") {
      element("brush-icon").setAttribute("href", "#i-pencil");
      element("brush-name").textContent = "Pencil";
    }
    const part = { labels: 16, edges: 128, photo: 40 }[kind];
    element("size").max = Math.max(8, Math.round(width / 5));
    element("size").value = Math.max(1, Math.round(width / part));
    if (kind === "labels") document.querySelector("[value=rectangle]").checked = true; // labels are mostly boxes
    for (const [i, [name, colour]] of colours.entries()) element("colours").append(swatch(name, colour, i));
    if (kind === "photo") element("colours").append(ownColour());
    const unlike = colours.findIndex(([, colour]) => `${colour}` !== `${paper}`);
    const start = kind === "labels" ? Math.min(2, colours.length - 1) : Math.max(unlike, 0);
    document.querySelectorAll("input[name=colour]")[start].checked = true;
    new Pen(element("input"), {
      grid: this.grid,
      history: this.history,
      style: () => this.style(),
      changed: () => this.changed(),
      pick: (x, y) => this.pick(x, y),
      cursor: new Cursor(width, height),
    });
  }

  style() {
    const { kind, paper } = this.settings.brushes;
    const colour = document.querySelector("input[name=colour]:checked").dataset.rgb.split(",").map(Number);
    return { kind, paper, colour, tool: chosen("tool"), size: Number(element("size").value) };
  }

  setUpButtons() {
    const on = (id, type, action) => element(id).addEventListener(type, action);
    on("undo", "click", () => this.history.undo() && this.changed());
    on("redo", "click", () => this.history.redo() && this.changed());
    on("clear", "click", () => this.empty());
    on("open", "click", () => element("file").click());
    on("dice", "click", () => this.roll());
    on("save-input", "click", () => save(this.grid.image, "drawing.png", this.shown, this.isLabels));
    on("save-output", "click", () => this.output && save(this.output, "translation.png", this.shown, false));
    on("size", "input", () => this.showSize());
    on("wipe", "input", () => element("stage").style.setProperty("--wipe", `${element("wipe").value}%`));
    for (const radio of document.querySelectorAll("input[name=view]")) {
      radio.addEventListener("change", () => (element("stage").dataset.view = chosen("view")));
    }
    element("dice").hidden = !this.settings.hasDropout;
    const take = (file) => this.take(file);
    listen({ take, fail: (text) => this.fail(text), input: element("file"), target: document.body });
    this.showSize();
  }

  get isLabels() {
    return this.settings.brushes.kind === "labels";
  }

  setUpExamples() {
    element("examples").hidden = !this.settings.examples.length;
    for (const [i, path] of this.settings.examples.entries()) {
      const image = Object.assign(new Image(), { src: path, alt: "" });
      const button = Object.assign(document.createElement("button"), { title: `Example ${i + 1}` });
      button.setAttribute("aria-label", `Start from example ${i + 1}`);
      button.append(image);
      button.addEventListener("click", async () => this.take(await (await fetch(path)).blob()));
      element("strip").append(button);
    }
  }

  setAspect() {
    element("stage").style.setProperty("--aspect", this.shown[0] / this.shown[1]);
  }

  showSize() {
    element("size-shown").textContent = element("size").value;
  }

  /** Puts a picture into the drawing. */
  async take(blob) {
    const { brushes, inputHalf } = this.settings;
    this.history.keep();
    try {
      const colours = brushes.colours.map(([, colour]) => colour);
      this.shown = await load(blob, this.grid, { half: inputHalf, kind: brushes.kind, colours });
    } catch (error) {
      this.history.undo();
      this.fail(error.message);
      return;
    }
    this.setAspect();
    this.changed();
  }

  empty() {
    this.history.keep();
    this.grid.clear(packed(this.settings.brushes.paper));
    this.shown = [this.grid.width, this.grid.height];
    this.setAspect();
    this.changed();
  }

  roll() {
    this.seed = Math.floor(Math.random() * 2 ** 31);
    this.refresh();
  }

  pick(x, y) {
    const rgb = `${unpack(this.grid.at(x, y))}`;
    const known = document.querySelector(`input[name=colour][data-rgb="${rgb}"]`);
    const own = document.querySelector("input[name=colour][value=own]");
    if (own && !known) setOwn(own, rgb.split(",").map(Number));
    if (known ?? own) (known ?? own).checked = true;
  }

  /** Shows the drawing and has it translated. */
  changed() {
    element("input").getContext("2d").putImageData(this.grid.image, 0, 0);
    element("undo").disabled = !this.history.past.length;
    element("redo").disabled = !this.history.future.length;
    this.refresh();
  }

  /** Translates the newest drawing, one at a time: those that came while the model was busy are left out. */
  async refresh() {
    document.body.dataset.asked = ++this.asked;
    if (this.busy) return;
    this.busy = true;
    const slow = setTimeout(() => document.body.classList.add("busy"), 400);
    while (this.answered < this.asked) {
      const number = this.asked;
      await this.translateOnce();
      this.answered = number;
      document.body.dataset.answered = number;
    }
    clearTimeout(slow);
    document.body.classList.remove("busy");
    this.busy = false;
  }

  async translateOnce() {
    const { width, height, channels } = this.settings;
    const began = performance.now();
    try {
      const values = await this.translate(this.grid.values(channels), this.seed);
      this.output = toImage(values, width, height);
      element("output").getContext("2d").putImageData(this.output, 0, 0);
      element("time").textContent = `${Math.round(performance.now() - began)} ms`;
      element("error").hidden = true;
    } catch (error) {
      this.fail(error.message);
    }
  }

  fail(text) {
    element("error").textContent = text;
    element("error").hidden = false;
  }

  onKey(event) {
    if (event.defaultPrevented || event.altKey) return;
    const key = event.key.toLowerCase();
    const click = (target) => (target?.click(), event.preventDefault());
    if (event.ctrlKey || event.metaKey) {
      if (key === "z") click(element(event.shiftKey ? "redo" : "undo"));
      if (key === "y") click(element("redo"));
    } else if (key in TOOL_KEYS) {
      click(document.querySelector(`input[name=tool][value=${TOOL_KEYS[key]}]`));
    } else if (/^[0-9]$/.test(key)) {
      click(document.querySelectorAll("input[name=colour]")[(Number(key) + 9) % 10]);
    } else if (key === "[" || key === "]") {
      element("size").value = Number(element("size").value) + (key === "]" ? 1 : -1);
      this.showSize();
    } else if (key === "v") {
      click(document.querySelector("input[name=view]:not(:checked)"));
    } else if (key === "d" && this.settings.hasDropout) {
      click(element("dice"));
    }
  }
}

/** Shows where the brush is, and how large. */
class Cursor {
  constructor(width, height) {
    Object.assign(this, { width, height, mark: element("cursor") });
  }

  show([x, y], { tool, size }) {
    const across = tool === "brush" || tool === "eraser" || tool === "line" ? size : 1;
    const middle = across % 2 ? 0.5 : 0;
    this.mark.hidden = false;
    Object.assign(this.mark.style, {
      left: `${(100 * (x + middle)) / this.width}%`,
      top: `${(100 * (y + middle)) / this.height}%`,
      width: `${(100 * across) / this.width}%`,
      height: `${(100 * across) / this.height}%`,
    });
  }

  hide() {
    this.mark.hidden = true;
  }
}

function packed(colour) {
  return new Uint32Array(new Uint8Array([...colour, 255]).buffer)[0];
}

function swatch(name, colour, number) {
  const label = document.createElement("label");
  const radio = Object.assign(document.createElement("input"), { type: "radio", name: "colour", value: name });
  radio.dataset.rgb = colour;
  const dot = document.createElement("i");
  dot.style.background = `rgb(${colour})`;
  const text = Object.assign(document.createElement("span"), { textContent: name });
  label.title = number < 10 ? `${name} (${(number + 1) % 10})` : name;
  label.append(radio, dot, text);
  return label;
}

/** Makes the swatch whose colour is chosen freely. */
function ownColour() {
  const label = swatch("own", [120, 120, 120], 10);
  const well = Object.assign(document.createElement("input"), { type: "color", value: "#787878" });
  well.setAttribute("aria-label", "Choose a colour");
  well.addEventListener("input", () => {
    const radio = label.querySelector("[name=colour]");
    setOwn(radio, [1, 3, 5].map((i) => Number.parseInt(well.value.slice(i, i + 2), 16)));
    radio.checked = true;
  });
  label.querySelector("i").replaceWith(well);
  return label;
}

function setOwn(radio, colour) {
  radio.dataset.rgb = colour;
  radio.parentElement.querySelector("[type=color]").value =
    "#" + colour.map((value) => value.toString(16).padStart(2, "0")).join("");
}

start().catch((error) => {
  element("fatal").textContent = `The page cannot start: ${error.message}`;
  element("fatal").hidden = false;
});
