// Who works on the event: added, given another role, removed.

import { get, patch, post, remove } from "./api.js";
import { h, whileBusy } from "./dom.js";
import { explain, showMistakes, showProblem } from "./fields.js";
import { eventPath } from "./page_facts.js";
import { confirmed, toast } from "./telling.js";

const path = `${eventPath}/collaborators`;
const people = document.getElementById("people");
const mayManage = people.dataset.mayManage === "yes";
const form = document.getElementById("add");
const problem = document.getElementById("problem");
const ROLES = { owner: "Owner", editor: "Editor", viewer: "Viewer" };

async function refresh() {
  try {
    const { items } = await get(path);
    people.replaceChildren(h("ul", { role: "list", "aria-label": "Collaborators" }, items.map(person)));
  } catch (refusal) {
    people.replaceChildren(h("p", { class: "notice danger", role: "alert" }, refusal.message));
  }
}

function person({ user_id: id, name, email, role }) {
  const isChangeable = mayManage && role !== "owner";
  const you = id === people.dataset.userId ? " (you)" : "";
  return h("li", { class: "person", "data-user": id },
    h("span", { class: "initials", "aria-hidden": "true" }, initials(name)),
    h("div", {}, h("p", { class: "person-name" }, `${name}${you}`), h("p", { class: "person-email" }, email)),
    h("div", { class: "actions" }, isChangeable
      ? [roleField(id, name, role), h("button", { class: "button small ghost alarming", type: "button", "aria-label": `Remove ${name}`,
          on: { click: (event) => whileBusy(event.currentTarget, () => removeOne(id, name)) } }, "Remove")]
      : h("span", { class: "pill accent" }, ROLES[role])));
}

function roleField(id, name, role) {
  const options = ["editor", "viewer"].map((each) => h("option", { value: each, selected: each === role }, ROLES[each]));
  return h("select", { "aria-label": `Role of ${name}`, on: { change: (event) => changeRole(id, name, event.target) } }, options);
}

async function changeRole(id, name, field) {
  try {
    await patch(`${path}/${id}`, { role: field.value });
    toast(`${name} is ${field.value === "editor" ? "an editor" : "a viewer"} now.`);
  } catch (refusal) {
    toast(refusal.message);
    await refresh();
  }
}

async function removeOne(id, name) {
  const yes = await confirmed({
    title: `Remove ${name}?`,
    text: "They will no longer see this event or its guests. What they wrote and scheduled stays.",
    yes: "Remove",
    no: "Keep",
    isDangerous: true,
  });
  if (!yes) return;
  try {
    await remove(`${path}/${id}`);
    toast(`${name} was removed.`);
  } catch (refusal) {
    toast(refusal.message);
  }
  await refresh();
  people.querySelector("select, button")?.focus();
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  whileBusy(form.querySelector("[type=submit]"), add);
});

async function add() {
  const { email, name, role } = form.elements;
  showMistakes(form, []);
  showProblem(problem);
  try {
    const added = await post(path, { email: email.value, name: name.value.trim() || null, role: role.value });
    toast(`${added.name} was added.`);
    form.reset();
    email.focus();
    await refresh();
  } catch (refusal) {
    explain(form, problem, refusal);
  }
}

function initials(name) {
  const words = name.trim().split(/\s+/);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return letters.map((word) => [...word][0] ?? "").join("").toUpperCase();
}

refresh();
