// Screen readers read the line that says how the job stands when it changes.
new MutationObserver((_, observer) => {
  const status = document.getElementById("mav-status");
  if (!status) return;
  status.setAttribute("role", "status");
  status.setAttribute("aria-live", "polite");
  observer.disconnect();
}).observe(document, { childList: true, subtree: true });

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.(".mav-copy");
  if (!button) return;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.text);
    button.textContent = "Copied";
  } catch {
    // Without https a browser has no clipboard for pages: show the text, to be copied by hand.
    window.prompt("Copy this:", button.dataset.text);
  }
  setTimeout(() => { button.textContent = label; }, 1500);
});

// Videos of the gallery play while they are pointed at, or have the focus.
for (const [begin, play] of [["mouseover", true], ["focusin", true], ["mouseout", false], ["focusout", false]]) {
  document.addEventListener(begin, (event) => {
    const video = event.target.closest?.(".mav-gallery a")?.querySelector("video");
    if (video) play ? video.play().catch(() => {}) : video.pause();
  });
}
