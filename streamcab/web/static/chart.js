// Pictures on a canvas: the ribbon of the last hour, the course of a call, counts per day or hour.
// Each also has its words, which the caller puts beside it.

import { clock } from "./dom.js";

const HOUR = 360; // slices of the ribbon
const STEPS = [1, 2, 3, 6, 12, 24, 48, 96, 192, 384, 768, 1536, 3072]; // piles between two words: of hours, whole days

function prepare(canvas) {
  const ratio = devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

/** Counts per 10 s: each slice is [time, without an answer, of label 0, of label 1, ...]. */
export function drawRibbon(canvas, slices, labels, colours) {
  const { pen, width, height } = prepare(canvas);
  const top = 4;
  const most = Math.max(1, ...slices.map((slice) => sum(slice, 1)));
  const newest = slices.at(-1)?.[0] ?? 0;
  const step = width / HOUR;
  const ratio = devicePixelRatio || 1;
  const snap = (v) => Math.round(v * ratio) / ratio;
  for (const slice of slices) {
    const x = snap(width - ((newest - slice[0]) / 10 + 1) * step);
    const w = snap(width - ((newest - slice[0]) / 10) * step) - x;
    if (x < -step) continue;
    let y = height;
    const bar = (count, fill) => {
      if (!count) return;
      const h = (count / most) * (height - top);
      pen.fillStyle = fill;
      pen.fillRect(x, y - h, w, h);
      y -= h;
    };
    for (let i = 2; i < slice.length; i++) bar(slice[i], colours.labels[(i - 2) % 10]);
    bar(slice[1], colours.none);
  }
  const last = slices.at(-1) ?? [0, 0];
  const words = labels.map((label, i) => `${last[i + 2] ?? 0} ${label}`).join(", ");
  canvas.setAttribute("aria-label", `Live calls by accent over the last hour; at most ${most} at a time. Now: ${words || "none"}`);
}

/** The stretches of one voice each, in their order: [{voice, from, to}]. */
export function turns({ t, step, voice }) {
  const found = [];
  t.forEach((from, i) => {
    if (found.at(-1)?.voice === voice[i]) found.at(-1).to = from + step[i];
    else found.push({ voice: voice[i], from, to: from + step[i] });
  });
  return found;
}

/** Stacked probabilities over a call's time; above them the voices, beneath them what was heard, and the flaws. */
export function drawCourse(canvas, course, numbers, span, colours, flaws) {
  const { pen, width, height } = prepare(canvas);
  const left = 46, axis = 22, strip = 16, mark = flaws ? 10 : 0, gap = 8;
  const voices = turns(course), top = voices.length > 1 ? 26 : 4;
  const base = height - axis - strip - mark - gap - (mark ? 4 : 0);
  const ratio = devicePixelRatio || 1;
  const x = (t) => Math.round((left + (t / Math.max(span, 1)) * (width - left)) * ratio) / ratio;
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";

  pen.fillStyle = colours.faint;
  pen.fillRect(left, top, width - left, base - top);
  // Points closer than a pixel are averaged, so a day costs no more than a minute.
  const columns = Math.max(1, Math.min(Math.round(width - left), 900));
  const size = Math.max(span, 1) / columns;
  for (const { from, to, probs, hears, bits } of gathered(course, size, numbers.length)) {
    const a = x(from), w = Math.max(1 / ratio, x(to) - a);
    const all = Math.max(1, sum(probs, 0)); // bytes round up
    let y = base;
    probs.forEach((p, i) => {
      const h = (p / all) * (base - top);
      pen.fillStyle = colours.labels[numbers[i] % 10];
      pen.fillRect(a, y - h, w, h);
      y -= h;
    });
    // Heights say it too: speech is tall, sound is half, silence a line.
    const [part, fill] = [[1, colours.ink], [0.5, colours.quiet], [0.12, colours.none]][hears];
    pen.fillStyle = fill;
    pen.fillRect(a, base + gap + strip * (1 - part), w, strip * part);
    if (bits) {
      pen.fillStyle = colours.alert;
      pen.fillRect(a, base + gap + strip + 4, w, mark - 3);
    }
  }
  if (voices.length > 1) drawVoices(pen, voices, x, base, colours);
  pen.strokeStyle = colours.line;
  pen.fillStyle = colours.quiet;
  pen.lineWidth = 1;
  pen.textAlign = "right";
  if (voices.length > 1) pen.fillText("voice", left - 6, 11);
  for (const [share, word] of [[0, "0"], [0.5, "50 %"], [1, "100 %"]]) {
    const y = Math.round(base - share * (base - top)) + 0.5;
    pen.globalAlpha = share === 0.5 ? 0.55 : 1;
    line(pen, left, y, width, y);
    pen.globalAlpha = 1;
    pen.fillText(word, left - 6, Math.max(8, y));
  }
  const every = nice(span / Math.max(2, (width - left) / 90));
  for (let t = 0; t <= span; t += every) {
    pen.textAlign = t === 0 ? "left" : x(t) > width - 24 ? "right" : "center";
    pen.fillText(short(t), x(t), height - 8);
  }
}

/** A bar for each stretch of a voice, with its number where there is room, and a line where the voice changes. */
function drawVoices(pen, voices, x, base, colours) {
  const sparse = (x(voices.at(-1).to) - x(voices[0].from)) / voices.length > 20; // closer lines would hide the answer
  pen.textAlign = "center";
  voices.forEach(({ voice, from, to }, i) => {
    const a = x(from), w = x(to) - a - 1, word = `${voice}`;
    pen.fillStyle = voice % 2 ? colours.faint : colours.none;
    pen.fillRect(a, 3, Math.max(w, 0.5), 17);
    pen.fillStyle = colours.ink;
    if (w > pen.measureText(word).width + 4) pen.fillText(word, a + w / 2, 12);
    if (i && sparse) pen.fillRect(a - 1, 3, 2, base - 3);
  });
}

/** Bars up where a stretch spoke for the answer, down where it spoke against it. */
export function drawTold(canvas, { t, step, moved }, number, colours) {
  const { pen, width, height } = prepare(canvas);
  const left = 46, axis = 20, top = 4;
  const from = t[0], span = Math.max(t.at(-1) + step.at(-1) - from, 1);
  const most = Math.max(0.02, ...moved.map(Math.abs));
  const middle = top + (height - axis - top) / 2, half = (height - axis - top) / 2;
  const x = (at) => left + ((at - from) / span) * (width - left);
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  t.forEach((at, i) => {
    const h = (moved[i] / most) * half, w = Math.max(1, x(at + step[i]) - x(at) - 1);
    pen.fillStyle = h > 0 ? colours.labels[number % 10] : colours.quiet;
    pen.fillRect(x(at), Math.min(middle, middle - h), w, Math.abs(h));
  });
  pen.strokeStyle = colours.line;
  pen.fillStyle = colours.quiet;
  line(pen, left, Math.round(middle) + 0.5, width, Math.round(middle) + 0.5);
  pen.textAlign = "right";
  for (const [word, y] of [[`+${most.toFixed(2)}`, top + 6], ["0", middle], [`−${most.toFixed(2)}`, height - axis - 6]]) pen.fillText(word, left - 6, y);
  const every = nice(span / Math.max(2, (width - left) / 90));
  pen.textAlign = "center";
  for (let at = Math.ceil(from / every) * every; at <= from + span; at += every) pen.fillText(short(at), Math.min(Math.max(x(at), left + 12), width - 16), height - 8);
}

/** Stacked counts: `piles` is [{name, counts: number per series}]. */
export function drawCounts(canvas, piles, series, colours) {
  const { pen, width, height } = prepare(canvas);
  const left = 46, axis = 20;
  const base = height - axis;
  const most = Math.max(1, ...piles.map((pile) => sum(pile.counts, 0)));
  const step = (width - left) / Math.max(1, piles.length);
  const bar = Math.max(1, Math.min(step * 0.82, 46));
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  piles.forEach((pile, at) => {
    let y = base;
    pile.counts.forEach((count, i) => {
      const h = (count / most) * (base - 8);
      pen.fillStyle = series[i] < 0 ? colours.none : colours.labels[series[i] % 10];
      pen.fillRect(left + at * step + (step - bar) / 2, y - h, bar, h);
      y -= h;
    });
  });
  pen.strokeStyle = colours.line;
  pen.fillStyle = colours.quiet;
  pen.textAlign = "right";
  pen.fillText(most.toLocaleString("en"), left - 6, 9);
  pen.fillText("0", left - 6, base - 4);
  line(pen, left, base + 0.5, width, base + 0.5);
  const half = Math.max(...piles.slice(0, 48).map((pile) => pen.measureText(pile.name).width), 0) / 2;
  const every = STEPS.find((n) => n * step >= 2 * half + 16) ?? piles.length;
  pen.textAlign = "center";
  for (let at = 0; at < piles.length; at += every) {
    pen.fillText(piles[at].name, Math.min(Math.max(left + (at + 0.5) * step, half), width - half), height - 7);
  }
}

function* gathered(course, size, labels) {
  let held = null;
  const done = () => {
    const out = { from: held.from, to: held.to, probs: held.sums.map((s) => (held.n ? s / held.n : 0)), hears: held.hears, bits: held.bits };
    held = null;
    return out;
  };
  for (let i = 0; i < course.t.length; i++) {
    const from = course.t[i], to = from + course.step[i];
    if (held && from - held.from >= size) yield done();
    held ??= { from, to, sums: new Array(labels).fill(0), n: 0, hears: 2, bits: 0 };
    held.to = to;
    held.hears = Math.min(held.hears, course.hears[i]);
    held.bits |= course.flaws[i];
    if (course.probs[i].length) {
      held.n++;
      course.probs[i].forEach((p, label) => { if (label < labels) held.sums[label] += p / 200; });
    }
  }
  if (held) yield done();
}

const sum = (list, from) => { let all = 0; for (let i = from; i < list.length; i++) all += list[i]; return all; };

function line(pen, a, b, c, d) {
  pen.beginPath();
  pen.moveTo(a, b);
  pen.lineTo(c, d);
  pen.stroke();
}

function nice(seconds) {
  return [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200].find((n) => n >= seconds) ?? 86_400;
}

const short = (t) => (t < 60 ? `${t} s` : t % 60 ? clock(t) : t < 3600 || t % 3600 ? `${Math.floor(t / 60)} min` : `${t / 3600} h`);
