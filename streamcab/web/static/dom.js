// Small helpers for the document. Text goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties, attributes (as `aria-...`, `data-...`, `role`) and children; strings become text. */
export function make(name, given = {}, ...children) {
  const one = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue;
    if (key.includes("-") || key === "role" || key === "for") one.setAttribute(key, value);
    else one[key] = value;
  }
  one.append(...children.filter((child) => child !== null && child !== undefined));
  return one;
}

/** Sets text only where it differs: what does not change costs no layout. */
export function say(node, text) {
  const one = node.firstChild;
  if (one === null) node.append(text);
  else if (one.data !== text) one.data = text;
}

const TAIL = 10; // of a long name: it says the track, the port, the number

/** Puts in a name that is cut in its middle where it has no room: tracks of one call differ at their end. */
export function sayName(node, text) {
  if (node.dataset.name === text) return;
  node.dataset.name = text;
  node.title = text;
  // Letters of right-to-left scripts would change their places.
  const cut = text.length > 2 * TAIL && /^[\x20-\x7e]*$/.test(text) ? text.length - TAIL : text.length;
  node.classList.add("cut");
  node.replaceChildren(make("span", {}, text.slice(0, cut)), make("span", {}, text.slice(cut)));
  node.setAttribute("aria-label", text);
}

export const colour = (number) => (number === null || number === undefined || number < 0 ? "var(--none)" : `var(--c${number % 10})`);

/** The colours as the canvas needs them, of the present theme. */
export function palette() {
  const probe = document.createElement("i");
  document.body.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const found = { labels: [] };
  for (let i = 0; i < 10; i++) found.labels.push(read(`c${i}`));
  for (const name of ["none", "line", "quiet", "ink", "faint", "alert"]) found[name] = read(name);
  probe.remove();
  return found;
}

export function clock(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const [h, m, rest] = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(rest)}` : `${m}:${two(rest)}`;
}

export const whole = (n) => n.toLocaleString("en");
export const percent = (p) => (p === null || p === undefined ? "" : `${Math.round(p * 100)} %`);

export async function ask(path, signal) {
  const answer = await fetch(path, { signal, headers: { accept: "application/json" } });
  if (!answer.ok) {
    const text = (answer.headers.get("content-type") || "").includes("json") ? (await answer.json()).error : await answer.text();
    throw Object.assign(new Error(text || `status ${answer.status}`), { status: answer.status });
  }
  return answer.json();
}
