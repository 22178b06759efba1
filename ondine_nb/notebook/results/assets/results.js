/* The results view: plots that filter, a table of any length, a row in full. */

const ROW = 45; // px of a row: two lines of text
const TALLEST = 8_000_000; // px: Chromium's tallest element is not much more than four times that
const CHUNK = 60; // rows asked for at once
const WIDE = 960, NARROW = 640; // px of the view: the pane stands beside; the texts share a column

/** Scrolls `count` rows of `ROW` px, some of them taller by `extra` px, in a box that shows a few. */
class Scroller {
  constructor(draw) {
    this.draw = draw;
    this.top = 0;
    this.last = 0;
    this.count = 0;
    this.extra = new Map();
    this.room = 400;
    this.head = 28;
    this.window = h("div", { class: "window" });
    this.space = h("div", { class: "space" }, this.window);
    this.box = h("div", { class: "scroll", "data-key": "scroll" }, this.space);
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
  }
  offset(place) {
    let offset = place * ROW;
    for (const [at, px] of this.extra) if (at < place) offset += px;
    return offset;
  }
  get total() { return this.offset(this.count); }
  get view() { return Math.max(0, this.room - this.head); }
  get most() { return Math.max(0, this.total - this.view); }
  get scaled() { return this.total + this.head > TALLEST; }
  get reach() { return Math.max(0, this.box.scrollHeight - this.box.clientHeight); }
  /** The first row that is seen at `top`. */
  at(top) {
    let place = Math.min(this.count - 1, Math.floor(top / ROW));
    while (place > 0 && this.offset(place) > top) place -= 1;
    while (place + 1 < this.count && this.offset(place + 1) <= top) place += 1;
    return Math.max(0, place);
  }
  fit(count, tallest) {
    this.count = count;
    this.room = Math.min(this.total + this.head, tallest);
    this.box.style.height = `${this.room + this.sideways}px`;
    this.window.style.height = `${this.room}px`;
    this.space.style.height = `${Math.min(this.total + this.head, TALLEST)}px`;
    this.to(Math.min(this.top, this.most));
  }
  /** The height of the bar that scrolls sideways. */
  get sideways() { return this.box.offsetHeight - this.box.clientHeight; }
  to(top) {
    this.top = Math.max(0, Math.min(top, this.most));
    this.box.scrollTop = this.scaled ? Math.round((this.top / this.most) * this.reach) : this.top;
    this.last = this.box.scrollTop;
    this.draw();
  }
  scrolled() {
    const now = this.box.scrollTop, by = now - this.last;
    if (!by && now === this.last) return;
    this.last = now;
    if (!this.scaled) this.top = now;
    else if (now <= 0) this.top = 0;
    else if (now >= this.reach - 1) this.top = this.most;
    else if (Math.abs(by) < 3 * this.room) this.top = Math.max(0, Math.min(this.most, this.top + by));
    else this.top = (now / this.reach) * this.most;
    this.draw();
  }
  show(place) {
    const from = this.offset(place), to = from + ROW;
    if (from < this.top) this.to(from);
    else if (to > this.top + this.view) this.to(to - this.view);
    else this.draw();
  }
}

