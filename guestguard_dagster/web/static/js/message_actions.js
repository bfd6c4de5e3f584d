// What a host does with a message besides writing it; each asks where something cannot be undone.

import { get, post, remove } from "./api.js";
import { messagesPath } from "./page_facts.js";
import { confirmed, toast } from "./telling.js";
import { plural } from "./times.js";
import { titleOf } from "./words.js";

export class MessageActions {
  constructor(row) {
    this.row = row;
  }

  get #path() {
    return `${messagesPath}/${this.row.message.id}`;
  }

  get #title() {
    return `“${titleOf(this.row.message)}”`;
  }

  async sendNow() {
    const { message } = this.row;
    const { audience, channel } = message;
    const reach = await get(`${messagesPath}/recipient-count`, { audience, channel }).catch(() => null);
    const goal = reach ? `${this.#title} goes to ${plural(reach.reachable, "guest")}.` : `${this.#title} goes to its guests.`;
    const yes = await confirmed({
      title: "Send this message now?",
      text: `${goal} It starts within about 40 seconds; until then it can still be cancelled.`,
      yes: "Send now",
    });
    if (yes) {
      await this.#do(() => post(`${this.#path}/send-now`, { version: message.version }),
        "Starts within about 40 seconds. You can cancel it until then.");
    }
  }

  async cancel() {
    const yes = await confirmed({
      title: "Cancel this message?",
      text: `${this.#title} will not be sent. It stays in the list of cancelled messages.`,
      yes: "Cancel message",
      no: "Keep it",
      isDangerous: true,
    });
    if (yes) await this.#do(() => remove(this.#path), "Cancelled.");
  }

  async stop() {
    await this.#do(() => post(`${this.#path}/stop`), "Stopped. What has not left yet waits until somebody resumes it.");
  }

  async resume() {
    await this.#do(() => post(`${this.#path}/resume`), "Goes on within about 40 seconds.");
  }

  async retryFailed() {
    await this.#retry({});
  }

  /** For operators: nobody knows whether these guests have the message, so they may get it twice. */
  async retryUnknown(number) {
    const yes = await confirmed({
      title: `Send it again to ${plural(number, "guest")}?`,
      text: "The provider's answer was lost, so they may have it already, and then get it twice. Those handed over less than an hour ago are left alone.",
      yes: "Send again",
      isDangerous: true,
    });
    if (yes) await this.#retry({ unknown_too: true });
  }

  async #retry(which) {
    await this.#do(async () => {
      const { reopened, message } = await post(`${this.#path}/retry-failed`, which);
      toast(reopened ? `${plural(reopened, "guest")} will be tried again.` : "There is nobody left to try again.");
      return message;
    });
  }

  /** Does it, and shows how the message stands then; also when somebody else was faster. */
  async #do(work, done) {
    try {
      const changed = await work();
      if (done) toast(done);
      this.row.onChanged(changed);
    } catch (refusal) {
      toast(refusal.code === "stale_edit" ? "Somebody changed this message just now. Look at it again first." : refusal.message);
      if (refusal.present) this.row.onChanged(refusal.present);
    }
  }
}
