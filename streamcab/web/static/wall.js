// The wall: a row for each call, of which only those on the screen are in the document.

import { $, clock, colour, make, palette, say, sayName, whole } from "./dom.js";
import { drawRibbon } from "./chart.js";

const SETTLE_MS = 2000; // between two sortings, so that rows can be read
const SPOKEN_MS = 10_000; // between two summaries for screen readers
const MARGIN = 6; // rows above and below the screen

const ORDERS = {
  new: (a, b) => b.began - a.began || b.id - a.id,
  old: (a, b) => length(b) - length(a) || a.id - b.id,
  name: (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id - b.id),
  accent: (a, b) => (a.top ?? 99) - (b.top ?? 99) || (b.sure ?? -1) - (a.sure ?? -1) || a.id - b.id,
  sure: (a, b) => (a.sure ?? 101) - (b.sure ?? 101) || a.id - b.id,
  speech: (a, b) => b.speech - a.speech || a.id - b.id,
};
const KEPT = {
  live: (call) => call.state !== "ended",
  ended: (call) => call.state === "ended",
  flawed: (call) => call.flaws.length > 0 || ["stalled", "lost", "reconnecting"].includes(call.state),
  all: () => true,
};
let live, colours;
let now = 0; // the server's time, for lengths
const length = (call) => call.length ?? Math.max(0, now - call.began);

export class Wall {
  #order = []; // ids as they are shown
  #pool = []; // rows of the document
  #chosen = null; // id
  #accent = null; // null: all; -1: without an answer; else a label's number
  #sorted = 0;
  #pointer = -Infinity; // when the pointer last moved over the rows
  #spoken = -Infinity;
  #frame = 0;
  #buttons = new Map();

