// The live calls: a copy of the server's table, kept up by one stream of events. Knows nothing of the document.

export const STATES = ["warming", "live", "silent", "stalled", "reconnecting", "lost", "ended"];
export const HEARS = ["speech", "sound", "silence"];
const SLICES = 360;
const DEAD_S = 3.5; // of the feed behind the server, or of the server

export class Live extends EventTarget {
  calls = new Map(); // id -> call
  labels = [];
  ribbon = [];
  at = 0; // the server's time
  paused = false;
  #source = null;
  #last = 0;
  #feed = null;
  #daemon = null;
  #held = [];
  #retry = 0;

  constructor() {
    super();
    // A hidden tab needs nothing, and browsers allow six connections to a host.
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    setInterval(() => this.dispatchEvent(new Event("health")), 1000);
  }

  open() {
    if (this.#source) return;
    clearTimeout(this.#retry);
    const source = (this.#source = new EventSource("/api/live"));
    source.onmessage = (event) => {
      this.#last = performance.now();
      const tick = JSON.parse(event.data);
      if (this.paused) this.#held = tick.whole ? [tick] : [...this.#held, tick].slice(-1200);
      else this.#take(tick);
    };
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      this.close();
      this.#retry = setTimeout(() => this.open(), 2000);
    };
  }

  close() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }

  pause(on) {
    this.paused = on;
    if (on) return;
    const held = this.#held;
    this.#held = [];
    // Ticks were dropped while it stood still for long: begin anew.
    if (held.length >= 1200) {
      this.close();
      this.open();
    } else held.forEach((tick) => this.#take(tick));
  }

  /** How it goes: {state: live, bad or waiting, text}. */
  health() {
    const silent = (performance.now() - this.#last) / 1000;
    if (!this.#last) return { state: "waiting", text: "connecting" };
    if (silent > DEAD_S) return { state: "bad", text: `page cut off for ${Math.round(silent)} s` };
    const [endpoint, age, missed] = this.#feed ?? ["", 1e6, 0];
    if (age >= 1e6) return { state: "waiting", text: `waiting for ${endpoint}` };
    if (age > DEAD_S) return { state: "bad", text: `no word from ${endpoint} for ${Math.round(age)} s` };
    const [pass, lost] = this.#daemon ?? [0, 0];
    const worries = [missed ? `${missed} messages missed` : "", lost >= 1000 ? `${Math.round(lost / 1000)} s lost` : ""];
    return { state: "live", text: [this.paused ? "paused" : "live", ...worries.filter(Boolean)].join(", "), pass };
  }

  #take(tick) {
    this.at = tick.at;
    this.#feed = tick.feed;
    this.#daemon = tick.daemon;
    if (tick.whole) {
      this.calls.clear();
      this.ribbon = [];
    }
    if (tick.labels) this.labels = tick.labels;
    for (const [id, name, source, began, platform] of tick.new ?? []) {
      const call = this.calls.get(id) ?? blank(id);
      const text = [name, source, ...Object.values(platform)].join("\n").toLowerCase();
      Object.assign(call, { name, source, began, text });
      this.calls.set(id, call);
    }
    for (const [id, state, top, sure, certain, speech, hears, flaws, probs, length] of tick.rows) {
      const call = this.calls.get(id);
      if (!call) continue;
      Object.assign(call, { state: STATES[state], top, sure, certain, speech, hears: HEARS[hears], flaws, probs, length });
      call.version++;
    }
    for (const id of tick.gone ?? []) this.calls.delete(id);
    this.ribbon.push(...(tick.ribbon ?? []));
    if (this.ribbon.length > SLICES) this.ribbon.splice(0, this.ribbon.length - SLICES);
    this.dispatchEvent(new CustomEvent("tick", { detail: { ribbon: Boolean(tick.ribbon?.length || tick.whole), whole: Boolean(tick.whole) } }));
  }
}

const blank = (id) => ({
  id, name: "", source: "", began: 0, text: "", state: "warming", top: null, sure: null, certain: null,
  speech: 0, hears: "silence", flaws: [], probs: [], length: null, version: 0,
});
