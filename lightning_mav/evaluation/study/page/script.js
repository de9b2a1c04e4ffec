"use strict";
const study = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const QUESTIONS = {
  quality: "Which video is of higher quality?",
  faithfulness: "Which video fits the text better?",
};
const FORMAT = 1;
const steps = study.pairs.length * study.questions.length;
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const sides = [1, 2].map((n) => ({ n, video: byId(`video-${n}`), button: byId(`choose-${n}`), seen: false, over: false, broken: false }));
let state = null; // { rater, votes: { "PAIR QUESTION": VIDEO }, at }
let plan = []; // pairs in this rater's order, with this rater's sides
let timer = 0;

// What is kept in the browser: the answers of each rater on this study, by name.
const KEY = `mav-study-${study.study}`;
const named = (rater) => rater.trim().replace(/\s+/g, " ").toLowerCase();
function kept() {
  try { return JSON.parse(localStorage.getItem(KEY)) || { raters: {} }; } catch { return { raters: {} }; }
}
function keep() {
  try {
    const name = named(state.rater);
    localStorage.setItem(KEY, JSON.stringify({ raters: { ...kept().raters, [name]: state }, last: name }));
  } catch { byId("lost").hidden = false; }
}

// Random numbers that are the same for a rater each time, so that a page that is loaded again has the same order.
function random(text) {
  let h = 2166136261; // FNV-1a
  for (const char of new TextEncoder().encode(text)) h = Math.imul(h ^ char, 16777619);
  return () => { // mulberry32
    h = (h + 0x6d2b79f5) | 0;
    let t = Math.imul(h ^ (h >>> 15), 1 | h);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
function planFor(rater) {
  const next = random(`${study.study} ${named(rater)}`);
  const made = study.pairs.map((pair, i) => ({
    number: i + 1, prompt: pair.prompt, videos: next() < 0.5 ? pair.videos : [...pair.videos].reverse(),
  }));
  for (let i = made.length - 1; i > 0; i--) { // Fisher and Yates
    const j = Math.floor(next() * (i + 1));
    [made[i], made[j]] = [made[j], made[i]];
  }
  return made;
}

const answered = () => Object.keys(state.votes).length;
const pairAt = (step) => plan[Math.floor(step / study.questions.length)];
const questionAt = (step) => study.questions[step % study.questions.length];
const voteKey = (step) => `${pairAt(step).number} ${questionAt(step)}`;

function show(id) {
  for (const name of ["start", "ask", "end"]) byId(name).hidden = name !== id;
  scrollTo(0, 0);
  byId(id).querySelector("h1").focus({ preventScroll: true });
}

function begin(rater) {
  const saved = Object.entries(kept().raters).find(([name]) => name === named(rater));
  state = saved ? saved[1] : { rater: rater.trim().replace(/\s+/g, " "), votes: {}, at: 0 };
  plan = planFor(state.rater);
  keep();
  turn();
}

function turn() {
  if (state.at >= steps) return finish();
  const pair = pairAt(state.at), question = questionAt(state.at), nth = Math.floor(state.at / study.questions.length);
  const asked = (state.at % study.questions.length) + 1;
  byId("where").textContent = `Pair ${nth + 1} of ${plan.length}, question ${asked} of ${study.questions.length}`;
  byId("rest").textContent = `${answered()} of ${steps} answered`;
  byId("bar").max = steps;
  byId("bar").value = answered();
  byId("question").textContent = QUESTIONS[question];
  byId("prompt").hidden = question !== "faithfulness"; // on quality the text must not sway anybody
  byId("prompt").textContent = question === "faithfulness" ? pair.prompt : "";
  byId("back").setAttribute("aria-disabled", String(state.at === 0));
  byId("skip").hidden = true;
  for (const side of sides) {
    const video = pair.videos[side.n - 1], source = `videos/${video}.mp4`;
    side.button.setAttribute("aria-pressed", String(state.votes[voteKey(state.at)] === video));
    if (side.video.getAttribute("src") !== source) {
      Object.assign(side, { seen: false, over: false, broken: false });
      side.video.hidden = false;
      side.video.nextElementSibling.hidden = true;
      side.video.src = source;
    }
  }
  show("ask");
  allow();
  if (!calm) play();
  const following = state.at + study.questions.length < steps && pairAt(state.at + study.questions.length);
  for (const video of following ? following.videos : []) fetchAhead(`videos/${video}.mp4`);
}

const ahead = new Map(); // the two videos that come next, loading
function fetchAhead(source) {
  if (ahead.has(source)) return;
  if (ahead.size > 3) ahead.clear();
  const video = document.createElement("video");
  Object.assign(video, { preload: "auto", muted: true, src: source });
  ahead.set(source, video);
}

// A vote counts only after both videos were seen.
function allow() {
  const ready = sides.every((side) => side.seen) || voteKey(state.at) in state.votes;
  const broken = sides.some((side) => side.broken);
  for (const side of sides) side.button.setAttribute("aria-disabled", String(!ready || broken));
  byId("skip").hidden = !broken;
  byId("status").textContent = broken ? "A video of this pair cannot be shown." : ready ? "" :
    calm ? "Play both videos first." : "You can choose when both videos have been shown.";
}

function play() {
  clearTimeout(timer);
  for (const side of sides) {
    side.over = false;
    side.video.currentTime = 0;
    side.video.play().catch(() => {}); // where a browser lets nothing play by itself, there is "Play again"
  }
}

for (const side of sides) {
  side.video.addEventListener("ended", () => {
    side.seen = side.over = true;
    allow();
    if (!calm && sides.every((one) => one.over || one.broken)) timer = setTimeout(play, 700);
  });
  side.video.addEventListener("loadedmetadata", () => side.video.classList.toggle("small", side.video.videoWidth <= 96));
  side.video.addEventListener("error", () => {
    side.broken = true;
    side.video.hidden = true;
    side.video.nextElementSibling.hidden = false;
    allow();
  });
  side.button.addEventListener("click", () => choose(side));
}

function choose(side) {
  if (side.button.getAttribute("aria-disabled") === "true") return;
  state.votes[voteKey(state.at)] = pairAt(state.at).videos[side.n - 1];
  move(1);
}
function move(by) {
  clearTimeout(timer);
  state.at = Math.max(0, Math.min(steps, state.at + by));
  keep();
  turn();
}
function back() {
  if (state.at > 0) move(-1);
}
function skip() {
  move(study.questions.length - (state.at % study.questions.length));
}

function ballot() {
  const votes = Object.entries(state.votes).map(([key, choice]) => {
    const [pair, question] = key.split(" ");
    return { pair: Number(pair), question, choice };
  });
  votes.sort((one, other) => one.pair - other.pair || study.questions.indexOf(one.question) - study.questions.indexOf(other.question));
  return JSON.stringify({ format: FORMAT, study: study.study, rater: state.rater, votes }, null, 1) + "\n";
}

function finish() {
  clearTimeout(timer);
  for (const side of sides) side.video.pause();
  const text = ballot(), missing = steps - answered();
  const name = `votes-${named(state.rater).replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "rater"}.json`;
  byId("summary").textContent = missing ? `You have answered ${answered()} of ${steps} questions.` : `You have answered all ${steps} questions.`;
  byId("file").textContent = byId("save").download = name;
  URL.revokeObjectURL(byId("save").href);
  byId("save").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  byId("text").value = text;
  show("end");
}

byId("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  if (byId("rater").value.trim()) begin(byId("rater").value);
});
byId("back").addEventListener("click", back);
byId("again").addEventListener("click", play);
byId("skip").addEventListener("click", skip);
byId("review").addEventListener("click", () => move(-1));
byId("other").addEventListener("click", () => {
  byId("rater").value = "";
  show("start");
});
byId("copy").addEventListener("click", async () => {
  byId("text").select();
  try { await navigator.clipboard.writeText(byId("text").value); } catch { document.execCommand("copy"); }
  byId("copied").textContent = "copied";
});
document.addEventListener("keydown", (event) => {
  if (byId("ask").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    1: () => choose(sides[0]), ArrowLeft: () => choose(sides[0]),
    2: () => choose(sides[1]), ArrowRight: () => choose(sides[1]),
    p: play, b: back, Backspace: back,
  };
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

for (const place of document.querySelectorAll(".count")) place.textContent = study.pairs.length === 1 ? "one pair of videos" : `${study.pairs.length} pairs of videos`;
const { raters, last } = kept();
if (last in raters) byId("rater").value = raters[last].rater;
show("start");
