// The form in which a message is written: a new one, or a saved one in its place.

import { patch, post } from "./api.js";
import { copyOf, debounced, whileBusy } from "./dom.js";
import { explain, focusMistake, showMistakes, showProblem } from "./fields.js";
import { showConflict } from "./message_conflict.js";
import { MessagePreview } from "./message_preview.js";
import { clock, messagesPath } from "./page_facts.js";
import { RecipientReach } from "./recipient_reach.js";
import { confirmed } from "./telling.js";

const SUBMIT_LABELS = { draft: "Save draft", schedule: "Schedule", send_now: "Send now" };
const TYPING_PAUSE = 450;

export class MessageForm {
  /** `message` is null for a new one. `onSaved(message, mode)` and `onClosed()` are called once. */
  constructor(message, { onSaved, onClosed }) {
    this.element = copyOf("message-form");
    this.message = message;
    this.onSaved = onSaved;
    this.onClosed = onClosed;
    this.textMistakes = [];
    this.fields = this.element.elements;
    this.reach = new RecipientReach(this.element);
    this.preview = new MessagePreview(this.element);
    this.#fill(message);
    this.#listen();
    this.#followMode();
    this.#followChannel();
    this.#refreshPreview();
  }

  part(name) {
    return this.element.querySelector(`[data-part="${name}"]`);
  }

  get isChanged() {
    return JSON.stringify(this.#values()) !== this.untouched;
  }

  focus() {
    this.part("title").focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** Closes the form, after asking if something would be lost. */
  async close() {
    const question = {
      title: "Discard your changes?",
      text: "What you have written here has not been saved.",
      yes: "Discard",
      no: "Keep writing",
      isDangerous: true,
    };
    if (this.isChanged && !(await confirmed(question))) return;
    this.onClosed();
  }

  /** Shows `message` as it is saved now, in place of what was typed. */
  adopt(message) {
    this.message = message;
    this.#fill(message);
    this.#followMode();
    this.#followChannel();
    this.#refreshPreview();
  }

  /** Keeps what was typed; saving it replaces what another editor saved as `message`. */
  insistOver(message) {
    this.message = message;
  }

  #fill(message) {
    this.part("title").textContent = message ? `Edit ${message.kind === "broadcast" ? "message" : message.label}` : "New message";
    this.fields.audience.value = message?.audience ?? "everyone";
    this.fields.channel.value = message?.channel ?? "email";
    this.fields.subject.value = message?.subject ?? "";
    this.fields.body.value = message?.body ?? "";
    this.fields.mode.value = message?.status === "scheduled" ? "schedule" : "draft";
    this.fields.send_at.value = message?.send_at ? clock.fieldValue(message.send_at) : "";
    this.fields.survives_event_cancel.checked = message?.survives_event_cancel ?? false;
    this.untouched = JSON.stringify(this.#values());
  }

  #values() {
    const { audience, channel, subject, body, mode, send_at: sendAt, survives_event_cancel: survives } = this.fields;
    return {
      audience: audience.value,
      channel: channel.value,
      subject: subject.value,
      body: body.value,
      mode: mode.value,
      send_at: sendAt.value ? this.#instant(sendAt.value) : null,
      survives_event_cancel: survives.checked,
    };
  }

  /** A field shows whole minutes: one that was not touched stays at the second it was saved with. */
  #instant(fieldValue) {
    const saved = this.message?.send_at;
    return saved && clock.fieldValue(saved) === fieldValue ? saved : clock.instantOf(fieldValue);
  }

