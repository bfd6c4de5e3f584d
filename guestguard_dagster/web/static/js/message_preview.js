// The message as one guest will see it, while it is being written.

import { post } from "./api.js";
import { messagesPath } from "./page_facts.js";
import { plural } from "./times.js";

export class MessagePreview {
  constructor(form) {
    this.part = (name) => form.querySelector(`[data-part="${name}"]`);
    this.newest = 0;
  }

  /** Shows these words; returns what is wrong with them, as the API's errors, and leaves the last good preview. */
  async show(words) {
    const number = (this.newest += 1);
    const isEmail = words.channel === "email";
    if (!words.body.trim() && !words.subject.trim()) {
      this.#clear();
      return [];
    }
    try {
      // An empty subject is not ready to be sent, but the body can be looked at.
      const subject = isEmail ? words.subject.trim() || "(no subject yet)" : "";
      const preview = await post(`${messagesPath}/preview`, { ...words, subject }, { idempotencyKey: null });
      if (number === this.newest) this.#render(preview, isEmail);
      return [];
    } catch (refusal) {
      return number === this.newest ? (refusal.errors ?? []) : [];
    }
  }

  #render(preview, isEmail) {
    this.part("preview-blank").hidden = true;
    this.part("preview-guest").textContent = `as ${preview.guest_name} sees it`;
    this.part("preview-subject").hidden = !isEmail;
    this.part("preview-mail").hidden = !isEmail;
    this.part("preview-text").hidden = isEmail;
    this.part("preview-segments").hidden = isEmail;
    if (isEmail) {
      this.part("preview-subject").textContent = preview.subject;
      if (this.part("preview-mail").srcdoc !== preview.html) this.part("preview-mail").srcdoc = preview.html;
    } else {
      const { segments, units, encoding } = preview.segments;
      this.part("preview-text").textContent = preview.text;
      this.part("preview-segments").textContent =
        `${plural(segments, "segment")} · ${plural(units, "character")} · ${encoding}` +
        (encoding === "UCS-2" ? ". An emoji or a rare letter more than halves what fits into a segment." : "");
    }
  }

  #clear() {
    for (const name of ["preview-subject", "preview-mail", "preview-text", "preview-segments"]) this.part(name).hidden = true;
    this.part("preview-guest").textContent = "";
    this.part("preview-blank").hidden = false;
  }
}
