// A message's recipients one by one, its text, and its runs for operators.

import { get } from "./api.js";
import { h, whileBusy } from "./dom.js";
import { showHistory } from "./guest_history.js";
import { clock, isOperator, mayEdit, messagesPath } from "./page_facts.js";
import { count, plural } from "./times.js";
import { OUTCOMES, outcomeCounts, reasonWords } from "./words.js";

const NOT_ARRIVED = ["failed", "bounced", "complained", "unknown"];
const PAGE = 50;
const COLUMNS = ["Guest", "Outcome", "Why", "Time"];

export class MessageDetails {
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.path = `${messagesPath}/${message.id}`;
    this.filter = h("select", { class: "outcome-filter", "aria-label": "Show recipients by outcome", on: { change: () => this.#reload() } });
    this.rows = h("tbody", { role: "rowgroup" });
    this.state = h("p", { class: "small-print", role: "status" });
    this.moreButton = h("button", { class: "button small", type: "button", hidden: true,
      on: { click: (event) => whileBusy(event.currentTarget, () => this.#loadMore()) } }, "Show more");
    this.runs = h("div");
    this.element = h("div", { class: "details" }, mayEdit && this.#recipients(), this.#text(), this.runs);
    this.#fillFilter();
    if (mayEdit) this.#reload();
    if (isOperator) this.#showRuns();
  }

  /** Follows the outcomes; the recipients are read again when some of them changed. */
  update(message) {
    const before = JSON.stringify(this.message.outcomes);
    this.message = message;
    if (before === JSON.stringify(message.outcomes)) return;
    this.#fillFilter();
    if (mayEdit && message.status !== "sending") this.#reload();
  }

  #recipients() {
    return h("section", { "aria-label": "Recipients" },
      h("div", { class: "details-head" },
        h("h4", {}, "Recipients"),
        h("div", { class: "actions" },
          this.filter,
          h("a", { class: "button small", href: `${this.path}/deliveries.csv`, download: "" }, "Download CSV")),
      ),
      h("div", { class: "table-frame" },
        h("table", { class: "table deliveries", role: "table" },
          h("caption", { class: "hidden-visually" }, "Recipients and what became of each"),
          h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, COLUMNS.map((name) => h("th", { scope: "col", role: "columnheader" }, name)))),
          this.rows)),
      this.state,
      this.moreButton);
  }

  #text() {
    const { subject, body, channel } = this.message;
    return h("details", { class: "sent-text" },
      h("summary", {}, "What was written"),
      channel === "email" && h("p", {}, h("strong", {}, subject)),
      h("pre", {}, body));
  }

  #fillFilter() {
    const counts = outcomeCounts(this.message);
    const chosen = this.filter.value;
    const notArrived = NOT_ARRIVED.reduce((sum, status) => sum + (counts.get(status) ?? 0), 0);
    const options = [["", `All outcomes (${count([...counts.values()].reduce((sum, number) => sum + number, 0))})`]];
    if (notArrived) options.unshift([NOT_ARRIVED.join(" "), `Did not arrive (${count(notArrived)})`]);
    for (const [status, number] of counts) options.push([status, `${OUTCOMES[status].label} (${count(number)})`]);
    this.filter.replaceChildren(...options.map(([value, label]) => h("option", { value }, label)));
    if (chosen && options.some(([value]) => value === chosen)) this.filter.value = chosen;
  }

  async #reload() {
    this.rows.replaceChildren();
    this.next = null;
    this.newest = (this.newest ?? 0) + 1;
    await this.#loadMore();
  }

  async #loadMore() {
    const number = this.newest;
    this.state.textContent = "Loading …";
    try {
      const page = await get(`${this.path}/deliveries`, { outcome: this.filter.value.split(" ").filter(Boolean), after: this.next, limit: PAGE });
      if (number !== this.newest) return;
      this.next = page.next;
      this.rows.append(...page.items.map((each) => this.#row(each)));
      this.state.textContent = this.rows.children.length ? `${plural(this.rows.children.length, "recipient")} shown` : "Nobody here.";
      this.moreButton.hidden = page.next === null;
    } catch (refusal) {
      this.state.textContent = `Recipients could not be loaded. ${refusal.message}`;
      this.moreButton.hidden = false;
    }
  }

  #row(delivery) {
    const outcome = OUTCOMES[delivery.status];
    const moment = delivery.settled_at ?? delivery.handed_off_at;
    // Roles are spelled out: on a phone the table is laid out as a list, and must stay a table for screen readers.
    return h("tr", { role: "row" },
      h("td", { role: "cell" }, guestButton(delivery), h("span", { class: "small-print guest-address" }, delivery.address ?? "no address")),
      h("td", { role: "cell" }, h("span", { class: `pill ${outcome.tone === "plain" ? "" : outcome.tone}` }, outcome.label)),
      h("td", { role: "cell", class: "why" }, why(delivery)),
      h("td", { role: "cell", class: "moment" }, moment ? clock.told(moment) : ""));
  }

  async #showRuns() {
    const { runs } = await get(this.path).catch(() => ({ runs: [] }));
    if (!runs?.length) return;
    this.runs.replaceChildren(
      h("section", { class: "runs", "aria-label": "Dagster runs" },
        h("h4", {}, "Dagster runs"),
        h("ul", { role: "list" }, runs.map(({ run_id: id, url }) =>
          h("li", {}, url ? h("a", { href: url, target: "_blank", rel: "noreferrer" }, `Run ${id.slice(0, 8)}`) : h("code", {}, id))))));
  }
}

function guestButton({ guest_id: id, guest_name: name }) {
  return h("button", { class: "guest-name", type: "button", title: "Everything sent to this guest", on: { click: () => showHistory(id, name) } }, name);
}

function why(delivery) {
  const parts = [reasonWords(delivery.reason)];
  const detail = delivery.error_detail ?? delivery.error_code;
  if (detail && detail !== delivery.reason) parts.push(detail);
  if (delivery.status === "failed") parts.push(delivery.retryable ? "Can be tried again" : "Refused for good");
  return parts.filter(Boolean).join(". ");
}
