// When somebody else was faster: what is saved now, beside what was typed here, and what can be done about it.

import { h } from "./dom.js";
import { clock } from "./page_facts.js";
import { AUDIENCES, CHANNELS, stateOf } from "./words.js";

/** Explains in `form` why it could not be saved. `refusal.present` is the message as it is saved now. */
export function showConflict(form, refusal) {
  const box = form.part("conflict");
  const present = refusal.present;
  const isStale = refusal.code === "stale_edit";
  const close = () => { box.hidden = true; };
  const choices = isStale
    ? [
        button("Use the saved version", () => { form.adopt(present); close(); form.fields.subject.focus(); }),
        button("Keep mine and replace it", () => { form.insistOver(present); close(); form.element.requestSubmit(); }),
      ]
    : [button("Close the form", () => form.onClosed())];
  box.replaceChildren(
    h("div", {},
      h("strong", {}, isStale
        ? "Somebody saved this message while you were editing it. Yours is not saved yet."
        : `This message is ${stateOf(present, clock).word.toLowerCase()} by now and cannot be changed any more.`),
      h("div", { class: "other-version" },
        h("p", { class: "label" }, "Saved now"),
        h("p", {}, [
          `${AUDIENCES[present.audience]} · ${CHANNELS[present.channel]}`,
          present.send_at ? clock.told(present.send_at) : "no time yet",
        ].join(" · ")),
        present.channel === "email" && h("p", {}, h("strong", {}, present.subject)),
        h("pre", {}, present.body),
      ),
      h("div", { class: "actions" }, choices),
    ),
  );
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
  box.querySelector("button").focus();
}

const button = (label, act) => h("button", { class: "button small", type: "button", on: { click: act } }, label);
