/* What every live view shares. It stands before the view's own script, as one ES module with it:
   no build step, nothing from the net. Texts of data and models become text nodes, never markup. */

/** An element: attributes, `on…` listeners, `data`, `style` (custom properties too), children. */
function h(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "data") for (const [key, it] of Object.entries(value)) made.dataset[key] = it;
    else if (name === "style") for (const [key, it] of Object.entries(value)) made.style.setProperty(key, it);
    else if (name === "value" || name === "checked" || name === "indeterminate") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(9).filter((it) => it !== null && it !== undefined && it !== false));
  return made;
}

const ICONS = {
  close: "M1.2 1.2 6.8 6.8M6.8 1.2 1.2 6.8", up: "M1 5.6 4 2.4 7 5.6", down: "M1 2.4 4 5.6 7 2.4",
  before: "M5.4 .8 2 4 5.4 7.2", after: "M2.6 .8 6 4 2.6 7.2", check: "M.8 4.4 3 6.6 7.2 1.4",
  pen: "M1 7 1.5 5.1 5.6 1 7 2.4 2.9 6.5 1 7M4.7 1.9 6.1 3.3",
  find: "M6.2 3.4a2.8 2.8 0 1 1-5.6 0a2.8 2.8 0 1 1 5.6 0M5.5 5.5 7.6 7.6",
};

/** A drawn sign that says nothing by itself: what it means stands beside it, or in the label. */
function icon(name, size = 8) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "path");
  for (const [key, value] of Object.entries({ width: size, height: size, viewBox: "0 0 8 8", "aria-hidden": "true" }))
    drawing.setAttribute(key, value);
  for (const [key, value] of Object.entries({ d: ICONS[name], fill: "none", stroke: "currentColor",
    "stroke-width": "1.5", "stroke-linecap": "round", "stroke-linejoin": "round" }))
    line.setAttribute(key, value);
  drawing.append(line);
  return drawing;
}

function button(label, onclick, attributes, ...children) {
  return h("button", { type: "button", class: "btn", onclick, ...attributes }, ...(children.length ? children : [label]));
}

function link(label, onclick, attributes) {
  return h("button", { type: "button", class: "link", onclick, ...attributes }, label);
}

/** How many lines a field for a text has: those that it fills, up to eight. */
const linesOf = (text) => Math.min(8, String(text).split("\n").reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / 56)), 0));

const count = (number) => Number(number).toLocaleString("en-US");
const unseen = (text) => h("span", { class: "unseen" }, text);

/** Asks the kernel by messages with an id. An answer may be lost on its way: then it asks again,
    and the kernel answers alike. `state` is told "here", "busy", "silent" or "gone". */
class Kernel {
  constructor(model, told) {
    this.model = model;
    this.told = told;
    this.waiting = new Map();
    this.tells = new Map();
    this.name = Math.random().toString(36).slice(2, 8);
    this.last = 0;
    this.gone = false;
    this.hear = (message) => this.heard(message);
    this.check = () => { if (this.model.comm_live !== true) this.ask("ping").catch(() => {}); };
    model.on("msg:custom", this.hear);
    model.on("comm_live_update", this.check);
  }
  /** Whatever `what` tells without being asked: `tell(**known)` of the view in Python. */
  on(what, listener) { this.tells.set(what, listener); }
  ask(what, given = {}) { return this.pass({ ask: what, given }); }
  pass(content) {
    const id = `${this.name}-${++this.last}`;
    return new Promise((done, failed) => {
      this.waiting.set(id, { done, failed, message: { id, ...content }, since: performance.now(), sent: 0 });
      this.send(id);
    });
  }
  send(id) {
    const it = this.waiting.get(id);
    if (!it) return;
    try {
      this.model.send(it.message);
    } catch {
      this.gone = true;
      this.waiting.delete(id);
      this.told("gone");
      it.failed(new Error("the kernel is gone"));
      return;
    }
    it.sent += 1;
    if (it.sent === 1) it.late = setTimeout(() => this.told("busy"), 1500);
    if (it.sent === 3) this.told("silent"); // a kernel that was restarted elsewhere takes it and says nothing
    it.again = setTimeout(() => this.send(id), 5000 * Math.min(it.sent, 6));
  }
  heard(message) {
    if (message?.tell) this.tells.get(message.tell)?.(message);
    const it = this.waiting.get(message?.id);
    if (!it) return;
    this.waiting.delete(message.id);
    clearTimeout(it.late);
    clearTimeout(it.again);
    if (!this.waiting.size) this.told("here");
    if ("error" in message) it.failed(new Error(message.error));
    else it.done(message.ok);
  }
  close() {
    this.model.off("msg:custom", this.hear);
    this.model.off("comm_live_update", this.check);
    for (const it of this.waiting.values()) { clearTimeout(it.late); clearTimeout(it.again); }
    this.waiting.clear();
  }
}

