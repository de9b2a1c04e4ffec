"use strict";
// Without this script every video has its controls, and all samples are shown.
const videos = [...document.querySelectorAll("video")];
const pause = document.getElementById("pause");
let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
const visible = new Set();

function play(video) {
  if (playing && visible.has(video)) video.play().catch(() => {});
  else video.pause();
}

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) {
      target.preload = "metadata"; // loads the first frame of videos that do not play
      visible.add(target);
    } else visible.delete(target);
    play(target);
  }
}, { threshold: 0.2 });

for (const video of videos) {
  video.controls = false;
  video.addEventListener("pointerenter", () => { video.controls = true; });
  video.addEventListener("pointerleave", () => { video.controls = false; });
  video.addEventListener("loadedmetadata", () => {
    video.classList.toggle("small", video.videoWidth <= 96); // style.css then shows single pixels
  });
  observer.observe(video);
}

for (const media of document.querySelectorAll(".card video, .card img")) {
  const broken = () => {
    media.hidden = true;
    media.nextElementSibling.hidden = false;
  };
  media.addEventListener("error", broken);
  if (media.error) broken();
}

function showState() { pause.textContent = playing ? "Pause videos" : "Play videos"; }
pause.addEventListener("click", () => {
  playing = !playing;
  showState();
  videos.forEach(play);
});
pause.hidden = videos.length === 0;
showState();

const form = document.querySelector(".filter");
if (form) {
  const grid = document.getElementById("all");
  const [words, label, order, count] = ["words", "label", "order", "count"].map((id) => document.getElementById(id));
  const cards = [...grid.children];
  const scores = new Map(cards.map((card) => [card, JSON.parse(card.dataset.scores || "{}")]));
  const update = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards) {
      const text = card.textContent.toLowerCase();
      const fits = wanted.every((word) => text.includes(word)) && (!label?.value || card.dataset.label === label.value);
      card.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown === cards.length ? `${shown} shown` : `${shown} of ${cards.length} shown`;
  };
  const sort = () => {
    const [name, sign] = order.value ? JSON.parse(order.value) : [null, 0];
    // Samples without the score come last.
    const rank = (card) => (name in scores.get(card) ? sign * scores.get(card)[name] : Infinity);
    const sorted = name === null ? cards : [...cards].sort((one, other) => rank(one) - rank(other) || 0);
    grid.append(...sorted);
  };
  words.addEventListener("input", update);
  label?.addEventListener("change", update);
  order?.addEventListener("change", sort);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  update();
}
