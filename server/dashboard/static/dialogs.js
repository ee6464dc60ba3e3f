// Questions before something is done, and words on what came of it.

import { one } from "./build.js";

let timer = null;

// Said where it is seen and heard: what is behind an open dialog is neither.
export function notice(text) {
  const places = [...document.querySelectorAll(".notice")], open = places.filter((place) => place.closest("dialog[open]"));
  const place = open.at(-1) ?? one("#notice");
  for (const other of places) other.textContent = other === place ? text : "";
  clearTimeout(timer);
  timer = setTimeout(() => (place.textContent = ""), 6000);
}

// What was answered: null for no, else { rounds }, null until released.
export function confirmed(question, text, yes, { rounds = false } = {}) {
  const dialog = one("#confirm"), field = one("#confirm-count");
  one("#confirm-title").textContent = question;
  one("#confirm-text").textContent = text;
  one("#confirm-yes").textContent = yes;
  one("#confirm-rounds").hidden = !rounds;
  field.value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  (rounds ? field : one("#confirm-yes")).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? { rounds: rounds && field.value ? Number(field.value) : null } : null), { once: true });
  });
}

// Enter in the field means yes, not the first button of the form.
one("#confirm-count").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    one("#confirm-yes").click();
  }
});