/** Draws another view into `el`: it asks through this one's kernel. Gives `set(state)`, `hear(message)`
    and `end()`. */
function embed(shown, name, { kernel, state, el }) {
  const listeners = {};
  const heard = (what, ...given) => [...(listeners[what] ?? [])].forEach((it) => it(...given));
  const model = {
    state, comm_live: true, get: () => model.state,
    on: (what, it) => { (listeners[what] ??= []).push(it); },
    off: (what, it) => { listeners[what] = (listeners[what] ?? []).filter((one) => one !== it); },
    send: (message) => kernel.pass({ inside: name, message }).then((answer) => heard("msg:custom", answer),
      (error) => heard("msg:custom", { id: message.id, error: error.message })),
  };
  const end = shown.render({ model, el });
  return { end, hear: (message) => heard("msg:custom", message), set: (next) => { model.state = next; heard("change:state"); } };
}

/** Puts `children` into `box`. What had the focus there has it again, by its `data-key`; where that
    is gone the root gets it: keys must not fall through to the notebook. */
function redraw(root, box, ...children) {
  const active = root.getRootNode().activeElement;
  const held = active && box.contains(active) && active !== box;
  const key = held ? active.closest("[data-key]")?.dataset.key : undefined;
  const range = held && "selectionStart" in active ? [active.selectionStart, active.selectionEnd] : null;
  box.replaceChildren(...children.flat(9).filter((it) => it !== null && it !== undefined && it !== false));
  if (!held) return;
  const again = key && [...box.querySelectorAll("[data-key]")].find((it) => it.dataset.key === key);
  (again || root).focus({ preventScroll: true });
  if (again && range && range[0] !== null && again.setSelectionRange) again.setSelectionRange(...range);
}

const TYPED = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";

/** Listens to keys by name (`{j: …, "Shift+Enter": …}`) while the focus is in the root. In a field
    that is typed in, only names in `typed` count. None of them reaches the notebook. */
function keys(root, known, typed = {}) {
  root.addEventListener("keydown", (event) => {
    const at = event.composedPath()[0];
    const name = (event.shiftKey && event.key.length > 1 ? "Shift+" : "") + event.key;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const listener = at.matches?.(TYPED) ? typed[name] : known[name];
    const pressed = (event.key === "Enter" || event.key === " ") && at.matches?.("button, summary, a, [role=slider], input");
    if (listener && !(pressed && !at.matches?.(TYPED))) {
      if (listener(event) !== false) event.preventDefault();
    }
    event.stopPropagation();
  });
}

/** A text as nodes, from `start` to `end`, with marks: `[{start, end, kind, label}]` by characters
    of the whole text. Kinds are classes: `hit` of a search, `ev ev1` of a quote. They may overlap. */
function marked(text, spans = [], start = 0, end = text.length) {
  const cuts = new Set([start, end]);
  for (const it of spans) {
    if (it.start > start && it.start < end) cuts.add(it.start);
    if (it.end > start && it.end < end) cuts.add(it.end);
  }
  const places = [...cuts].sort((a, b) => a - b);
  const nodes = [];
  for (let at = 0; at + 1 < places.length; at++) {
    const [from, to] = [places[at], places[at + 1]];
    let node = document.createTextNode(text.slice(from, to));
    for (const it of spans) {
      if (it.start > from || it.end < to) continue;
      node = h(it.kind === "hit" ? "mark" : "span", { class: it.kind, data: it.data, title: it.title }, node);
      if (it.label && it.end === to) node.append(h("sup", {}, it.label));
    }
    nodes.push(node);
  }
  return nodes;
}

/** Where `needle` is in `text`, whatever the case, as spans for `marked`. */
function hits(text, needle) {
  if (!needle) return [];
  const low = text.toLowerCase();
  if (low.length !== text.length) return exactHits(text, needle);
  return exactHits(low, needle.toLowerCase());
}

function exactHits(text, needle) {
  const found = [];
  for (let at = text.indexOf(needle); at >= 0 && found.length < 500; at = text.indexOf(needle, at + needle.length))
    found.push({ start: at, end: at + needle.length, kind: "hit" });
  return found;
}

