// What the page says about its event and its reader.

import { Clock } from "./times.js";

const facts = document.getElementById("event").dataset;

export const eventPath = `/events/${facts.eventId}`;
export const messagesPath = `${eventPath}/messages`;
export const clock = new Clock(facts.zone);
export const mayEdit = facts.mayEdit === "yes";
export const isOperator = facts.isOperator === "yes";
/** What people read for what the API names: audiences, channels and outcomes. */
export const labels = JSON.parse(facts.labels);

// What placeholders say wherever a message is named; a guest's own stay as what they are.
export const placeholderValues = {
  event_name: facts.eventName,
  event_date: facts.when,
  venue: facts.venue,
  guest_name: "[guest name]",
  rsvp_link: "[RSVP link]",
};
