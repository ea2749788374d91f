"use strict";
// STUDY comes from the page: study, questions, cases (id, portrait, driving, results by letter), where media lie.
// The state is what is kept on the device and downloaded: ranks are lists of letters, the best first.

const KEY = `study:${STUDY.study}`;
const CASES = Object.fromEntries(STUDY.cases.map((one) => [one.id, one]));
const TOTAL = STUDY.cases.length * STUDY.questions.length;
const VIEWS = ["start", "rating", "end"];
const START_ANYWAY_MS = 4000;

const element = (id) => document.getElementById(id);
const random = (below) => crypto.getRandomValues(new Uint32Array(1))[0] % below;
const now = () => new Date().toISOString();

let state = read() || fresh();
let shown = null; // id of the case whose videos are on the page
let videos = [];

// --- what is kept ---------------------------------------------------------------------------------------------------

function fresh() {
  const order = STUDY.cases.map((one) => one.id); // everybody's own, so that the last cases are not always left out
  for (let last = order.length - 1; last > 0; last--) {
    const other = random(last + 1);
    [order[last], order[other]] = [order[other], order[last]];
  }
  const rater = Array.from({ length: 16 }, () => random(16).toString(16)).join("");
  return { schema: STUDY.schema, study: STUDY.study, rater, name: "", started: now(), saved: now(), order, at: [0, 0], answers: {} };
}

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    const known = kept.order.length === STUDY.cases.length && kept.order.every((id) => id in CASES);
    const inside = kept.order[kept.at[0]] && STUDY.questions[kept.at[1]];
    return known && inside && kept.schema === STUDY.schema && kept.rater && kept.answers ? kept : null;
  } catch {
    return null; // nothing is kept, or nothing that this page wrote
  }
}

function keep() {
  state.saved = now();
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
  } catch {
    element("warning").hidden = false;
  }
}

function download() {
  const address = URL.createObjectURL(new Blob([JSON.stringify(state, null, 1)], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `answers-${state.study.slice(0, 8)}-${state.rater.slice(0, 8)}.json`;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

// --- rankings -------------------------------------------------------------------------------------------------------

const theCase = () => CASES[state.order[state.at[0]]];
const theQuestion = () => STUDY.questions[state.at[1]];
const ranksOf = (id, question) => (state.answers[id] || {})[question] || [];
const ranks = () => ranksOf(theCase().id, theQuestion().id);
const isWhole = (id, question) => ranksOf(id, question).length === Object.keys(CASES[id].results).length;
const isReady = () => isWhole(theCase().id, theQuestion().id);

function places() {
  return state.order.flatMap((id, one) => STUDY.questions.map((question, two) => ({ at: [one, two], whole: isWhole(id, question.id) })));
}

function setRanks(letters) {
  const id = theCase().id;
  state.answers[id] = { ...state.answers[id], [theQuestion().id]: letters };
  keep();
  drawRanks();
}

function tap(letter) {
  const before = ranks();
  if (before.includes(letter)) {
    setRanks(before.filter((other) => other !== letter));
    return;
  }
  const after = [...before, letter];
  const left = Object.keys(theCase().results).filter((other) => !after.includes(other));
  setRanks(left.length === 1 ? [...after, left[0]] : after); // the last place needs no tap
}

function move(by) {
  const place = state.at[0] * STUDY.questions.length + state.at[1] + by;
  if (place < 0) return show("start");
  if (place >= TOTAL) return show("end");
  goTo([Math.floor(place / STUDY.questions.length), place % STUDY.questions.length]);
}

function goTo(at) {
  state.at = at;
  keep();
  show("rating");
}

// --- the page -------------------------------------------------------------------------------------------------------

function show(view) {
  for (const name of VIEWS) element(name).hidden = name !== view;
  if (view !== "rating") for (const video of videos) video.pause();
  ({ start: drawStart, rating: drawRating, end: drawEnd })[view]();
  window.scrollTo(0, 0);
}

function drawStart() {
  const done = places().filter((place) => place.whole).length;
  element("name").value = state.name;
  element("begin").querySelector("button").textContent = done ? "Go on" : "Begin";
  element("so-far").textContent = done ? `${done} of ${TOTAL} rankings are done on this device.` : "";
  element("another").hidden = !done;
}

function drawRating() {
  if (shown === theCase().id) playTogether();
  else drawCase();
  element("question").textContent = theQuestion().title;
  element("ask").textContent = theQuestion().ask;
  element("place").textContent = `Case ${state.at[0] + 1} of ${STUDY.cases.length}, ${state.at[1] + 1}/${STUDY.questions.length}`;
  element("bar").style.width = `${(100 * places().filter((place) => place.whole).length) / TOTAL}%`;
  drawRanks();
  element("question").focus({ preventScroll: true });
}

function drawCase() {
  const one = theCase();
  shown = one.id;
  for (const video of videos) video.removeAttribute("src"); // frees the decoder, of which phones have few
  element("portrait").src = `${STUDY.media}/${one.portrait}`;
  const driving = makeVideo(one.driving);
  element("driving").replaceChildren(driving);
  const tiles = Object.keys(one.results).map((letter) => makeTile(letter, makeVideo(one.results[letter])));
  element("results").replaceChildren(...tiles);
  videos = [driving, ...tiles.map((tile) => tile.querySelector("video"))];
  const mine = videos;
  let started = false;
  const start = () => {
    if (started || mine !== videos) return;
    started = true;
    playTogether();
  };
  const ready = () => mine.every((video) => video.error || video.readyState >= 3) && start();
  const again = () => mine === videos && mine.every((video) => video.ended || video.error) && playTogether();
  for (const video of mine) {
    video.addEventListener("canplay", ready);
    video.addEventListener("ended", again);
    video.addEventListener("error", ready);
  }
  setTimeout(start, START_ANYWAY_MS);
}

function makeVideo(file) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: `${STUDY.media}/${file}` });
  video.setAttribute("playsinline", "");
  return video;
}

