// Makes what scrolls reachable with the keyboard, on touch screens too, where the theme undoes it, and gives the
// landmarks of code blocks names of their own. The theme adds both when they come into view.
const SCROLLS = ".md-typeset pre > code, .md-typeset__scrollwrap";

function prepare() {
  for (const node of document.querySelectorAll(SCROLLS)) {
    if (node.scrollWidth > node.clientWidth && !node.hasAttribute("tabindex")) node.tabIndex = 0;
  }
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((nav, number) => {
    nav.ariaLabel = `Code ${nav.closest("pre")?.id.match(/\d+$/) ?? number}`;
  });
}

new MutationObserver(prepare).observe(
  document.body, {childList: true, subtree: true, attributes: true, attributeFilter: ["tabindex"]});
new ResizeObserver(prepare).observe(document.body);
