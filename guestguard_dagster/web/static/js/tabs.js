// A tab list as ARIA describes it: one tab is in the tab order, arrows move between them. The address remembers it.

export class Tabs {
  constructor(list, { onShown = () => {} } = {}) {
    this.tabs = [...list.querySelectorAll('[role="tab"]')];
    this.onShown = onShown;
    list.addEventListener("click", (event) => {
      const tab = event.target.closest('[role="tab"]');
      if (tab) this.show(nameOf(tab));
    });
    list.addEventListener("keydown", (event) => this.#move(event));
    const wanted = new URLSearchParams(location.search).get("show");
    if (wanted && this.tabs.some((tab) => nameOf(tab) === wanted)) queueMicrotask(() => this.show(wanted));
  }

  show(name) {
    for (const tab of this.tabs) {
      const isShown = nameOf(tab) === name;
      tab.setAttribute("aria-selected", String(isShown));
      tab.tabIndex = isShown ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !isShown;
    }
    const address = new URL(location.href);
    if (name === nameOf(this.tabs[0])) address.searchParams.delete("show");
    else address.searchParams.set("show", name);
    history.replaceState(null, "", address);
    this.onShown(name);
  }

  setCount(name, text) {
    const badge = this.tabs.find((tab) => nameOf(tab) === name).querySelector(".box-count");
    badge.hidden = !text;
    badge.textContent = text || "";
  }

  #move(event) {
    const place = this.tabs.indexOf(event.target.closest('[role="tab"]'));
    const last = this.tabs.length - 1;
    const goal = { ArrowRight: place === last ? 0 : place + 1, ArrowLeft: place === 0 ? last : place - 1, Home: 0, End: last }[event.key];
    if (place < 0 || goal === undefined) return;
    event.preventDefault();
    this.show(nameOf(this.tabs[goal]));
    this.tabs[goal].focus();
  }
}

const nameOf = (tab) => tab.id.replace("tab-", "");
