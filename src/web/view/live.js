// Keeps a page up to date: when the daemon says that something changed, the page is read again
// and its middle is put in place. Nothing is replaced while a person is about to act.
(() => {
  const asked = document.body.dataset.events;
  const status = document.getElementById("live");
  if (asked === undefined || !window.EventSource) return;
  const say = (text, state) => { status.textContent = text; status.className = state; };
  let reading = false, again = false;
  const busy = () => document.querySelector("details.act[open], main form:focus-within");
  async function read() {
    if (reading || busy()) { again = true; return; }
    reading = true; again = false;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.ok) put(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* the stream says when the daemon is gone */ }
    reading = false;
    if (again && !busy()) read();
  }
  function put(page) {
    const next = page.getElementById("main"), now = document.getElementById("main");
    if (!next || busy()) { again = true; return; }
    const focused = document.activeElement, href = focused && focused.getAttribute("href");
    const held = focused && focused.id, inside = now.contains(focused);
    const open = [...now.querySelectorAll("details[open][id]")].map((d) => d.id);
    now.replaceChildren(...next.childNodes);
    for (const id of open) { const d = document.getElementById(id); if (d) d.open = true; }
    if (inside) {
      const same = held ? document.getElementById(held)
        : href && [...now.querySelectorAll("a")].find((a) => a.getAttribute("href") === href);
      if (same) same.focus({ preventScroll: true });
    }
    document.title = page.title;
  }
  const events = new EventSource(asked);
  events.onopen = () => { say("live", "on"); read(); };
  events.onmessage = read;
  events.onerror = () => say("not live: no answer from the daemon", "off");
  setInterval(() => { if (again || !document.hidden) read(); }, 15000);
})();
