// How far a message is: progress, rate and time left while it leaves; outcomes as a bar.

import { h } from "./dom.js";
import { count, duration, plural } from "./times.js";
import { OUTCOMES, outcomeCounts } from "./words.js";

export class ProgressLine {
  constructor() {
    this.bar = h("progress", { "aria-label": "Recipients done" });
    this.text = h("p", { class: "progress-text" });
    this.element = h("div", { class: "message-progress", hidden: true }, this.bar, this.text);
  }

  show(message, progress) {
    this.element.hidden = message.status !== "sending";
    if (message.status !== "sending") return;
    if (message.recipient_count === null || !progress) {
      if (message.recipient_count === null) this.#write(null, "Getting the guest list ready …");
      return;
    }
    const { total, settled, per_second: rate, seconds_left: left } = progress;
    const parts = [`${count(settled)} of ${plural(total, "guest")}`];
    if (!message.held_at && rate > 0) parts.push(`${rate < 10 ? rate : count(Math.round(rate))} a second`);
    if (!message.held_at && left !== null && settled < total) parts.push(`about ${duration(left)} left`);
    this.#write(total ? settled / total : 1, parts.join(" · "));
  }

  #write(share, text) {
    if (share === null) this.bar.removeAttribute("value");
    else this.bar.value = share;
    if (this.text.textContent !== text) this.text.textContent = text;
  }
}

export class OutcomeBar {
  constructor() {
    this.bar = h("div", { class: "outcome-bar", "aria-hidden": "true" });
    this.legend = h("ul", { class: "outcome-legend", role: "list", "aria-label": "Outcomes" });
    this.element = h("div", { class: "message-outcomes", hidden: true }, this.bar, this.legend);
  }

  show(message) {
    const counts = outcomeCounts(message);
    this.element.hidden = counts.size === 0 || message.status === "sending";
    const told = JSON.stringify([...counts]);
    if (told === this.told) return;
    this.told = told;
    this.bar.replaceChildren(...[...counts].map(([status, number]) => {
      const part = h("span", { class: `outcome ${OUTCOMES[status].tone}` });
      part.style.flexGrow = number;
      return part;
    }));
    this.legend.replaceChildren(...[...counts].map(([status, number]) =>
      h("li", { class: `outcome-item ${OUTCOMES[status].tone}` }, h("strong", {}, count(number)), ` ${OUTCOMES[status].label}`)));
  }
}
