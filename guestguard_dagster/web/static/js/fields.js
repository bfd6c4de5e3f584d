// Mistakes beside their fields, for forms whose fields name their place with aria-describedby.

/** Shows the API's errors beside the fields that they are about; returns those that have no field here. */
export function showMistakes(form, errors) {
  const elsewhere = errors.filter((error) => !form.querySelector(`[data-mistake="${error.field}"]`));
  for (const place of form.querySelectorAll("[data-mistake]")) {
    const own = errors.filter((error) => error.field === place.dataset.mistake);
    place.textContent = own.map(inWords).join(" ");
    const field = form.querySelector(`[aria-describedby~="${place.id}"]`);
    if (own.length) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
  return elsewhere;
}

export const focusMistake = (form) => form.querySelector('[aria-invalid="true"]')?.focus();

/** A sentence of its own, shown in `place`; none hides it. */
export function showProblem(place, text = "") {
  place.hidden = !text;
  place.textContent = text;
}

/** Shows a refusal: beside its fields where they are known, else as a sentence in `place`. */
export function explain(form, place, refusal) {
  const elsewhere = showMistakes(form, refusal.errors);
  const isPlaced = refusal.errors.length > elsewhere.length;
  showProblem(place, isPlaced ? "" : refusal.message);
  focusMistake(form);
}

function inWords({ field, line, message }) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return `${field === "body" && line > 1 ? `Line ${line}: ` : ""}${text}${/[.!?]$/.test(text) ? "" : "."}`;
}
