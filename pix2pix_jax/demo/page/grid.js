// The drawing: a grid of pixels, each of exactly one colour. A canvas would blend colours at the edges of its shapes,
// and a blend of two labels is no label.

const LITTLE = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

const NOISE = 32; // of 255: JPEG leaves pixels nearer than this to their label's colour

/** Packs [red, green, blue] into the number that stands for it in a grid. */
export function pack([red, green, blue]) {
  const parts = LITTLE ? [red, green, blue, 255] : [255, blue, green, red];
  return (parts[0] | (parts[1] << 8) | (parts[2] << 16) | (parts[3] << 24)) >>> 0;
}

/** Returns the [red, green, blue] of a packed colour. */
export function unpack(colour) {
  const bytes = new Uint8Array(new Uint32Array([colour]).buffer);
  return [bytes[0], bytes[1], bytes[2]];
}

export class Grid {
  constructor(width, height) {
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.width = width;
    this.height = height;
  }

  clear(colour) {
    this.pixels.fill(colour);
  }

  set(x, y, colour) {
    if (x >= 0 && y >= 0 && x < this.width && y < this.height) this.pixels[y * this.width + x] = colour;
  }

  at(x, y) {
    return this.pixels[y * this.width + x];
  }

  /** Paints a disk, `size` pixels across, whose middle is nearest to pixel (x, y). */
  dot(x, y, size, colour) {
    const radius = size / 2;
    const middle = size % 2 ? 0 : 0.5; // an even disk has its middle at the corner of a pixel
    for (let dy = -Math.floor(radius); dy <= radius; dy++) {
      for (let dx = -Math.floor(radius); dx <= radius; dx++) {
        if (Math.hypot(dx + middle, dy + middle) <= radius - (size > 2 ? 0.2 : 0)) this.set(x + dx, y + dy, colour);
      }
    }
  }

  /** Paints a line of dots, without gaps. */
  line([x0, y0], [x1, y1], size, colour) {
    const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
    for (let i = 0; i <= steps; i++) {
      this.dot(Math.round(x0 + ((x1 - x0) * i) / steps), Math.round(y0 + ((y1 - y0) * i) / steps), size, colour);
    }
  }

  /** Fills the box between two corners, both of which are part of it. */
  box([x0, y0], [x1, y1], colour) {
    const [left, right] = [Math.max(Math.min(x0, x1), 0), Math.min(Math.max(x0, x1), this.width - 1)];
    const [top, bottom] = [Math.max(Math.min(y0, y1), 0), Math.min(Math.max(y0, y1), this.height - 1)];
    for (let y = top; y <= bottom; y++) {
      if (left <= right) this.pixels.fill(colour, y * this.width + left, y * this.width + right + 1);
    }
  }

  /** Draws the four sides of the box between two corners. */
  outline([x0, y0], [x1, y1], size, colour) {
    const corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]];
    for (let i = 0; i < 4; i++) this.line(corners[i], corners[i + 1], size, colour);
  }

  /** Fills the region of like colour around (x, y). Photographs have no two like pixels, so near ones count there. */
  fill(x, y, colour, tolerance) {
    const origin = this.at(x, y);
    if (origin === undefined || (origin === colour && !tolerance)) return;
    const [red, green, blue] = unpack(origin);
    const data = this.image.data;
    const seen = new Uint8Array(this.pixels.length);
    const alike = (i) =>
      Math.abs(data[4 * i] - red) <= tolerance &&
      Math.abs(data[4 * i + 1] - green) <= tolerance &&
      Math.abs(data[4 * i + 2] - blue) <= tolerance;
    const stack = [y * this.width + x];
    while (stack.length) {
      const i = stack.pop();
      if (seen[i] || !alike(i)) continue;
      seen[i] = 1;
      this.pixels[i] = colour;
      const column = i % this.width;
      if (column > 0) stack.push(i - 1);
      if (column < this.width - 1) stack.push(i + 1);
      if (i >= this.width) stack.push(i - this.width);
      if (i < this.pixels.length - this.width) stack.push(i + this.width);
    }
  }

  /**
   * Gives every pixel one of these [red, green, blue]: the nearest. A pixel that is far from all is a blend at a border,
   * as files have them, and gets the nearest of those around it: between red and blue there is no violet.
   */
  snap(colours) {
    const packed = colours.map(pack);
    const distances = (colour) => {
      const [red, green, blue] = unpack(colour);
      return colours.map(([r, g, b]) => (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2);
    };
    const known = new Map();
    const blends = [];
    const labels = Int16Array.from(this.pixels, (colour, i) => {
      if (!known.has(colour)) {
        const far = distances(colour);
        const least = Math.min(...far);
        known.set(colour, { label: far.indexOf(least), sure: least <= NOISE ** 2 });
      }
      if (!known.get(colour).sure) blends.push(i);
      return known.get(colour).sure ? known.get(colour).label : -1;
    });
    const chosen = blends.map((i) => {
      const around = this.around(i).map((j) => labels[j]).filter((label) => label >= 0);
      if (!around.length) return known.get(this.pixels[i]).label;
      const far = distances(this.pixels[i]);
      return around.reduce((a, b) => (far[b] < far[a] ? b : a));
    });
    blends.forEach((i, n) => (labels[i] = chosen[n]));
    labels.forEach((label, i) => (this.pixels[i] = packed[label]));
  }

  /** Lists the pixels that are at most 2 away from pixel number i. */
  around(i) {
    const [x, y] = [i % this.width, Math.floor(i / this.width)];
    const found = [];
    for (let v = Math.max(y - 2, 0); v <= Math.min(y + 2, this.height - 1); v++) {
      for (let u = Math.max(x - 2, 0); u <= Math.min(x + 2, this.width - 1); u++) found.push(v * this.width + u);
    }
    return found;
  }

  /** Returns what a model takes: bytes of `channels` values a pixel, row by row. One channel is the lightness. */
  values(channels) {
    const { data } = this.image;
    const out = new Uint8Array(this.pixels.length * channels);
    for (let i = 0, j = 0; i < data.length; i += 4) {
      if (channels === 1) out[j++] = Math.round(0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]);
      else for (let c = 0; c < 3; c++) out[j++] = data[i + c];
    }
    return out;
  }
}

/** Turns a model's bytes of 1 or 3 values a pixel into an image of the size. */
export function toImage(values, width, height) {
  const channels = values.length / (width * height);
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = values[channels * i + (channels === 1 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  return image;
}

const MOST_BYTES = 64e6; // of the states that can be come back to

/** Keeps the earlier states of a grid, and those that were undone. */
export class History {
  constructor(grid) {
    this.grid = grid;
    this.most = Math.max(10, Math.floor(MOST_BYTES / grid.pixels.byteLength));
    this.past = [];
    this.future = [];
  }

  /** Keeps the state as it is now, before a change. */
  keep() {
    this.past.push(this.grid.pixels.slice());
    if (this.past.length > this.most) this.past.shift();
    this.future = [];
  }

  undo() {
    return this.move(this.past, this.future);
  }

  redo() {
    return this.move(this.future, this.past);
  }

  move(from, to) {
    if (!from.length) return false;
    to.push(this.grid.pixels.slice());
    this.grid.pixels.set(from.pop());
    return true;
  }
}