const INLINE = /\*\*(?=\S)([^*\n]+?)\*\*|__(?=\S)([^_\n]+?)__|\*(?=\S)([^*\n]+?)\*|`([^`\n]+)`/g;
const INLINE_TAGS = ["strong", "strong", "em", "code"];

/** One line of Markdown (bold, italic, code) from `start` to `end`, as nodes with marks. */
function inline(text, spans, start, end) {
  const nodes = [];
  let done = start;
  for (const found of text.slice(start, end).matchAll(INLINE)) {
    const at = start + found.index;
    const which = found.slice(1).findIndex((it) => it !== undefined);
    const body = found[which + 1];
    const from = at + found[0].indexOf(body);
    nodes.push(...marked(text, spans, done, at));
    nodes.push(h(INLINE_TAGS[which], {}, marked(text, spans, from, from + body.length)));
    done = at + found[0].length;
  }
  if (done < end) nodes.push(...marked(text, spans, done, end));
  return nodes;
}

/** Markdown as nodes: paragraphs, headings, lists, quotes, code. Links and pictures stay text, and
    tags too: nothing of a model's answer is obeyed. `spans` count characters of the text itself. */
function markdown(text, spans = []) {
  const blocks = [];
  let list = null, paragraph = null, at = 0;
  const lines = text.split("\n");
  for (let number = 0; number < lines.length; number++) {
    const line = lines[number], start = at, end = at + line.length;
    at = end + 1;
    if (/^\s*(```|~~~)/.test(line)) {
      const fence = line.trim().slice(0, 3), from = at;
      let to = from;
      while (number + 1 < lines.length) {
        const next = lines[++number];
        at += next.length + 1;
        if (next.trim().startsWith(fence)) break;
        to = at - 1;
      }
      blocks.push(h("pre", {}, h("code", {}, marked(text, spans, from, Math.min(to, text.length)))));
      list = paragraph = null;
      continue;
    }
    const heading = /^(#{1,6})\s+/.exec(line), item = /^(\s*)([-*+•]|\d{1,3}[.)])\s+/.exec(line), quote = /^>\s?/.exec(line);
    if (heading) {
      blocks.push(h("p", { class: "heading", role: "heading", "aria-level": heading[1].length + 2 },
        inline(text, spans, start + heading[0].length, end)));
      list = paragraph = null;
    } else if (item) {
      const tag = /\d/.test(item[2]) ? "ol" : "ul";
      if (!list || list.localName !== tag) blocks.push(list = h(tag, tag === "ol" ? { start: parseInt(item[2], 10) } : {}));
      list.append(h("li", {}, inline(text, spans, start + item[0].length, end)));
      paragraph = null;
    } else if (!line.trim()) {
      list = paragraph = null;
    } else if (quote) {
      blocks.push(h("blockquote", {}, inline(text, spans, start + quote[0].length, end)));
      list = paragraph = null;
    } else if (list && /^\s/.test(line)) {
      list.lastChild.append(document.createTextNode(" "), ...inline(text, spans, start + /^\s*/.exec(line)[0].length, end));
    } else {
      if (paragraph) paragraph.append(h("br"), ...inline(text, spans, start, end));
      else blocks.push(paragraph = h("p", {}, inline(text, spans, start, end)));
      list = null;
    }
  }
  return blocks;
}

/** Where the quotes of fields stand in a text, as spans for `marked`. */
function quoteSpans(marks) {
  return (marks ?? []).map((it) => ({ start: it.start, end: it.end, kind: `ev ev${1 + ((it.sign - 1) % 6)} ${it.match}`,
    label: String(it.sign), title: `${it.field}: ${it.match}`, data: { evidence: it.field, quote: it.quote } }));
}

const DOUBT = { approximate: "may say something else", missing: "not in the text" };

/** What a value rests on: its sign, each quote with how it matches; a click on one shows it. */
function quotesOf(told, go) {
  if (!told?.quotes.length) return null;
  return h("ul", { class: "quotes", "aria-label": `evidence of ${told.field}` }, told.quotes.map((it, at) => {
    const doubt = DOUBT[it.match];
    const of = told.quotes.length > 1 && it.of ? [h("span", { class: "muted", dir: "auto" }, it.of), " "] : null;
    const words = [h("span", { class: doubt ? "match warn" : "match muted" }, doubt ? `${it.match}: ${doubt}` : it.match)];
    if (!it.text) return h("li", { data: { match: it.match } }, of, words);
    return h("li", { data: { match: it.match } }, of, h("button", { type: "button", class: `quote ev ev${1 + ((told.sign - 1) % 6)}`, dir: "auto", title: "show it in the text",
      data: { key: `quote ${told.field} ${at}`, quotes: told.field, quote: at }, onclick: () => go(told.field, at) }, it.text, h("sup", {}, String(told.sign))), " ", words);
  }));
}

