// Everything that one guest was ever sent, in a dialog.

import { get } from "./api.js";
import { h } from "./dom.js";
import { clock, eventPath } from "./page_facts.js";
import { CHANNELS, OUTCOMES, filledIn, reasonWords } from "./words.js";

const MOST = 100;

/** Opens the history of a guest. Focus returns to where it was when it is closed. */
export async function showHistory(guestId, name) {
  const list = h("ol", { class: "history", role: "list" });
  const state = h("p", { role: "status" }, "Loading …");
  const title = h("h2", { id: "history-title" }, `Everything sent to ${name}`);
  const close = h("button", { class: "button", autofocus: true, value: "close" }, "Close");
  const dialog = h("dialog", { class: "dialog wide", "aria-labelledby": "history-title" },
    h("form", { method: "dialog" }, title, state, list, h("div", { class: "actions end" }, close)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  try {
    const { items, next } = await get(`${eventPath}/guests/${guestId}/messages`, { limit: MOST });
    list.append(...items.map(entry));
    state.textContent = next ? `The latest ${MOST}` : "";
  } catch (refusal) {
    state.textContent = refusal.message;
  }
}

function entry(sent) {
  const { label, tone } = OUTCOMES[sent.status];
  const why = reasonWords(sent.reason);
  return h("li", {},
    h("div", {},
      h("p", { class: "history-subject" }, sent.subject ? filledIn(sent.subject) : sent.label),
      h("p", { class: "small-print" }, [sent.label, CHANNELS[sent.channel], clock.told(sent.handed_off_at ?? sent.created_at)].join(" · ")),
      why && h("p", { class: "small-print" }, why)),
    h("span", { class: `pill ${tone === "plain" ? "" : tone}` }, label));
}
