// Small helpers for elements: building them, and copies of <template>s with ids of their own.

/** An element. `attributes` set to null, undefined or false are left out; `on` holds listeners. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
const sprite = document.querySelector("use")?.getAttribute("href").split("#")[0] ?? "";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `${sprite}#${name}`);
  svg.append(use);
  return svg;
}

let copies = 0;
const REFERENCES = ["for", "aria-describedby", "aria-labelledby", "aria-controls", "list"];

/** A copy of a template's only element. Ids in it, and references to them, get a suffix: it may be copied often. */
export function copyOf(templateId) {
  const root = document.getElementById(templateId).content.firstElementChild.cloneNode(true);
  copies += 1;
  for (const element of root.querySelectorAll("[id]")) element.id = `${element.id}-${copies}`;
  for (const name of REFERENCES) {
    for (const element of root.querySelectorAll(`[${name}]`)) {
      const renamed = element.getAttribute(name).split(" ").map((id) => `${id}-${copies}`);
      element.setAttribute(name, renamed.join(" "));
    }
  }
  return root;
}

/** Runs `work` once nothing has asked for it for a while. */
export function debounced(work, milliseconds) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}

/** Marks a button as busy while `work` runs; a second press changes nothing. */
export async function whileBusy(button, work) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    await work();
  } finally {
    button.removeAttribute("aria-busy");
  }
}
