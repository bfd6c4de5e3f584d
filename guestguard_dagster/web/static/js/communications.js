// The Communications page: four lists of messages, kept up to date, and the form for a new one.

import { get } from "./api.js";
import { h, icon, whileBusy } from "./dom.js";
import { MessageForm } from "./message_form.js";
import { MessageRow } from "./message_row.js";
import { NotificationList } from "./notification_list.js";
import { mayEdit, messagesPath } from "./page_facts.js";
import { toast } from "./telling.js";
import { Tabs } from "./tabs.js";
import { count } from "./times.js";

const PAGE = 100;
const BUSY_MILLISECONDS = 2000;
const CALM_MILLISECONDS = 15_000;
const SOON_MILLISECONDS = 90_000;

class MessageBox {
  constructor(name, { statuses, order, blank }) {
    Object.assign(this, { name, statuses, order, blank });
    this.panel = document.getElementById(`panel-${name}`);
    this.list = h("ul", { class: "messages", role: "list" });
    this.moreButton = h("button", { class: "button", type: "button", on: { click: (event) => whileBusy(event.currentTarget, () => this.showMore()) } }, "Show more");
    this.rows = new Map();
    this.pages = 1;
  }

  get messages() {
    return [...this.rows.values()].map((row) => row.message);
  }

  async showMore() {
    this.pages += 1;
    await this.refresh();
  }

  /** Reads as many pages as are shown, and shows what is in them now. */
  async refresh() {
    const found = [];
    let after = null;
    for (let page = 0; page < this.pages && (page === 0 || after); page += 1) {
      const { items, next } = await get(messagesPath, { status: this.statuses, order: this.order, after, limit: PAGE });
      found.push(...items);
      after = next;
    }
    const progress = await progressOf(found);
    this.#show(found, progress);
    tabs.setCount(this.name, after ? `${count(found.length)}+` : found.length);
    showOnly(this.panel, [this.rows.size ? this.list : this.#blankCard(), ...(after ? [this.moreButton] : [])]);
  }

  #show(found, progress) {
    const present = new Set(found.map((message) => message.id));
    for (const [id, row] of this.rows) {
      if (!present.has(id) && !row.isEdited) this.#drop(id, row);
    }
    found.forEach((message, place) => {
      let row = this.rows.get(message.id);
      if (row) {
        if (!row.isEdited) row.update(message, progress.get(message.id) ?? null);
      } else {
        row = new MessageRow(message, (changed) => changedHere(this, changed));
        row.update(message, progress.get(message.id) ?? null);
        this.rows.set(message.id, row);
      }
      if (this.list.children[place] !== row.element) this.list.insertBefore(row.element, this.list.children[place] ?? null);
    });
  }

  #drop(id, row) {
    const hadFocus = row.element.contains(document.activeElement);
    const next = row.element.nextElementSibling ?? row.element.previousElementSibling;
    row.element.remove();
    this.rows.delete(id);
    if (hadFocus) (next?.querySelector(".message-title") ?? this.panel).focus();
  }

  #blankCard() {
    const { title, text, symbol } = this.blank;
    return this.blankCard ??= h("div", { class: "card blank" }, blankArt(symbol), h("h3", {}, title), h("p", {}, text));
  }
}

/** What is shown already stays where it is: taken out and put back it would lose the focus. */
function showOnly(panel, wanted) {
  const isShown = panel.children.length === wanted.length && wanted.every((element, place) => panel.children[place] === element);
  if (!isShown) panel.replaceChildren(...wanted);
}

function blankArt(symbol) {
  const art = icon(symbol);
  art.setAttribute("class", "blank-art");
  return art;
}

async function progressOf(messages) {
  const sending = messages.filter((message) => message.status === "sending" && message.recipient_count !== null);
  const details = await Promise.all(sending.map((message) => get(`${messagesPath}/${message.id}`).catch(() => null)));
  return new Map(details.filter(Boolean).map((detail) => [detail.id, detail.progress]));
}

