// Times in the reader's own zone, a list that refreshes by itself, a question before everything is deleted.

for (const time of document.querySelectorAll("time")) {
  const moment = new Date(time.dateTime);
  const isToday = moment.toDateString() === new Date().toDateString();
  const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const full = { day: "numeric", month: "short", ...clock };
  time.textContent = new Intl.DateTimeFormat("en-GB", isToday ? clock : full).format(moment);
  time.title = moment.toISOString();
}

for (const button of document.querySelectorAll("button[data-confirm]")) {
  button.form.addEventListener("submit", (event) => {
    if (!window.confirm(button.dataset.confirm)) event.preventDefault();
  });
}

const shown = document.body.dataset.newest;
const isReading = () => document.activeElement?.matches("input") || window.scrollY > 0;

async function refreshWhenNew() {
  try {
    const answer = await fetch("/api/mails?limit=0");
    const newest = String((await answer.json()).newest_id);
    if (newest !== shown && !isReading()) return window.location.reload();
  } catch {
    // The catcher is gone for the moment: ask again.
  }
  return setTimeout(refreshWhenNew, 2000);
}

if (shown !== undefined) setTimeout(refreshWhenNew, 2000);
