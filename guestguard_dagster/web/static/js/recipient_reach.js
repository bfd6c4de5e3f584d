// "N guests will receive this", and who will not, as audience and channel change.

import { get } from "./api.js";
import { h } from "./dom.js";
import { messagesPath } from "./page_facts.js";
import { count, plural } from "./times.js";

const CHANNEL_WORDS = {
  email: { address: "email address", provider: "email" },
  sms: { address: "phone number that can be read", provider: "SMS" },
};

export class RecipientReach {
  constructor(form) {
    this.summary = form.querySelector('[data-part="reach"]');
    this.leftOut = form.querySelector('[data-part="left-out"]');
    this.noProvider = form.querySelector('[data-part="no-provider"]');
  }

  /** Counts now, and shows it; of two counts under way only the later one is shown. */
  async count(audience, channel) {
    this.running?.abort();
    this.running = new AbortController();
    const { signal } = this.running;
    this.summary.setAttribute("aria-busy", "true");
    try {
      this.#show(await get(`${messagesPath}/recipient-count`, { audience, channel }, { signal }));
    } catch (error) {
      if (error.name === "AbortError") return;
      this.summary.textContent = `Guests could not be counted. ${error.message}`;
      this.leftOut.replaceChildren();
    }
    this.summary.removeAttribute("aria-busy");
  }

  #show(reach) {
    const words = CHANNEL_WORDS[reach.channel];
    this.summary.replaceChildren(
      h("strong", { class: "reach-number" }, count(reach.reachable)),
      h("span", {}, ` ${reach.reachable === 1 ? "guest" : "guests"} will receive this`),
    );
    this.leftOut.replaceChildren(
      ...nameList(reach.guests_without_address, reach.without_address, `without ${article(words.address)} ${words.address}`),
      ...nameList(reach.suppressed_guests, reach.suppressed, "unsubscribed or blocked"),
    );
    this.noProvider.hidden = reach.provider !== "log";
    this.noProvider.textContent =
      `No ${words.provider} provider is configured. This message will be checked and recorded, but will not reach anybody.`;
  }
}

const article = (noun) => (/^[aeiou]/.test(noun) ? "an" : "a");

function nameList(guests, total, why) {
  if (!total) return [];
  const more = total - guests.length;
  const names = guests.map((guest) => h("li", {}, guest.name));
  if (more > 0) names.push(h("li", { class: "quiet" }, `and ${count(more)} more`));
  return [
    h("details", { class: "left-out" }, h("summary", {}, `${plural(total, "guest")} ${why}`), h("ul", {}, names)),
  ];
}
