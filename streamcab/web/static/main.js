// Which view is shown, the theme, and how the connection goes. The address after # names the view.

import { $, ask, say } from "./dom.js";
import { Call } from "./call.js";
import { Live } from "./live.js";
import { Wall } from "./wall.js";
import { Past } from "./past.js";

const live = new Live();
const wall = new Wall(live);
const call = new Call(() => live.paused, () => past.labels);
const past = new Past(live);
let wallAddress = "#/";
let view = "";

function show() {
  const [path, query = ""] = location.hash.slice(1).split("?", 2);
  const parts = path.split("/").filter(Boolean);
  const asked = new URLSearchParams(query);
  const before = view;
  if (before === "wall" && parts.length) wallAddress = wall.address;
  view = parts[0] === "call" || (parts[0] === "history" && parts[1]) ? "call" : parts[0] === "history" ? "history" : "wall";
  for (const id of ["wall", "call", "history"]) $(id).hidden = id !== view;
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.dataset.view === (parts[0] === "history" ? "history" : "wall");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (view !== "call") call.close();
  document.title = view === "history" ? "History – streamcab" : "streamcab";
  if (view === "wall") {
    if (before !== "wall") wall.address = asked;
    wall.shown();
    if (before === "call") wall.focus();
  } else if (view === "history") past.open(asked, before === "call");
  else {
    scrollTo(0, 0);
    const stored = parts[0] === "history";
    const id = encodeURIComponent(parts[1] ?? "");
    call.open(stored ? `/api/history/call/${id}` : `/api/call/${id}`, stored ? past.address : wallAddress);
    $("main").focus({ preventScroll: true });
  }
}

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  $("theme").value = name;
  wall.repaint();
  call.repaint();
  past.repaint();
}

function stored(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(key) ?? "";
    localStorage.setItem(key, value);
  } catch { /* private windows may have none */ }
  return value ?? "";
}

addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
  if (event.key === "Escape") {
    if (view === "call") location.hash = call.back;
    else if (event.target === $("q")) $("grid").focus();
  } else if (event.key === "/" && !typing && view === "wall" && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    $("q").focus();
  }
});
$("theme").addEventListener("input", () => { stored("theme", $("theme").value); theme($("theme").value); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme($("theme").value));
$("pause").addEventListener("click", () => {
  live.pause(!live.paused);
  $("pause").setAttribute("aria-pressed", String(live.paused));
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); $("grid").focus(); });
live.addEventListener("health", () => {
  const { state, text } = live.health();
  const link = $("link");
  if (link.dataset.state !== state) link.dataset.state = state;
  // Seconds that run are not read out; the change of state is.
  say(link, text);
  link.setAttribute("aria-live", state === "live" ? "polite" : "off");
});

theme(["light", "dark"].includes(stored("theme")) ? stored("theme") : "");
show();
live.open();
ask("/api/about").then((about) => { $("to-history").hidden = !about.history; }, () => {});
