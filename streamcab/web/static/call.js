// One call: its answer over its whole time, and everything that is known of it.

import { $, ask, clock, colour, make, palette, percent, whole } from "./dom.js";
import { drawCourse, drawTold, turns } from "./chart.js";

const AGAIN_MS = 1000, RARELY_MS = 5000;
const BAD = ["stalled", "lost", "reconnecting"];
const HEARS = ["speech", "sound", "silence"];
const CHANGES = 10; // told in words
const PLATFORM = { platform: "Platform", call: "Call id", track: "Track", from: "From", to: "To" };

export class Call {
  #path = null;
  #timer = 0;
  #shown = null; // the nodes that change
  #data = null;
  #abort = null;

  /** `labels`: all that have a colour, in the order of the colours. */
  constructor(paused, labels) {
    this.paused = paused;
    this.labels = labels;
    this.box = $("call");
    addEventListener("resize", () => this.repaint());
  }

  /** Shows what `path` answers; `back` is where Escape leads. */
  open(path, back) {
    this.close();
    this.#path = path;
    this.box.replaceChildren();
    this.#shown = null;
    this.back = back;
    this.#load();
  }

  close() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#path = null;
  }

  repaint() {
    if (this.#path && this.#data && this.#shown) this.#draw();
  }

  async #load() {
    const path = this.#path;
    this.#abort = new AbortController();
    let again = AGAIN_MS;
    try {
      if (!(this.paused() && this.#data && this.#shown) && !document.hidden) {
        const data = await ask(path, this.#abort.signal);
        if (path !== this.#path) return;
        this.#data = data;
        this.#show(data);
        if (data.stored) return;
        if (data.state === "ended") again = RARELY_MS; // after a stall it may go on
      }
    } catch (error) {
      if (path !== this.#path || error.name === "AbortError") return;
      if (error.status) return this.#missing(error);
      again = 3000; // the server is away
    }
    this.#timer = setTimeout(() => this.#load(), again);
  }

  #missing(error) {
    const text = error.status === 404 ? "This call is not here any more: only the newest thousand that ended are kept." : error.message;
    this.box.replaceChildren(make("a", { className: "back", href: this.back }, "← Back"), make("p", { className: "empty" }, text));
  }

  #build() {
    const bdi = () => make("bdi");
    const s = {
      name: make("h1", { id: "call-name" }), state: make("span", { className: "state-word" }),
      chip: make("i", { className: "chip" }), top: make("strong"), sure: make("span"),
      canvas: make("canvas", { role: "img" }), keys: make("ul", { className: "keys" }), voices: make("p", { className: "quiet" }),
      facts: make("dl", { className: "facts" }), told: make("div"), weights: make("div"), table: make("div", { className: "scroll" }), source: bdi(),
    };
    s.details = make("details", {}, make("summary", {}, "The same as a table"), s.table);
    s.details.addEventListener("toggle", () => this.#table());
    s.top.dir = "auto";
    this.box.replaceChildren(
      make("a", { className: "back", href: this.back }, "← Back"),
      make("header", {}, s.name, s.state),
      make("div", { className: "verdict" }, s.chip, s.top, s.sure),
      make("figure", { className: "chart" }, s.canvas, s.keys, s.voices),
      s.told, s.facts, s.weights, s.details,
    );
    this.#shown = s;
  }

  #show(d) {
    if (!this.#shown) this.#build();
    if (d.stored) {
      const order = [...new Set([...this.labels(), ...d.labels])];
      d.numbers = d.labels.map((label) => order.indexOf(label));
    }
    const s = this.#shown;
    const bad = BAD.includes(d.state);
    s.name.textContent = d.name;
    s.state.textContent = d.state;
    s.state.dataset.bad = bad ? "yes" : "no";
    const at = d.labels.indexOf(d.top);
    s.chip.style.background = colour(at < 0 ? null : d.numbers[at]);
    s.top.textContent = d.top ?? "no answer yet";
    s.sure.textContent = d.top === null ? "" : `${percent(d.confidence)} confidence${d.sure === false ? (d.other >= 0.5 ? ", perhaps another accent" : ", not sure") : ""}`;
    document.title = `${d.name} – streamcab`;
    this.#keys(d);
    s.voices.textContent = changes(d.course);
    this.#facts(d);
    this.#told(d);
    this.#weights(d);
    this.#draw();
    if (s.details.open) this.#table();
  }

  #keys(d) {
    const item = (fill, ...text) => {
      const chip = make("i", { className: "chip" });
      chip.style.background = fill;
      return make("li", {}, chip, ...text);
    };
    const labels = d.labels.map((label, i) => item(colour(d.numbers[i]), make("bdi", {}, label), ` ${percent(d.probs[label]) || "–"}`));
    const flaws = d.flaw_names.length ? [item("var(--alert)", `flaws: ${d.flaw_names.join(", ")}`)] : [];
    this.#shown.keys.replaceChildren(...labels, item("var(--ink)", "speech"), item("var(--quiet)", "other sound"), item("var(--none)", "silence"), ...flaws);
  }

  #facts(d) {
    const fact = (name, value, { bad = false, wide = false } = {}) =>
      value === null || value === undefined || value === "" ? null
        : make("div", { className: wide ? "wide" : "" }, make("dt", {}, name), make("dd", { className: bad ? "bad" : "" }, make("bdi", {}, String(value))));
    const db = (value) => (value === null || value === undefined ? null : `${value.toFixed(0)} dB`);
    const now = Object.entries(d.now ?? {}).sort((a, b) => b[1] - a[1])[0];
    this.#shown.facts.replaceChildren(...[
      fact("Source", d.source, { wide: true }),
      ...Object.entries(d.platform ?? {}).map(([name, text]) => fact(Object.hasOwn(PLATFORM, name) ? PLATFORM[name] : name, text)),
      fact("Began", new Date(d.began * 1000).toLocaleString()),
      fact("Length", clock(this.#span(d))),
      fact("Speech", `${d.speech_s.toFixed(1)} s`),
      fact("Newest second", d.state === "ended" || d.stored ? null : now ? `${now[0]}, ${percent(now[1])}` : d.hears),
      fact("Level", db(d.level_db)),
      fact("Speech to noise", db(d.snr_db)),
      fact("Flaws", d.flaws.join(", "), { bad: true }),
      fact("Lost", d.lost_ms ? `${whole(Math.round(d.lost_ms))} ms` : "none", { bad: d.lost_ms > 0 }),
      fact("Delay", d.lag_ms === null || d.lag_ms === undefined ? null : `${Math.round(d.lag_ms)} ms`),
      fact("Sampling rate", d.rate ? `${whole(d.rate)} Hz` : null),
      fact("Another accent", typeof d.other === "number" ? percent(d.other) : null),
      fact("Heard", typeof d.duty === "number" && d.duty < 1 ? `${percent(d.duty)} of the time` : null, { bad: true }),
      fact("Voice", d.voice > 1 ? `${whole(d.voice)}` : null),
      fact("Model", d.model ? `${d.model.name} ${d.model.hash.slice(0, 12)}` : null, { wide: true }),
      fact("Reason", d.detail, { wide: true }),
    ].filter(Boolean));
  }

  /** Which stretches moved the answer, and by how much: a picture, and the strongest in words. */
  #told(d) {
    const s = this.#shown;
    if (!d.told) return s.told.replaceChildren();
    if (!s.bars) s.bars = make("canvas", { role: "img" });
    const { t, step, moved, by } = d.told;
    const seconds = Math.round(step.reduce((a, b) => a + b, 0));
    const what = by === "leaving out"
      ? `How far each of the last ${seconds} s of talk${s.voices.textContent && " of this voice"} moves the log-odds of ${d.top}: with it, less without it.`
      : `How far the log-odds of ${d.top} moved in each 10 s.`;
    const strongest = (sign) => [...t.keys()].filter((i) => moved[i] * sign > 0.005).sort((a, b) => sign * (moved[b] - moved[a])).slice(0, 3)
      .map((i) => `${clock(t[i])} (${moved[i] > 0 ? "+" : "−"}${Math.abs(moved[i]).toFixed(2)})`).join(", ") || "none";
    const words = `Most for ${d.top}: ${strongest(1)}. Most against: ${strongest(-1)}.`;
    s.bars.setAttribute("aria-label", `${what} ${words}`);
    if (!s.bars.isConnected) s.told.replaceChildren(make("h2", {}, "What moved the answer"), make("figure", { className: "chart told" }, s.bars), make("p", { className: "quiet" }), make("p", { className: "quiet" }));
    s.told.children[2].textContent = words;
    s.told.children[3].textContent = what;
  }

  #weights(d) {
    const weights = Array.isArray(d.attention) ? d.attention : [];
    if (!weights.length) return this.#shown.weights.replaceChildren();
    const most = Math.max(...weights, 1e-9);
    const bars = weights.map((weight, i) => {
      const bar = make("i", { title: `classifier ${i + 1}: ${percent(weight)}` });
      bar.style.height = `${Math.max(2, (weight / most) * 100)}%`;
      return bar;
    });
    const first = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 3).map((i) => `${i + 1} with ${percent(weights[i])}`);
    const words = `${weights.length} classifiers; most weight has ${first.join(", ")}`;
    this.#shown.weights.replaceChildren(make("h2", {}, "Attention"), make("div", { className: "weights", role: "img", "aria-label": words }, ...bars), make("p", { className: "quiet" }, words));
  }

  #span(d) {
    const last = d.course?.t.length ? d.course.t.at(-1) + d.course.step.at(-1) : 0;
    return d.length ?? Math.max(last, 1);
  }

  #draw() {
    const d = this.#data, s = this.#shown;
    if (this.box.hidden) return;
    if (d.told) drawTold(s.bars, d.told, d.numbers[d.labels.indexOf(d.top)] ?? 0, palette());
    if (!d.course) return;
    drawCourse(s.canvas, d.course, d.numbers, this.#span(d), palette(), d.flaw_names.length > 0);
    const said = d.labels.map((label) => `${label} ${percent(d.probs[label]) || "no answer"}`).join(", ");
    s.canvas.setAttribute("aria-label", `Probabilities over ${clock(this.#span(d))}. Now: ${said}. ${s.voices.textContent} A table follows below.`);
  }

  /** At most 60 rows: what was most likely, and what was heard. */
  #table() {
    const d = this.#data;
    if (!this.#shown.details.open || !d.course) return;
    const { t, probs, hears, flaws, voice } = d.course;
    const step = Math.max(1, Math.ceil(t.length / 60));
    const head = make("tr", {}, ...["Time", ...d.labels, "Hears", "Voice", "Flaws"].map((word) => make("th", { scope: "col" }, word)));
    const rows = [];
    for (let i = 0; i < t.length; i += step) {
      const cells = d.labels.map((_, label) => (probs[i].length ? `${Math.round(probs[i][label] / 2)} %` : "–"));
      const met = d.flaw_names.filter((_, bit) => flaws[i] & (1 << bit)).join(", ");
      rows.push(make("tr", {}, make("th", { scope: "row" }, clock(t[i])), ...[...cells, HEARS[hears[i]], `${voice[i]}`, met].map((word) => make("td", {}, word))));
    }
    this.#shown.table.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  }
}

/** When the voice changed, in words; empty where it did not. */
function changes(course) {
  const found = course ? turns(course).slice(1) : [];
  if (!found.length) return "";
  const words = found.slice(-CHANGES).map(({ voice, from }) => `${clock(from)} to voice ${voice}`);
  if (found.length > CHANGES) words.unshift(`${found.length - CHANGES} before`);
  return `Changes of voice: ${words.join(", ")}.`;
}
