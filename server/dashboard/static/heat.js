// The similarity of a round's clients: a square for each pair, which a pointer or the arrow keys visit.

import { called, count, el, number, say } from "./build.js";

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim().split(/\s+/).map(Number);
}

function read(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { clients: head.clients ?? [], pairs: head.pairs ?? [], cosines: new Int8Array(buffer.slice(4 + length)) };
}

export class Heat {
  constructor(place, output, list) {
    Object.assign(this, { place, output, list, data: null, at: null });
    this.canvas = el("canvas", { role: "img", tabindex: "0" }); // one for all rounds, so that focus stays on it
    this.canvas.addEventListener("pointermove", (event) => {
      const box = this.canvas.getBoundingClientRect(), n = this.count;
      const cell = (offset, size) => Math.max(0, Math.min(n - 1, Math.floor((offset / size) * n)));
      this.visit(cell(event.clientY - box.top, box.height), cell(event.clientX - box.left, box.width));
    });
    this.canvas.addEventListener("pointerleave", () => this.visit(null));
    this.canvas.addEventListener("focus", () => output.setAttribute("aria-live", "polite"));
    this.canvas.addEventListener("blur", () => {
      output.setAttribute("aria-live", "off");
      this.visit(null);
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event, this.count));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  get count() {
    return this.data?.clients.length ?? 0;
  }

  show(buffer) {
    this.data = read(buffer);
    const n = this.count;
    if (!n) {
      this.at = null;
      this.output.textContent = "";
      this.place.replaceChildren("No reply of this round was admitted.");
      this.list.replaceChildren();
      return;
    }
    const label = `Cosines between the updates of ${count(n, "client")}, rejected ones first. Use the arrow keys to visit pairs.`;
    this.canvas.setAttribute("aria-label", label);
    if (this.canvas.parentElement !== this.place) this.place.replaceChildren(this.canvas);
    this.list.replaceChildren(...this.data.pairs.map(([i, j, cosine]) => el("li", {}, `${this.name(i)} and ${this.name(j)}: ${number(cosine)}`)));
    if (this.data.pairs.length) this.list.prepend(el("li", {}, "Most alike:"));
    if (this.at) this.visit(...this.at.map((place) => Math.min(place, n - 1)));
    else this.visit(null);
  }

  name(i) {
    return called(this.data.clients[i]);
  }

  key(event, n) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const [i, j] = this.at ?? [0, 0];
    const [down, right] = this.at ? steps[event.key] : [0, 0];
    this.visit(Math.max(0, Math.min(n - 1, i + down)), Math.max(0, Math.min(n - 1, j + right)));
  }

  visit(i, j) {
    this.at = i === null ? null : [i, j];
    const n = this.count;
    if (!n) return;
    say(this.output, i === null ? count(n, "client") : i === j ? this.name(i) : `${this.name(i)} and ${this.name(j)}: ${number(this.data.cosines[i * n + j] / 127, 2)}`);
    this.draw();
  }

  draw() {
    const n = this.count;
    if (!n) return;
    const scale = Math.max(1, Math.floor(864 / n));
    this.canvas.width = this.canvas.height = n * scale;
    const [neutral, alike, opposite] = ["--neutral", "--alike", "--opposite"].map(color);
    const small = new OffscreenCanvas(n, n);
    const context = small.getContext("2d");
    const image = context.createImageData(n, n);
    this.data.cosines.forEach((value, k) => {
      const share = Math.abs(value) / 127;
      const to = value < 0 ? opposite : alike;
      for (let channel = 0; channel < 3; channel += 1) image.data[4 * k + channel] = neutral[channel] + share * (to[channel] - neutral[channel]);
      image.data[4 * k + 3] = 255;
    });
    context.putImageData(image, 0, 0);
    const shown = this.canvas.getContext("2d");
    shown.imageSmoothingEnabled = false;
    shown.drawImage(small, 0, 0, n * scale, n * scale);
    const split = this.data.clients.filter((client) => !client.accepted).length;
    shown.strokeStyle = `rgb(${opposite.join(" ")})`;
    shown.lineWidth = Math.max(2, scale / 12);
    if (split && split < n) shown.strokeRect(shown.lineWidth / 2, shown.lineWidth / 2, split * scale, split * scale);
    if (this.at) {
      shown.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
      shown.lineWidth = Math.max(2, Math.min(4, scale / 6));
      shown.strokeRect(this.at[1] * scale, this.at[0] * scale, scale, scale);
    }
  }
}
