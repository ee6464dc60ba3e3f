// Charts drawn by hand: one row of points, which a mouse, a finger or the arrow keys walk along.

import { el, number } from "./build.js";

const LEFT = 44, RIGHT = 10, TOP = 10, BOTTOM = 24;

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(Number(at.toPrecision(10)));
  return found;
}

export class Plot {
  // `read(index)` is a list of [word, text] for the point that the cursor is at, `choose(index)` is called for it.
  constructor(place, { label, output, read, choose }) {
    Object.assign(this, { place, label, output, read, choose, at: null, data: null, chosen: null });
    this.svg = el("svg:svg", { role: "slider", tabindex: "0", "aria-label": label, "aria-orientation": "horizontal" });
    place.replaceChildren(this.svg);
    output?.setAttribute("aria-live", "off"); // its words are the slider's value, too
    new ResizeObserver(() => this.draw()).observe(place);
    this.svg.addEventListener("pointermove", (event) => this.move(this.indexAt(event)));
    this.svg.addEventListener("pointerleave", () => document.activeElement !== this.svg && this.move(null));
    this.svg.addEventListener("click", (event) => this.count && this.choose?.(this.indexAt(event)));
    this.svg.addEventListener("focus", () => this.move(this.at ?? this.count - 1));
    this.svg.addEventListener("blur", () => this.move(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  get count() {
    return this.data?.names.length ?? 0;
  }

  // `data`: names of the points, `low` and `high` of the axis, and what to paint: (plot) => elements.
  show(data, label = this.label) {
    this.data = data;
    this.label = label;
    this.svg.setAttribute("aria-label", label);
    if (this.at !== null) this.at = this.count ? Math.min(this.at, this.count - 1) : null;
    this.draw();
  }

  x(index) {
    const room = this.width - LEFT - RIGHT;
    return this.data.bars ? LEFT + ((index + 0.5) / this.count) * room : LEFT + (this.count > 1 ? (index / (this.count - 1)) * room : room / 2);
  }

  y(value) {
    const { low, high } = this.data;
    return TOP + (1 - (value - low) / (high - low || 1)) * (this.height - TOP - BOTTOM);
  }

  indexAt(event) {
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (this.width - LEFT - RIGHT);
    const index = this.data?.bars ? Math.floor(share * this.count) : Math.round(share * (this.count - 1));
    return Math.max(0, Math.min(this.count - 1, index));
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -1e9, End: 1e9 };
    if (event.key in steps && this.count) {
      event.preventDefault();
      this.move(Math.max(0, Math.min(this.count - 1, (this.at ?? this.count - 1) + steps[event.key])));
    } else if ((event.key === "Enter" || event.key === " ") && this.at !== null) {
      event.preventDefault();
      this.choose?.(this.at);
    }
  }

  move(index) {
    if (!this.count) return;
    this.at = index;
    this.drawCursor();
  }

  told(index) {
    return this.count ? this.read(index) : [];
  }

  drawCursor() {
    this.cursor?.remove();
    const index = this.at ?? this.count - 1;
    const told = this.told(index);
    this.output?.replaceChildren(...told.flatMap(([word, text]) => [word ? `${word} ` : "", el("b", {}, text), "  "]));
    const words = told.map(([word, text]) => `${word} ${text}`.trim()).join(", ");
    for (const [name, value] of Object.entries({ min: 0, max: Math.max(0, this.count - 1), now: Math.max(0, index) })) this.svg.setAttribute(`aria-value${name}`, value);
    this.svg.setAttribute("aria-valuetext", words || "nothing yet");
    if (this.at === null || !this.count) return;
    const x = this.x(this.at);
    this.cursor = el("svg:g", {}, el("svg:line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: this.height - BOTTOM }));
    const dot = this.data.dot?.(this.at);
    if (dot !== null && dot !== undefined) this.cursor.append(el("svg:circle", { class: "dot", cx: x, cy: this.y(dot), r: 3.5 }));
    this.svg.append(this.cursor);
  }

  draw() {
    this.width = this.place.clientWidth;
    this.height = this.place.clientHeight;
    if (!this.data || this.width < 20) return;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    if (!this.count) {
      this.svg.replaceChildren(el("svg:text", { x: this.width / 2, y: this.height / 2, "text-anchor": "middle" }, "Nothing yet"));
      this.drawCursor();
      return;
    }
    const { low, high, names } = this.data;
    const grid = ticks(low, high, 4).map((value) => [
      el("svg:line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: this.y(value), y2: this.y(value) }),
      el("svg:text", { x: LEFT - 8, y: this.y(value) + 4, "text-anchor": "end" }, number(value)),
    ]);
    const labels = Math.max(1, Math.min(this.count, Math.floor((this.width - LEFT) / 90)));
    const places = [...new Set(Array.from({ length: labels }, (_, k) => Math.round((k * (this.count - 1)) / Math.max(1, labels - 1))))];
    const below = places.map((index) => {
      const anchor = index === 0 && !this.data.bars ? "start" : index === this.count - 1 && this.count > 1 ? "end" : "middle";
      return el("svg:text", { x: this.x(index), y: this.height - 6, "text-anchor": anchor }, String(names[index]));
    });
    this.svg.replaceChildren(...grid.flat(), ...this.highlight(), ...this.data.paint(this), ...below);
    this.drawCursor();
  }

  highlight() {
    if (this.chosen === null || this.chosen < 0) return [];
    const width = Math.max(4, (this.width - LEFT - RIGHT) / Math.max(1, this.count));
    return [el("svg:rect", { class: "chosen", x: this.x(this.chosen) - width / 2, width, y: TOP, height: this.height - TOP - BOTTOM })];
  }
}

export function range(values, { zero = false } = {}) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (!known.length) return { low: 0, high: 1 };
  let low = Math.min(...known), high = Math.max(...known);
  if (zero || (low >= 0 && low < high * 0.3)) low = 0;
  if (low >= 0 && high <= 1 && high > 0.5 && !zero) high = Math.max(high, low + 0.02);
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return { low: low === 0 ? 0 : low - room, high: high + room };
}

export function line(values, band = null) {
  return (plot) => {
    const drawn = [];
    if (band) {
      const known = values.map((_, i) => i).filter((i) => band.low[i] !== null);
      const top = known.map((i) => `${plot.x(i)},${plot.y(band.high[i])}`);
      const bottom = known.reverse().map((i) => `${plot.x(i)},${plot.y(band.low[i])}`);
      if (top.length) drawn.push(el("svg:polygon", { class: "band", points: [...top, ...bottom].join(" ") }));
    }
    let path = "", pen = false, lonely = 0;
    values.forEach((value, i) => {
      if (value === null || value === undefined) return;
      path += `${pen ? "L" : "M"}${plot.x(i).toFixed(1)} ${plot.y(value).toFixed(1)}`;
      pen = true;
      lonely += 1;
    });
    drawn.push(el("svg:path", { class: "line", d: path || "M0 0" }));
    if (lonely < 40) values.forEach((value, i) => value !== null && value !== undefined && drawn.push(el("svg:circle", { class: "dot", cx: plot.x(i), cy: plot.y(value), r: lonely > 1 ? 2.2 : 3 })));
    return drawn;
  };
}

export function bars(columns) {
  return (plot) => {
    const slot = (plot.width - LEFT - RIGHT) / Math.max(1, plot.count);
    const width = Math.min(26, Math.max(0.7, slot > 4 ? slot - Math.min(3, slot * 0.2) : slot - 0.3));
    const base = plot.y(0);
    const drawn = [];
    for (let i = 0; i < plot.count; i += 1) {
      let sum = 0;
      for (const [name, values] of columns) {
        if (!values[i]) continue;
        const top = plot.y(sum + values[i]);
        drawn.push(el("svg:rect", { class: name, x: plot.x(i) - width / 2, y: top, width, height: Math.max(0.5, plot.y(sum) - top) }));
        sum += values[i];
      }
    }
    return drawn.concat(plot.data.marks ? marks(plot, base) : []);
  };
}

function marks(plot, base) {
  return plot.data.marks.map((i) => el("svg:circle", { class: "undone", cx: plot.x(i), cy: base + 5, r: 2.8 }));
}

export function dots(values, good) {
  return (plot) => values.flatMap((value, i) => (value === null ? [] : [el("svg:circle", { class: good[i] ? "accepted" : "rejected", cx: plot.x(i), cy: plot.y(value), r: good[i] ? 2.4 : 3.4 })]));
}
