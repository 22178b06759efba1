/* The comparison: what was asked otherwise, what became of the rows, and the rows themselves. The
   kernel knows which rows a tab has; here is what has been loaded of them. */

ICONS.differ = "M1 2.9H7M1 5.1H7M5.3 .9 2.7 7.1";
ICONS.none = "M1.6 4H6.4";

const STATE_SIGNS = { broke: ["close", "bad"], wrong: ["close", "bad"], fixed: ["check", "good"],
  differ: ["differ", "warn"], "no answer": ["none", "muted"] };
const TAB_HELP = {
  all: "all rows", wrong: "the second answer isn't the label", fixed: "right by the second only",
  broke: "right by the first only", differ: "both answers differ, whatever the label" };
const PAGE = 100;

function draw({ root, model, kernel, note }) {
  const box = h("div", { class: "compare" });
  root.append(box);
  let state = model.get("state");
  let lines = state.look.lines;
  let side = 1; // whose matrix shows
  let open = null; // the row in full, by its position
  let active = null; // the row that keys are for
  const details = new Map();

  function take(next) {
    const same = next.field === state.field && next.look.count === state.look.count;
    state = next;
    lines = next.look.lines;
    details.clear();
    if (!same) open = active = null;
    root.classList.toggle("embedded", Boolean(state.embedded));
    show({ top: !same });
    if (open !== null) load(open);
  }

  async function ask(what, given, done) {
    root.setAttribute("aria-busy", "true");
    try {
      done(await kernel.ask(what, given));
      note("");
    } catch (error) {
      note(kernel.gone ? "The kernel is gone: this shows what was loaded. Run the cell again to go on." : error.message);
    }
    root.removeAttribute("aria-busy");
  }

  const look = (tab, cell = null) => ask("look", { tab, cell }, (told) => {
    state = { ...state, look: told };
    lines = told.lines;
    open = active = null;
    show({ top: true });
  });
  const more = () => ask("rows", { version: state.look.version, start: lines.length, count: PAGE }, (told) => {
    if (told.version !== state.look.version) return;
    lines = [...lines, ...told.lines];
    show();
  });
  const turn = (name) => ask("field", { name }, () => {});
  const load = (at) => {
    if (details.has(at)) return;
    ask("row", { at }, (told) => { details.set(at, told); show(); });
  };
  const sameCell = (cell) => JSON.stringify(cell) === JSON.stringify(state.look.cell);
  const choose = (cell) => look("all", sameCell(cell) ? null : cell);

  function toggle(at) {
    active = at;
    open = open === at ? null : at;
    if (open !== null) load(at);
    show();
  }
  function move(by) {
    const place = lines.findIndex((it) => it.at === active);
    const next = lines[Math.max(0, Math.min(lines.length - 1, place < 0 ? 0 : place + by))];
    if (!next) return;
    active = next.at;
    if (open !== null) { open = active; load(active); }
    show();
    box.querySelector(`[data-row="${active}"]`)?.scrollIntoView({ block: "nearest" });
  }
  function label(event) {
    const which = Number(event.key) - 1;
    if (active === null || which >= state.choices.length) return false;
    ask("label", { at: active, which }, () => {});
  }
  const known = { j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1),
    Enter: () => (active === null ? move(0) : toggle(active)), Escape: () => { open = null; show(); } };
  for (const each of "123456789") known[each] = label;
  keys(root, known, { Escape: () => root.focus({ preventScroll: true }) });

  // -- what shows

  function head() {
    const [a, b] = state.names;
    return h("div", { class: "head" }, h("b", { dir: "auto" }, b), h("span", { class: "muted" }, "against"), h("b", { dir: "auto" }, a),
      state.fields.length > 1
        ? h("label", { class: "field-box" }, h("span", { class: "muted" }, "field"),
          h("select", { "aria-label": "field", data: { key: "field" }, onchange: (event) => turn(event.target.value) },
            state.fields.map((it) => h("option", { value: it, selected: it === state.field }, it))))
        : h("span", { class: "muted" }, state.field),
      h("span", { class: "muted" }, state.facts.join(" · ")));
  }

  function scores() {
    if (!state.scores.length) return h("p", { class: "scores muted" }, `no row has a label; the answers: ${state.agreement}`);
    return h("div", { class: "scores" }, state.scores.map((it, at) =>
      h("span", { class: "score", data: { side: "ab"[at] } }, h("b", { dir: "auto" }, state.names[at]), " ",
        it.value === null || it.low === null ? null : h("span", { class: "interval", role: "img", "aria-label": "95 % interval",
          style: { "--low": `${100 * it.low}%`, "--high": `${100 * it.high}%`, "--at": `${100 * it.value}%` } }), " ",
        h("span", { class: "muted" }, it.text))));
  }

  function verdict() {
    if (!state.labelled) return null;
    return h("p", { class: "verdict" },
      state.tested > 0 && h("span", { class: state.tie ? "badge warn" : "badge good" }, state.tie ? "≈ tie" : "≠ differ"), " ",
      h("span", { class: "sentence" }, `${state.sentence}.`), " ", state.judgement && h("span", { class: "muted" }, `${state.judgement}.`));
  }

  function tabs() {
    return h("div", { class: "section" }, h("h3", {}, "Rows"),
      h("div", { class: "seg", role: "tablist", "aria-label": "which rows" }, Object.entries(state.tabs).map(([name, rows]) =>
        h("button", { type: "button", role: "tab", title: TAB_HELP[name], "aria-selected": String(name === state.look.tab),
          data: { key: `tab-${name}`, tab: name }, onclick: () => look(name) }, `${name} ${count(rows)}`))),
      h("span", { class: "spacer" }),
      state.look.chip && h("span", { class: "chip" }, h("span", { dir: "auto" }, state.look.chip),
        h("button", { type: "button", "aria-label": "remove", data: { key: "chip" }, onclick: () => look(state.look.tab) }, icon("close"))));
  }

  function sign(right) {
    if (right === null) return null;
    return h("span", { class: right ? "sign ok" : "sign no" }, icon(right ? "check" : "close"), unseen(right ? "right" : "wrong"));
  }

  function table() {
    if (!lines.length) return h("p", { class: "empty" }, "no rows here");
    const wide = 2 + (state.labelled ? 1 : 0) + 2;
    const body = [];
    const first = state.look.first;
    const group = (words) => h("tr", { class: "sub" }, h("td", { colspan: wide }, words));
    lines.forEach((line, place) => {
      if (first && place === 0) body.push(group(`${rowsOf(first)} · ${state.look.chip.replace(/: first$/, "")}`));
      if (first && place === first) body.push(group(`the other ${count(state.look.count - first)} · broke first, then fixed, wrong, right`));
      body.push(rowOf(line, first > place));
      if (open === line.at) body.push(h("tr", { class: "in-place" }, h("td", { colspan: wide }, detail(line))));
    });
    return h("div", { class: "scroll" }, h("table", { class: "rows" },
      h("colgroup", {}, h("col", { class: "c-pos" }), h("col", {}), state.labelled && h("col", { class: "c-label" }), h("col", { class: "c-ans" }), h("col", { class: "c-ans" })),
      h("thead", {}, h("tr", {}, h("th", { class: "pos", scope: "col" }, "row"), h("th", { scope: "col", dir: "auto" }, state.columns.join(" · ") || "row"),
        state.labelled > 0 && h("th", { scope: "col" }, "label"),
        state.names.map((name) => h("th", { class: "ans", scope: "col", dir: "auto" }, name)))),
      h("tbody", {}, body)),
      state.look.count > lines.length && h("p", { class: "rest" }, link(`Show ${count(Math.min(PAGE, state.look.count - lines.length))} more`, more, { data: { key: "more" } }),
        h("span", { class: "muted" }, ` of ${rowsOf(state.look.count - lines.length)}`)));
  }

  function rowOf(line, hot) {
    const classes = [hot && "hot", active === line.at && "on"].filter(Boolean).join(" ");
    const badge = STATE_SIGNS[line.state];
    return h("tr", { class: classes || undefined, data: { row: line.at, state: line.state }, onclick: () => toggle(line.at) },
      h("th", { class: "pos", scope: "row" },
        h("button", { type: "button", "aria-expanded": String(open === line.at), data: { key: `row-${line.at}` },
          onclick: (event) => { event.stopPropagation(); toggle(line.at); } }, line.index || count(line.at)),
        badge && h("span", { class: "rowtag" }, h("span", { class: `badge ${badge[1]}` }, icon(badge[0]), ` ${line.state}`))),
      h("td", {}, texts(line)),
      state.labelled > 0 && h("td", { data: { field: "label" } }, line.label !== null && h("span", { class: "tag", dir: "auto" }, line.label)),
      line.answers.map((it, at) => h("td", { class: it.right === false ? "ans wrong" : "ans", data: { field: state.field, side: "ab"[at] } },
        it.text === null ? h("span", { class: "why small" }, it.why)
          : h("span", { class: "got" }, sign(it.right), " ", h("span", { class: "tag", dir: "auto" }, it.text), it.sure && h("small", { class: "muted" }, it.sure)))));
  }

  function texts(line) {
    if (line.texts.length < 2) return h("span", { class: "two", dir: "auto" }, line.texts[0] ?? "");
    const [longer, shorter] = line.texts;
    return [h("b", { class: "one", dir: "auto" }, shorter), h("span", { class: "two muted", dir: "auto" }, longer)];
  }

  function detail(line) {
    const found = details.get(line.at);
    if (!found) return h("div", { class: "full muted" }, "reading …");
    return h("div", { class: "full", data: { full: line.at } },
      found.texts.map(([name, text]) => [h("p", { class: "label" }, name), h("div", { class: "text", data: { column: name } }, text ? prose(text) : h("p", { class: "muted" }, "empty"))]),
      h("table", { class: "fields" }, h("thead", {}, h("tr", {}, h("th", {}, "field"), state.labelled > 0 && h("th", {}, "label"), state.names.map((name) => h("th", { dir: "auto" }, name)))),
        h("tbody", {}, found.fields.map((it) => h("tr", { data: { field: it.name } }, h("th", { scope: "row", dir: "auto" }, it.name),
          state.labelled > 0 && h("td", { dir: "auto" }, it.label ?? ""),
          it.answers.map((text, at) => h("td", { dir: "auto" }, text ?? h("span", { class: "why" }, found.why[at] || "no answer"))))))),
      state.choices.length > 0 && h("div", { class: "keys" }, h("span", {}, "label it: "), state.choices.map((it, at) =>
        h("button", { type: "button", class: "btn", data: { key: `choice-${at}` }, onclick: (event) => { event.stopPropagation(); ask("label", { at: line.at, which: at }, () => {}); } }, h("kbd", {}, String(at + 1)), ` ${it}`))));
  }

  function matrix() {
    const usable = state.matrices.map((it) => it.labels.length > 0);
    if (!usable.some(Boolean)) return null;
    if (!usable[side]) side = 1 - side;
    const it = state.matrices[side];
    const cell = (label, answer, rows) => {
      const told = { side, label, answer };
      const kind = label === answer ? "hit" : rows ? "miss" : "zero";
      return h("td", { class: sameCell(told) ? `${kind} sel` : kind },
        h("button", { type: "button", disabled: !rows, "aria-pressed": String(sameCell(told)), "aria-label": `label ${label}, answered ${answer}: ${rowsOf(rows)}`,
          data: { key: `cell-${side}-${label}-${answer}`, cell: `${label}/${answer}` }, onclick: () => choose(told) }, rows ? count(rows) : "·"));
    };
    return h("div", {}, h("p", { class: "label" }, `${state.field} by `,
        h("span", { class: "seg" }, state.names.map((name, at) => h("button", { type: "button", "aria-pressed": String(at === side), disabled: !usable[at],
          data: { key: `side-${at}` }, onclick: () => { side = at; show(); } }, name)))),
      h("div", { class: "scroll" }, h("table", { class: "cm" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "label ↓ answer →"), it.answers.map((name) => h("th", { scope: "col", class: "num", dir: "auto" }, name)))),
        h("tbody", {}, it.labels.map((label, row) => h("tr", {}, h("th", { scope: "row", dir: "auto" }, label), it.answers.map((answer, at) => cell(label, answer, it.cells[row][at]))))))));
  }

  function square() {
    if (!state.tested) return null;
    const [a, b] = state.names;
    const cell = (name, words, kind) => h("td", { class: sameCell({ state: name }) ? `${kind} sel` : kind },
      h("button", { type: "button", disabled: !state.states[name], "aria-pressed": String(sameCell({ state: name })), data: { key: `state-${name}`, cell: name },
        onclick: () => choose({ state: name }) }, `${count(state.states[name])} ${words}`.trim()));
    return h("div", {}, h("p", { class: "label" }, `${a} → ${b}, ${rowsOf(state.tested)}`),
      h("table", { class: "cm square" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, `${a} ↓ ${b} →`), h("th", { scope: "col", class: "num" }, "right"), h("th", { scope: "col", class: "num" }, "wrong"))),
        h("tbody", {}, h("tr", {}, h("th", { scope: "row" }, "right"), cell("right", "", ""), cell("broke", "broke", "miss")),
          h("tr", {}, h("th", { scope: "row" }, "wrong"), cell("fixed", "fixed", "hit"), cell("wrong", "", "miss")))));
  }

  function differences() {
    if (!state.differences.length) return null;
    const [a, b] = state.names;
    return h("div", { class: "asked" }, state.differences.map((it) => it.parts
      ? [h("p", { class: "label" }, `${it.name}, ${a} → ${b}`), h("pre", { class: "diff", dir: "auto" }, it.parts.map(([kind, text]) =>
        kind === "removed" ? h("del", {}, text) : kind === "added" ? h("ins", {}, text) : text))]
      : h("p", { class: "small change" }, h("span", { class: "muted" }, it.name), " ", h("del", {}, it.values[0]), " ", h("ins", {}, it.values[1]))));
  }

  function others() {
    if (!state.others.length) return null;
    return h("div", {}, h("p", { class: "label" }, "fields without a label"),
      h("table", { class: "plain" }, h("tbody", {}, state.others.map((it) => h("tr", {}, h("th", { scope: "row", dir: "auto" }, it.name), h("td", { class: "num" }, it.text))))));
  }

  function foot() {
    const key = (name, words) => h("span", {}, h("kbd", {}, name), ` ${words}`);
    return h("div", { class: "foot keys" }, h("span", {}, h("kbd", {}, "j"), " ", h("kbd", {}, "k"), " next, previous"), key("Enter", "open in full"),
      state.choices.length > 0 && key(state.choices.length > 1 ? `1–${state.choices.length}` : "1", "label the row"));
  }

  function show({ top = false } = {}) {
    const before = box.querySelector(".list .scroll")?.scrollTop ?? 0;
    redraw(root, box, head(), scores(), verdict(),
      h("div", { class: "look" }, h("div", { class: "list" }, tabs(), table()),
        h("div", { class: "aside" }, matrix(), differences(), square(), others())), foot());
    const list = box.querySelector(".list .scroll");
    if (list) list.scrollTop = top ? 0 : before;
  }

  const renew = () => take(model.get("state"));
  root.classList.toggle("embedded", Boolean(state.embedded));
  model.on("change:state", renew);
  show();
  return () => model.off("change:state", renew);
}

const rowsOf = (number) => (number === 1 ? "1 row" : `${count(number)} rows`);

export default view("ondine-comparison", draw);
