// The tools: what a pointer, or the keyboard's cursor, does to the drawing between its press and its release.

import { pack } from "./grid.js";

const PHOTO_TOLERANCE = 24; // of 255

/** Each tool: begin(grid, point, style), move(grid, from, to, style, start, before). */
export const TOOLS = {
  brush: {
    begin: (grid, at, { size, colour }) => grid.line(at, at, size, colour),
    move: (grid, from, to, { size, colour }) => grid.line(from, to, size, colour),
  },
  line: {
    begin: (grid, at, { size, colour }) => grid.line(at, at, size, colour),
    move: (grid, from, to, { size, colour }, start) => grid.line(start, to, size, colour),
    fromStart: true,
  },
  rectangle: {
    begin: (grid, at, style) => rectangle(grid, at, at, style),
    move: (grid, from, to, style, start) => rectangle(grid, start, to, style),
    fromStart: true,
  },
  fill: {
    begin: (grid, [x, y], { colour, tolerance }) => grid.fill(x, y, colour, tolerance),
    move: () => {},
  },
};
TOOLS.eraser = TOOLS.brush;

/** Fills a box, or draws its outline where drawings are made of lines. */
function rectangle(grid, start, end, { size, colour, kind }) {
  if (kind === "edges") grid.outline(start, end, size, colour);
  else grid.box(start, end, colour);
}

/** Draws on a canvas that shows a grid, by pointer and by keyboard. */
export class Pen {
  /**
   * @param canvas the canvas, of the grid's size.
   * @param style () => {tool, size, colour, paper, kind}, asked at each press.
   * @param changed called after each change of the drawing.
   * @param pick called with the pixel where the pointer picks a colour.
   */
  constructor(canvas, { grid, history, style, changed, pick, cursor }) {
    Object.assign(this, { canvas, grid, history, style, changed, pick, cursor });
    this.at = [Math.floor(grid.width / 2), Math.floor(grid.height / 2)];
    this.stroke = null;
    canvas.addEventListener("pointerdown", (event) => this.onDown(event));
    canvas.addEventListener("pointermove", (event) => this.onMove(event));
    canvas.addEventListener("pointerup", (event) => this.onUp(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerleave", () => this.stroke || this.cursor.hide());
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    canvas.addEventListener("blur", () => (this.release(), this.cursor.hide()));
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.grid.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.grid.height);
    return [x, y];
  }

  onDown(event) {
    if (!event.isPrimary || event.button > 2) return;
    event.preventDefault(); // no focus ring for the mouse, no selection
    this.at = this.point(event);
    if (event.button === 2 || event.altKey) {
      this.pick(...this.at);
      return;
    }
    this.canvas.focus({ preventScroll: true, focusVisible: false });
    this.canvas.setPointerCapture(event.pointerId);
    this.press();
  }

  onMove(event) {
    if (!event.isPrimary) return;
    // A fast stroke has more points than the screen has frames.
    for (const each of this.stroke && event.getCoalescedEvents ? event.getCoalescedEvents() : []) this.to(this.point(each));
    this.to(this.point(event));
    if (event.pointerType === "mouse") this.cursor.show(this.at, this.style());
  }

  onUp(event) {
    if (event.isPrimary) this.release();
  }

  press() {
    const style = this.style();
    const { colour, paper } = style;
    const applied = { ...style, colour: pack(style.tool === "eraser" ? paper : colour) };
    applied.tolerance = style.kind === "labels" ? 0 : PHOTO_TOLERANCE;
    this.history.keep();
    this.stroke = { style: applied, tool: TOOLS[style.tool], start: this.at, before: this.grid.pixels.slice() };
    this.stroke.tool.begin(this.grid, this.at, applied);
    this.changed();
  }

  to(point) {
    const from = this.at;
    this.at = point;
    if (!this.stroke || (from[0] === point[0] && from[1] === point[1])) return;
    const { tool, style, start, before } = this.stroke;
    if (tool.fromStart) this.grid.pixels.set(before);
    tool.move(this.grid, from, point, style, start);
    this.changed();
  }

  release() {
    this.stroke = null;
  }

  /** Takes a stroke back that the browser took for a gesture of its own. */
  cancel() {
    if (!this.stroke) return;
    this.stroke = null;
    this.history.undo();
    this.history.future = [];
    this.changed();
  }

  /** Arrows move the cursor, with Shift further; Space or Enter presses, and releases. */
  onKey(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (way) {
      const step = event.shiftKey ? 8 : 2;
      const within = (value, most) => Math.min(Math.max(value, 0), most - 1);
      this.to([
        within(this.at[0] + step * way[0], this.grid.width),
        within(this.at[1] + step * way[1], this.grid.height),
      ]);
    } else if (event.key === " " || event.key === "Enter") {
      if (this.stroke) this.release();
      else this.press();
    } else if (event.key === "Escape" && this.stroke) {
      this.cancel();
    } else {
      return;
    }
    event.preventDefault();
    this.cursor.show(this.at, this.style());
  }
}
