// Run in a page of the book before it is printed; returns its heading.
async ({page, inside, address}) => {
  const article = document.querySelector("article") || document.body;
  document.querySelectorAll("details").forEach(fold => {
    const drawing = fold.closest(".tag_hide-input, .tag_hide-cell");  // code that only draws stays folded away
    const line = fold.matches(".dgm-check, .dgm-setup");  // what was checked is one line on paper, too
    if (!(drawing || line) || fold.closest(".solution")) fold.open = true;
  });
  document.querySelectorAll(".toggle-hidden").forEach(fold => fold.classList.remove("toggle-hidden"));
  document.querySelectorAll(".dgm-film input").forEach(bar => { bar.value = bar.max; bar.oninput(); });
  document.querySelectorAll("img").forEach(image => { image.loading = "eager"; });
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));

  // Names must differ between the pages of one document; links to other pages are settled when these are joined.
  const named = name => `${page}--${name}`;
  const targets = document.createElement("div");  // Chromium keeps only places that a link in the same page names
  targets.style.cssText = "position:absolute;height:0;overflow:hidden";
  article.querySelectorAll("[id]").forEach(part => {
    part.id = named(part.id);
    const link = document.createElement("a");
    link.setAttribute("href", `#${part.id}`);
    targets.append(link);
  });
  article.querySelectorAll("a[href]").forEach(link => {
    const target = new URL(link.getAttribute("href"), document.baseURI);
    if (link.getAttribute("href").startsWith("#")) {
      const known = document.getElementById(named(decodeURIComponent(link.hash.slice(1))));
      known ? link.setAttribute("href", `#${known.id}`) : link.removeAttribute("href");
    } else if (target.href.startsWith(address)) {
      link.setAttribute("href", inside + target.pathname.slice(1).replace(/\.html$/, "") + target.hash);
    }
  });
  article.append(targets);
  const heading = document.querySelector("h1").cloneNode(true);
  heading.querySelectorAll(".headerlink").forEach(part => part.remove());
  return heading.textContent.trim();
}
