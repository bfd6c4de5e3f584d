// What is told to the host: short notes, questions, and words for screen readers.

const toasts = document.getElementById("toasts");
const announcer = document.getElementById("announcer");
const TOAST_MILLISECONDS = 7000;

/** A note that goes away by itself; screen readers read it out. */
export function toast(text) {
  const note = document.createElement("p");
  note.className = "toast";
  note.textContent = text;
  toasts.append(note);
  while (toasts.children.length > 3) toasts.firstElementChild.remove();
  setTimeout(() => note.remove(), TOAST_MILLISECONDS);
}

/** Words for screen readers alone. */
export function announce(text) {
  announcer.textContent = text;
}

/** Asks a question; resolves to whether it was answered with yes. Focus returns to where it was. */
export function confirmed({ title, text, yes, no = "Go back", isDangerous = false }) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-text").textContent = text;
  document.getElementById("confirm-no").textContent = no;
  const accept = document.getElementById("confirm-yes");
  accept.textContent = yes;
  accept.className = `button ${isDangerous ? "danger" : "primary"}`;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
