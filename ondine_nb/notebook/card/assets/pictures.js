/* Opens the pictures of the static card that stands in the same output: by a click, or by Enter. */

export default view("ondine-card-pictures", ({ root, kernel, note }) => {
  root.removeAttribute("tabindex");
  const pictures = new Pictures({ root, kernel, note });
  const area = () => root.closest(".jp-OutputArea") ?? root.ownerDocument.body;
  const picture = (target) => target.closest?.(".ondine-run:not(.o-live) img[data-at]");
  const opens = (event) => {
    const it = picture(event.target);
    if (!it || !area().contains(it)) return;
    event.preventDefault();
    event.stopPropagation();
    pictures.open(Number(it.dataset.at), it.dataset.column, Number(it.dataset.which), it);
  };
  const pressed = (event) => { if ((event.key === "Enter" || event.key === " ") && !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey) opens(event); };
  /** What the card has becomes a button as long as somebody is here who can open it. */
  const mark = () => {
    for (const it of area().querySelectorAll(".ondine-run:not(.o-live) img[data-at]:not([role])"))
      for (const [name, value] of Object.entries({ role: "button", tabindex: 0, "aria-label": `open ${it.alt}` })) it.setAttribute(name, value);
  };
  const watching = new MutationObserver(mark);
  const begin = setTimeout(() => { mark(); watching.observe(area(), { childList: true, subtree: true }); });
  root.ownerDocument.addEventListener("click", opens, true);
  addEventListener("keydown", pressed, true); // before the page's own, for which Enter means the cell
  return () => {
    clearTimeout(begin);
    watching.disconnect();
    pictures.close();
    root.ownerDocument.removeEventListener("click", opens, true);
    removeEventListener("keydown", pressed, true);
  };
});
