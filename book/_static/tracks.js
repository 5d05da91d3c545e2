// What a reader has chosen to see of a lecture, and what stands on its first screen.  Works from a file, too.
(function () {
  "use strict";
  const root = document.documentElement, KEY = "dgm-track";
  const FOLDS = "details.dgm-fold, details.hide";

  function remember(track) { try { localStorage.setItem(KEY, track); } catch (error) { /* forbidden: this page only */ } }

  function openAll(open) { document.querySelectorAll(FOLDS).forEach(fold => { fold.open = open; }); }

  // A link into a fold opens it, and the folds around it.
  function reveal() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const folds = [];
    target.querySelectorAll(":scope > details.dgm-fold").forEach(fold => folds.push(fold));
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) folds.push(fold);
    if (folds.some(fold => !fold.open)) {
      folds.forEach(fold => { fold.open = true; });
      target.scrollIntoView();
    }
  }

  function switchTracks() {
    const group = document.querySelector(".dgm-tracks");
    if (!group) return;
    const buttons = [...group.querySelectorAll("button")];
    function choose(track) {
      const before = root.dataset.dgmTrack;
      root.dataset.dgmTrack = track;
      buttons.forEach(button => button.setAttribute("aria-pressed", String(button.value === track)));
      if (track === "all") openAll(true);
      else if (before === "all") openAll(false);
    }
    buttons.forEach(button => button.addEventListener("click", () => { choose(button.value); remember(button.value); }));
    choose(root.dataset.dgmTrack || "code");
    group.hidden = false;
  }

  // The film of the first screen is the one below: its frames stand in the page once.
  function showAgain() {
    document.querySelectorAll(".dgm-again[data-film]").forEach(place => {
      const film = document.getElementById(place.dataset.film);
      if (!film || !film.dgmWire) return;
      const copy = film.cloneNode(true);
      copy.removeAttribute("id");
      copy.querySelectorAll("script").forEach(script => script.remove());
      place.replaceChildren(copy);
      film.dgmWire(copy);
    });
  }

  // What the search shows of a page is its text, without the words of buttons and folds.
  function searchText() {
    if (typeof Search === "undefined" || !Search.htmlToText) return;
    const whole = Search.htmlToText;
    Search.htmlToText = function (text, anchor) {
      const page = new DOMParser().parseFromString(text, "text/html");
      const words = ".dgm-tracks, .dgm-fold, button, details.hide, .dgm-ran, .cell_input, nav";
      page.querySelectorAll(words).forEach(part => part.remove());
      return whole(page.documentElement.outerHTML, anchor);
    };
  }

  function start() { switchTracks(); showAgain(); reveal(); searchText(); }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
  window.addEventListener("hashchange", reveal);
})();
