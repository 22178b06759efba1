/* The review: a row's text beside its answer as a form. What is being entered lives here, by row;
   what is accepted comes back as the kernel's new state, which is what shows. */

const CHANGED = { check: "right", close: "corrected" };

function draw({ root, model, kernel, note }) {
  const box = h("div", { class: "review" });
  root.append(box);
  let state = model.get("state");
  let tab = "Text";
  let active = firstField(state);
  let wrong = null;
  let busy = false;
  const pictures = new Pictures({ root, kernel, note });
  const waiting = []; // keys that came while the kernel answers: none is lost
  const drafts = new Map(); // what is entered, by position
  const details = new Map();

  const row = () => state.row;
  const draft = () => {
    const now = row();
    if (!drafts.has(now.position))
      drafts.set(now.position, {
        held: Object.fromEntries(Object.entries(now.values).map(([name, it]) => [name, it.held])),
        touched: new Set(), note: now.note });
    return drafts.get(now.position);
  };

  function take(next, { focus = true } = {}) {
    const before = row()?.position;
    state = next;
    if (focus) root.focus({ preventScroll: true }); // first: a field that had it would be the active one again
    if (row()?.position !== before) { active = firstField(state); wrong = null; if (tab !== "Text") load(); }
    show();
  }

  /** Asks one thing at a time; what is pressed meanwhile is done after it. */
  async function ask(what, given = {}, forget) {
    busy = true;
    root.setAttribute("aria-busy", "true");
    try {
      const answer = await kernel.ask(what, given);
      if (answer.wrong) {
        wrong = answer.wrong;
        const at = state.fields.findIndex((it) => it.name === wrong.field);
        if (at >= 0) active = at;
        show();
        if (at >= 0) focusField(at);
        waiting.length = 0;
      } else {
        note("");
        if (forget !== undefined) drafts.delete(forget);
        take(answer.state);
      }
    } catch (error) {
      note(kernel.gone ? "The kernel is gone: this row was not kept. Run the cell again to go on." : `Not kept: ${error.message}`);
      waiting.length = 0;
    }
    busy = false;
    root.removeAttribute("aria-busy");
    waiting.shift()?.();
  }
  const soon = (work) => () => { if (busy) waiting.push(work); else work(); };

  const accept = soon(() => {
    if (!row()) return;
    const { held, note: said } = draft();
    ask("accept", { position: row().position, held, note: said }, row().position);
  });
  const skip = soon(() => row() && ask("skip"));
  const undo = soon(() => { drafts.clear(); ask("undo"); });
  const move = (by) => soon(() => ask("move", { by }));
  const turn = (queue) => soon(() => ask("turn", { queue }));
  const choose = (at, which) => soon(() => {
    const field = state.fields[at];
    if (!row() || field?.control !== "choices" || which >= field.choices.length) return;
    draft().held[field.name] = which;
    draft().touched.add(field.name);
    active = at;
    wrong = null;
    show();
  });

  function digit(event) {
    const at = state.fields[active]?.control === "choices" ? active : -1;
    if (at >= 0) choose(at, Number(event.key) - 1)();
    else focusField(active);
  }
  function arrow(by) {
    return (event) => {
      const from = event.composedPath()[0], within = from.closest?.("[role=radiogroup]");
      const aside = from === root && /Left|Right/.test(event.key); // of the framed field
      const at = (within || aside) && row() && state.fields[active]?.control === "choices" ? active : -1;
      if (at < 0) return false;
      const { choices, name } = state.fields[at];
      const held = draft().held[name] ?? (by > 0 ? -1 : 0);
      choose(at, (held + by + choices.length) % choices.length)();
      if (within) focusField(at);
    };
  }
  function tabKey(event) {
    if (event.composedPath()[0] !== root || !row()) return false;
    focusField(judged(state).find((it) => it > active) ?? active);
  }
  function focusField(at) {
    active = at;
    show();
    const field = box.querySelector(`[data-key="${CSS.escape(`field-${state.fields[at]?.name}`)}"]`);
    field?.focus();
    field?.select?.();
  }
  const leave = () => { root.focus({ preventScroll: true }); };
  const toNote = () => { const it = box.querySelector("[data-key=note]"); it?.focus(); };

  const openPicture = () => {
    const it = row()?.texts.find((each) => each.media);
    if (!it) return false;
    pictures.open(row().position, it.name);
  };
  const known = { v: openPicture, Enter: accept, s: skip, u: undo, j: move(1), k: move(-1), "/": toNote, Tab: tabKey,
    ArrowRight: arrow(1), ArrowDown: arrow(1), ArrowLeft: arrow(-1), ArrowUp: arrow(-1), " ": () => {} };
  for (const each of "123456789") known[each] = digit;
  keys(root, known, { Enter: accept, Escape: leave });

  const toQuote = pointing(box, {
    fieldOf: (name) => [...box.querySelectorAll(".form .q")].find((it) => it.dataset.field === name),
    near: (quote) => quote.closest(".pane"),
    chosen: (name) => { const at = state.fields.findIndex((it) => it.name === name); if (state.fields[at]?.judged) focusField(at); },
  });

  // -- what shows

  function head() {
    const { total, done } = state;
    return h("div", { class: "head" },
      h("b", {}, state.name), h("span", { class: "muted" }, `review · ${state.about}`),
      state.reviewer && h("span", { class: "muted" }, `by ${state.reviewer}`),
      h("span", { class: "spacer" }),
      h("span", { class: "progress", role: "progressbar", "aria-label": "reviewed", "aria-valuemin": 0,
        "aria-valuenow": done, "aria-valuemax": total, style: { "--part": `${(100 * done) / Math.max(total, 1)}%` } }),
      h("span", { class: "nowrap" }, h("b", {}, count(done)), ` of ${count(total)} reviewed`));
  }

  function queues() {
    return h("div", { class: "order", role: "tablist", "aria-label": "order" },
      h("span", { class: "muted" }, "order"),
      state.queues.map((it) => h("button", { type: "button", role: "tab", onclick: turn(it.name),
        "aria-selected": String(it.name === state.queue), data: { key: `queue-${it.name}`, queue: it.name } },
      it.rows === undefined ? it.words : `${it.words} ${count(it.rows)}`)));
  }

  function scores() {
    const known = state.queues.find((it) => it.name === state.queue);
    const says = h("span", { class: "says muted" }, state.measures
      ? "drawn by chance: this measures the run"
      : [`${known.words}: these rows only`, state.measuring && [", ",
        link(state.measuring, turn(state.measuring), { data: { key: "measuring" } }), " measures the run"]]);
    if (!state.scores.length)
      return h("div", { class: "scores" }, h("span", { class: "muted" }, "nothing reviewed yet"), h("span", { class: "spacer" }), says);
    return h("div", { class: "scores" }, h("span", { class: "muted" }, "right so far"),
      state.scores.map(score), h("span", { class: "spacer" }), says);
  }

  function score(it) {
    const [low, high] = it.interval;
    const kappa = it.kappa === null || it.kappa === undefined ? "" : `, κ ${it.kappa.toFixed(2)}`;
    const words = `${low.toFixed(2)}–${high.toFixed(2)}`;
    return h("span", { class: "score", data: { score: it.field } },
      h("span", { class: "muted" }, it.field), " ", h("b", {}, it.value.toFixed(2)), " ",
      h("span", { class: "interval", role: "img", "aria-label": `${it.value.toFixed(2)}, 95 % interval ${words}, ${count(it.n)} rows`,
        title: `95 % interval, ${count(it.n)} rows`,
        style: { "--low": `${100 * low}%`, "--high": `${100 * high}%`, "--at": `${100 * it.value}%` } }), " ",
      h("span", { class: "muted" }, words + kappa));
  }

  function left() {
    const now = row();
    const tabs = ["Text", "Prompt", "Answer", ...(now.others.length ? [`Other columns ${now.others.length}`] : [])];
    if (!tabs.includes(tab)) tab = "Text";
    return h("div", { class: "left" },
      h("div", { class: "head" }, h("b", {}, now.label),
        now.error && h("span", { class: "bad small" }, now.error), h("span", { class: "spacer" }),
        h("span", { class: "muted small" }, `${count(state.at + 1)} of ${count(state.total)}`),
        button("", move(-1), { class: "btn icon", "aria-label": "previous row", disabled: state.at === 0, data: { key: "before" } }, icon("before")),
        button("", move(1), { class: "btn icon", "aria-label": "next row", disabled: state.at + 1 >= state.total, data: { key: "after" } }, icon("after"))),
      h("div", { class: "tabs", role: "tablist", "aria-label": "of this row" }, tabs.map((name) =>
        h("button", { type: "button", role: "tab", "aria-selected": String(name === tab), data: { key: `tab-${name}` },
          onclick: () => { tab = name; if (name === "Prompt" || name === "Answer") load(); show(); } }, name))),
      h("div", { class: "pane", role: "tabpanel", tabindex: 0, "aria-label": tab, data: { key: "pane" } }, pane(now)));
  }

  function pane(now) {
    if (tab === "Text")
      return now.texts.map((it) => [now.texts.length > 1 && h("p", { class: "label" }, it.name),
        it.media ? [pictures.large(now.position, it.name), h("p", { class: "small muted names", dir: "auto" }, it.text, " ", h("kbd", { "aria-hidden": "true" }, "v"), " opens it")]
          : h("div", { class: "text", data: { column: it.name } }, it.text ? prose(it.text, quoteSpans(it.marks)) : h("p", { class: "muted" }, "empty"))]);
    if (tab.startsWith("Other"))
      return now.others.map((it) => [h("p", { class: "label" }, it.name), h("div", { class: "text" }, it.text ? prose(it.text) : h("p", { class: "muted" }, "empty"))]);
    const found = details.get(now.position);
    if (!found) return h("p", { class: "muted" }, "reading the journal …");
    if (tab === "Prompt") return [found.note && h("p", { class: "muted" }, found.note), h("div", { class: "text" }, prose(found.prompt))];
    return [found.facts && h("p", { class: "muted small" }, found.facts), found.note && h("p", { class: "muted" }, found.note),
      found.answers.map((it) => [h("p", { class: "label" }, it.about), h("pre", { class: "raw" }, it.text),
        h("details", {}, h("summary", {}, "as it came"), h("pre", { class: "raw" }, it.body))])];
  }

  async function load() {
    const now = row();
    if (!now || details.has(now.position)) return;
    try {
      details.set(now.position, await kernel.ask("detail", { position: now.position }));
      show();
    } catch (error) { note(error.message); }
  }

  function form() {
    const now = row();
    return h("form", { class: "form", "aria-label": "the answer", onsubmit: (event) => event.preventDefault() },
      state.fields.map((field, at) => field.judged ? question(field, at, now.values[field.name]) : own(field, now.values[field.name])),
      wrong && !wrong.field && h("p", { class: "bad small", role: "alert" }, wrong.text),
      h("div", { class: "entry" },
        h("input", { type: "text", placeholder: "Note", "aria-label": "note", dir: "auto", value: draft().note, data: { key: "note" },
          oninput: (event) => { draft().note = event.target.value; } }), h("kbd", { "aria-hidden": "true" }, "/")),
      h("div", { class: "acts" },
        button("", accept, { class: "btn primary", data: { key: "accept" } }, "Accept ", h("kbd", { "aria-hidden": "true" }, "Enter")),
        button("", skip, { data: { key: "skip" } }, "Skip ", h("kbd", { "aria-hidden": "true" }, "s")),
        button("", undo, { data: { key: "undo" } }, "Undo ", h("kbd", { "aria-hidden": "true" }, "u"))));
  }

  function question(field, at, value) {
    const on = at === active;
    const hint = field.control !== "choices" ? "" : field.choices.length > 1 ? `1–${Math.min(9, field.choices.length)}` : "1";
    const more = field.control === "choices" && field.choices.length > 9 ? [" ", h("kbd", {}, "←"), " ", h("kbd", {}, "→")] : null;
    return h("div", { class: on ? "q on" : "q", data: { field: field.name },
        onfocusin: () => { if (active !== at) { active = at; mark(); } } },
      h("p", { class: "name" }, field.name,
        h("span", { class: "hint" }, hint && [h("kbd", {}, hint), more, " choose, "], h("kbd", {}, "Tab"), " next field")),
      field.control === "choices" ? choices(field, at, value) : entry(field, value),
      quotesOf(row().evidence.find((each) => each.field === field.name), toQuote),
      wrong?.field === field.name && h("p", { class: "bad small", role: "alert" }, wrong.text));
  }

  function choices(field, at, value) {
    const held = draft().held[field.name];
    return h("div", { class: "choices", role: "radiogroup", "aria-label": field.name }, field.choices.map((word, which) => {
      const chosen = which === held;
      const said = who(value, which);
      return h("span", { class: "choice", role: "radio", "aria-checked": String(chosen),
          tabindex: chosen || ((held === null || held === undefined) && which === 0) ? 0 : -1,
          data: { value: word, key: chosen || ((held === null || held === undefined) && which === 0) ? `field-${field.name}` : `${field.name}-${which}` },
          onclick: () => { choose(at, which)(); root.focus({ preventScroll: true }); } },
        which < 9 && h("kbd", { "aria-hidden": "true" }, String(which + 1)), h("span", { class: "word", dir: "auto" }, word), said && h("small", {}, said));
    }));
  }

  function entry(field, value) {
    const held = draft().held[field.name] ?? "";
    const attributes = { "aria-label": field.name, value: held, data: { key: `field-${field.name}` }, spellcheck: "false", dir: "auto",
      oninput: (event) => { draft().held[field.name] = event.target.value; draft().touched.add(field.name); } };
    const said = value.by && draft().held[field.name] === value.held ? value.by : "";
    const words = [said, field.control === "lines" && "one a line"].filter(Boolean).join(" · ");
    const lines = field.control === "line" && String(held).length <= 60 && !String(held).includes("\n") ? 1 : Math.max(2, linesOf(held));
    const control = lines === 1 ? h("input", { type: "text", inputmode: /int|float/.test(field.kind) ? "decimal" : undefined, ...attributes })
      : h("textarea", { rows: lines, ...attributes });
    return h("div", { class: "entry" }, control, words && h("small", {}, words));
  }

  function own(field, value) {
    return h("div", { class: "q own", data: { field: field.name } },
      h("p", { class: "name" }, field.name, " ", h("b", {}, value.model ?? "none"),
        h("span", { class: "hint" }, "the model’s own number, not judged")));
  }

  function strip() {
    if (!state.last.length) return null;
    return h("div", { class: "strip" }, h("p", { class: "muted" }, "Last", h("br"), "reviewed"), h("ol", {}, state.last.map((it) => {
      const sign = it.changed.length || !it.answered ? "close" : "check";
      const [change] = it.changed;
      return h("li", { data: { row: it.position } },
        h("p", {}, h("span", { class: sign === "check" ? "sign ok" : "sign no" }, icon(sign), unseen(CHANGED[sign])), " ",
          h("b", {}, it.label), " ", h("span", { class: "muted" }, it.changed.map((each) => each.field).join(", "))),
        h("p", { class: change ? "" : "muted", title: it.note || undefined },
          change ? `${change.from} → ${change.to}` : it.answered ? "right" : "filled in", it.note && " · note"));
    })));
  }

  function end() {
    const rest = state.queues.filter((it) => it.name !== state.queue);
    const words = state.total ? "Every row of this order is reviewed or skipped." : "There is no row in this order.";
    return h("div", { class: "end", role: "status" }, h("p", {}, words),
      rest.length > 0 && h("p", { class: "muted" }, "Go on with ", rest.map((it, at) => [at > 0 && ", ", link(it.words, turn(it.name), { data: { key: `rest-${it.name}` } })])));
  }

  function foot() {
    const key = (name, words) => h("span", {}, h("kbd", {}, name), ` ${words}`);
    return h("div", { class: "foot" }, h("div", { class: "keys" }, key("Enter", "accept"), key("1–9", "choose"), key("Tab", "next field"),
      h("span", {}, h("kbd", {}, "j"), " ", h("kbd", {}, "k"), " next, previous"), key("u", "undo"), key("s", "skip"), key("/", "note")));
  }

  /** Which field is framed: without a redraw, for the focus is on its way. */
  function mark() {
    for (const it of box.querySelectorAll(".q[data-field]"))
      it.classList.toggle("on", it.dataset.field === state.fields[active]?.name);
  }

  function show() {
    const now = row();
    redraw(root, box, head(), queues(), scores(),
      state.damaged.map((line) => h("p", { class: "bad small" }, line)),
      now ? h("div", { class: "judge", data: { row: now.position } }, left(), form()) : end(), strip(), foot());
  }

  const renew = () => { if (!busy) take(model.get("state"), { focus: false }); };
  model.on("change:state", renew);
  show();
  return () => { pictures.close(); model.off("change:state", renew); };
}

/** The fields that are judged, by place. */
function judged(state) {
  return state.fields.map((it, at) => (it.judged ? at : -1)).filter((at) => at >= 0);
}

function firstField(state) {
  const places = judged(state);
  return places.find((at) => state.fields[at].control === "choices") ?? places[0] ?? 0;
}

/** Who gave this choice: the model, or whoever labelled the row. */
function who(value, which) {
  const said = [];
  if (value.answered && value.model === which) said.push("model");
  if (value.by && value.by !== "model" && value.held === which) said.push(value.by);
  return said.join(", ");
}

export default view("ondine-review", draw);
