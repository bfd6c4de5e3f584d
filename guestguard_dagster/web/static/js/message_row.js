// One message in a list: what it is, how it stands, what can be done with it. It is kept up to date in its place.

import { h, icon, whileBusy } from "./dom.js";
import { MessageActions } from "./message_actions.js";
import { MessageDetails } from "./message_details.js";
import { MessageForm } from "./message_form.js";
import { OutcomeBar, ProgressLine } from "./message_progress.js";
import { clock, isOperator, mayEdit } from "./page_facts.js";
import { announce, toast } from "./telling.js";
import { count, fromNow, plural } from "./times.js";
import { AUDIENCES, CHANNELS, isDue, outcomeCounts, stateOf, titleOf } from "./words.js";

const EDITABLE = ["draft", "scheduled"];
const OVER = ["sent", "failed"];

export class MessageRow {
  /** `onChanged(message)` is called after each change that was made here. */
  constructor(message, onChanged) {
    this.onChanged = onChanged;
    this.actions = new MessageActions(this);
    this.head = h("div", { class: "message-head" });
    this.progress = new ProgressLine();
    this.outcomes = new OutcomeBar();
    this.more = h("div", { class: "message-more", hidden: true });
    this.element = h("li", { class: "card message", "data-message": message.id },
      this.head, this.progress.element, this.outcomes.element, this.more);
    this.update(message);
  }

  get isEdited() {
    return this.form !== undefined;
  }

  /** Shows how the message stands now. `progress` is known only while it is sending. */
  update(message, progress = null) {
    this.#tellMove(message);
    this.message = message;
    const told = JSON.stringify([message.version, message.status, message.held_at, message.waits_until, message.waiting_reason,
      message.status_reason, message.send_at, message.recipient_count, message.retryable, outcomeCounts(message).get("unknown"), isDue(message), this.#when()]);
    if (told !== this.told) {
      this.told = told;
      this.#renderHead();
    }
    this.progress.show(message, progress);
    this.outcomes.show(message);
    this.details?.update(message);
  }

  focus() {
    this.head.querySelector(".message-title").focus();
  }

  edit() {
    this.details = undefined;
    this.form = new MessageForm(this.message, {
      onSaved: (saved, mode) => {
        toast(mode === "send_now" ? "Starts within about 40 seconds. You can cancel it until then." : "Saved.");
        this.#closeMore();
        this.onChanged(saved);
        this.focus();
      },
      onClosed: () => {
        this.#closeMore();
        this.update(this.message);
        this.#button("edit")?.focus();
      },
    });
    this.#openMore(this.form.element);
    this.head.hidden = true;
    this.form.focus();
  }

  toggleDetails() {
    if (this.details) {
      this.#closeMore();
      this.#button("details").focus();
    } else {
      this.details = new MessageDetails(this.message, this.actions);
      this.#openMore(this.details.element);
    }
    this.#renderHead();
  }

  #openMore(content) {
    this.more.replaceChildren(content);
    this.more.hidden = false;
  }

  #closeMore() {
    this.form = undefined;
    this.details = undefined;
    this.head.hidden = false;
    this.more.hidden = true;
    this.more.replaceChildren();
  }

  #button(action) {
    return this.head.querySelector(`[data-do="${action}"]`);
  }

  #tellMove(message) {
    const before = this.message?.status;
    if (before && before !== message.status) announce(`${titleOf(message)}: ${stateOf(message, clock).word}`);
  }

  #renderHead() {
    const { message } = this;
    const state = stateOf(message, clock);
    const hadFocus = this.head.contains(document.activeElement);
    const action = document.activeElement.dataset.do;
    this.head.replaceChildren(
      h("span", { class: "message-icon" }, icon(message.channel === "email" ? "mail" : "phone")),
      h("div", { class: "message-text" },
        h("h3", { class: "message-title", tabindex: "-1" }, titleOf(message)),
        h("p", { class: "message-facts" },
          h("span", { class: `pill ${state.tone} ${state.isLive ? "live" : ""}` }, state.word),
          message.kind !== "broadcast" && h("span", { class: "pill" }, message.label),
          h("span", {}, `${AUDIENCES[message.audience]} · ${CHANNELS[message.channel]}`),
          h("span", {}, this.#when()),
        ),
        state.why && h("p", { class: `message-why ${state.tone}` }, `${state.why}${/[.!?]$/.test(state.why) ? "" : "."}`),
      ),
      h("div", { class: "actions message-actions" }, this.#buttons()),
    );
    if (hadFocus) (this.#button(action) ?? this.head.querySelector(".message-title")).focus();
  }

  #when() {
    const { message } = this;
    if (OVER.includes(message.status) && message.finished_at) {
      const guests = message.recipient_count === null ? "" : `${plural(message.recipient_count, "guest")} · `;
      return `${guests}${clock.told(message.finished_at)}`;
    }
    if (!message.send_at) return "No time yet";
    const distance = message.status === "scheduled" && !isDue(message) ? ` (${fromNow(message.send_at)})` : "";
    return `${clock.told(message.send_at)}${distance}`;
  }

  #buttons() {
    const { message, actions } = this;
    const name = titleOf(message);
    const button = (action, label, look, act, more = {}) =>
      h("button", {
        type: "button", class: `button small ${look}`, "data-do": action, "aria-label": `${label}: ${name}`, ...more,
        on: { click: (event) => whileBusy(event.currentTarget, act) },
      }, label);
    const buttons = [];
    if (mayEdit && EDITABLE.includes(message.status)) {
      if (message.held_at) buttons.push(button("resume", "Resume", "primary", () => actions.resume()));
      else if (!isDue(message)) buttons.push(button("send-now", "Send now", "", () => actions.sendNow()));
      buttons.push(button("edit", "Edit", "", () => this.edit()));
      buttons.push(button("cancel", "Cancel", "ghost alarming", () => actions.cancel()));
    }
    if (mayEdit && message.status === "sending") {
      buttons.push(message.held_at
        ? button("resume", "Resume", "primary", () => actions.resume())
        : button("stop", "Stop", "ghost alarming", () => actions.stop()));
    }
    if (mayEdit && OVER.includes(message.status) && message.retryable > 0) {
      const failed = message.outcomes.filter((each) => each.status === "failed" && each.retryable).reduce((sum, each) => sum + each.count, 0);
      const what = failed === message.retryable ? "failed" : "not sent";
      buttons.push(button("retry", `Retry ${count(message.retryable)} ${what}`, "", () => actions.retryFailed()));
    }
    const unknown = outcomeCounts(message).get("unknown") ?? 0;
    if (isOperator && mayEdit && OVER.includes(message.status) && unknown > 0) {
      buttons.push(button("retry-unknown", `Retry ${count(unknown)} unknown`, "ghost alarming", () => actions.retryUnknown(unknown)));
    }
    if (message.status === "sending" || OVER.includes(message.status)) {
      const isOpen = this.details !== undefined;
      buttons.push(button("details", isOpen ? "Hide details" : "Details", "ghost", () => this.toggleDetails(), { "aria-expanded": String(isOpen) }));
    }
    return buttons;
  }
}