  #listen() {
    const refreshSoon = debounced(() => this.#refreshPreview(), TYPING_PAUSE);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      whileBusy(this.part("submit"), () => this.#save());
    });
    this.element.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button?.dataset.do === "close") this.close();
      if (button?.dataset.do === "test") whileBusy(button, () => this.#sendTest());
      if (button?.dataset.insert) this.#insert(button.dataset.insert);
    });
    this.element.addEventListener("input", (event) => {
      if (["subject", "body"].includes(event.target.name)) refreshSoon();
    });
    this.element.addEventListener("change", (event) => {
      if (event.target.name === "mode") this.#followMode();
      if (event.target.name === "channel") this.#followChannel();
      if (["audience", "channel"].includes(event.target.name)) {
        this.reach.count(this.fields.audience.value, this.fields.channel.value);
        this.#refreshPreview();
      }
    });
    for (const name of ["subject", "body"]) {
      this.fields[name].addEventListener("focus", () => { this.lastText = this.fields[name]; });
    }
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented) return;
      // The same press of the key would close the question that it opens.
      event.preventDefault();
      this.close();
    });
    this.reach.count(this.fields.audience.value, this.fields.channel.value);
  }

  #insert(placeholder) {
    const isEmail = this.fields.channel.value === "email";
    const target = this.lastText === this.fields.subject && isEmail ? this.fields.subject : this.fields.body;
    target.focus();
    target.setRangeText(placeholder, target.selectionStart, target.selectionEnd, "end");
    target.dispatchEvent(new Event("input", { bubbles: true }));
  }

  #followMode() {
    const mode = this.fields.mode.value;
    this.part("time-field").hidden = mode !== "schedule";
    this.part("submit").textContent = this.message && mode !== "send_now" ? "Save changes" : SUBMIT_LABELS[mode];
    if (mode === "schedule") this.#showOffset();
    this.fields.send_at.onchange = () => this.#showOffset();
  }

  #showOffset() {
    const { send_at: field } = this.fields;
    const moment = field.value ? new Date(clock.instantOf(field.value)).getTime() : Date.now();
    this.part("time-hint").textContent = `On the event's clock: ${clock.zone} (${clock.offsetName(moment)})`;
  }

  #followChannel() {
    const isEmail = this.fields.channel.value === "email";
    this.part("subject-field").hidden = !isEmail;
    this.part("phone-field").hidden = isEmail;
    const goal = this.part("test-goal");
    goal.dataset.email ??= goal.textContent;
    goal.textContent = isEmail ? goal.dataset.email : "this number";
  }

  async #refreshPreview() {
    const problems = await this.preview.show(this.#words());
    // An empty field of a message that is only begun is no mistake yet.
    this.textMistakes = problems.filter((each) => this.fields[each.field]?.value.trim());
    showMistakes(this.element, this.textMistakes);
  }

  #words() {
    const { channel, audience, subject, body } = this.#values();
    return { channel, audience, subject: channel === "email" ? subject : "", body };
  }

  async #save() {
    showProblem(this.part("problem"));
    showMistakes(this.element, []);
    const values = this.#values();
    if (values.mode === "schedule" && !values.send_at) {
      const missing = { field: "send_at", message: "choose the day and time at which it leaves" };
      showMistakes(this.element, [...this.textMistakes, missing]);
      focusMistake(this.element);
      return;
    }
    try {
      const saved = this.message ? await this.#change(values) : await this.#create(values);
      this.onSaved(saved, values.mode);
    } catch (refusal) {
      this.#explain(refusal);
    }
  }

  #create(values) {
    // A repeat after a lost answer must not write the message twice, a corrected text must not be taken for a repeat.
    const written = JSON.stringify(values);
    if (this.attempt?.written !== written) this.attempt = { written, key: crypto.randomUUID() };
    const { send_at: sendAt, ...rest } = values;
    const body = { ...rest, ...this.#words(), send_at: values.mode === "send_now" ? null : sendAt };
    return post(messagesPath, body, { idempotencyKey: this.attempt.key });
  }

  async #change(values) {
    const path = `${messagesPath}/${this.message.id}`;
    const { mode, send_at: sendAt, ...rest } = values;
    const change = { ...rest, ...this.#words(), version: this.message.version };
    if (mode !== "send_now") {
      if (sendAt !== this.message.send_at) change.send_at = sendAt;
      return patch(path, { ...change, mode });
    }
    this.message = await patch(path, change);
    return post(`${path}/send-now`, { version: this.message.version });
  }

  #explain(refusal) {
    if (["stale_edit", "message_not_editable"].includes(refusal.code)) {
      showConflict(this, refusal);
      return;
    }
    explain(this.element, this.part("problem"), refusal);
  }

  async #sendTest() {
    const outcome = this.part("test-outcome");
    const phone = this.fields.test_phone.value.trim();
    outcome.textContent = "Sending …";
    showMistakes(this.element, []);
    try {
      const isEmail = this.fields.channel.value === "email";
      const answer = await post(`${messagesPath}/test-send`, { ...this.#words(), ...(isEmail ? {} : { phone: phone || null }) });
      outcome.textContent = TEST_OUTCOMES[answer.outcome] ?? `The provider did not take it: ${answer.detail ?? answer.outcome}.`;
    } catch (refusal) {
      outcome.textContent = refusal.errors.length ? "" : refusal.message;
      showMistakes(this.element, refusal.errors);
      focusMistake(this.element);
    }
  }
}

const TEST_OUTCOMES = {
  sent: "On its way. Look into your inbox.",
  dry_run: "Checked, but not sent: no provider is configured for this channel.",
  unknown: "It may have been sent: the provider's answer was lost.",
};
