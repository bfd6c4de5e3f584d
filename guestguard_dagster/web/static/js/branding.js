// How the event's mails look: logo, colour, sender, postal address, and a mail that shows them.

import { post, put } from "./api.js";
import { whileBusy } from "./dom.js";
import { explain, showMistakes, showProblem } from "./fields.js";
import { eventPath, mayEdit, messagesPath } from "./page_facts.js";
import { toast } from "./telling.js";

const path = `${eventPath}/branding`;
const form = document.getElementById("branding");
const problem = document.getElementById("problem");
const picker = document.getElementById("accent-picker");
const { accent, sender_name: senderName } = form.elements;
const NAMES = ["sender_name", "accent", "logo_url", "postal_address"];
const SAMPLE = {
  channel: "email",
  audience: "attending",
  subject: "See you at {{event_name}}",
  body: "Hi {{guest_name}},\n\nyou are on the guest list, and we look forward to seeing you at {{venue}}.\n\n{{rsvp_link}}\n\nSee you soon!",
};

function fill(values) {
  for (const name of NAMES) form.elements[name].value = values[name] ?? "";
  follow();
}

function follow() {
  picker.value = /^#[0-9a-f]{6}$/i.test(accent.value) ? accent.value : form.dataset.defaultAccent;
  document.getElementById("sender-shown").textContent = `${senderName.value.trim() || "Your name"} via GuestGuard`;
}

async function showPreview() {
  if (!mayEdit) return;
  const { html } = await post(`${messagesPath}/preview`, SAMPLE, { idempotencyKey: null });
  document.getElementById("preview").srcdoc = html;
}

async function save() {
  showMistakes(form, []);
  showProblem(problem);
  try {
    const values = Object.fromEntries(NAMES.map((name) => [name, form.elements[name].value.trim() || null]));
    fill(await put(path, values));
    toast("Saved. Mails that leave from now on look like this.");
    await showPreview();
  } catch (refusal) {
    explain(form, problem, refusal);
  }
}

picker.addEventListener("input", () => { accent.value = picker.value; });
form.addEventListener("input", follow);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  whileBusy(form.querySelector("[type=submit]"), save);
});
if (!mayEdit) for (const field of form.elements) field.disabled = true;

follow();
showPreview().catch((refusal) => showProblem(problem, refusal.message));
