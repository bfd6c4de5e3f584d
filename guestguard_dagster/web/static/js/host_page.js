// What all pages of hosts do: sign out, and keep the event's present tab in view on a narrow screen.

import { remove } from "./api.js";
import { toast } from "./telling.js";

document.getElementById("sign-out").addEventListener("click", async () => {
  try {
    await remove("/session");
    location.assign("/sign-in");
  } catch (refusal) {
    toast(refusal.message);
  }
});

document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
