// The guest list: who is invited and what they answered; imported from a file, taken off one by one.

import { get, remove, upload } from "./api.js";
import { h, whileBusy } from "./dom.js";
import { showHistory } from "./guest_history.js";
import { eventPath } from "./page_facts.js";
import { confirmed, toast } from "./telling.js";
import { plural } from "./times.js";
import { AUDIENCES } from "./words.js";

const path = `${eventPath}/guests`;
const PAGE = 100;
const MOST_PROBLEMS_SHOWN = 20;
const TONES = { attending: "good", declined: "", maybe: "warn", pending: "info" };

const place = document.getElementById("guests");
const audience = document.getElementById("audience");
const state = document.getElementById("guest-state");
const moreButton = document.getElementById("more");
const problem = document.getElementById("import-problem");
const file = document.getElementById("file");
const rows = h("tbody", { role: "rowgroup" });
const table = h("div", { class: "card table-frame" },
  h("table", { class: "table deliveries guests", role: "table" },
    h("caption", { class: "hidden-visually" }, "Guests"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
      ["Guest", "Answer", "Phone", "Actions"].map((name) => h("th", { scope: "col", role: "columnheader" }, name)))),
    rows));
const blank = h("div", { class: "card blank" }, h("h3", {}, "Nobody here"), h("p", {}, "Import a CSV file with a column “name” and any of “email”, “phone” and “rsvp”."));

let next = null;
let newest = 0;

async function reload() {
  newest += 1;
  next = null;
  rows.replaceChildren();
  await loadMore();
}

async function loadMore() {
  const number = newest;
  try {
    const page = await get(path, { audience: audience.value, after: next, limit: PAGE });
    if (number !== newest) return;
    next = page.next;
    rows.append(...page.items.map(row));
    state.textContent = `${plural(rows.children.length, "guest")}${next ? " shown" : ""}`;
    place.replaceChildren(rows.children.length ? table : blank);
    moreButton.hidden = next === null;
  } catch (refusal) {
    state.textContent = refusal.message;
  }
}

function row(guest) {
  const withOthers = guest.plus_ones ? ` + ${guest.plus_ones}` : "";
  const name = h("button", { class: "guest-name", type: "button", title: "Everything sent to this guest", on: { click: () => showHistory(guest.id, guest.name) } }, guest.name);
  const off = h("button", { class: "button small ghost alarming", type: "button", "aria-label": `Remove ${guest.name}`,
    on: { click: (event) => whileBusy(event.currentTarget, () => takeOff(guest, element)) } }, "Remove");
  const element = h("tr", { role: "row" },
    h("td", { role: "cell" }, name, h("span", { class: "small-print guest-address" }, guest.email ?? "no email address")),
    h("td", { role: "cell" }, h("span", { class: `pill ${TONES[guest.rsvp_status]}` }, `${AUDIENCES[guest.rsvp_status]}${withOthers}`)),
    h("td", { role: "cell", class: "phone" }, guest.phone ?? ""),
    h("td", { role: "cell", class: "removal" }, off));
  return element;
}

async function takeOff(guest, element) {
  const yes = await confirmed({
    title: `Remove ${guest.name}?`,
    text: "They get no more messages of this event. What was sent to them stays on record.",
    yes: "Remove",
    no: "Keep",
    isDangerous: true,
  });
  if (!yes) return;
  try {
    await remove(`${path}/${guest.id}`);
    const neighbour = element.nextElementSibling ?? element.previousElementSibling;
    element.remove();
    (neighbour?.querySelector(".guest-name") ?? audience).focus();
    state.textContent = plural(rows.children.length, "guest");
    toast(`${guest.name} was removed.`);
  } catch (refusal) {
    toast(refusal.message);
  }
}

async function importFile() {
  const [chosen] = file.files;
  file.value = "";
  if (!chosen) return;
  problem.hidden = true;
  try {
    const { imported, already_there: known, ignored_columns: ignored } = await upload(`${path}/import`, chosen, "text/csv");
    const parts = [`${plural(imported, "guest")} added`];
    if (known) parts.push(`${plural(known, "guest")} already on the list`);
    if (ignored.length) parts.push(`ignored: ${ignored.join(", ")}`);
    toast(`${parts.join("; ")}.`);
    await reload();
  } catch (refusal) {
    explainImport(refusal);
  }
}

function explainImport(refusal) {
  const shown = refusal.errors.slice(0, MOST_PROBLEMS_SHOWN);
  const more = refusal.errors.length - shown.length;
  const lines = shown.map(({ line, field, message }) => h("li", {}, `${line ? `Line ${line}, ` : ""}${field}: ${message}`));
  if (more > 0) lines.push(h("li", {}, `and ${more} more`));
  const text = lines.length ? "Nobody was added: some lines of the file cannot be used." : refusal.message;
  problem.replaceChildren(h("div", {}, h("strong", {}, text), lines.length && h("ul", {}, lines)));
  problem.hidden = false;
  problem.focus();
}

audience.addEventListener("change", reload);
moreButton.addEventListener("click", () => whileBusy(moreButton, loadMore));
file?.addEventListener("change", importFile);
reload();