export default view("ondine-results", ({ root, model, kernel, note }) => {
  const S = {
    state: {}, look: null, query: {}, lines: new Map(), asked: new Set(), open: null, cursor: -1, needle: "",
    found: null, choosing: false, chosen: false, kind: "", hidden: false, failed: null, tab: "Text",
    expanded: new Map(), made: new Map(), mode: "", latest: 0, sheet: [], edit: null,
  };
  const part = (name, more) => h("div", { class: name, ...more });
  const head = part("head"), facets = part("facets"), tools = part("tools"), chooser = part("chooser");
  const empty = part("empty"), failed = part("failed"), foot = part("foot"), pane = part("pane", { hidden: true });
  const scroller = new Scroller(() => drawRows());
  const left = h("div", { class: "left" }, scroller.box, empty, failed, foot);
  const split = h("div", { class: "split" }, left, pane);
  root.append(head, facets, tools, chooser, split);
  const pictures = new Pictures({ root, kernel, note, filled: () => { if (S.look && inPlace()) drawRows(); } });

  // -- what is asked of the kernel

  const settings = () => ({ ...S.query, names: S.query.names, needle: S.needle });

  function change(query) {
    Object.assign(S.query, query);
    return look();
  }

  async function look() {
    const mine = ++S.latest;
    try {
      const told = await kernel.ask("look", settings());
      if (mine !== S.latest) return;
      take(told);
      drawAll();
      note("");
      if (S.needle) find(0);
    } catch (error) { if (!kernel.gone) note(error.message); }
  }

  function take(told) {
    S.look = told;
    S.failed = told.failed;
    S.kind = "";
    S.lines = new Map();
    S.asked = new Set();
    S.expanded = new Map();
    if (S.open) scroller.extra.clear();
    keep(0, told.lines);
    S.cursor = Math.min(S.cursor, told.places - 1);
    scroller.extra.clear();
    if (S.open) locate(S.open.at);
  }

  const keep = (start, lines) => lines.forEach((line, at) => S.lines.set(start + at, line));

  /** Rows of which something else is known now: they stay where they are. */
  function renewLines(lines) {
    const known = new Map(lines.map((line) => [line.at, line]));
    for (const [place, line] of S.lines) if (known.has(line.at)) S.lines.set(place, known.get(line.at));
    if (S.failed) S.failed.lines = S.failed.lines.map((line) => known.get(line.at) ?? line);
  }

  function locate(at) {
    for (const [place, line] of S.lines) if (line.at === at) { S.cursor = place; return; }
    kernel.ask("row", { at }).then((row) => { if (row.place !== null) { S.cursor = row.place; drawRows(); } }, () => {});
  }

  async function fetch(chunk) {
    const version = S.look.version;
    if (S.asked.has(chunk)) return;
    S.asked.add(chunk);
    try {
      const told = await kernel.ask("rows", { version, start: chunk * CHUNK, count: CHUNK, needle: S.needle });
      if (version !== S.look.version) return;
      if (told.version !== version) return void look(); // another picture of the view asked for other rows
      keep(told.start, told.lines);
      drawRows();
    } catch (error) { S.asked.delete(chunk); if (!kernel.gone) note(error.message); }
  }

  const can = (work) => async () => {
    try { await work(); } catch (error) { if (!kernel.gone) note(error.message); }
  };

  // -- the columns that are shown

  const column = (name) => S.state.columns.find((it) => it.name === name && it.role !== "label");
  const labels = () => S.state.columns.filter((it) => it.role === "label");
  const named = () => S.look.names.map(column).filter(Boolean);

  /** The least and the wished width of a column, in px. */
  function widthsOf(it) {
    const signs = it.kind === "choice" && S.state.columns.some((each) => each.role === "fact" && each.name === "review");
    const text = (it.kind === "choice" ? 42 : 18) + 6.8 * it.wide;
    if (it.kind === "media") return [70, 16 + 54 * it.wide];
    const [least, most] = { bool: [46, 76], number: [58, 110], date: [86, 130], choice: [58, 150], fact: [60, 110],
      list: [86, 180], json: [90, 180] }[it.kind] ?? [80, it.role === "text" ? 220 : 180];
    const small = Math.max(least, Math.min(76, 16 + 6.4 * it.name.length), it.kind === "choice" ? Math.min(100, text) : 0);
    return [small, Math.round(Math.max(small, Math.min(130, 26 + 7 * it.name.length), Math.min(most, text + (signs ? 18 : 0))))];
  }
  const widthOf = (it) => widthsOf(it)[1];

  /** Which columns stand how wide: an answer is never off the screen for a text beside it. */
  function layOut() {
    const room = Math.max(240, scroller.box.clientWidth || left.clientWidth);
    const all = named(), media = all.filter((it) => it.kind === "media"), others = all.filter((it) => it.kind !== "media");
    const answers = others.filter((it) => it.role !== "text"), texts = others.filter((it) => it.role === "text");
    const seen = media.reduce((sum, it) => sum + widthOf(it), 0);
    const label = Math.min(120, Math.max(46, 20 + 7 * Math.max(...labels().map((it) => Math.max(it.wide, it.name.length)))));
    const narrow = S.mode === "narrow" && texts.length > 1;
    const sums = [0, 1].map((at) => answers.reduce((sum, it) => sum + widthsOf(it)[at], 0));
    const over = label + seen + sums[1] + (!texts.length ? 0 : narrow || texts.length < 2 ? 140 : 240) - room; // where it is tight, answers give way
    const give = over > 0 && sums[1] > sums[0] ? Math.min(1, over / (sums[1] - sums[0])) : 0;
    const wide = (it) => { const [small, wish] = widthsOf(it); return Math.floor(wish - (wish - small) * give); };
    const fixed = label + seen + answers.reduce((sum, it) => sum + wide(it), 0);
    let shown = texts;
    if (!narrow && !S.chosen && S.state.is_run)
      while (shown.length > 1 && fixed + shown.length * 120 > room) shown = shown.slice(0, -1);
    let columns = [];
    if (narrow) columns.push({ texts: shown, width: 0 });
    else for (const it of shown) columns.push({ one: it, width: 0 });
    const flexible = columns.length;
    const spare = Math.max(flexible * 120, room - fixed);
    const wishes = columns.map((it) => (it.one ? Math.max(60, Math.min(400, widthOf(it.one) * (it.one.wide > 60 ? 2 : 1))) : 1));
    const sum = wishes.reduce((a, b) => a + b, 0);
    columns.forEach((it, at) => { it.width = Math.floor((spare * wishes[at]) / sum); });
    for (const it of answers) columns.push({ one: it, width: wide(it) });
    const width = label + seen + columns.reduce((total, it) => total + it.width, 0);
    if (width < room && columns.length) { // the wider texts take what is left
      const long = columns.filter((it) => it.texts || it.one.kind === "text" || it.one.kind === "list");
      const takers = long.length ? long : columns;
      takers.forEach((it) => { it.width += Math.floor((room - width) / takers.length); });
    }
    S.sheet = columns = [...media.map((it) => ({ one: it, width: widthOf(it) })), ...columns];
    S.label = label;
    S.shown = (narrow ? texts : shown).length + media.length + answers.length;
    S.width = label + columns.reduce((total, it) => total + it.width, 0);
  }

  // -- cells

  const nothing = () => h("span", { class: "muted" }, "–", unseen("missing"));

  function cell(it, value, full, at) {
    if (it.kind === "media") return value === null ? nothing() : pictures.small(at, it.name);
    if (value === null || value === undefined) return nothing();
    if (typeof value === "boolean")
      return h("span", { class: value ? "yes" : "muted" }, value ? icon("check", 10) : "–", unseen(String(value)));
    if (Array.isArray(value))
      return value.length ? h("ul", { class: `items${full ? "" : " two"}` }, value.map((item) => h("li", {}, marked(item, hits(item, S.needle))))) : h("span", { class: "muted" }, "none");
    if (it.kind === "choice") return h("span", { class: "tag", dir: "auto" }, marked(value, hits(value, S.needle)));
    if (it.kind === "number") {
      const part = it.unit ? Math.max(0, Math.min(1, parseFloat(value))) : null;
      return h("span", { class: "val" }, marked(value, hits(value, S.needle)),
        part === null ? null : h("i", { style: { "--v": `${part * 100}%` } }));
    }
    if (it.kind === "fact" || it.kind === "date") return h("span", { class: "one" }, value);
    if (full) return h("div", { class: "text", dir: "auto" }, it.role === "answer" ? markdown(value, hits(value, S.needle)) : prose(value, hits(value, S.needle)));
    const spans = hits(value, S.needle);
    return h("span", { class: "two", dir: "auto" }, it.role === "answer" ? inline(value, spans, 0, value.length) : marked(value, spans));
  }

  const SIGNS = { right: "check", corrected: "close", "filled in": "pen" };
  /** What a label says of an answer, as a sign; its word stands beside it, or is heard. */
  const signOf = (word, after) => h("span", { class: `sign ${word === "right" ? "ok" : word === "corrected" ? "no" : "new"}`, title: word }, icon(SIGNS[word]), after ?? unseen(`${word}: `));

  /** A cell with the sign of what was said of it: a tag has it inside, so that it never stands alone. */
  function signed(word, shown) {
    if (!word) return shown;
    if (!shown.matches(".tag")) return [signOf(word), shown];
    shown.prepend(signOf(word));
    return shown;
  }

  const classOf = (it) => [it.role === "answer" && "ans", (it.kind === "number" || it.kind === "fact") && "num",
    it.kind === "bool" && "mid", it.role === "fact" && "muted"].filter(Boolean).join(" ");

  function sortHead(it, sticky) {
    const sorted = S.query.sort === it.name;
    const order = sorted ? (S.query.descending ? "descending" : "ascending") : null;
    const next = () => sorted ? (S.query.descending ? change({ sort: "", descending: false }) : change({ descending: true }))
      : change({ sort: it.name, descending: false });
    return h("span", { class: "sort" }, h("button", { type: "button", onclick: next, "data-key": `sort ${it.name}`,
      title: `${it.name}: sort` }, order ? icon(order === "ascending" ? "up" : "down") : null, h("span", { dir: "auto" }, it.name),
      unseen(order ? `, sorted ${order}` : "")));
  }

  function header() {
    const order = (it) => S.query.sort === it.name ? (S.query.descending ? "descending" : "ascending") : null;
    const first = h("th", { scope: "col", class: "pos", "aria-sort": labels().map(order).find(Boolean) ?? null }, labels().map(sortHead));
    return h("tr", { "aria-rowindex": 1 }, first, S.sheet.map(({ one, texts }) => one
      ? h("th", { scope: "col", class: classOf(one), "aria-sort": order(one) }, sortHead(one))
      : h("th", { scope: "col", "aria-sort": texts.map(order).find(Boolean) ?? null }, texts.flatMap((it, at) => [at ? " · " : null, sortHead(it)]))));
  }

  /** The element of a row: the one that stands there already, as long as it would say the same. */
  function tableRow(place) {
    const line = S.lines.get(place);
    const says = JSON.stringify([S.look.version, Boolean(line), place === S.cursor, S.expanded.has(line?.at), S.needle, S.label, S.sheet.map((it) => it.width)]);
    const known = S.made.get(place);
    if (known?.says === says && known.line === line) return known.row;
    const row = newRow(place, line);
    S.made.set(place, { says, line, row });
    if (S.made.size > 400) S.made.delete(S.made.keys().next().value);
    return row;
  }

  function newRow(place, line) {
    if (!line) return h("tr", { class: "blank", "aria-rowindex": place + 2 }, h("th", { scope: "row", class: "pos" }), h("td", { colspan: S.sheet.length }, unseen("loading")));
    const full = S.expanded.get(line.at), on = place === S.cursor;
    const value = (name) => line.cells[S.look.names.indexOf(name)];
    const whole = (it) => full ? (full.texts.concat(full.parsed, full.inputs).find(([name]) => name === it.name)?.[1] ?? value(it.name)) : value(it.name);
    const cells = S.sheet.map(({ one, texts }) => one
      ? h("td", { class: `${classOf(one)}${line.said[one.name] ? " said" : ""}`, data: { field: one.name } }, signed(line.said[one.name], cell(one, whole(one), full, line.at)))
      : h("td", { class: "stack" }, texts.map((it) => h("span", { class: full ? "" : "one", data: { field: it.name } }, full ? cell(it, whole(it), true) : marked(value(it.name) ?? "–", hits(value(it.name) ?? "", S.needle))))));
    return h("tr", { class: `${on ? "on" : ""}${full ? " tall" : ""}`, data: { row: line.at, place }, "aria-rowindex": place + 2, "aria-current": on ? "true" : null },
      h("th", { scope: "row", class: "pos" }, h("button", { type: "button", tabindex: -1, "data-key": `row ${line.at}`, "aria-label": `open row ${line.label.join(" ")}`, onclick: () => openAt(place) }, line.label.join(" · "))), cells);
  }

  // -- drawing

  function drawAll() {
    drawHead();
    drawFacets();
    drawTools();
    drawChooser();
    drawTable();
    drawFailed();
    drawPane();
  }

  function drawHead() {
    const { head: it, rows, retrying, ended, is_run: run } = S.state;
    const filtered = S.look && S.query.conditions.length > 0;
    const facts = [...(it.facts ?? [])], tone = { done: "good", failed: "bad" }[it.state] ?? "";
    redraw(root, head, h("b", { dir: "auto" }, it.name), h("span", { class: "muted facts" }, facts.join(" · "),
      it.failed ? [facts.length ? " · " : "", h("span", { class: "bad" }, `${count(it.failed)} failed`)] : null),
      h("span", { class: "spacer" }),
      filtered ? [h("span", { class: "small muted legend wide-only" }, `${count(S.look.count)} in view`),
        h("span", { class: "small muted legend wide-only", style: { "--key": "var(--o-pale)" } }, `all ${count(rows)}`)] : null,
      retrying ? [h("span", { class: "small muted" }, `asked again: ${count(retrying.done)} of ${count(retrying.rows)}`),
        button("Stop", can(() => kernel.ask("stop")), { "data-key": "stop" })] : null,
      run && it.state ? h("span", { class: `pill ${tone}` }, it.state) : null,
      run && !ended && !retrying ? button("Refresh", can(() => kernel.ask("refresh")), { "data-key": "refresh" }) : null);
    root.setAttribute("aria-label", `results of ${it.name}`);
  }

  const conditionOn = (name) => S.query.conditions.find((it) => it.name === name);
  const without = (name) => S.query.conditions.filter((it) => it.name !== name || it.text);

  function toggle(facet, value) {
    const old = conditionOn(facet.name), values = new Set(old?.values ?? []);
    let missing = old?.missing ?? false;
    if (value === null) missing = !missing;
    else if (!values.delete(value)) values.add(value);
    const now = values.size || missing ? [{ name: facet.name, values: [...values], missing }] : [];
    return change({ conditions: [...without(facet.name), ...now] });
  }

  function bar(facet, most, it, value) {
    const share = (rows) => `${most ? Math.max(rows ? 1 : 0, (100 * rows) / most) : 0}%`;
    const none = value === null;
    return h("button", { type: "button", class: `fb${it.on ? " on" : facet.on ? " out" : ""}${none ? " none" : ""}`, "aria-pressed": String(Boolean(it.on)),
      "data-key": `bar ${facet.name} ${none ? "" : `=${value}`}`, title: it.text, data: { value: none ? "" : value },
      "aria-label": `${facet.name}: ${it.text}, ${count(it.rows)} of ${count(it.all)}`, onclick: () => toggle(facet, value) },
    h("span", { dir: "auto" }, facet.kind === "bool" && value !== null ? (it.text.toLowerCase() === "true" ? "✓ true" : "– false") : it.text),
    h("i", { style: { "--t": share(it.all), "--s": share(it.rows) } }),
    h("span", { class: "n" }, count(it.rows)), h("span", { class: "of" }, it.rows === it.all ? "" : `/ ${count(it.all)}`));
  }

  function drawFacets() {
    const told = S.look.facets;
    facets.hidden = !told.length;
    redraw(root, facets, told.map((facet) => {
      const gone = { text: facet.none, rows: facet.gone[0], all: facet.gone[1], on: facet.picked_gone };
      const missing = gone.all ? bar(facet, facet.bars ? Math.max(1, gone.all, ...facet.bars.map((it) => it.all)) : S.state.rows, gone, null) : null;
      const named = [h("span", { class: "what", dir: "auto", title: facet.name }, facet.name), h("span", { class: "kind" }, facet.kind)];
      const body = facet.bars ? barsOf(facet) : histogram(facet);
      const longest = facet.bars ? Math.max(...facet.bars.map((it) => it.text.length), gone.all ? 9 : 4) : 9;
      return h("div", { class: "facet", role: "group", "aria-label": `filter by ${facet.name}`, data: { facet: facet.name },
        style: { "--w": `${Math.min(150, Math.round(longest * 6.8) + 8)}px` } },
      h("h3", {}, named, facet.note ? h("span", { class: "end" }, facet.note) : null), body, missing);
    }));
  }

  function barsOf(facet) {
    const most = Math.max(1, ...facet.bars.map((it) => it.all));
    const fold = (wide) => change({ wide: wide ? [...S.query.wide, facet.name] : S.query.wide.filter((it) => it !== facet.name) });
    const others = facet.others && h("button", { type: "button", class: "fb rest", "data-key": `others ${facet.name}`, onclick: () => fold(true), title: "show them",
      "aria-label": `${count(facet.others[0])} other values of ${facet.name}, ${count(facet.others[1])} of ${count(facet.others[2])}: show them` },
    h("span", {}, `${count(facet.others[0])} others`), h("i"), h("span", { class: "n" }, count(facet.others[1])),
    h("span", { class: "of" }, facet.others[1] === facet.others[2] ? "" : `/ ${count(facet.others[2])}`));
    return [h("div", { class: facet.wide ? "bars wide" : "bars" }, facet.bars.map((it) => bar(facet, most, it, it.value)), others),
      facet.wide ? link("fewer", () => fold(false), { "data-key": `fewer ${facet.name}` }) : null];
  }

  function histogram(facet) {
    const [rows, all] = facet.bins, most = Math.max(1, ...all), size = all.length;
    let [low, high] = facet.brush ?? [0, size];
    const bars = all.map((total, at) => h("i", { class: facet.brush && (at < low || at >= high) ? "out" : "", title: `${facet.edges[at]} to ${facet.edges[at + 1]}: ${count(rows[at])} of ${count(total)}`,
      style: { "--t": `${total ? Math.max(2, (100 * total) / most) : 0}%`, "--s": total ? `${(100 * rows[at]) / total}%` : "0%" } }));
    const brush = h("span", { class: "brush", hidden: !facet.brush });
    const apply = () => change({ conditions: low <= 0 && high >= size ? without(facet.name) : [...without(facet.name), { name: facet.name, low, high }] });
    const place = () => {
      brush.hidden = false;
      brush.style.left = `${(100 * low) / size}%`;
      brush.style.width = `${(100 * (high - low)) / size}%`;
      [[lows, low], [highs, high]].forEach(([end, at]) => {
        end.style.left = `${(100 * at) / size}%`;
        end.setAttribute("aria-valuenow", at);
        end.setAttribute("aria-valuetext", facet.edges[at]);
      });
      from.textContent = facet.edges[low];
      to.textContent = facet.edges[high];
      bars.forEach((it, at) => it.classList.toggle("out", at < low || at >= high));
    };
    const handle = (name, move) => h("span", { class: "handle", role: "slider", tabindex: 0, "aria-label": `${facet.name} ${name}`, "aria-valuemin": 0, "aria-valuemax": size,
      "data-key": `handle ${facet.name} ${name}`, onkeydown: (event) => {
        const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -size, End: size }[event.key];
        if (!by) return;
        event.preventDefault();
        event.stopPropagation();
        move(by);
        place();
        apply();
      } });
    const lows = handle("from", (by) => { low = Math.max(0, Math.min(high - 1, low + by)); });
    const highs = handle("up to", (by) => { high = Math.min(size, Math.max(low + 1, high + by)); });
    const from = h("span"), to = h("span");
    const plot = h("div", { class: "hist", role: "group", "aria-label": `histogram of ${facet.name}, ${facet.edges[0]} to ${facet.edges[size]}` }, bars, brush, lows, highs);
    const binAt = (event) => { const box = plot.getBoundingClientRect(); return Math.max(0, Math.min(size - 1, Math.floor(((event.clientX - box.left) / box.width) * size))); };
    plot.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();
      plot.setPointerCapture(event.pointerId);
      const grabbed = event.target === lows ? high : event.target === highs ? low : null;
      const start = binAt(event);
      let moved = false;
      const drag = (it) => {
        const now = binAt(it);
        if (grabbed !== null) {
          const edge = now + (event.target === highs ? 1 : 0);
          [low, high] = event.target === lows ? [Math.min(edge, high - 1), high] : [low, Math.max(edge, low + 1)];
        } else [low, high] = [Math.min(start, now), Math.max(start, now) + 1];
        moved = true;
        place();
      };
      const done = (it) => {
        plot.removeEventListener("pointermove", drag);
        plot.removeEventListener("pointerup", done);
        plot.removeEventListener("pointercancel", done);
        if (!moved && grabbed !== null) return;
        if (!moved) drag(it);
        apply();
      };
      plot.addEventListener("pointermove", drag);
      plot.addEventListener("pointerup", done);
      plot.addEventListener("pointercancel", done);
    });
    place();
    brush.hidden = !facet.brush;
    return [plot, h("p", { class: "ends" }, from, to)];
  }

  const icons = { class: "btn icon" };

  function drawTools() {
    const { look: it, state } = S, total = count(state.rows), filtered = S.query.conditions.length > 0;
    const chips = it.chips.map((text, at) => h("span", { class: "chip" }, h("span", { dir: "auto", title: text }, text),
      h("button", { type: "button", "aria-label": `remove ${text}`, "data-key": `chip ${at}`,
        onclick: () => change({ conditions: S.query.conditions.filter((_, other) => other !== at) }) }, icon("close"))));
    const shown = h("b", { class: "nowrap count", role: "status" }, filtered ? `${count(it.count)} of ${total} rows` : `${total} ${state.rows === 1 ? "row" : "rows"}`);
    const all = state.columns.filter((each) => each.role !== "label").length;
    layOut();
    redraw(root, tools, chips, shown,
      filtered ? link("Clear", () => change({ conditions: [] }), { "data-key": "clear" }) : null,
      link("as frame", asFrame, { "data-key": "frame", title: "bind these rows to a name, for the next cell" }),
      h("span", { class: "spacer" }), findBox,
      h("button", { type: "button", class: "btn", "aria-expanded": String(S.choosing), "data-key": "columns", onclick: () => { S.choosing = !S.choosing; drawTools(); drawChooser(); } },
        "Columns ", h("span", { class: "muted" }, `${count(S.shown)} of ${count(all)}`), icon(S.choosing ? "up" : "down")),
      state.can_review ? button(filtered ? `Review these ${count(it.count)}` : "Review", can(() => kernel.ask("review")), { "data-key": "review" }) : null);
    drawFound();
  }

  async function asFrame() {
    try {
      const it = await kernel.ask("frame");
      const name = it.name || "view.selected";
      note(`${name} holds these ${count(it.rows)} rows: use it in the next cell`);
      navigator.clipboard?.writeText(name).catch(() => {});
    } catch (error) { if (!kernel.gone) note(error.message); }
  }

  function drawChooser() {
    chooser.hidden = !S.choosing;
    if (!S.choosing) return void chooser.replaceChildren();
    const flip = (list, name, on) => on ? [...list, name] : list.filter((it) => it !== name);
    const columns = S.state.columns.filter((it) => it.role !== "label");
    const inOrder = (names) => columns.filter((it) => names.includes(it.name)).map((it) => it.name);
    const visible = new Set(S.sheet.flatMap((it) => it.one ? [it.one.name] : it.texts.map((each) => each.name)));
    redraw(root, chooser, h("ul", { class: "columns" }, columns.map((it) => h("li", {},
      h("label", {}, h("input", { type: "checkbox", checked: visible.has(it.name), "data-key": `show ${it.name}`, "aria-label": `show ${it.name}`,
        onchange: (event) => { const names = S.chosen ? S.query.names : [...visible]; S.chosen = true; change({ names: inOrder(flip(names, it.name, event.target.checked)) }); } }),
      h("span", { dir: "auto", title: it.name }, it.name), h("span", { class: "muted" }, it.role === "text" ? "read" : it.role)),
      h("label", { class: "plot" }, h("input", { type: "checkbox", checked: S.query.plots.includes(it.name), "data-key": `plot ${it.name}`, "aria-label": `plot ${it.name}`,
        onchange: (event) => change({ plots: inOrder(flip(S.query.plots, it.name, event.target.checked)) }) }), "plot")))),
    h("p", {}, link("all", () => { S.chosen = true; change({ names: columns.map((it) => it.name) }); }, { "data-key": "show all" }), " ",
      link("as at first", () => { S.chosen = false; change({ names: S.first }); }, { "data-key": "show first" })));
  }

  // -- the search

  let typing = 0;
  const findInput = h("input", { type: "text", "aria-label": "find", placeholder: "find", "data-key": "find",
    oninput: () => { clearTimeout(typing); typing = setTimeout(() => { S.needle = findInput.value.trim(); S.found = null; refind(); }, 220); } });
  const foundText = h("span", { class: "muted nowrap", role: "status" });
  const onlyThese = link("only these", () => { const text = S.needle; findInput.value = S.needle = ""; S.found = null; change({ conditions: [...S.query.conditions, { text }] }); }, { "data-key": "only these" });
  const findNext = button("next hit", () => find(1), { ...icons, "aria-label": "next hit", "data-key": "next hit" }, icon("down"));
  const findBox = h("span", { class: "find field-box" }, icon("find", 11), findInput, foundText, onlyThese, findNext);

  function drawFound() {
    const it = S.found, none = !S.needle;
    foundText.textContent = none || !it ? "" : it.hits ? `${count(it.number)} of ${count(it.hits)}` : "no hit";
    onlyThese.hidden = findNext.hidden = none || !it?.hits;
  }

  function refind() {
    S.lines = new Map();
    S.asked = new Set();
    drawRows();
    drawPane();
    if (S.needle) find(0);
    else drawFound();
  }

  async function find(step) {
    const needle = S.needle;
    if (!needle) return;
    try {
      const from = S.found?.place ?? (S.cursor >= 0 ? S.cursor : scroller.at(scroller.top));
      const it = await kernel.ask("find", { needle, place: from, step });
      if (needle !== S.needle) return;
      S.found = it;
      drawFound();
      if (it.place !== null) { S.cursor = it.place; scroller.show(it.place); if (S.open) openAt(it.place); }
    } catch (error) { if (!kernel.gone) note(error.message); }
  }

  // -- the table

  const table = h("table", { class: "rows" });
  const columnsOf = h("colgroup"), headOf = h("thead"), body = h("tbody");
  table.append(columnsOf, headOf, body);
  scroller.window.append(table);

  function drawTable() {
    layOut();
    table.style.width = scroller.window.style.width = `${S.width}px`;
    columnsOf.replaceChildren(h("col", { style: { width: `${S.label}px` } }), ...S.sheet.map((it) => h("col", { style: { width: `${it.width}px` } })));
    redraw(root, headOf, header());
    table.setAttribute("aria-rowcount", S.look.places + 1);
    table.setAttribute("aria-label", `rows of ${S.state.head.name}`);
    const none = !S.look.places;
    scroller.box.hidden = none;
    empty.hidden = !none;
    empty.textContent = !none ? "" : S.state.rows ? (S.query.conditions.length ? "no answered row meets these conditions" : "no row is answered yet") : "no rows";
    scroller.head = headOf.offsetHeight || 28;
    scroller.fit(S.look.places, S.mode === "wide" ? 560 : S.open && S.mode !== "wide" ? 640 : 480);
  }

  function drawRows() {
    if (!S.look) return;
    if (!S.look.places) return drawFoot(0, 0);
    const first = scroller.at(scroller.top);
    const rows = [];
    let place = first, bottom = scroller.offset(first);
    while (place < S.look.places && bottom < scroller.top + scroller.view + ROW) {
      rows.push(tableRow(place));
      if (inPlace() && S.open.at === S.lines.get(place)?.at) rows.push(h("tr", { class: "in-place" }, h("td", { colspan: S.sheet.length + 1 }, pane)));
      if (!S.lines.has(place)) fetch(Math.floor(place / CHUNK));
      place += 1;
      bottom = scroller.offset(place);
    }
    const next = Math.floor((place + 20) / CHUNK);
    if (place < S.look.places && !S.lines.has(Math.min(place + 20, S.look.places - 1))) fetch(next);
    if (inPlace()) { // the pane stays the same element: its focus and its scroll are kept
      const kept = root.getRootNode().activeElement, had = pane.contains(kept);
      redraw(root, body, rows);
      if (had && pane.isConnected) kept.focus({ preventScroll: true });
      pane.style.width = `${scroller.box.clientWidth - 8}px`;
    } else if (rows.length !== body.children.length || rows.some((row, at) => row !== body.children[at])) redraw(root, body, rows);
    body.style.transform = `translateY(${scroller.offset(first) - scroller.top}px)`;
    for (const two of body.querySelectorAll("td > .two, td.stack > .one")) {
      const cut = two.scrollHeight > two.clientHeight + 2 || two.textContent.endsWith("…") || two.scrollWidth > two.clientWidth + 2;
      const row = two.closest("tr"), at = Number(row.dataset.row);
      if (cut && !row.querySelector(".more")) two.closest("td").append(more(at, Number(row.dataset.place), false));
    }
    for (const row of body.querySelectorAll("tr.tall:not(:has(.more))")) row.cells[1]?.append(more(Number(row.dataset.row), Number(row.dataset.place), true));
    measure();
    drawFoot(first + 1, Math.min(S.look.places, scroller.at(scroller.top + scroller.view - 1) + 1));
  }

  const more = (at, place, open) => h("button", { type: "button", class: "more", tabindex: -1, "data-key": `more ${at}`, "aria-expanded": String(open),
    "aria-label": `${open ? "less" : "more"} of row ${at}`, onclick: (event) => { event.stopPropagation(); expand(at, place); } }, open ? "less" : "more");

  async function expand(at, place) {
    if (S.expanded.delete(at)) {
      scroller.extra.delete(place);
      return drawTable();
    }
    try {
      S.expanded.set(at, await kernel.ask("row", { at }));
      drawTable();
    } catch (error) { if (!kernel.gone) note(error.message); }
  }

  /** Rows that are taller than the others count as such. */
  function measure() {
    let changed = false;
    for (const row of body.querySelectorAll("tr[data-place]")) {
      const place = Number(row.dataset.place), below = row.nextElementSibling;
      const tall = row.classList.contains("tall") ? row.offsetHeight - ROW : 0;
      const extra = Math.max(0, tall) + (below?.classList.contains("in-place") ? below.offsetHeight : 0);
      if ((scroller.extra.get(place) ?? 0) !== extra) {
        changed = true;
        if (extra) scroller.extra.set(place, extra);
        else scroller.extra.delete(place);
      }
    }
    if (changed) {
      const before = scroller.draw;
      scroller.draw = () => {};
      scroller.fit(S.look.places, scroller.room > 480 || S.open ? 640 : 480);
      scroller.draw = before;
      const first = scroller.at(scroller.top);
      body.style.transform = `translateY(${scroller.offset(Number(body.querySelector("tr[data-place]")?.dataset.place ?? first)) - scroller.top}px)`;
    }
  }

  function drawFoot(first, last) {
    const total = S.look.places;
    const text = !total ? "" : `${count(first)} to ${count(last)} of ${count(total)}${last < total ? ", scroll for more" : ""}`;
    const write = (kind, name) => link(name, can(async () => {
      const it = await kernel.ask("export", { kind });
      note(`${count(it.rows)} rows written to ${it.file} in ${it.folder}`);
    }), { "data-key": `export ${kind}`, "aria-label": `export these rows as ${name}` });
    const key = (name) => h("kbd", {}, name);
    redraw(root, foot, h("span", { class: "range" }, text), h("span", { class: "spacer" }), write("csv", "CSV"), write("parquet", "Parquet"),
      h("span", { class: "keys" }, h("span", {}, key("j"), " ", key("k"), " row"), h("span", {}, key("Enter"), " open"), h("span", {}, key("/"), " find"), media() ? h("span", {}, key("v"), " picture") : null, S.state.can_correct ? h("span", {}, key("e"), " edit") : null, h("span", {}, key("Esc"), " close")));
  }

  // -- rows that failed

  async function showFailed(kind, most) {
    try {
      S.failed = await kernel.ask("failed", { kind, most });
      S.kind = kind;
      drawFailed();
    } catch (error) { if (!kernel.gone) note(error.message); }
  }

  function drawFailed() {
    const it = S.failed;
    failed.hidden = !it?.rows;
    if (!it?.rows) return void failed.replaceChildren();
    const what = `${count(it.rows)} failed ${it.rows === 1 ? "row" : "rows"}${it.kept ? ", kept in view" : ""}`;
    const kinds = it.kinds.length > 1 ? it.kinds.map(([kind, rows]) => h("button", { type: "button", class: "kind-of", "aria-pressed": String(S.kind === kind), "data-key": `kind ${kind}`,
      onclick: () => showFailed(S.kind === kind ? "" : kind, 20) }, `${kind} ${count(rows)}`)) : null;
    const seen = named().filter((each) => each.kind === "media"), texts = named().filter((each) => each.role === "text" && each.kind !== "media");
    const shown = (line) => [seen.map((each) => h("span", { class: "seen", data: { field: each.name } }, pictures.small(line.at, each.name))),
      texts.length ? h("span", { class: "one", dir: "auto" }, String(text(line))) : null];
    const text = (line) => { const at = texts.length ? S.look.names.indexOf(texts[0].name) : -1; return at < 0 ? "" : line.cells[at] ?? "–"; };
    const rows = S.hidden ? null : h("table", { class: "rows", "aria-label": "failed rows" }, h("colgroup", {}, h("col", { style: { width: `${S.label}px` } }), h("col", { style: { width: texts.length || seen.length ? "38%" : "0" } }), h("col")),
      h("tbody", {}, it.lines.map((line) => h("tr", { class: `fail${S.open?.at === line.at ? " on" : ""}`, data: { row: line.at } },
        h("th", { scope: "row", class: "pos" }, h("button", { type: "button", "data-key": `failed ${line.at}`, "aria-label": `open row ${line.label.join(" ")}`, onclick: () => open(line.at, null) }, line.label.join(" · "))),
        h("td", { data: texts.length ? { field: texts[0].name } : {} }, shown(line)),
        h("td", { class: "why" }, h("span", { class: "one", title: line.why }, h("span", { class: "sign" }, icon("close")), unseen("failed: "), h("b", {}, line.why.split(": ")[0]), line.why.includes(": ") ? `: ${line.why.slice(line.why.indexOf(": ") + 2)}` : "", Object.keys(line.said).length ? h("span", { class: "muted" }, " · filled in") : null)))))); 
    const rest = it.shown - it.lines.length;
    redraw(root, failed, h("div", { class: "bar" }, h("span", {}, what), link(S.hidden ? "Show" : "Hide", () => { S.hidden = !S.hidden; drawFailed(); }, { "data-key": "hide failed", "aria-label": `${S.hidden ? "show" : "hide"} failed rows` }), kinds,
      h("span", { class: "spacer" }), S.state.ended ? link(`Retry ${count(it.shown)} failed`, can(() => kernel.ask("retry", { kind: S.kind })), { "data-key": "retry" }) : null), h("div", { class: "list" }, rows),
    rest > 0 && !S.hidden ? link(`${count(Math.min(rest, 200))} more of ${count(it.shown)}`, () => showFailed(S.kind, it.lines.length + 200), { "data-key": "more failed" }) : null);
  }

  // -- a row in full

  const inPlace = () => S.open !== null && S.mode !== "wide" && S.open.place !== null;

  function openAt(place) {
    const line = S.lines.get(place);
    if (line) return open(line.at, place);
    return fetch(Math.floor(place / CHUNK)).then?.(() => { const it = S.lines.get(place); if (it) open(it.at, place); });
  }

  async function open(at, place) {
    if (place !== null) S.cursor = place;
    if (S.edit && S.edit.at !== at) S.edit = null;
    if (S.open && S.open.at !== at) scroller.extra.clear();
    const mine = (S.open = { at, place, detail: S.open?.at === at ? S.open.detail : null });
    if (place !== null) scroller.show(place);
    try {
      mine.asked = kernel.ask("row", { at });
      const detail = await mine.asked;
      if (S.open !== mine) return;
      mine.detail = detail;
      drawPane();
      drawTools();
      drawTable();
      drawFailed();
      if (inPlace()) scroller.to(Math.min(scroller.offset(place), scroller.most));
    } catch (error) { if (!kernel.gone) note(error.message); }
  }

  function close() {
    S.open = S.edit = null;
    scroller.extra.clear();
    drawPane();
    drawTools();
    drawTable();
    drawFailed();
    root.focus({ preventScroll: true });
  }

  function step(by) {
    if (!S.look?.places) return;
    const to = S.cursor < 0 && Math.abs(by) < 1e9 ? (by > 0 ? scroller.at(scroller.top) : 0) : Math.max(0, Math.min(S.look.places - 1, S.cursor + by));
    if (S.open) return void openAt(to);
    S.cursor = to;
    scroller.show(to);
  }

  function fieldValue(it, value) {
    if (value === null) return nothing();
    if (Array.isArray(value)) return value.length ? h("ul", { class: "list-value" }, value.map((item) => h("li", { dir: "auto" }, marked(item, hits(item, S.needle))))) : h("span", { class: "muted" }, "none");
    if (it?.kind === "bool") return h("span", {}, value.toLowerCase() === "true" ? [icon("check", 10), " true"] : "– false");
    if (it?.kind === "choice" || it?.kind === "number") return cell(it, value, true);
    return h("div", { class: "text", dir: "auto" }, it?.role === "answer" ? markdown(value, hits(value, S.needle)) : prose(value, hits(value, S.needle)));
  }

  // -- a value corrected

  const formOf = (it, name) => it.forms.find((form) => form.name === name);

  /** The rows of the data that an answer about a group names, each to be opened. */
  function cited(it) {
    if (!it.cited.length) return null;
    const first = (text) => text.split("\n")[0];
    return [h("p", { class: "label" }, `rows it rests on: ${count(it.cited.length)}`), h("div", { class: "cited" }, it.cited.map((row) =>
      h("details", { data: { cited: row.position } }, h("summary", { dir: "auto" }, h("b", {}, row.label || `row ${count(row.position)}`), " ", h("span", { class: "muted" }, first(row.text))),
        h("div", { class: "text" }, prose(row.text, hits(row.text, S.needle))))))];
  }

  function openCited(number) {
    const row = pane.querySelector(`[data-cited="${number}"]`) ?? body.querySelector(`[data-cited="${number}"]`);
    if (!row) return;
    row.open = true;
    row.scrollIntoView({ block: "nearest" });
    row.querySelector("summary").focus();
  }

  const linked = (value) => h("ul", { class: "list-value" }, value.map((item) => h("li", {}, link(item, () => openCited(Number(item)), { "aria-label": `row ${item}` }))));

  /** A field of the row in full: its value, what was said of it, and the way to correct it. */
  function field(it, name, value) {
    const form = column(name)?.role === "answer" ? formOf(it, name) : null;
    const named = h("span", { class: "name", dir: "auto" }, name);
    if (form && S.edit?.name === name && S.edit.at === it.position) return h("li", { class: "editing", data: { field: name } }, named, editor(form));
    const said = form?.label;
    return h("li", { data: { field: name } }, named, h("div", { class: "value" }, it.citing.includes(name) && Array.isArray(value) && value.length ? linked(value) : fieldValue(column(name), value), said ? whatWasSaid(it, form, said) : null, quotesOf(it.evidence.find((each) => each.field === name), toQuote)),
      form ? h("button", { type: "button", class: "link edit", "data-key": `edit ${name}`, "aria-label": `edit ${name}`, onclick: () => edit(name) }, icon("pen", 9), "edit") : null);
  }

  function whatWasSaid(it, form, said) {
    const was = said.word === "corrected" ? ` · was ${form.was}` : "";
    return h("p", { class: "small muted judged", data: { said: said.word } }, signOf(said.word, said.word), h("span", { dir: "auto", title: was ? form.was : null }, was, said.by ? ` · ${said.by}` : ""),
      form.undo ? link("undo", () => correct("unsay", form), { "data-key": `undo ${form.name}`, "aria-label": `undo ${form.name}` }) : null);
  }

  function edit(name) {
    const it = S.open?.detail, form = it && formOf(it, name);
    if (!form) return;
    S.tab = "Text";
    S.edit = { at: it.position, name, held: form.held, wrong: "" };
    drawPane();
    if (inPlace()) drawTable();
    const control = pane.querySelector(".editing [data-key=control]");
    control?.focus();
    control?.select?.();
  }

  /** `e`: the first field of the open row, then the next one. */
  async function editNext() {
    if (!S.open && S.cursor >= 0) await openAt(S.cursor);
    while (S.open && !S.open.detail) await S.open.asked; // keys may be quicker than the kernel
    const forms = S.open?.detail?.forms ?? [];
    if (!forms.length) return;
    const at = S.edit?.at === S.open.at ? forms.findIndex((form) => form.name === S.edit.name) : -1;
    edit(forms[(at + 1) % forms.length].name);
  }

  function leave() {
    const name = S.edit.name;
    S.edit = null;
    drawPane();
    if (inPlace()) drawTable();
    return name;
  }

  /** Keep what the editor holds, or take it back: what shows comes from the kernel, once it is on disk. */
  async function correct(what, form) {
    const at = S.open.at, mine = S.edit, held = mine?.held;
    pane.setAttribute("aria-busy", "true");
    try {
      const told = await kernel.ask(what, what === "edit" ? { at, field: form.name, held } : { at, field: form.name });
      if (told.wrong) {
        if (S.edit === mine) { mine.wrong = told.wrong; drawPane(); if (inPlace()) drawTable(); }
        return;
      }
      note("");
      if (S.edit === mine) S.edit = null;
      if (S.open?.at === at) S.open.detail = told.row;
      S.look.facets = told.facets;
      renewLines(told.lines);
      drawAll();
      if (root.getRootNode().activeElement === root || !root.contains(root.getRootNode().activeElement)) root.focus({ preventScroll: true });
    } catch (error) {
      note(kernel.gone ? "The kernel is gone: this was not kept. Run the cell again to go on." : `Not kept: ${error.message}`);
    } finally { pane.removeAttribute("aria-busy"); }
  }

  const save = () => correct("edit", formOf(S.open.detail, S.edit.name));
  const choose = (which) => { S.edit.held = which; save(); };

  function editor(form) {
    const it = S.edit, choices = form.control === "choices";
    const first = it.held ?? 0;
    const control = choices
      ? h("div", { class: "choices", role: "radiogroup", "aria-label": form.name }, form.choices.map((word, which) => h("span", { class: "choice", role: "radio", "aria-checked": String(which === it.held),
        tabindex: which === first ? 0 : -1, "data-key": which === first ? "control" : `choice ${which}`, data: { value: word }, onclick: () => choose(which) },
      which < 9 ? h("kbd", { "aria-hidden": "true" }, String(which + 1)) : null, h("span", { class: "word", dir: "auto" }, word))))
      : h(form.control === "line" && String(it.held ?? "").length <= 60 ? "input" : "textarea", { class: "entry", type: "text", "aria-label": form.name, value: it.held ?? "", "data-key": "control", spellcheck: "false", dir: "auto",
        rows: Math.max(2, linesOf(it.held ?? "")), "aria-invalid": it.wrong ? "true" : null, oninput: (event) => { it.held = event.target.value; } });
    return h("div", { class: "editor" }, control, it.wrong ? h("p", { class: "bad small", role: "alert" }, it.wrong) : null,
      h("p", { class: "acts" }, button("Save", save, { class: "btn primary", "data-key": "save", "aria-label": `save ${form.name}` }, "Save ", h("kbd", { "aria-hidden": "true" }, "Enter")),
        button("Cancel", () => back(), { "data-key": "cancel", "aria-label": "cancel" }, "Cancel ", h("kbd", { "aria-hidden": "true" }, "Esc")),
        form.control === "lines" ? h("span", { class: "small muted" }, "one a line") : null));
  }

  function back() {
    const name = leave();
    const link = [...pane.querySelectorAll("[data-key]")].find((it) => it.dataset.key === `edit ${name}`);
    (link ?? root).focus({ preventScroll: true });
  }

  const inChoices = (event) => S.edit && event.composedPath()[0].closest?.("[role=radiogroup]");

  function digit(event) {
    const form = S.edit && S.open?.detail ? formOf(S.open.detail, S.edit.name) : null, which = Number(event.key) - 1;
    if (form?.control !== "choices" || which >= form.choices.length) return false;
    choose(which);
  }

  function moveChoice(by) {
    const { choices } = formOf(S.open.detail, S.edit.name);
    S.edit.held = ((S.edit.held ?? (by > 0 ? -1 : 0)) + by + choices.length) % choices.length;
    drawPane();
    pane.querySelector(".editing [data-key=control]")?.focus();
  }

  const toQuote = pointing(pane, {
    fieldOf: (name) => [...pane.querySelectorAll(".fields > li")].find((it) => it.dataset.field === name),
    chosen: (name) => [...pane.querySelectorAll(".fields > li")].find((it) => it.dataset.field === name)?.scrollIntoView({ block: "nearest" }),
  });

  /** The texts of a row, with what the search finds in them and the quotes of its fields. */
  function textTab(it) {
    const spans = (name, text) => [...quoteSpans(it.marks[name]), ...hits(text, S.needle)];
    const fields = (pairs, label) => pairs.length ? h("ul", { class: "fields", "aria-label": label }, pairs.map(([name, value]) => field(it, name, value))) : null;
    const lacking = it.parsed.length ? [] : it.forms.map((form) => [form.name, null]); // of a row without an answer
    return [it.error ? h("p", { class: "error" }, h("span", { class: "sign" }, icon("close")), it.error) : null,
      it.texts.map(([name, text]) => [h("p", { class: "label" }, name), text && column(name)?.kind === "media" ? [pictures.large(it.position, name), h("p", { class: "small muted names", dir: "auto" }, text)] : text ? h("div", { class: "text", data: { field: name } }, prose(text, spans(name, text))) : nothing()]),
      fields([...it.parsed, ...lacking], "answer"), cited(it), fields(it.inputs, "other columns"),
      it.note && !it.texts.length ? h("p", { class: "small muted" }, it.note) : null,
      it.facts.length ? h("p", { class: "small muted facts-line" }, it.facts.join(" · ")) : null];
  }

  const code = (text, label) => h("pre", { class: "raw", tabindex: 0, role: "group", "aria-label": label, dir: "auto" }, marked(text, hits(text, S.needle)));

  function tabBody(it) {
    const none = it.note || "nothing was asked";
    if (S.tab === "Prompt") return it.prompt ? code(it.prompt, "prompt") : h("p", { class: "small muted" }, none);
    if (S.tab === "Raw") return it.answers.length ? it.answers.map((said) => [h("p", { class: "label" }, said.about), code(said.body, "body of the answer")]) : h("p", { class: "small muted" }, none);
    if (S.tab === "Attempts") return [it.facts.length ? h("p", { class: "label" }, it.facts.join(" · ")) : null,
      it.answers.length ? it.answers.map((said) => [h("p", { class: "label" }, said.about), code(said.text || "(empty)", "answer")]) : h("p", { class: "small muted" }, none), it.error ? h("p", { class: "error" }, it.error) : null];
    return textTab(it);
  }

  function drawPane() {
    const it = S.open?.detail;
    const beside = S.mode === "wide" || S.open?.place === null;
    pane.hidden = !it;
    split.classList.toggle("with-pane", Boolean(it) && beside && S.mode === "wide");
    if (!it) { if (pane.parentElement !== split) split.append(pane); return void pane.replaceChildren(); }
    if (beside && pane.parentElement !== split) split.append(pane);
    if (beside) pane.style.width = "";
    pane.classList.toggle("within", !beside);
    const place = S.open.place, label = it.label || `${S.state.is_run ? "row" : "row"} ${count(it.position)}`;
    const about = it.inputs.map(([, value]) => value).filter((value) => typeof value === "string" && value.length && value.length <= 24).slice(0, 4).join(" · ");
    const tabs = S.state.is_run ? ["Text", "Prompt", "Raw", "Attempts"] : [];
    const go = (by) => { const to = place + by; if (place !== null && to >= 0 && to < S.look.places) openAt(to); };
    const tab = (name) => h("button", { type: "button", role: "tab", "aria-selected": String(S.tab === name), tabindex: S.tab === name ? 0 : -1, "data-key": `tab ${name}`,
      onclick: () => { S.tab = name; drawPane(); if (inPlace()) drawTable(); },
      onkeydown: (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!by) return;
        event.preventDefault();
        event.stopPropagation();
        S.tab = tabs[(tabs.indexOf(S.tab) + by + tabs.length) % tabs.length];
        drawPane();
        pane.querySelector("[aria-selected=true]").focus();
      } }, name === "Attempts" && it.answers.length ? `Attempts ${it.answers.length}` : name);
    pane.setAttribute("role", "region");
    pane.setAttribute("aria-label", `row ${it.label || it.position}`);
    redraw(root, pane, h("div", { class: "bar" }, h("b", { dir: "auto" }, label), h("span", { class: "muted small about", dir: "auto" }, about),
      it.word && it.status !== "answered" ? h("span", { class: `small ${it.status === "failed" ? "bad" : "muted"}` }, it.word) : null, h("span", { class: "spacer" }),
      place === null ? null : [h("span", { class: "muted small nowrap" }, `${count(place + 1)} of ${count(S.look.places)}`),
        button("previous row", () => go(-1), { ...icons, "aria-label": "Previous row", disabled: place === 0, "data-key": "previous row" }, icon("before")),
        button("next row", () => go(1), { ...icons, "aria-label": "Next row", disabled: place + 1 >= S.look.places, "data-key": "next row" }, icon("after"))],
      button("close", close, { ...icons, "aria-label": "Close row", "data-key": "close row" }, icon("close"))),
    tabs.length ? h("div", { class: "tabs", role: "tablist" }, tabs.map(tab)) : null,
    h("div", { class: "pane-body", role: tabs.length ? "tabpanel" : null }, tabBody(it)));
  }

  // -- what happens

  const page = () => Math.max(1, Math.floor(scroller.view / ROW) - 1);
  const media = () => S.state.columns.find((it) => it.kind === "media");
  function openPicture() {
    const it = media(), at = S.open?.at ?? S.lines.get(S.cursor)?.at;
    if (!it || at === undefined) return false;
    pictures.open(at, it.name);
  }
  const escape = () => { if (S.edit) back(); else if (S.choosing) { S.choosing = false; drawTools(); drawChooser(); } else if (S.open) close(); else return false; return true; };
  const ready = (work) => (event) => (S.look ? work(event) : false);
  let editing = null; // until the editor is there
  const then = (work) => (event) => { if (!editing) return work(event); editing.then(() => work(event)); };
  const known = {
    j: ready(() => step(1)), ArrowDown: ready((event) => (inChoices(event) ? moveChoice(1) : step(1))), k: ready(() => step(-1)), ArrowUp: ready((event) => (inChoices(event) ? moveChoice(-1) : step(-1))),
    ArrowRight: (event) => (inChoices(event) ? moveChoice(1) : false), ArrowLeft: (event) => (inChoices(event) ? moveChoice(-1) : false),
    e: ready(() => { editing = editNext().catch(() => {}).finally(() => { editing = null; }); }),
    PageDown: ready(() => step(page())), PageUp: ready(() => step(-page())), Home: ready(() => step(-1e12)), End: ready(() => step(1e12)),
    Enter: ready(then(() => { if (S.edit) save(); else if (S.cursor >= 0) openAt(S.cursor); })), Escape: ready(escape),
    " ": (event) => (inChoices(event) ? moveChoice(0) : false),
    "/": ready(() => { findInput.focus(); findInput.select(); }), n: ready(() => find(1)), N: ready(() => find(-1)),
    v: ready(openPicture),
    x: ready(() => { const line = S.lines.get(S.cursor); if (line) expand(line.at, S.cursor); }),
  };
  for (const each of "123456789") known[each] = then(digit);
  const inEditor = (event) => S.edit && event.composedPath()[0].closest?.(".editor");
  keys(root, known, {
    Enter: (event) => (event.composedPath()[0] === findInput ? find(1) : inEditor(event) ? save() : false),
    "Shift+Enter": (event) => (inEditor(event) ? false : find(-1)),
    Escape: (event) => {
      if (inEditor(event)) return void back(); if (findInput.value) { findInput.value = S.needle = ""; S.found = null; refind(); } root.focus(); },
  });
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-place]");
    if (!row || event.target.closest("button, a, input") || String(root.ownerDocument.getSelection?.() ?? "")) return;
    openAt(Number(row.dataset.place));
    root.focus({ preventScroll: true });
  });

  function start() {
    const state = model.get("state");
    const same = S.look && state.look?.version === S.look.version; // what was asked for came already
    S.state = state;
    if (same) {
      S.look.facets = state.look.facets;
      renewLines(state.look.lines);
      drawAll();
      return;
    }
    const plainState = state.loading || state.streamed;
    for (const it of [facets, tools, chooser, split]) it.hidden = plainState;
    if (plainState) {
      redraw(root, head, h("b", {}, state.head.name), h("span", { class: "muted" }, state.loading ? "reading the rows …" : (state.head.facts ?? []).join(" · ")));
      if (state.streamed) note(state.head.streamed);
      return;
    }
    S.query = { ...state.query };
    S.first ??= state.query.names;
    S.latest += 1;
    take(state.look);
    mode();
    drawAll();
  }

  function mode() {
    const width = root.clientWidth - 30, before = S.mode;
    S.mode = width >= WIDE ? "wide" : width < NARROW ? "narrow" : "middle";
    root.dataset.mode = S.mode;
    if (S.mode !== before) scroller.extra.clear(); // the pane stands elsewhere
  }

  let width = 0;
  const resized = new ResizeObserver(() => {
    const now = root.clientWidth;
    if (!now || Math.abs(now - width) < 2 || !S.look) return;
    width = now;
    mode();
    drawPane();
    drawTools();
    drawTable();
    drawFailed();
  });
  start();
  model.on("change:state", start);
  resized.observe(root);
  return () => { pictures.close(); resized.disconnect(); model.off("change:state", start); clearTimeout(typing); };
});
