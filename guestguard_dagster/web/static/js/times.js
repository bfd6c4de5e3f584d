// Instants on the event's clock, whatever zone the browser is in.

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

export class Clock {
  constructor(zone) {
    this.zone = zone;
    const shared = { timeZone: zone, hour12: false, hourCycle: "h23" };
    this.parts = new Intl.DateTimeFormat("en-GB", {
      ...shared, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
    });
    this.long = new Intl.DateTimeFormat("en-US", {
      ...shared, weekday: "short", day: "2-digit", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
    });
  }

  /** `Sat, 05 Dec 2026 · 18:30` of an ISO instant. */
  told(instant) {
    const part = Object.fromEntries(this.long.formatToParts(new Date(instant)).map((each) => [each.type, each.value]));
    return `${part.weekday}, ${part.day} ${part.month} ${part.year} · ${part.hour}:${part.minute}`;
  }

  /** What a datetime-local field shows for an ISO instant. */
  fieldValue(instant) {
    return new Date(this.#wallClock(new Date(instant).getTime())).toISOString().slice(0, 16);
  }

  /** The ISO instant of a datetime-local value. A time that a clock change leaves out moves forward by the gap; of one
   *  that happens twice, the first is meant. */
  instantOf(fieldValue) {
    const wall = Date.parse(`${fieldValue}Z`);
    const offsets = [this.#offset(wall - DAY), this.#offset(wall + DAY)];
    const fitting = offsets.map((offset) => wall - offset).filter((moment) => this.#wallClock(moment) === wall);
    return new Date(fitting.length ? Math.min(...fitting) : wall - offsets[0]).toISOString();
  }

  /** `UTC+02:00` at a moment (milliseconds). */
  offsetName(moment) {
    const minutes = Math.round(this.#offset(moment) / MINUTE);
    const padded = (number) => String(number).padStart(2, "0");
    const size = Math.abs(minutes);
    return `UTC${minutes < 0 ? "−" : "+"}${padded(Math.floor(size / 60))}:${padded(size % 60)}`;
  }

  #offset(moment) {
    return this.#wallClock(moment) - Math.floor(moment / 1000) * 1000;
  }

  /** The zone's wall clock at a moment, as if it were UTC, to the second. */
  #wallClock(moment) {
    const part = Object.fromEntries(this.parts.formatToParts(new Date(moment)).map((each) => [each.type, Number(each.value)]));
    return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
  }
}

/** `in 3 days`, `12 minutes ago`. */
export function fromNow(instant, now = Date.now()) {
  const minutes = (new Date(instant).getTime() - now) / MINUTE;
  const size = Math.abs(minutes);
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  if (size < 1) return minutes < 0 ? "just now" : "in less than a minute";
  if (size < 60) return words.format(Math.round(minutes), "minute");
  if (size < 60 * 36) return words.format(Math.round(minutes / 60), "hour");
  return words.format(Math.round(minutes / (60 * 24)), "day");
}

/** `40 seconds`, `3 minutes`, `2 hours`: how long something still takes. */
export function duration(seconds) {
  if (seconds < 90) return plural(Math.max(1, Math.round(seconds)), "second");
  if (seconds < 5400) return plural(Math.round(seconds / 60), "minute");
  return plural(Math.round(seconds / 3600), "hour");
}

const numbers = new Intl.NumberFormat("en");

export const count = (number) => numbers.format(number);

export function plural(number, word, many = `${word}s`) {
  return `${count(number)} ${number === 1 ? word : many}`;
}
