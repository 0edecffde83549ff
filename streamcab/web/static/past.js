// History: the calls of the store by day or hour, accent and source. The address holds the whole question.

import { $, ask, clock, colour, make, palette, percent, sayName, whole } from "./dom.js";
import { drawCounts } from "./chart.js";

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
const FIELDS = ["from", "to", "by", "top", "source", "name", "tz"];

export class Past {
  address = "#/history";
  #asked = null;
  #data = null;
  #parts = null;
  #abort = null;
  #left = null; // the address of the call that was opened from the list

  constructor(live) {
    this.live = live;
    this.box = $("history");
    addEventListener("resize", () => this.repaint());
  }

  /** `back`: from one call, whose place in the list gets the focus again. */
  open(asked, back = false) {
    if (!back) this.#left = null;
    this.#asked = new URLSearchParams();
    for (const name of FIELDS) if (asked.has(name)) this.#asked.set(name, asked.get(name));
    if (!this.#asked.has("tz")) this.#asked.set("tz", ZONE);
    this.address = `#/history?${this.#asked}`;
    if (!this.#parts) this.#build();
    this.#fields();
    this.#load();
  }

  repaint() {
    if (this.#data && !this.box.hidden) this.#chart();
  }

  #build() {
    const field = (word, control) => make("label", {}, make("span", {}, word), control);
    const select = (name, ...options) => make("select", { name }, ...options.map(([value, text]) => make("option", { value }, text)));
    const p = (this.#parts = {
      form: make("form", { className: "tools", "aria-label": "Which calls" }),
      canvas: make("canvas", { role: "img" }), keys: make("ul", { className: "keys" }),
      picture: make("figure", { className: "chart counts" }),
      count: make("p", { className: "count", role: "status" }), body: make("tbody", { role: "rowgroup" }),
      more: make("button", { type: "button", className: "more" }, "Show more"),
      files: make("span", { className: "files" }),
      top: select("top"), source: select("source"),
    });
    p.form.append(
      field("From", make("input", { type: "date", name: "from" })),
      field("to", make("input", { type: "date", name: "to" })),
      field("by", select("by", ["", "day"], ["hour", "hour"])),
      field("Accent", p.top), field("Source", p.source),
      make("input", { type: "search", name: "name", placeholder: "Name or call id, * for any letters", "aria-label": "Name or call id", maxLength: 200 }),
    );
    p.picture.append(p.canvas, p.keys);
    p.form.addEventListener("submit", (event) => { event.preventDefault(); this.#go(); });
    p.body.addEventListener("click", (event) => (this.#left = event.target.closest("a")?.getAttribute("href") ?? this.#left));
    p.form.addEventListener("change", () => this.#go());
    p.more.addEventListener("click", () => this.#more());
    const heads = [["Began"], ["Call"], ["Accent"], ["Confidence", "num"], ["Speech", "num"], ["Length", "num"], ["Source"], ["Flags"]];
    this.box.replaceChildren(
      make("h1", {}, "History"), p.form,
      p.picture,
      make("div", { className: "figures" }, p.count, p.files),
      make("div", { className: "scroll" }, make("table", { role: "table" },
        make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads.map(([word, className = ""]) => make("th", { scope: "col", role: "columnheader", className }, word)))), p.body)),
      p.more,
    );
  }

  #fields() {
    for (const control of this.#parts.form.elements) {
      const value = control.name === "top" ? (this.#asked.has("top") ? `=${this.#asked.get("top")}` : "") : this.#asked.get(control.name) ?? "";
      // A choice that the answer has not brought yet.
      if (control.tagName === "SELECT" && value && ![...control.options].some((o) => o.value === value)) control.append(make("option", { value }, value.replace(/^=/, "") || "no answer"));
      control.value = value;
    }
  }

  #go() {
    const asked = new URLSearchParams();
    for (const control of this.#parts.form.elements) {
      if (!control.name || !control.value) continue;
      asked.set(control.name, control.name === "top" ? control.value.slice(1) : control.value);
    }
    asked.set("tz", this.#asked.get("tz"));
    location.hash = `#/history?${asked}`;
  }

  async #load() {
    this.#abort?.abort();
    const { signal } = (this.#abort = new AbortController());
    const p = this.#parts;
    try {
      const data = await ask(`/api/history?${this.#asked}`, signal);
      this.#data = data;
      this.#choices(p.top, [["", "all"], ...data.accents.map(([label, n]) => [`=${label ?? ""}`, `${label ?? "no answer"} (${whole(n)})`])]);
      this.#choices(p.source, [["", "all"], ...data.sources.filter(([kind]) => kind).map(([kind, n]) => [kind, `${kind.slice(0, 60)} (${whole(n)})`])]);
      this.#fields();
      for (const name of ["from", "to"]) p.form.elements[name].value = data[name];
      p.count.replaceChildren(make("strong", {}, whole(data.count)), ` ${data.count === 1 ? "call" : "calls"}, times in ${data.zone}`);
      const names = { csv: "CSV", parquet: "Parquet" };
      const links = data.files.map((kind) => make("a", { download: "", href: `/api/history.${kind}?${this.#asked}` }, `${names[kind]} of all of them`));
      p.files.replaceChildren(...links);
      p.files.hidden = data.count === 0;
      p.picture.hidden = false;
      p.body.replaceChildren();
      this.#rows(data);
      this.#chart();
      if (this.#left) p.body.querySelector(`a[href="${this.#left}"]`)?.focus();
      this.#left = null;
    } catch (error) {
      if (error.name === "AbortError") return;
      // What was asked before would be taken for the answer.
      this.#data = null;
      p.count.replaceChildren(error.message);
      p.body.replaceChildren();
      p.picture.hidden = p.files.hidden = p.more.hidden = true;
    }
  }

  async #more() {
    const { signal } = this.#abort;
    try {
      const data = await ask(`/api/history?${this.#asked}&after=${encodeURIComponent(this.#data.after)}`, signal);
      this.#data.after = data.after;
      this.#rows(data);
    } catch (error) {
      if (error.name !== "AbortError") this.#parts.count.replaceChildren(error.message);
    }
  }

  #choices(select, options) {
    select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  }

  /** In the order of their colours: as the wall has them, else as the models of the store. */
  get labels() {
    const met = (this.#data?.accents ?? []).map(([label]) => label).filter((label) => label !== null).sort();
    return [...new Set([...this.live.labels, ...(this.#data?.labels ?? []), ...met])];
  }

  #rows(data) {
    const labels = this.labels;
    const format = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium", timeZone: this.#data.zone });
    for (const call of data.calls) {
      const chip = make("i", { className: "chip" });
      chip.style.background = colour(call.top === null ? null : labels.indexOf(call.top));
      chip.style.display = "inline-block";
      const text = (value, className = "") => make("td", { role: "cell", className }, make("bdi", {}, value));
      const name = make("a", { href: `#/history/${call.id}` }), unsure = call.sure === false;
      sayName(name, call.name);
      this.#parts.body.append(make("tr", { role: "row", className: unsure ? "unsure" : "" },
        text(format.format(call.began * 1000)),
        make("td", { role: "cell" }, name),
        make("td", { role: "cell" }, chip, " ", make("bdi", {}, call.top === null ? "no answer" : `${call.top}${unsure ? "?" : ""}`)),
        text(percent(call.confidence), "num"), text(`${whole(Math.round(call.speech_s))} s`, "num"), text(clock(call.audio_s), "num"),
        text(call.source), text([...(call.state === "ended" ? [] : [call.state]), ...call.flaws].join(", "))));
    }
    this.#parts.more.hidden = !this.#data.after;
  }

  #chart() {
    const labels = this.labels, hourly = this.#asked.get("by") === "hour";
    const series = [...labels.keys(), -1];
    const piles = new Map(); // also of days and hours without a call: a gap is seen as one
    const format = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", ...(hourly ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : {}), timeZone: this.#data.zone });
    for (const at of this.#data.places) piles.set(at, { name: format.format(at * 1000), counts: series.map(() => 0) });
    for (const [at, top, calls] of this.#data.counts) {
      piles.get(at).counts[top === null ? series.length - 1 : labels.indexOf(top)] += calls;
    }
    drawCounts(this.#parts.canvas, [...piles.values()], series, palette());
    const words = [...piles.values()].map(({ name, counts }) => [name, counts.reduce((a, b) => a + b, 0)])
      .filter(([, n]) => n).map(([name, n]) => `${name}: ${n}`);
    this.#parts.canvas.setAttribute("aria-label", `Calls by ${hourly ? "hour" : "day"}. ${words.slice(-60).join("; ") || "None"}`);
    const item = (number, word) => {
      const chip = make("i", { className: "chip" });
      chip.style.background = colour(number);
      return make("li", {}, chip, make("bdi", {}, word));
    };
    this.#parts.keys.replaceChildren(...labels.map((label, i) => item(i, label)), item(-1, "no answer"));
  }
}
