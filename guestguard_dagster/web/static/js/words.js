// The words for what the API names: states, outcomes, reasons, audiences.

import { placeholderValues } from "./page_facts.js";

export const AUDIENCES = {
  everyone: "Everyone",
  attending: "Attending",
  pending: "No answer yet",
  maybe: "Maybe",
  declined: "Declined",
};

export const CHANNELS = { email: "Email", sms: "SMS" };

const CANCEL_REASONS = {
  host: "Cancelled by a host",
  event_cancelled: "Cancelled with the event",
  event_started: "Expired: the event had already started",
  time_passed: "Expired: what it says was no longer true",
};

/** What each outcome of a recipient is called, and how it is coloured; in the order in which they are shown. */
export const OUTCOMES = {
  delivered: { label: "Delivered", tone: "good" },
  sent: { label: "Handed to the provider", tone: "good" },
  pending: { label: "Waiting", tone: "plain" },
  sending: { label: "Leaving now", tone: "info" },
  bounced: { label: "Bounced", tone: "danger" },
  complained: { label: "Marked as spam", tone: "danger" },
  failed: { label: "Failed", tone: "danger" },
  unknown: { label: "Unknown", tone: "warn" },
  suppressed: { label: "Unsubscribed or blocked", tone: "plain" },
  skipped: { label: "Left out", tone: "plain" },
};

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