/** Lets fields and quotes point at each other in `box`: `fieldOf(name)` is a field's element, `near`
    tells that the text scrolls by itself, so that what a pointed-at field rests on comes into view. */
function pointing(box, { fieldOf, near = () => null, chosen }) {
  const quotes = (name) => [...box.querySelectorAll("[data-evidence]")].filter((it) => it.dataset.evidence === name);
  let shown = null;
  const light = (name) => {
    if (name === shown && (!name || box.querySelector(".lit"))) return; // a redraw puts it out
    shown = name;
    for (const it of box.querySelectorAll(".lit")) it.classList.remove("lit");
    if (!name) return;
    for (const it of quotes(name)) it.classList.add("lit");
    fieldOf(name)?.classList.add("lit");
    const [first] = quotes(name), pane = first && near(first);
    if (pane) {
      const at = first.getBoundingClientRect(), of = pane.getBoundingClientRect();
      if (at.top < of.top || at.bottom > of.bottom) pane.scrollTop += at.top - of.top - of.height / 3;
    }
  };
  const named = (event) => {
    const quote = event.target.closest?.("[data-evidence]");
    if (quote) return quote.dataset.evidence;
    const field = event.target.closest?.("[data-field]");
    return field && fieldOf(field.dataset.field) === field ? field.dataset.field : null;
  };
  const over = (event) => light(named(event));
  box.addEventListener("pointerover", over);
  box.addEventListener("pointerleave", () => light(null));
  box.addEventListener("focusin", over);
  box.addEventListener("click", (event) => {
    const quote = event.target.closest?.("[data-evidence]");
    if (!quote || String(box.ownerDocument.getSelection?.() ?? "")) return;
    light(quote.dataset.evidence);
    chosen(quote.dataset.evidence);
  });
  return (name, at) => {
    light(name);
    const found = quotes(name);
    (found.find((it) => it.dataset.quote === String(at)) ?? found[0])?.scrollIntoView({ block: "center" });
  };
}

/** A text as it was written, in paragraphs, with marks. */
function prose(text, spans = []) {
  const blocks = [];
  let at = 0;
  for (const part of text.split(/(\n[ \t]*\n\s*)/)) {
    if (part.trim()) blocks.push(h("p", { dir: "auto" }, marked(text, spans, at, at + part.length)));
    at += part.length;
  }
  return blocks;
}

const OWN_KEYS = "data-lm-suppress-shortcuts"; // JupyterLab's and Notebook 7's shortcuts don't count in there

/** The view as anywidget wants it. `draw({root, model, kernel, note})` fills the root, which takes
    the focus and its keys; it may give a function that ends what it began. */
function view(name, draw) {
  return {
    render({ model, el }) {
      const root = h("section", { class: `ondine-ui ${name}`, tabindex: 0,
        [OWN_KEYS]: "true", "data-key": "root" });
      const saves = (event) => { // the one shortcut of the page that is for everyone in it
        root.setAttribute(OWN_KEYS, "true"); // a key may come before the timer of the one before it
        if (!(event.ctrlKey || event.metaKey) || event.key?.toLowerCase() !== "s" || !event.composedPath().includes(root)) return;
        root.removeAttribute(OWN_KEYS);
        setTimeout(() => root.setAttribute(OWN_KEYS, "true"));
      };
      addEventListener("keydown", saves, true);
      const line = h("p", { class: "state-line", role: "status", hidden: true });
      const note = (text) => { line.hidden = !text; line.textContent = text ?? ""; };
      let said = "";
      const kernel = new Kernel(model, (state) => {
        root.dataset.kernel = state;
        if (state === "gone") note("The kernel is gone: this shows what was loaded. Run the cell again to go on.");
        else if (state === "busy") note(said = "waiting for the kernel, which is busy …");
        else if (state === "silent") note(said = "The kernel doesn't answer: it is busy, or it was restarted. Then run the cell again.");
        else if (line.textContent === said) note("");
      });
      kernel.on("note", (message) => note(message.text));
      const behind = model.get("state")?.static;
      const hiding = behind && h("style", {}, `.${CSS.escape(behind)} { display: none; }`);
      if (hiding) document.head.append(hiding);
      const end = draw({ root, model, kernel, note });
      root.append(line);
      el.append(root);
      return () => { end?.(); kernel.close(); hiding?.remove(); removeEventListener("keydown", saves, true); root.remove(); };
    },
  };
}
