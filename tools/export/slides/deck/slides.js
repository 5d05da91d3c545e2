// Start the deck when its mathematics is set, and make every slide fit the screen.
(function () {
  const WIDTH = 1280, HEIGHT = 720;

  function fit(slide) {
    const box = document.createElement("div");
    for (const part of [...slide.childNodes]) {
      if (!(part.classList && part.classList.contains("notes"))) box.append(part);
    }
    slide.prepend(box);
    const style = getComputedStyle(slide);
    const room = [
      WIDTH - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
      HEIGHT - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom),
    ];
    const fits = () => box.scrollWidth * zoom <= room[0] + 1 && box.getBoundingClientRect().height / deck() <= room[1];
    const deck = () => slide.getBoundingClientRect().width / slide.offsetWidth;  // reveal scales the whole deck
    let zoom = 1;
    while (!fits() && zoom > 0.4) {
      zoom -= 0.02;
      box.style.zoom = zoom;
    }
    slide.dataset.zoom = zoom.toFixed(2);
  }

  window.addEventListener("load", async function () {
    await MathJax.startup.promise;
    await MathJax.typesetPromise();
    await Reveal.initialize({
      width: WIDTH, height: HEIGHT, margin: 0, center: false, controls: true, progress: true, hash: true,
      slideNumber: "c/t", transition: "none", viewDistance: 1000, plugins: [RevealNotes],
    });
    for (const slide of document.querySelectorAll(".slides section")) {
      if (!slide.querySelector("section")) fit(slide);
    }
    Reveal.layout();
    document.documentElement.dataset.ready = "yes";
  });
})();
