// What went out by itself: answers to RSVPs, alerts and invitations.

import { get } from "./api.js";
import { h, whileBusy } from "./dom.js";
import { clock, eventPath } from "./page_facts.js";
import { count } from "./times.js";
import { OUTCOMES, reasonWords } from "./words.js";

const PAGE = 50;

const OWN_STATES = {
  duplicate: { label: "Repeat of an earlier one", tone: "" },
  skipped: { label: "No mail needed", tone: "" },
};

const REASONS = {
  below_threshold: "The score is below the one that alerts begin with",
  host_managed: "The host answers by themselves",
};

export class NotificationList {
  constructor(panel, onCounted) {
    this.panel = panel;
    this.onCounted = onCounted;
    this.rows = h("tbody");
    this.pages = 1;
    this.moreButton = h("button", { class: "button", type: "button",
      on: { click: (event) => whileBusy(event.currentTarget, () => { this.pages += 1; return this.refresh(); }) } }, "Show more");
    this.table = h("div", { class: "card table-frame" },
      h("table", { class: "table" },
        h("caption", { class: "hidden-visually" }, "Notifications, the latest first"),
        h("thead", {}, h("tr", {}, ["What", "Guest", "Outcome", "Time"].map((name) => h("th", { scope: "col" }, name)))),
        this.rows));
    this.blank = h("div", { class: "card blank" },
      h("h3", {}, "No notifications yet"),
      h("p", {}, "Confirmations of RSVPs, alerts and invitations that go out by themselves appear here."));
  }

  async refresh() {
    const found = [];
    let after = null;
    for (let page = 0; page < this.pages && (page === 0 || after); page += 1) {
      const { items, next } = await get(`${eventPath}/notifications`, { after, limit: PAGE });
      found.push(...items);
      after = next;
    }
    this.onCounted(after ? `${count(found.length)}+` : found.length);
    this.rows.replaceChildren(...found.map(row));
    this.panel.replaceChildren(found.length ? this.table : this.blank, ...(after ? [this.moreButton] : []));
  }
}

function row(notification) {
  const { label, tone } = OWN_STATES[notification.status] ?? OUTCOMES[notification.status];
  const why = REASONS[notification.reason] ?? reasonWords(notification.error ?? notification.reason);
  return h("tr", {},
    h("td", {}, notification.label),
    h("td", {}, notification.guest_name ?? ""),
    h("td", {}, h("span", { class: `pill ${tone === "plain" ? "" : tone}` }, label), why && h("span", { class: "small-print reason" }, why)),
    h("td", { class: "moment" }, clock.told(notification.happened_at)));
}
