// The words for what the API names: states, outcomes, reasons, audiences.

import { labels, placeholderValues } from "./page_facts.js";

export const AUDIENCES = labels.audiences;
export const CHANNELS = labels.channels;

const CANCEL_REASONS = {
  host: "Cancelled by a host",
  event_cancelled: "Cancelled with the event",
  event_started: "Expired: the event had already started",
  time_passed: "Expired: what it says was no longer true",
};

// How each outcome of a recipient is coloured; in the order in which they are shown.
const TONES = {
  delivered: "good",
  sent: "good",
  pending: "plain",
  sending: "info",
  bounced: "danger",
  complained: "danger",
  failed: "danger",
  unknown: "warn",
  suppressed: "plain",
  skipped: "plain",
};

/** What each outcome of a recipient is called, and how it is coloured. */
export const OUTCOMES = Object.fromEntries(
  Object.entries(TONES).map(([status, tone]) => [status, { label: labels.outcomes[status], tone }]));

const REASONS = {
  guest_removed: "No longer on the guest list",
  not_in_audience: "Answered in the meantime",
  no_address: "Has no address for this channel",
  event_cancelled: "The event was cancelled",
  event_started: "The event had already started",
  time_passed: "What it says was no longer true",
  log_backend: "No provider is configured",
  message_stopped: "The message was stopped",
  suppressed: "Unsubscribed, bounced or complained before",
};

const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const reasonWords = (reason) => (reason ? (REASONS[reason] ?? capitalised(reason)) : "");

/** A message's state as a pill: its word, its tone, whether it is under way, and a sentence on why. */
export function stateOf(message, clock) {
  const held = message.held_at !== null;
  switch (message.status) {
    case "draft":
      return { word: "Draft", tone: "" };
    case "scheduled":
      if (held) return { word: "On hold", tone: "warn", why: capitalised(message.held_reason ?? "") };
      if (message.waits_until) return { word: "Waiting", tone: "warn", why: waits(message, clock) };
      if (isDue(message)) return { word: "Starting", tone: "info", isLive: true, why: "Starts within about 40 seconds; you can still cancel it" };
      return { word: "Scheduled", tone: "accent" };
    case "sending":
      if (held) return { word: "Stopped", tone: "warn", why: capitalised(message.held_reason ?? "") };
      if (message.waits_until) return { word: "Waiting", tone: "warn", why: waits(message, clock) };
      return { word: "Sending", tone: "info", isLive: true };
    case "sent":
      return message.recipient_count === 0
        ? { word: "Sent", tone: "", why: "There was nobody to send it to" }
        : { word: "Sent", tone: "good" };
    case "failed":
      return { word: "Failed", tone: "danger", why: message.status_reason && reasonWords(message.status_reason) };
    default: {
      const isExpired = ["event_started", "time_passed"].includes(message.status_reason);
      return { word: isExpired ? "Expired" : "Cancelled", tone: "", why: CANCEL_REASONS[message.status_reason] };
    }
  }
}

export const isDue = (message) => message.send_at !== null && new Date(message.send_at).getTime() <= Date.now();

function waits(message, clock) {
  const until = `until ${clock.told(message.waits_until)}`;
  return message.waiting_reason ? `${capitalised(message.waiting_reason)} (${until})` : `Waits ${until}`;
}

/** What a message is called: its subject, or how an SMS begins, as guests of this event read it. */
export function titleOf(message) {
  const isNamed = message.channel === "email" && message.subject.trim();
  const text = filledIn(isNamed ? message.subject : message.body.trim().replaceAll(/\s+/g, " "));
  return text.length > LONGEST_TITLE ? `${text.slice(0, LONGEST_TITLE)} …` : text;
}

const LONGEST_TITLE = 100;

/** A subject or text with what its placeholders say for this event. */
export const filledIn = (text) =>
  text.replaceAll(/\{\{\s*(\w+)\s*\}\}/g, (written, name) => placeholderValues[name] ?? written);

/** Recipients by status, as a Map in the order in which outcomes are shown. */
export function outcomeCounts(message) {
  const counts = new Map();
  for (const status of Object.keys(OUTCOMES)) {
    const number = message.outcomes.filter((each) => each.status === status).reduce((sum, each) => sum + each.count, 0);
    if (number) counts.set(status, number);
  }
  return counts;
}