  constructor(source) {
    live = source;
    colours = palette();
    this.grid = $("grid");
    this.rows = $("rows");
    live.addEventListener("tick", (event) => this.#ticked(event.detail));
    $("tools").addEventListener("submit", (event) => event.preventDefault());
    for (const id of ["q", "which", "sort"]) $(id).addEventListener("input", () => this.#asked());
    addEventListener("scroll", () => this.#soon(), { passive: true });
    addEventListener("resize", () => { this.#height = 0; this.ribbon(); this.#soon(); });
    this.rows.addEventListener("pointermove", () => (this.#pointer = performance.now()), { passive: true });
    this.rows.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row && !String(getSelection())) this.#open(row.call.id);
    });
    this.grid.addEventListener("keydown", (event) => this.#key(event));
    this.grid.addEventListener("focus", () => { if (this.#chosen === null) this.#choose(0); });
  }

  /** The view as a part of the address, so that it can be kept and shared. */
  get address() {
    const asked = new URLSearchParams();
    for (const [id, unset] of [["q", ""], ["which", "live"], ["sort", "new"]]) if ($(id).value !== unset) asked.set(id, $(id).value);
    if (this.#accent !== null) asked.set("accent", this.#accent < 0 ? "" : live.labels[this.#accent] ?? "");
    return `#/${String(asked) ? `?${asked}` : ""}`;
  }

  set address(asked) {
    for (const [id, unset] of [["q", ""], ["which", "live"], ["sort", "new"]]) {
      const value = asked.get(id) ?? unset;
      $(id).value = value;
      if ($(id).value !== value) $(id).value = unset;
    }
    const accent = asked.get("accent");
    this.#wanted = accent;
    this.#accent = accent === null ? null : accent === "" ? -1 : live.labels.indexOf(accent);
    if (accent && this.#accent < 0) this.#accent = null;
    this.#sort(true);
  }
  #wanted = null; // a label of the address that is not known yet
  #height = 0;

  shown() {
    colours = palette();
    this.#height = 0;
    this.#sort(true);
    this.ribbon();
    if (this.#chosen !== null) this.#show(this.#chosen);
  }

  focus() {
    this.grid.focus({ preventScroll: true });
  }

  repaint() {
    colours = palette();
    this.ribbon();
    this.#soon();
  }

  ribbon() {
    if (!$("wall").hidden) drawRibbon($("ribbon"), live.ribbon, live.labels, colours);
  }

  #ticked({ ribbon, whole }) {
    now = live.at;
    if (this.#wanted && this.#accent === null && live.labels.includes(this.#wanted)) this.#accent = live.labels.indexOf(this.#wanted);
    if ($("wall").hidden) return;
    if (ribbon) this.ribbon();
    this.#count();
    this.#sort(whole);
  }

  #asked() {
    this.#sort(true);
    history.replaceState(null, "", this.address);
  }

  #count() {
    const counts = new Array(live.labels.length).fill(0);
    let all = 0, none = 0;
    for (const call of live.calls.values()) {
      if (call.state === "ended") continue;
      all++;
      if (call.top === null) none++;
      else counts[call.top]++;
    }
    say($("count"), whole(all));
    say($("count-word"), all === 1 ? "live call" : "live calls");
    [...counts.keys(), -1].forEach((number) => {
      let button = this.#buttons.get(number);
      if (!button) {
        const chip = make("i", { className: "chip" });
        chip.style.background = colour(number);
        button = make("button", { type: "button", "aria-pressed": "false" }, chip, make("bdi", { className: "word" }), make("b"));
        button.addEventListener("click", () => {
          this.#wanted = null;
          this.#accent = this.#accent === number ? null : number;
          this.#asked();
          this.#count();
        });
        // "no answer" stays the last.
        $("legend").insertBefore(button, this.#buttons.get(-1) ?? null);
        this.#buttons.set(number, button);
      }
      say(button.children[1], number < 0 ? "no answer" : live.labels[number]);
      say(button.children[2], whole(number < 0 ? none : counts[number]));
      button.setAttribute("aria-pressed", String(this.#accent === number));
    });
    if (performance.now() - this.#spoken > SPOKEN_MS) {
      this.#spoken = performance.now();
      const parts = live.labels.map((label, i) => `${whole(counts[i])} ${label}`);
      say($("spoken"), `${whole(all)} live calls: ${[...parts, `${none} without an answer`].join(", ")}`);
    }
  }

  #kept() {
    const words = $("q").value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = KEPT[$("which").value];
    return (call) => fits(call)
      && (this.#accent === null || (call.top ?? -1) === this.#accent)
      && words.every((word) => call.text.includes(word));
  }

  /** Sorts: at once when asked, else when rows may move: not under the pointer, nor while the keyboard is there. */
  #sort(asked) {
    const moment = performance.now();
    const held = moment - this.#pointer < 2500 || document.activeElement === this.grid;
    const kept = this.#kept();
    if (asked || (!held && moment - this.#sorted > SETTLE_MS)) {
      this.#sorted = moment;
      this.#order = [...live.calls.values()].filter(kept).sort(ORDERS[$("sort").value]).map((call) => call.id);
    } else if (held) {
      // Nothing moves; what is new comes at the end.
      const here = new Set(this.#order);
      if (this.#order.some((id) => !live.calls.has(id))) this.#order = this.#order.filter((id) => live.calls.has(id));
      for (const call of live.calls.values()) if (!here.has(call.id) && kept(call)) this.#order.push(call.id);
    } else if (this.#order.some((id) => !live.calls.has(id))) {
      this.#order = this.#order.filter((id) => live.calls.has(id));
    }
    const n = this.#order.length;
    say($("matches"), `${whole(n)} of ${whole(live.calls.size)}`);
    $("empty").hidden = n > 0;
    this.grid.hidden = n === 0;
    if (n === 0) say($("empty"), live.calls.size ? "No call fits the filter." : "No calls yet. They appear here as soon as they begin.");
    this.#soon();
  }

  #soon() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.#draw(); });
  }

  #row() {
    const cell = (className) => make("span", { className, role: "gridcell" });
    const row = make("div", { className: "row", role: "row" },
      cell("name"), make("span", { className: "word", role: "gridcell" }, make("i", { className: "chip" }), make("b")),
      cell("bar"), cell("sure num"), cell("speech num quiet"), cell("hears quiet"), cell("flags"), cell("length num quiet"));
    row.children[1].lastChild.dir = "auto";
    row.call = null;
    this.rows.append(row);
    return row;
  }

  #draw() {
    if ($("wall").hidden || this.grid.hidden) return;
    if (!this.#height) this.#height = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 44;
    const height = this.#height, n = this.#order.length;
    this.rows.style.height = `${n * height}px`;
    const above = -this.rows.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(above / height) - MARGIN);
    const last = Math.min(n, Math.ceil((above + innerHeight) / height) + MARGIN);
    while (this.#pool.length < last - first) this.#pool.push(this.#row());
    this.grid.setAttribute("aria-rowcount", n + 1);
    this.#pool.forEach((row, i) => {
      const place = first + i;
      row.hidden = place >= last;
      if (!row.hidden) this.#fill(row, live.calls.get(this.#order[place]), place, height);
    });
    const chosen = this.#chosen !== null && $(`call-${this.#chosen}`);
    if (chosen) this.grid.setAttribute("aria-activedescendant", chosen.id);
    else this.grid.removeAttribute("aria-activedescendant");
  }

  #fill(row, call, place, height) {
    if (!call) { row.hidden = true; return; }
    if (row.place !== place || row.tall !== height) {
      row.place = place;
      row.tall = height;
      row.style.transform = `translateY(${place * height}px)`;
      row.setAttribute("aria-rowindex", place + 2);
    }
    const [name, word, bar, sure, speech, hears, flags, long] = row.children;
    const chosen = String(call.id === this.#chosen);
    if (row.getAttribute("aria-selected") !== chosen) row.setAttribute("aria-selected", chosen);
    const span = clock(length(call));
    if (long.firstChild?.data !== span) say(long, span);
    if (row.call === call && row.version === call.version && row.title === call.source && row.labels === live.labels) return;
    if (row.call !== call) row.id = `call-${call.id}`;
    row.call = call;
    row.version = call.version;
    row.labels = live.labels;
    row.title = call.source;
    row.dataset.state = call.state;
    row.dataset.unsure = call.certain === false ? "yes" : "no";
    sayName(name, call.name);
    word.firstChild.style.background = colour(call.top);
    say(word.lastChild, call.top === null ? "no answer" : `${live.labels[call.top]}${call.certain === false ? "?" : ""}`);
    word.lastChild.className = call.top === null ? "quiet" : "";
    bar.style.backgroundImage = stacked(call.probs);
    bar.setAttribute("aria-label", call.probs.map((p, i) => (p ? `${live.labels[i]} ${p} %` : "")).filter(Boolean).join(", ") || "none");
    say(sure, call.sure === null ? "" : `${call.sure} %`);
    say(speech, `${whole(call.speech)} s`);
    say(hears, call.state === "ended" ? "" : call.hears);
    const troubled = ["stalled", "lost", "reconnecting"].includes(call.state);
    const note = [...(call.state === "live" ? [] : [call.state]), ...call.flaws].join(", ");
    say(flags, note);
    flags.className = troubled || call.flaws.length ? "flags" : "flags state";
  }

  #open(id) {
    this.#chosen = id;
    location.hash = `#/call/${id}`;
  }

  #choose(place) {
    const id = this.#order[Math.max(0, Math.min(this.#order.length - 1, place))];
    if (id === undefined) return;
    this.#chosen = id;
    this.#show(id);
  }

  #show(id) {
    const place = this.#order.indexOf(id);
    if (place < 0) return;
    if (!this.#height) this.#draw();
    const top = this.rows.getBoundingClientRect().top + place * this.#height;
    if (top < 60) scrollBy(0, top - 60);
    else if (top + this.#height > innerHeight - 12) scrollBy(0, top + this.#height - innerHeight + 12);
    this.#draw();
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target !== this.grid) return;
    const page = Math.max(1, Math.floor(innerHeight / (this.#height || 44)) - 2);
    const at = this.#order.indexOf(this.#chosen);
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.#order.length - 1 };
    if (event.key in steps) this.#choose(steps[event.key]);
    else if (event.key === "Enter" && at >= 0) this.#open(this.#chosen);
    else return;
    event.preventDefault();
  }
}

/** The probabilities side by side, as one background. */
function stacked(probs) {
  const parts = [];
  let from = 0;
  probs.forEach((p, i) => {
    if (p) parts.push(`${colour(i)} ${from}% ${(from += p)}%`);
  });
  // Rounded shares may add up to 99.
  return parts.length ? `linear-gradient(90deg, ${parts.join(", ").replace(/[\d.]+%$/, "100%")})` : "none";
}
