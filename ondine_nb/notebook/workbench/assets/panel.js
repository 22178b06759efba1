/* The prompt workbench: the form is made once and keeps what is typed; the tries and the rows below
   it are drawn anew with what the kernel says. A change is sent as it comes, one message at a time. */

const OPTIONS = [["effort", "effort", "default"], ["max_tokens", "max tokens", "default"], ["concurrency", "concurrency", "auto"]];
const ACTIONS = { Preview: "preview", Compare: "compare", "Run all": "run_all" };
const BUSY = { Preview: "a preview is under way", Compare: "a preview is under way" };
const TIPS = {
  Preview: "Try the prompt on the sample; unchanged rows cost nothing. Each preview is kept as a try",
  Compare: "Try what has changed since, on the same rows, and hold it against what shows now",
  "Run all": "Start the run over the whole frame, below",
  "As code": "Show the %%ondine cell that does exactly this",
  Stop: "Send nothing more; what is in flight is finished and kept",
};

function draw({ root, model, kernel, note }) {
  let state = model.get("state");
  let form = { ...state.form, texts: { ...state.form.texts } };
  let controls = Object.fromEntries(state.controls.map((it) => [it.name, it.value]));
  let check = state.check;
  let turn = state.turn;
  let pending = null, sending = null;
  let sorted = { by: "number", down: true };
  let rows = state.rows, active = -1;
  const opened = new Map(); // rows that are open in full, by position
  const pictures = new Pictures({ root, kernel, note });
  let noting = 0, codeShown = false, message = state.message;
  let begun = state.begun, pressing = 0; // actions that were begun; clicks that aren't answered yet

  // -- the form

  const fields = new Map(); // by name: {set(value)}
  const label = (name, ...inside) => h("label", { class: "field" }, h("span", { class: "lab" }, name), ...inside);

  function area(name, text, hint) {
    const made = h("textarea", { rows: 1, placeholder: hint, "aria-label": text, spellcheck: "false",
      oninput: () => edit({ [name]: made.value }) });
    fields.set(name, { set: (value) => { if (made.value !== value) made.value = value; } });
    return made;
  }
  function line(name, text, attributes = {}) {
    const made = h("input", { type: "text", spellcheck: "false", oninput: () => edit({ [name]: made.value }), ...attributes });
    fields.set(name, { set: (value) => { if (made.value !== value) made.value = value; } });
    return label(text, made);
  }
  function menu(name, text, options, empty) {
    const made = h("select", { onchange: () => edit({ [name]: made.value }) },
      options.map((it) => h("option", { value: it }, it === "" ? empty : /^\d+$/.test(it) ? count(it) : it)));
    fields.set(name, { set: (value) => {
      if (![...made.options].some((it) => it.value === value)) made.append(h("option", { value }, value));
      made.value = value;
    } });
    return label(text, made);
  }
  function slider(text, { min, max, step }, change) {
    const made = h("input", { type: "range", min, max, step, "aria-label": text });
    const shown = h("b", {});
    const set = (value) => { made.value = value; shown.textContent = count(made.value); made.style.setProperty("--v", `${100 * (made.value - min) / Math.max(1e-9, max - min)}%`); };
    made.addEventListener("input", () => { set(made.value); change(Number(made.value)); });
    const end = h("span", { class: "of" }, ` of ${count(max)}`);
    return { set, end, box: h("div", { class: "field wide slider" }, h("span", { class: "lab" }, `${text} `, shown, end), made), input: made };
  }

  const prompt = area("prompt", "Prompt", "Ask about a row: {column} is its value");
  const mirror = h("div", { class: "mirror", "aria-hidden": "true" });
  prompt.addEventListener("scroll", () => { mirror.scrollTop = prompt.scrollTop; });
  const schema = area("schema", "Schema", "name: type, … (plain text)");
  const system = area("system", "System", "same for all rows");
  if (state.given_schema) { schema.disabled = true; schema.placeholder = state.given_schema; }
  const says = h("div", { class: "says", role: "status" }), schemaSays = h("div", { class: "says" });
  const forecast = h("div", { class: "forecast", role: "status" });
  const chips = h("div", { class: "cols" });
  const CHIPS = 24;
  let allChips = false;

  function drawChips() {
    const names = allChips ? state.names : state.names.slice(0, CHIPS);
    const more = state.names.length - names.length;
    redraw(root, chips,
      names.map((name, at) => h("button", { type: "button", class: "col", "data-key": `chip-${name}`, title: `put {${state.columns[at]}} where the cursor is`,
        onmousedown: (event) => event.preventDefault(), onclick: () => insert(`{${name}}`) }, `{${cut(state.columns[at], 30)}}`)),
      more > 0 && link(`${count(more)} more columns`, () => { allChips = true; drawChips(); }, { "data-key": "more-columns" }),
      check.unknown.slice(0, 1).map((name) => h("button", { type: "button", class: "col make", "data-key": "make",
        onclick: () => edit({ made: [...form.made, name] }) }, `make {${cut(name, 30)}} a control`)));
  }
  /** Puts `text` at the cursor, with a space where words would touch; Ctrl+Z takes it back. */
  function insert(text) {
    const [from, to] = [prompt.selectionStart, prompt.selectionEnd];
    const before = prompt.value.slice(0, from), after = prompt.value.slice(to);
    const put = (before && !/[\s({"'“]$/.test(before) ? " " : "") + text + (/^[\w{]/.test(after) ? " " : "");
    prompt.focus();
    if (!document.execCommand?.("insertText", false, put)) {
      prompt.setRangeText(put, from, to, "end");
      edit({ prompt: prompt.value });
    }
  }
  prompt.addEventListener("focus", () => { prompt.dataset.touched = "yes"; }, { once: true });

  const given = h("div", { class: "given" });
  const made = new Map(); // text fields of free names
  const makers = {
    menu: (it) => {
      const box = h("select", { onchange: () => control(it.name, Number(box.value)) }, it.options.map((text, at) => h("option", { value: at }, text)));
      return { box: label(it.label, box), set: (value) => { box.value = value ?? ""; } };
    },
    box: (it) => {
      const box = h("input", { type: "checkbox", onchange: () => control(it.name, box.checked) });
      return { box: h("label", { class: "field check" }, box, ` ${it.label}`), set: (value) => { box.checked = value; } };
    },
    slider: (it) => {
      const one = slider(it.label, it, (value) => control(it.name, value));
      return { box: one.box, set: one.set };
    },
    number: (it) => {
      const box = h("input", { type: "number", min: it.min, max: it.max, step: it.step, onchange: () => box.value !== "" && control(it.name, Number(box.value)) });
      return { box: label(it.label, box), set: (value) => { box.value = value; } };
    },
    text: (it) => {
      const box = h("input", { type: "text", oninput: () => control(it.name, box.value) });
      return { box: label(it.label, box), set: (value) => { if (box.value !== value) box.value = value; } };
    },
  };
  const own = new Map(state.controls.map((it) => [it.name, { it, ...makers[it.kind](it) }]));
  for (const { box } of own.values()) given.append(box);

  function drawFree() {
    for (const name of [...made.keys()].filter((it) => !check.free.includes(it))) { made.get(name).box.remove(); made.delete(name); }
    for (const name of check.free.filter((it) => !made.has(it))) {
      const box = h("input", { type: "text", value: form.texts[name] ?? "", oninput: () => {
        form.texts[name] = box.value;
        edit({ texts: { ...(pending?.texts ?? {}), [name]: box.value } });
      } });
      const one = { box: label(name, box), set: (value) => { if (box.value !== value) box.value = value; } };
      made.set(name, one);
      given.append(one.box);
    }
    for (const [name, { box }] of [...own, ...made]) box.classList.toggle("unused", check.unused.includes(name));
  }

  const sample = slider("sample rows", { min: 1, max: Math.max(2, state.most), step: 1 }, (value) => edit({ sample: value }));
  const shots = slider("shots", { min: 1, max: 32, step: 1 }, (value) => edit({ shots: value }));
  shots.end.textContent = " examples before each prompt";
  fields.set("shots", { set: (value) => shots.set(value || 8) });
  sample.input.disabled = state.most <= 1;
  const drawEnd = () => { sample.end.textContent = ` of ${count(state.total)}${check.labelled ? ", those with a label first" : ""}`; };
  fields.set("sample", { set: sample.set });
  const labels = h("select", { onchange: () => edit({ labels: labels.value }) },
    h("option", { value: "" }, "only those given here"),
    state.names.map((name, at) => h("option", { value: name }, state.columns[at] || "(no name)")));
  fields.set("labels", { set: (value) => { labels.value = value; } });

  const buttons = Object.fromEntries(["Preview", "Compare", "Run all", "As code", "Stop"].map((name) => [name,
    h("button", { type: "button", class: name === "Preview" ? "btn primary" : "btn", title: TIPS[name], "data-key": name, onclick: () => press(name) }, name)]));
  const kbd = h("kbd", { "aria-hidden": "true" }, "Ctrl Enter");
  const same = h("span", { class: "small muted same", role: "status" });
  const figures = h("p", { class: "small muted figures", role: "status" });
  const says2 = h("div", { class: "says", role: "status" });
  const code = h("div", { class: "code" });
  const board = h("div", { class: "board" });
  const table = h("div", { class: "results" });
  const compared = h("div", { class: "compared" });
  let inner = null; // the comparison of the current try with the ticked one
  const head = h("div", { class: "head" });

  root.append(head,
    h("div", { class: "bench" },
      h("div", { class: "left" },
        h("span", { class: "lab" }, "prompt"), h("div", { class: "editor" }, mirror, prompt), chips, says,
        h("span", { class: "lab" }, "schema"), schema, schemaSays,
        h("span", { class: "lab" }, "system"), system),
      h("div", { class: "side" }, given, sample.box,
        h("div", { class: "grid2" },
          line("budget", "budget", { placeholder: "none, or 0.50", inputmode: "decimal" }), menu("model", "model", state.menus.model, ""),
          OPTIONS.map(([name, text, empty]) => menu(name, text, state.menus[name], empty)),
          line("several", "try several", { placeholder: "haiku, sonnet", title: "names of models, with commas: Preview makes a try by each" }),
          label("labels", labels), line("out", "result name"),
          line("examples", "examples", { placeholder: "labels, a frame", title: "labelled rows to show before each prompt: the name of a result that was labelled, or of a frame" })),
        shots.box)),
    h("div", { class: "tools" }, buttons.Preview, kbd, buttons.Compare, buttons["Run all"], buttons["As code"], buttons.Stop, same,
      h("span", { class: "spacer" }), forecast),
    says2, code, figures, board, compared, table);

  function fill() {
    for (const [name, { set }] of fields) if (name in form) set(form[name]);
    shots.box.hidden = !form.examples;
    for (const [name, { set }] of own) set(controls[name]);
    for (const [name, { set }] of made) set(form.texts[name] ?? "");
  }

  // -- sending

  const control = (name, value) => { controls[name] = value; edit({ controls: { ...(pending?.controls ?? {}), [name]: value } }); };

  function edit(changes) {
    for (const [name, value] of Object.entries(changes)) if (name !== "controls" && name !== "texts") form[name] = value;
    pending = { ...(pending ?? {}), ...changes };
    drawStale();
    if ("prompt" in changes) drawMirror();
    shots.box.hidden = !form.examples;
    flush();
  }
  /** Sends what was typed, until all of it has been answered. */
  function flush() {
    if (sending || !pending) return sending;
    const changes = pending;
    pending = null;
    sending = told(kernel.ask("edit", { changes })).then(() => { sending = null; return flush(); });
    return sending;
  }
  /** Two may be on their way at once: the one that was made last holds. */
  function newest(next) { if (next.at >= check.at) check = next; }
  /** What an answer says of the form; an error is told where it belongs to. */
  async function told(asked) {
    try {
      const answer = await asked;
      if (answer?.check) { newest(answer.check); drawCheck(); }
      if (answer?.rows) { rows = answer.rows; drawRows(); }
      return answer;
    } catch (error) {
      if (!kernel.gone) say("bad", error.message);
    }
  }
  async function press(name) {
    if (name === "Stop") return told(kernel.ask("stop"));
    if (name === "As code") { codeShown = !codeShown; return drawCode(); }
    return acting(async () => {
      await flush(); // whether it may be pressed is known by what was typed last
      if (buttons[name].disabled) return;
      message = null;
      if (name === "Run all") before = new Set(document.querySelectorAll(".ondine-run"));
      return told(kernel.ask(ACTIONS[name]));
    });
  }
  /** Shows from the click on that `work` goes on: it begins an action, whose end a state tells. */
  async function acting(work) {
    pressing += 1;
    drawActing();
    const answer = await work();
    begun = Math.max(begun, answer?.begun ?? 0);
    pressing -= 1;
    drawActing();
  }
  function drawActing() {
    for (const it of [board, compared, table])
      if (pressing || begun > state.ended) it.setAttribute("aria-busy", "true"); else it.removeAttribute("aria-busy");
  }
  function say(kind, text) { message = [kind, text]; drawMessage(); }

  /** The card of Run all stands in this cell's output, further down. */
  let before = new Set();
  kernel.on("ran", () => {
    let looks = 0;
    const look = () => {
      const card = [...document.querySelectorAll(".ondine-run")].find((it) => !before.has(it));
      if (card) card.scrollIntoView({ block: "nearest", behavior: "smooth" });
      else if (++looks < 50) setTimeout(look, 100);
    };
    look();
  });

  // -- what the form says

  function drawMirror() {
    const text = prompt.value, known = check.prompt;
    const parts = [];
    let at = 0;
    for (const [start, end, kind] of check.marks) {
      if (text.slice(start, end) !== known.slice(start, end) || start < at) continue;
      parts.push(text.slice(at, start), h("span", { class: `is-${kind}` }, text.slice(start, end)));
      at = end;
    }
    mirror.replaceChildren(...parts, text.slice(at), "​");
    mirror.scrollTop = prompt.scrollTop;
  }
  const lineOf = ([kind, text]) => h("p", { class: kind === "bad" ? "bad" : "muted" }, kind === "bad" && h("span", { class: "mark", "aria-hidden": "true" }, "!"), h("bdi", {}, text));

  function drawCheck() {
    drawMirror();
    drawFree();
    drawChips();
    const notes = check.unused.map((name) => ["note", `{${name}} is not in the prompt`]);
    says.replaceChildren(...[...check.says, ...notes].map(lineOf));
    schemaSays.replaceChildren(...check.schema_says.map((text) => lineOf(["bad", text])));
    for (const [name, problem] of Object.entries(check.reasons)) {
      const reason = problem || (state.busy && name in BUSY ? BUSY[name] : "");
      buttons[name].disabled = Boolean(reason);
      buttons[name].title = reason || TIPS[name];
    }
    drawEnd();
    drawHead();
    drawCode();
  }
  function drawHead() {
    const by = form.labels ? `labels in ${form.labels}` : "labels given here";
    redraw(root, head, h("b", {}, "workbench"),
      h("span", { class: "muted" }, [state.source, state.size, check.labelled ? `${by} for ${count(check.labelled)}` : ""].filter(Boolean).join(" · ")),
      h("span", { class: "spacer" }), state.kept && h("span", { class: "small muted" }, "draft kept"));
  }
  function drawForecast() {
    const { headline, details } = state.forecast;
    forecast.replaceChildren(...(headline ? [h("b", {}, headline), ` ${details}`] : [details]));
  }
  function drawMessage() { says2.replaceChildren(...(message ? [lineOf(message)] : [])); }

  /** What the form asks now, by the names of what the shown try has asked. */
  function asks() {
    const found = { prompt: form.prompt.replace(/^\n+|\n+$/g, ""), system: form.system, model: form.model || "", effort: form.effort,
      max_tokens: form.max_tokens, schema: form.schema, examples: form.examples, shots: String(form.shots) };
    const used = (name) => form.prompt.includes(check.jinja ? name : `{${name}}`);
    for (const [name, { it }] of own) if (used(name)) found[`{${name}}`] = textOf(it, controls[name]);
    for (const name of check.free) if (used(name)) found[`{${name}}`] = form.texts[name] ?? "";
    return found;
  }
  function changed() {
    const shown = state.shown;
    if (!shown) return [];
    const now = asks(), names = new Set([...Object.keys(now), ...Object.keys(shown.asked)]);
    const found = [...names].filter((name) => (now[name] ?? "") !== (shown.asked[name] ?? ""));
    if (Number(form.sample) !== shown.sample) found.push("sample");
    return found.map((it) => it.replace("_", " "));
  }
  function drawStale() {
    const what = changed(), shown = state.shown;
    const name = shown?.name || "what runs";
    same.textContent = !shown ? "" : what.length ? `changed since ${name}: ${what.join(", ")}` : `same as ${name}, nothing changed since`;
    root.dataset.stale = what.length ? "true" : "false";
    const flag = table.querySelector(".stale");
    if (flag) { flag.hidden = !what.length; flag.textContent = `as of ${name}`; }
  }

  // -- as code

  function drawCode() {
    buttons["As code"].setAttribute("aria-expanded", codeShown);
    if (!codeShown) return code.replaceChildren();
    const { above, cell, hint } = check.code;
    const areas = [...(above ? [["In a cell of its own, first", above]] : []), ["As code: a cell that does exactly this", cell]];
    redraw(root, code, areas.map(([name, text]) => label(name, h("textarea", { readonly: true, value: text, "data-key": name, rows: Math.min(20, 1 + text.split("\n").length) }))),
      h("p", { class: "tools" }, notebookOf() && button("Put into the notebook", () => putCell(), { "data-key": "put" }), hint && h("span", { class: "small muted" }, hint)));
  }
  /** The notebook that this stands in, as JupyterLab and Notebook 7 give it to widgets. */
  function notebookOf() {
    try { return model.widget_manager?.context?.model?.sharedModel ?? null; } catch { return null; }
  }
  let putId = null;
  /** Puts the cell back where it came from: into the %%ondine cell above this bench, else below. */
  async function putCell() {
    const notebook = notebookOf();
    const answer = await told(kernel.ask("insert"));
    if (!notebook || !answer) return;
    const shows = (cell) => JSON.stringify(cell.toJSON?.().outputs ?? []).includes(answer.model);
    const at = notebook.cells.findIndex((cell) => cell.cell_type === "code" && shows(cell));
    const mine = at >= 0 && /^\s*%%ondine\b/.test(notebook.cells[at].getSource()) ? notebook.cells[at]
      : notebook.cells.find((cell) => putId && cell.getId?.() === putId);
    if (mine) mine.setSource(answer.cell);
    else {
      const made = notebook.insertCell(at >= 0 ? at + 1 : notebook.cells.length, { cell_type: "code", source: answer.cell, metadata: {} });
      putId = made.getId?.() ?? null;
    }
    say("note", mine ? "its cell is up to date" : "its cell stands below");
  }

  // -- the tries

  const wide = (text) => h("span", { class: "wide-only" }, text);
  const columns = () => [
    ["changed", "what changed", null], ["model", "model", "model"], ["rows", "rows", "rows"], ["value", null, "value"],
    ["f1", [wide("macro "), "F1"], "f1"], ["usd", [wide("$ per 1,000 rows"), h("span", { class: "narrow-only" }, "$/1,000")], "usd"], ["p50", "p50", "p50"],
  ];
  const MEASURES = { accuracy: "accuracy", agreement: "agreement", mae: "mean error", "": "accuracy" };

  function sortBy(name) {
    sorted = sorted.by === name ? (sorted.down ? { by: name, down: false } : { by: "number", down: true }) : { by: name, down: true };
    drawBoard();
  }
  function inOrder(lines) {
    const key = (it) => it[sorted.by];
    const missing = (it) => key(it) === null || key(it) === undefined;
    return [...lines].sort((a, b) => missing(a) - missing(b) || (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a.number - b.number) * (sorted.down ? -1 : 1));
  }
  function drawBoard() {
    const { lines, total, measure, tie, against, scale } = state.board;
    if (!lines.length) return board.replaceChildren();
    const by = measure === "accuracy" ? ["accuracy", wide(` ${scale ? `${scale} to 1, ` : ""}95 % interval`)] : measure === "agreement" ? `agreement with ${against}` : MEASURES[measure];
    const th = ([name, text, sort]) => h("th", { class: ["rows", "f1", "usd", "p50"].includes(name) ? "num" : name === "value" ? "score" : undefined, scope: "col",
      "aria-sort": sorted.by === sort ? (sorted.down ? "descending" : "ascending") : undefined },
      sort ? h("button", { type: "button", "data-key": `sort-${name}`, onclick: () => sortBy(sort) }, text ?? by, sorted.by === sort && icon(sorted.down ? "down" : "up")) : text);
    redraw(root, board,
      h("div", { class: "section" }, h("h3", {}, "Tries"), h("span", { class: "small muted" }, "every preview is kept; tick one to compare it with the current try")),
      h("table", { class: "grid tries" },
        h("thead", {}, h("tr", {}, h("th", { class: "tk" }, unseen("compare")), h("th", { class: "v" },
          h("button", { type: "button", "data-key": "sort-number", onclick: () => { sorted = { by: "number", down: sorted.by === "number" ? !sorted.down : true }; drawBoard(); } }, unseen("try"), sorted.by === "number" && icon(sorted.down ? "down" : "up"))),
          columns().map(th), h("th", {}, unseen("restore")))),
        h("tbody", {}, inOrder(lines).map(tryRow))),
      total > lines.length && h("p", {}, link(`${count(total - lines.length)} earlier tries`, async () => { const all = await told(kernel.ask("all_tries")); if (all) { state.board = all; drawBoard(); } }, { "data-key": "all-tries" })),
      tie && h("p", { class: "small tie" }, h("span", { class: "badge warn" }, "≈ tie"), ` ${tie}`));
  }
  function tryRow(it) {
    const { scale } = state.board;
    const place = (value) => `${100 * Math.max(0, Math.min(1, (value - scale) / (1 - scale || 1)))}%`;
    const bar = it.value !== null && it.measure !== "mae" && h("span", { class: "iv", "aria-hidden": "true",
      style: { "--a": place(it.low ?? it.value), "--b": place(it.high ?? it.value), "--p": place(it.value) } });
    const range = it.low === null ? "" : `${it.low.toFixed(2)}–${it.high.toFixed(2)}`;
    const meta = [it.model, it.latency && `p50 ${it.latency}`].filter(Boolean).join(" · ");
    return h("tr", { class: it.current ? "now" : undefined, "data-try": it.name, "data-current": it.current || undefined },
      h("td", { class: "tk" }, !it.current && h("input", { type: "checkbox", "aria-label": `compare ${it.name}`, "data-key": `tick-${it.number}`, checked: it.ticked, onchange: () => tick(it) })),
      h("td", { class: "v" }, it.name),
      h("td", { class: "what" }, it.first ? h("span", { class: "muted" }, "first prompt") : !it.changed ? "…" : it.changed.length ? it.changed.map(changeOf) : h("span", { class: "muted" }, "nothing"),
        it.more > 0 && h("span", { class: "muted" }, ` +${it.more} more`), " ",
        it.best && h("span", { class: "badge good" }, "best"), it.current && h("span", { class: "badge" }, "current"), noteOf(it),
        h("span", { class: "meta" }, meta)),
      h("td", { class: "wide-only" }, it.model),
      h("td", { class: "num wide-only", title: `${it.answered} of ${it.asked} answered` }, it.rows === it.asked ? count(it.rows) : `${count(it.rows)} of ${count(it.asked)}`),
      h("td", { class: "score" }, it.value === null ? h("span", { class: "muted" }, "–") : [h("b", {}, it.value.toFixed(2)), bar,
        h("span", { class: "muted range" }, range), it.n !== it.rows && h("span", { class: "muted" }, ` of ${count(it.n)}`)]),
      h("td", { class: "num" }, it.f1 === null ? "" : it.f1.toFixed(2)), h("td", { class: "num" }, it.price), h("td", { class: "num wide-only" }, it.latency),
      h("td", { class: "num" }, link("Restore", () => acting(() => told(kernel.ask("restore", { number: it.number }))), { "data-key": `restore-${it.number}`, "aria-label": `Restore ${it.name}`,
        title: "Put this try on the bench: prompt, system, schema, model, controls and sample" })));
  }
  function changeOf({ name, removed, added }) {
    return h("span", { class: "change" }, name && `${name} `, removed && h("del", {}, removed), removed && added && " ", added && h("ins", {}, added), " ");
  }
  function noteOf(it) {
    if (noting === it.number) {
      const box = h("input", { type: "text", class: "note-box", "aria-label": `note to ${it.name}`, value: it.note, "data-key": "noting", onblur: () => keepNote(it, box.value),
        onkeydown: (event) => { if (event.key === "Enter") box.blur(); if (event.key === "Escape") { box.value = it.note; box.blur(); } } });
      setTimeout(() => box.focus(), 0);
      return box;
    }
    return h("span", { class: "noted" }, it.note && h("i", {}, it.note, " "), link(it.note ? "edit" : "note", () => { noting = it.number; drawBoard(); },
      { "data-key": `note-${it.number}`, "aria-label": `${it.note ? "edit the note" : "put a note"} to ${it.name}` }));
  }
  async function keepNote(it, text) {
    if (noting !== it.number) return;
    noting = 0;
    const answer = text.trim() === it.note ? null : await told(kernel.ask("note", { number: it.number, text }));
    if (answer) state.board = answer;
    drawBoard();
  }
  function tick(it) {
    for (const other of state.board.lines) other.ticked = other.number === it.number && !other.ticked;
    drawBoard();
    acting(() => told(kernel.ask("tick", { number: it.number })));
  }

  // -- the rows

  const level = (text) => { const at = rows.head.choices.indexOf(text); return at < 0 || rows.head.choices.length > 4 ? "" : ` d${Math.min(at, 2)}`; };
  const tag = (text) => h("span", { class: `tag${level(text)}` }, text);
  const SIGNS = { true: ["ok", "check", "right"], false: ["no", "close", "wrong"] };
  function sign(right) {
    if (right === null || right === undefined) return null;
    const [kind, drawing, word] = SIGNS[right];
    return h("span", { class: `sign ${kind}` }, icon(drawing), unseen(word));
  }
  function drawCompared() {
    const now = state.inside?.comparison;
    if (!now) { inner?.end(); inner = null; return compared.replaceChildren(); }
    if (inner) inner.set(now);
    else inner = embed(comparison, "comparison", { kernel, state: now, el: compared });
  }
  function drawRows() {
    const shown = state.shown;
    figures.textContent = rows ? rows.head.figures : "";
    if (!rows || inner) { drawStale(); return table.replaceChildren(); }
    const it = rows.head;
    const keyed = it.choices.slice(0, 9);
    redraw(root, table,
      h("div", { class: "section" }, h("h3", {}, "Rows"), h("span", { class: "badge" }, shown?.name || "…"), h("span", { class: "badge warn stale", hidden: true }),
        h("b", { class: "small", role: "status" }, it.score), it.running && state.left > 0 && h("span", { class: "small muted" }, `${state.left} more to try`)),
      it.remarks.map((text) => h("p", { class: "small remark" }, h("bdi", {}, text))),
      keyed.length > 0 && h("p", { class: "keys" }, it.labelable.length > 1 ? h("label", {}, "keys label ", h("select", { "aria-label": "field that keys label", "data-key": "field",
        onchange: (event) => marked(kernel.ask("field", { name: event.target.value })) }, it.labelable.map((name) => h("option", { value: name, selected: name === it.field }, name)))) : h("span", {}, `keys label ${it.field}:`),
        keyed.map((name, at) => h("span", {}, h("kbd", {}, String(at + 1)), ` ${name}`)), h("span", {}, h("kbd", {}, "u"), " take back"), h("span", {}, h("kbd", {}, "j"), " ", h("kbd", {}, "k"), " move"), h("span", {}, h("kbd", {}, "Enter"), " read in full"), it.media.length > 0 && h("span", {}, h("kbd", {}, "v"), " picture")),
      h("div", { class: "saids" }, h("table", { class: "grid said", "data-busy": it.running ? "true" : "false" },
        h("thead", {}, h("tr", {}, h("th", { class: "pos" }, "row"), h("th", {}, [...it.media, ...it.texts].join(" · ")), h("th", { class: "lb" }, "label"), h("th", { class: "ans" }, it.fields.join(" · ")))),
        h("tbody", {}, rows.lines.map(rowOf)))));
    drawStale();
  }
  function rowOf(line, at) {
    const [first, ...rest] = line.texts;
    const made = h("tr", { "data-row": line.position, "data-key": `row-${line.position}`, class: at === active ? "active" : undefined, "aria-selected": at === active || undefined,
      onclick: (event) => { if (event.target.closest("button, a, input, select")) return; move(at); toggle(at); } },
      h("th", { class: "pos", scope: "row" }, line.name),
      h("td", {}, h("span", { class: "seen" }, rows.head.media.map((name) => pictures.small(line.position, name))),
        first !== undefined && h("span", { class: rest.length ? "one" : "two", dir: "auto" }, first), rest.map((text) => h("span", { class: "one muted", dir: "auto" }, text))),
      h("td", { class: "lb", "data-field": "label" }, line.label && tag(line.label)),
      answerCell(line));
    const whole = opened.get(line.position);
    return whole ? [made, h("tr", { class: "whole" }, h("td", { colspan: 4 }, wholeOf(whole)))] : made;
  }
  function answerCell(line) {
    const { field } = rows.head;
    const kind = line.right === false ? "ans wrong" : line.status === "failed" ? "ans fail" : "ans";
    if (!line.answer) {
      const text = line.status === "failed" ? `✕ ${line.reason}` : line.status === "skipped" ? "skipped: every column is empty" : rows.head.running ? "…" : "not run";
      return h("td", { class: kind }, h("span", { class: line.status === "failed" ? "bad" : "muted" }, text));
    }
    return h("td", { class: kind }, h("span", { class: "got" }, sign(line.right), line.answer.map((it) =>
      h("span", { "data-field": it.name, class: "one", dir: "auto" }, it.kind === "choice" || it.kind === "bool" ? tag(it.text) : it.text))));
  }
  function wholeOf(it) {
    const part = (name, text) => h("div", {}, h("p", { class: "label" }, name), h("pre", { class: "raw", dir: "auto" }, text));
    return h("div", { class: "in-full" }, rows.head.media.map((name) => h("div", {}, h("p", { class: "label" }, name), pictures.large(it.position, name))), part("prompt", it.prompt || "(nothing to ask)"),
      it.reason && part("why it failed", it.reason), it.answer.map(({ name, text }) => part(name, text)),
      it.facts && h("p", { class: "small muted" }, it.facts));
  }
  async function toggle(at) {
    const { position } = rows.lines[at];
    if (opened.delete(position)) return drawRows();
    const whole = await told(kernel.ask("row", { position }));
    if (whole) { opened.set(position, whole); drawRows(); }
  }
  /** What is open in full stays open: of these positions it is asked for again. */
  async function openedAgain(positions) {
    for (const position of positions.filter((it) => opened.has(it))) {
      const whole = await kernel.ask("row", { position }).catch(() => null);
      if (whole && opened.has(position)) { opened.set(position, whole); drawRows(); }
    }
  }
  function move(at) {
    if (!rows?.lines.length) return;
    active = Math.max(0, Math.min(at, rows.lines.length - 1));
    for (const it of table.querySelectorAll("tr[data-row]")) {
      const on = Number(it.dataset.row) === rows.lines[active].position;
      it.classList.toggle("active", on);
      if (on) { it.setAttribute("aria-selected", "true"); it.scrollIntoView({ block: "nearest" }); } else it.removeAttribute("aria-selected");
    }
    root.focus({ preventScroll: true });
  }
  async function marked(asked) {
    const answer = await told(asked);
    if (!answer || !rows) return;
    rows.head = answer.head;
    answer.marks.forEach(([text, right], at) => { if (rows.lines[at]) Object.assign(rows.lines[at], { label: text, right }); });
    drawRows();
  }
  const mark = (event) => { if (active >= 0 && rows) marked(kernel.ask("label", { position: rows.lines[active].position, choice: Number(event.key) - 1 })); };
  const known = { j: () => move(active + 1), k: () => move(active - 1), ArrowDown: () => move(active + 1), ArrowUp: () => move(active - 1),
    Enter: () => active >= 0 && toggle(active), v: () => (active >= 0 && rows.head.media.length ? pictures.open(rows.lines[active].position, rows.head.media[0]) : false), u: () => marked(kernel.ask("undo")) };
  for (const each of "123456789") known[each] = mark;
  keys(root, known);
  // These two would run the notebook's cell: they are the bench's, wherever its focus is.
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || !(event.shiftKey || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    press("Preview");
  }, { capture: true });

  // -- all of it

  function refresh() {
    kbd.hidden = state.busy;
    buttons.Stop.hidden = !state.busy;
    buttons.Compare.hidden = buttons["Run all"].hidden = false;
    buttons.Preview.firstChild.textContent = "Preview";
    drawCheck();
    drawForecast();
    drawMessage();
    drawBoard();
    drawCompared();
    drawRows();
    drawActing();
  }
  function take(next) {
    state = next;
    begun = Math.max(begun, state.begun);
    rows = state.rows;
    message = state.message;
    newest(state.check);
    if (state.turn !== turn) {
      turn = state.turn;
      pending = null;
      form = { ...state.form, texts: { ...state.form.texts } };
      controls = Object.fromEntries(state.controls.map((it) => [it.name, it.value]));
      drawFree();
      fill();
    }
    if (rows && active >= rows.lines.length) active = -1;
    for (const position of [...opened.keys()]) if (!rows?.lines.some((it) => it.position === position)) opened.delete(position);
    refresh();
  }
  const onState = () => { take(model.get("state")); openedAgain([...opened.keys()]); };
  model.on("change:state", onState);
  kernel.on("progress", ({ head: now, lines }) => {
    if (!rows) return;
    rows.head = now;
    for (const [at, it] of Object.entries(lines)) rows.lines[at] = it;
    drawRows();
    openedAgain(Object.values(lines).map((it) => it.position));
  });
  kernel.on("inside", ({ state: now, message: said }) => {
    if (said) return inner?.hear(said);
    (state.inside ??= {}).comparison = now;
    drawCompared();
  });
  kernel.on("board", (it) => { state.board = it.board; drawBoard(); });
  kernel.on("forecast", (it) => { state.forecast = it.forecast; drawForecast(); });
  kernel.on("message", (it) => say(it.kind, it.text));

  drawFree();
  fill();
  refresh();
  // After a reload of the page the model has what was sent last: what was typed since is asked for.
  kernel.ask("now").then((now) => { if (now && !pending && !sending) { turn = -1; take(now); } }).catch(() => {});
  return () => { pictures.close(); inner?.end(); model.off("change:state", onState); };
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** A control's value as the prompt has it. */
function textOf(it, value) {
  if (it.kind === "menu") return it.texts?.[value] ?? "";
  if (it.kind === "box") return value ? "True" : "False";
  return String(value ?? "");
}

export default view("ondine-panel", draw);
