// The host's own session.

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