function makeTile(letter, video) {
  const tile = document.createElement("button");
  tile.type = "button";
  tile.className = "tile";
  tile.dataset.letter = letter;
  const part = (name) => Object.assign(document.createElement("span"), { className: name });
  const name = part("name");
  name.append(letter.toUpperCase(), part("word"));
  tile.append(video, part("rank"), name);
  video.addEventListener("error", () => {
    if (!video.getAttribute("src")) return;
    tile.append(Object.assign(part("broken"), { textContent: "This video cannot be played here" }));
  });
  tile.addEventListener("click", () => tap(letter));
  return tile;
}

function playTogether() {
  for (const video of videos) {
    if (video.error) continue;
    video.currentTime = 0;
    video.play().catch(() => {}); // a phone that saves power plays after "Replay"
  }
}

function drawRanks() {
  const order = ranks();
  const last = Object.keys(theCase().results).length;
  for (const tile of element("results").children) {
    const letter = tile.dataset.letter;
    const place = order.indexOf(letter) + 1;
    tile.classList.toggle("ranked", place > 0);
    tile.querySelector(".rank").textContent = place || "";
    tile.querySelector(".word").textContent = place === 1 ? "best" : place === last ? "last" : "";
    tile.setAttribute("aria-label", `Video ${letter.toUpperCase()}, ${place ? `ranked ${place} of ${last}` : "not ranked"}`);
  }
  element("said").textContent = order.map((letter, place) => `${place + 1}: ${letter.toUpperCase()}`).join(", ");
  element("undo").disabled = !order.length;
  element("next").classList.toggle("ready", isReady());
  element("next").textContent = isReady() ? "Next" : "Skip";
}

function drawEnd() {
  const open = places().filter((place) => !place.whole).length;
  element("thanks").textContent = open ? "Not everything is ranked yet" : "Thank you: everything is ranked";
  element("open").textContent = open ? `${open} of ${TOTAL} rankings are still open. What is done counts all the same.` : "";
  element("to-open").hidden = !open;
  element("text").value = JSON.stringify(state);
  element("thanks").focus({ preventScroll: true });
}

// --- what people do -------------------------------------------------------------------------------------------------

element("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  state.name = element("name").value.trim();
  goTo(state.at);
});
element("another").addEventListener("click", () => {
  if (!confirm("Were the answers on this device downloaded? They are removed from it.")) return;
  state = fresh();
  keep();
  show("start");
});
element("back").addEventListener("click", () => move(-1));
element("next").addEventListener("click", () => move(1));
element("undo").addEventListener("click", () => setRanks(ranks().slice(0, -1)));
element("replay").addEventListener("click", playTogether);
element("to-open").addEventListener("click", () => goTo(places().find((place) => !place.whole).at));
element("to-last").addEventListener("click", () => goTo([STUDY.cases.length - 1, STUDY.questions.length - 1]));
for (const button of document.querySelectorAll(".download")) button.addEventListener("click", download);
addEventListener("storage", (event) => {
  if (event.key !== KEY || !event.newValue) return; // the same page in another tab
  state = read() || state;
  show(VIEWS.find((name) => !element(name).hidden));
});
document.addEventListener("keydown", (event) => {
  if (element("rating").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const onControl = event.target.matches("button:not(.tile)");
  const letter = event.key.toLowerCase();
  if (Object.hasOwn(theCase().results, letter) && !event.repeat) {
    tap(letter);
    element("question").focus({ preventScroll: true }); // so that Enter goes on, whatever was clicked before
  } else if (event.key === "Backspace") setRanks(ranks().slice(0, -1));
  else if (event.key === "ArrowLeft") move(-1);
  else if (event.key === "ArrowRight") move(1);
  else if (event.key === "Enter" && isReady() && !onControl && !event.repeat) move(1);
  else return;
  event.preventDefault();
});

show("start");
