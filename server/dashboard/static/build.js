// Elements from plain data. Text is only ever text: nothing that a client sent can become markup.

export const one = (selector) => document.querySelector(selector);

// An element; attributes that are null or false are left out, and functions listen to the event they are named for.
export function el(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

// Text of a place that is read aloud whenever it is written.
export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

export function sized(element, width) {
  element.style.width = width; // a style sheet of the page's own cannot know it, and a style attribute is not allowed
  return element;
}

export function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1);
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(digits)));
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${number(value, 2)} s`;
  if (value < 100) return `${number(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86400)} days`;
}

export function count(n, word) {
  return `${number(n)} ${word}${n === 1 ? "" : "s"}`;
}

export function clock(iso) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return "";
  const same = at.toDateString() === new Date().toDateString();
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return same ? time : `${at.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}

// Text that came from outside, without characters that write in the other direction or hide.
export function safe(text) {
  return String(text ?? "").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, "\ufffd");
}

export function shortened(identity) {
  const text = safe(identity);
  return text.length > 20 ? `${text.slice(0, 10)}…${text.slice(-4)}` : text;
}

export function called(client) {
  return client.name ? safe(client.name) : shortened(client.identity ?? client.client);
}