const boxes = [
  new MessageBox("scheduled", {
    statuses: ["draft", "scheduled", "sending"], order: "soonest",
    blank: { symbol: "calendar", title: "Nothing is scheduled", text: mayEdit ? "Write a message, save it as a draft, or choose when it leaves." : "Messages that wait for their time appear here." },
  }),
  new MessageBox("sent", {
    statuses: ["sent", "failed"], order: "latest",
    blank: { symbol: "mail", title: "Nothing has been sent yet", text: "Once a message has left, you can see here who got it and who did not." },
  }),
  new MessageBox("cancelled", {
    statuses: ["cancelled"], order: "latest",
    blank: { symbol: "clock", title: "Nothing was cancelled", text: "Messages that you cancel, and reminders whose time has passed, are kept here." },
  }),
];
const notificationPanel = document.getElementById("panel-notifications");
const notifications = notificationPanel && new NotificationList(notificationPanel, (number) => tabs.setCount("notifications", number));
const tabs = new Tabs(document.querySelector('[role="tablist"]'), { onShown: (name) => { if (name === "notifications") refresh([notifications]); } });

const unreachable = document.getElementById("unreachable");
let timer;

/** Reads lists again; a list that cannot be read stays as it is, and the page says so. */
async function refresh(lists = boxes) {
  clearTimeout(timer);
  try {
    await Promise.all(lists.map((list) => list.refresh()));
    unreachable.hidden = true;
  } catch (refusal) {
    unreachable.textContent = `What you see may be out of date. ${refusal.message}`;
    unreachable.hidden = false;
    for (const loading of document.querySelectorAll(".loading")) loading.replaceChildren();
  }
  clearTimeout(timer);
  timer = setTimeout(follow, isBusy() ? BUSY_MILLISECONDS : CALM_MILLISECONDS);
}

/** While something leaves, only the list that it is in is read every time; the others when it has left. */
async function follow() {
  if (document.hidden) return;
  const before = boxes[0].messages.map((message) => message.id).join();
  await refresh(isBusy() ? [boxes[0]] : boxes);
  if (boxes[0].messages.map((message) => message.id).join() !== before) await refresh();
}

function isBusy() {
  const soon = Date.now() + SOON_MILLISECONDS;
  return boxes[0].messages.some((message) =>
    message.held_at === null &&
    (message.status === "sending" || (message.status === "scheduled" && new Date(message.send_at).getTime() < soon)));
}

/** A change made here: shown at once, then all lists are read again, for it may have moved to another one. */
function changedHere(box, changed) {
  box.rows.get(changed.id)?.update(changed);
  refresh();
}

const composer = document.getElementById("composer");
const composeButton = document.getElementById("compose");

function compose() {
  const form = new MessageForm(null, {
    onSaved: async (saved, mode) => {
      closeComposer();
      toast({ draft: "Saved as a draft.", schedule: "Scheduled.", send_now: "Starts within about 40 seconds. You can cancel it until then." }[mode]);
      tabs.show("scheduled");
      await refresh();
      boxes[0].rows.get(saved.id)?.focus();
    },
    onClosed: () => {
      closeComposer();
      composeButton.focus();
    },
  });
  composer.replaceChildren(form.element);
  composer.hidden = false;
  composeButton.setAttribute("aria-expanded", "true");
  composer.form = form;
  form.focus();
}

function closeComposer() {
  composer.hidden = true;
  composer.replaceChildren();
  composer.form = undefined;
  composeButton.setAttribute("aria-expanded", "false");
}

composeButton?.addEventListener("click", () => (composer.form ? composer.form.focus() : compose()));
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
addEventListener("online", () => refresh());
addEventListener("beforeunload", (event) => {
  const forms = [composer.form, ...boxes.flatMap((box) => [...box.rows.values()].map((row) => row.form))];
  if (forms.some((form) => form?.isChanged)) event.preventDefault();
});

refresh();
