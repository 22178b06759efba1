/* Pictures of a row's media cells: small ones where they are in view, one in full by a click or a
   key. A page gets JPEGs that the kernel has made, nothing else of a file; its name is text. */

const JPEG = "data:image/jpeg;base64,";
const MOST_PICTURES = 600; // cells whose small pictures are kept

/** An <img> of what the kernel has made; null for anything else. */
function pictureOf(it) {
  return it.url?.startsWith(JPEG) ? h("img", { src: it.url, alt: "", width: it.width, height: it.height, draggable: "false" }) : null;
}

/** Small pictures by row and column: `small(at, name)`, and `large(at, name)` where a row is read. */
class Pictures {
  constructor({ root, kernel, note, filled = () => {} }) {
    Object.assign(this, { root, kernel, note, filled });
    this.known = new Map();
    this.wanted = new Map();
    this.asking = false;
    this.seen = new IntersectionObserver((entries) => entries.forEach((it) => this.moved(it)), { rootMargin: "60px" });
  }
  small(at, name) { return this.cell(at, name, "small"); }
  large(at, name) { return this.cell(at, name, "large"); }
  close() { this.seen.disconnect(); }

  cell(at, name, size) {
    const key = JSON.stringify([size, at, name]);
    const box = h("span", { class: `pics ${size}`, data: { pictures: name } });
    const known = this.known.get(key);
    if (known) this.fill(box, known);
    else {
      box.setAttribute("aria-busy", "true");
      box.append(h("span", { class: "pic blank" }));
      Object.assign(box, { key, told: { at, name, size } });
      this.seen.observe(box);
    }
    return box;
  }
  moved({ target: box, isIntersecting }) {
    if (!isIntersecting) return void this.wanted.delete(box); // gone by before its turn came
    this.wanted.set(box, box.told);
    this.pump();
  }
  async pump() {
    if (this.asking) return;
    this.asking = true;
    while (this.wanted.size) {
      const boxes = [...this.wanted.keys()].filter((it) => it.isConnected).slice(0, 12);
      if (!boxes.length) { this.wanted.clear(); break; }
      try {
        const made = await this.kernel.ask("pictures", { wanted: boxes.map((it) => it.told) });
        made.forEach((items, which) => this.take(boxes[which], items)); // as many as were made in a while
      } catch (error) {
        this.wanted.clear();
        if (!this.kernel.gone) this.note(error.message);
      }
    }
    this.asking = false;
  }
  take(box, items) {
    this.wanted.delete(box);
    this.seen.unobserve(box);
    this.known.set(box.key, { ...box.told, items });
    if (this.known.size > MOST_PICTURES) this.known.delete(this.known.keys().next().value);
    this.fill(box, this.known.get(box.key));
    this.filled();
  }
  fill(box, { at, name, size, items }) {
    const most = size === "small" ? 3 : 12;
    box.removeAttribute("aria-busy");
    box.replaceChildren(...items.slice(0, most).map((it, which) => {
      const picture = pictureOf(it);
      if (!picture) return h("span", { class: "no-pic muted", title: it.why, dir: "auto" }, size === "small" ? it.about : `${it.about}: ${it.why}`);
      return h("button", { type: "button", class: "pic", title: [it.about, it.facts].filter(Boolean).join(" · "), "aria-label": `open ${it.about}`, "data-key": `picture ${at} ${name} ${which} ${size}`,
        onclick: (event) => { event.stopPropagation(); this.open(at, name, which); } }, picture, it.pages > 1 ? h("span", { class: "of" }, count(it.pages)) : null);
    }), ...(items.length > most ? [h("span", { class: "muted small" }, `+${count(items.length - most)}`)] : []));
  }

  /** Shows a picture in full; a PDF by its pages. Esc closes it. */
  open(at, name, which = 0, from = null) {
    if (this.root.querySelector("dialog.viewer")) return;
    const opener = from ?? this.root.getRootNode().activeElement, key = opener?.closest?.("[data-key]")?.dataset.key;
    let page = 0, told = null, latest = 0;
    const about = h("b", { dir: "auto" }, name), facts = h("span", { class: "muted small facts" }), place = h("span", { class: "muted small nowrap", role: "status" });
    const stage = h("div", { class: "stage", tabindex: 0, role: "group", "aria-label": name }), line = h("p", { class: "muted", role: "status" }, "reading …");
    const turn = (by) => () => go(by);
    const before = button("before", turn(-1), { class: "btn icon", "aria-label": "previous picture" }, icon("before"));
    const after = button("after", turn(1), { class: "btn icon", "aria-label": "next picture" }, icon("after"));
    const close = button("close", () => dialog.close(), { class: "btn icon", "aria-label": "close picture" }, icon("close"));
    const dialog = h("dialog", { class: "viewer", "aria-label": `${name}, row ${count(at)}` }, h("div", { class: "bar" }, about, facts, h("span", { class: "spacer" }), place, before, after, close), stage);
    stage.append(line);

    const load = async () => {
      const mine = ++latest;
      dialog.setAttribute("aria-busy", "true");
      try {
        const now = await this.kernel.ask("picture", { at, name, which, page });
        if (mine === latest) show(now);
      } catch (error) {
        if (mine === latest) { line.textContent = this.kernel.gone ? "The kernel is gone: run the cell again to open pictures." : error.message; stage.replaceChildren(line); }
      }
      if (mine === latest) dialog.removeAttribute("aria-busy");
    };
    const show = (now) => {
      told = now;
      ({ which, page } = now);
      about.textContent = now.about;
      facts.textContent = now.facts;
      place.textContent = [now.of > 1 && `${count(which + 1)} of ${count(now.of)}`, now.pages > 1 && `page ${count(page + 1)} of ${count(now.pages)}`].filter(Boolean).join(", ");
      before.disabled = !which && !page;
      after.disabled = which + 1 >= now.of && page + 1 >= now.pages;
      before.hidden = after.hidden = now.of < 2 && now.pages < 2;
      const picture = pictureOf(now);
      line.textContent = now.why;
      if (picture) {
        picture.alt = now.about;
        picture.addEventListener("click", () => stage.classList.toggle("whole"));
      }
      stage.replaceChildren(picture ?? line);
      stage.scrollTo(0, 0);
    };
    const go = (by) => {
      if (!told) return;
      if (page + by >= 0 && page + by < told.pages) page += by;
      else if (which + by >= 0 && which + by < told.of) { which += by; page = by < 0 ? -1 : 0; } else return;
      load();
    };
    const pressed = { ArrowRight: () => go(1), PageDown: () => go(1), ArrowLeft: () => go(-1), PageUp: () => go(-1),
      Home: () => { if (told) { page = 0; load(); } }, End: () => { if (told) { page = -1; load(); } } };
    dialog.addEventListener("keydown", (event) => {
      event.stopPropagation(); // no key in here is the view's
      if (!pressed[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      pressed[event.key]();
    });
    dialog.addEventListener("click", (event) => { event.stopPropagation(); if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => {
      dialog.remove();
      const again = key && [...this.root.querySelectorAll("[data-key]")].find((it) => it.dataset.key === key);
      (again || (from?.isConnected ? from : this.root)).focus({ preventScroll: true });
    });
    this.root.append(dialog);
    dialog.showModal();
    stage.focus();
    load();
  }
}
