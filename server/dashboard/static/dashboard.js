// The page: what is shown of a run, and how it is kept up to date.

import { ask, askBytes, me, Refused, send, skew } from "./ask.js";
import { bars, line, Plot, range } from "./charts.js";
import { called, clock, count, el, number, one, safe, say, seconds, shortened, sized } from "./build.js";
import { Heat } from "./heat.js";
import { openClient, refreshClient } from "./client.js";
import { confirmed, notice } from "./dialogs.js";

const SECONDS = "\u0000seconds";
const PAGE = matchMedia("(max-width: 46rem)").matches ? 10 : 25;
const FEW = 40; // verdicts that are shown before somebody asks for all

const state = { me: null, run: null, told: null, round: null, last: 200, headed: 0, metric: null, rounds: null, entry: -1, offset: 0, all: false };
let stream = null;

const path = (run, rest = "") => `/api/runs/${run}${rest}`;
const latest = () => state.told?.round ?? 0;
const shownRound = () => state.round ?? latest();

class Late extends Error {} // another run was chosen before the answer came

// What is answered for the run that is shown, and is shown still.
async function answer(rest, how = ask) {
  const run = state.run;
  const told = await how(path(run, rest)).catch((error) => {
    throw run === state.run ? error : new Late();
  });
  if (run !== state.run) throw new Late();
  return told;
}

// A call that runs at most once in `wait` milliseconds, never twice at the same time, and only while somebody looks.
function throttled(work, wait = 600) {
  let running = false, again = false, last = 0, timer = null;
  async function go() {
    timer = null;
    if (running || document.hidden) {
      again = true;
      return;
    }
    running = true;
    again = false;
    last = performance.now();
    try {
      await work();
    } catch (error) {
      if (error instanceof Refused) notice(error.message);
      else if (!(error instanceof TypeError || error instanceof Late)) throw error; // a TypeError: the server is away, which the stream tells
    } finally {
      running = false;
      if (again) ask();
    }
  }
  function ask() {
    if (timer === null) timer = setTimeout(go, Math.max(0, last + wait - performance.now()));
  }
  document.addEventListener("visibilitychange", () => !document.hidden && again && ask());
  return ask;
}

const later = {
  rounds: throttled(loadRounds),
  round: throttled(loadRound, 900),
  clients: throttled(loadClients, 900),
  orders: throttled(loadOrders),
  run: throttled(loadRun),
};

// the head

function pill(text, kind) {
  return el("span", { class: `pill ${kind}` }, text);
}

const STATUS = { running: "good", paused: "wait", finished: "", failed: "bad" };

function showRun() {
  const told = state.told;
  one("#status").className = `pill ${STATUS[told.status] ?? ""}`;
  one("#status").textContent = told.status;
  one("#title").textContent = `Run ${told.id}, ${safe(told.name)}`;
  const last = told.last;
  const metric = told.metric, value = metric && last ? newest(metric) : null;
  const tiles = [
    ["Round", number(told.round), told.rounds ? `of ${number(told.rounds)}` : last ? `${seconds(last.seconds)} for the last` : "none yet"],
    [metric ? title(metric) : "Model", number(value), metric?.includes("/") ? "as clients tell" : metric ? "on the holdout" : "no metrics yet"],
    ["Accepted", last ? `${last.accepted} of ${last.accepted + last.rejected + last.refused}` : "–", last ? `${last.rejected} rejected, ${last.refused} refused` : ""],
    ["In quarantine", number(told.quarantined), `of ${count(told.clients, "client")}${told.probation ? `, ${told.probation} on probation` : ""}`],
    ["Model stayed", number(told.skipped), told.rolled_back ? `${number(told.rolled_back)} rolled back` : "rounds skipped"],
    ["Last commit", el("span", { id: "since" }), `entry ${number(told.entry)}${told.open_orders ? `, ${count(told.open_orders, "order")} open` : ""}`],
  ];
  one("#tiles").replaceChildren(...tiles.map(([name, figure, small]) => el("div", {}, el("dt", {}, name), el("dd", {}, figure, el("small", {}, small)))));
  since();
  document.title = `${told.status === "running" ? "" : `${told.status} · `}Round ${told.round} · Hawthorn`;
  const operates = state.me.role === "operator", takes = ["running", "paused"].includes(told.status);
  one("#pause").hidden = !operates || told.status !== "running";
  one("#resume").hidden = !operates || told.status !== "paused";
  one("#back").hidden = !operates || !takes || !latest();
  one("#chain").replaceChildren(
    ...facts([
      ["Chain", `${number(told.entry + 1)} entries, the last at ${clock(told.committed)}`],
      ["Head", el("code", {}, told.head)],
      ["Started", `${clock(told.started)}, by hawthorn ${safe(told.version)}`],
      ...(told.finished ? [["Ended", clock(told.finished)]] : []),
      ...(told.error ? [["Error", safe(told.error)]] : []),
    ]),
  );
}

function facts(rows) {
  return rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
}

function newest(metric) {
  const own = state.told.last?.metrics[metric];
  if (typeof own === "number") return own;
  const series = state.rounds?.metrics[metric]?.mean ?? [];
  return series.findLast((value) => value !== null) ?? state.rounds?.initial[metric] ?? null;
}

function title(metric) {
  if (metric === SECONDS) return "Seconds per round";
  const [, source, name] = /^(?:(.*)\/)?(.*)$/s.exec(metric);
  const words = safe(name).replaceAll("-", " ");
  return `${words[0]?.toUpperCase() ?? ""}${words.slice(1)}${source === "clients" ? ", clients'" : source === "training" ? ", in training" : ""}`;
}

function since() {
  const place = one("#since");
  if (!place || !state.told) return;
  const past = Math.max(0, (Date.now() + skew - Date.parse(state.told.committed)) / 1000);
  const over = ["finished", "failed"].includes(state.told.status);
  place.textContent = !state.told.committed ? "–" : over ? clock(state.told.committed) : past < 2 ? "now" : `${seconds(Math.round(past))} ago`;
}

// the charts

const metricPlot = new Plot(one("#metric-plot"), { label: "Metric by round", output: one("#metric-read"), read: readMetric, choose: chooseAt });
const repliesPlot = new Plot(one("#replies-plot"), { label: "Replies by round", output: one("#replies-read"), read: readReplies, choose: chooseAt });
const heat = new Heat(one("#heat"), one("#heat-read"), one("#alike"));

function span(i) {
  const { first, last } = state.rounds;
  return first[i] === last[i] ? `${last[i]}` : `${first[i]}–${last[i]}`;
}

function readMetric(i) {
  const offset = initialCount();
  if (i < offset) return [["start", number(metricValues()[0])]];
  return [["round", span(i - offset)], ["", number(metricValues()[i], 4)]];
}

function readReplies(i) {
  const { accepted, rejected, refused, skipped, step } = state.rounds;
  const told = [["round", span(i)], ["accepted", number(accepted[i])], ["rejected", number(rejected[i])]];
  if (refused[i]) told.push(["refused", number(refused[i])]);
  if (skipped[i]) told.push(["model stayed", step > 1 ? `${skipped[i]}×` : ""]);
  return told;
}

function initialCount() {
  return state.metric !== SECONDS && state.rounds.initial[state.metric] !== undefined && state.rounds.step === 1 ? 1 : 0;
}

function metricValues() {
  const rounds = state.rounds;
  if (state.metric === SECONDS) return rounds.seconds;
  const values = rounds.metrics[state.metric]?.mean ?? [];
  return initialCount() ? [rounds.initial[state.metric], ...values] : values;
}

function chooseAt(i) {
  const offset = this === metricPlot ? initialCount() : 0;
  const number = state.rounds.last[i - offset];
  if (number !== undefined) chooseRound(number);
}

async function loadRounds() {
  const points = Math.max(60, Math.min(600, Math.floor(one("#metric-plot").clientWidth / 2)));
  const rounds = await answer(`/rounds?last=${state.last}&points=${points}`);
  state.rounds = rounds;
  state.entry = Math.max(state.entry, rounds.entry);
  const names = [...Object.keys(rounds.metrics), SECONDS];
  if (!names.includes(state.metric)) state.metric = rounds.main ?? SECONDS;
  const chooser = one("#metric");
  if (chooser.dataset.names !== names.join("\n")) {
    chooser.dataset.names = names.join("\n");
    chooser.replaceChildren(...names.map((name) => el("option", { value: name }, title(name))));
  }
  chooser.value = state.metric;
  showCharts();
  if (state.told) showRun();
}

function showCharts() {
  const rounds = state.rounds;
  const values = metricValues(), series = rounds.metrics[state.metric];
  const start = initialCount() ? ["start"] : [];
  const band = series?.low && state.metric !== SECONDS ? series : null;
  metricPlot.chosen = chosenIndex(initialCount());
  metricPlot.show(
    { names: [...start, ...rounds.last], ...range(band ? [...band.low, ...band.high] : values), paint: line(values, band), dot: (i) => values[i] },
    `${title(state.metric)} by round`,
  );
  const total = rounds.last.map((_, i) => rounds.accepted[i] + rounds.rejected[i] + rounds.refused[i]);
  repliesPlot.chosen = chosenIndex(0);
  repliesPlot.show({
    names: rounds.last,
    bars: true,
    low: 0,
    high: Math.max(1, ...total) * 1.04,
    marks: rounds.skipped.flatMap((n, i) => (n ? [i] : [])),
    paint: bars([["accepted", rounds.accepted], ["rejected", rounds.rejected], ["refused", rounds.refused]]),
  });
  const notable = one("#notable");
  notable.hidden = !rounds.notable.length;
  notable.querySelector("summary").textContent = `${count(rounds.skipped.reduce((a, b) => a + b, 0), "round")} shown in which the model stayed`;
  notable.querySelector("ul").replaceChildren(
    ...rounds.notable.map((round) =>
      el("li", {}, el("button", { type: "button", class: "link", click: () => chooseRound(round.number) }, `Round ${round.number}`), ` ${safe(round.rolled_back ? `was rolled back: ${round.rolled_back}` : round.skipped)}`),
    ),
  );
}

function chosenIndex(offset) {
  if (state.round === null) return null;
  const index = state.rounds.last.findIndex((last, i) => state.rounds.first[i] <= state.round && state.round <= last);
  return index < 0 ? null : index + offset;
}

// a round

function chooseRound(number) {
  state.round = number === null || number >= latest() ? null : Math.max(1, number);
  state.all = false;
  remember();
  headRound(shownRound());
  if (state.rounds) showCharts();
  later.round();
}

function headRound(number) {
  state.headed = number;
  one("#round-title").textContent = number ? `Round ${number}` : "Round";
  one("#latest").setAttribute("aria-pressed", String(state.round === null));
  one("#earlier").disabled = number <= 1;
  one("#later").disabled = state.round === null;
}

async function loadRound() {
  const number = shownRound();
  if (!number) {
    headRound(0);
    one("#round-told").textContent = "No round is over yet.";
    one("#verdicts tbody").replaceChildren();
    one("#heat").replaceChildren("");
    return;
  }
  const [round, similarity] = await Promise.all([answer(`/rounds/${number}`), answer(`/rounds/${number}/similarity`, askBytes)]);
  if (number !== shownRound()) return later.round();
  headRound(number);
  showRound(round);
  heat.show(similarity);
}

const VERDICT = (one) => (one.accepted ? (one.weight === 0 ? ["left out", "wait"] : ["accepted", "good"]) : one.admitted ? ["rejected", "bad"] : ["refused", "bad"]);

function showRound(round) {
  const metrics = Object.entries(round.metrics).map(([name, value]) => `${title(name)} ${Array.isArray(value) ? value.map((item) => number(item)).join(", ") : number(value)}`);
  const stayed = round.rolled_back ? `Rolled back: ${round.rolled_back}. ` : round.skipped ? `The model stayed: ${round.skipped}. ` : "";
  one("#round-told").textContent = safe(`${stayed}${clock(round.at)}, ${seconds(round.seconds)}. ${metrics.join(" · ")}`);
  const shown = state.all ? round.verdicts : round.verdicts.slice(0, FEW);
  fill(
    "#verdicts tbody",
    shown.map((verdict) =>
      el(
        "tr",
        { "data-client": verdict.client },
        el("td", {}, clientButton({ ...verdict, identity: verdict.client })),
        el("td", {}, pill(...VERDICT(verdict))),
        el("td", { class: "number" }, number(verdict.p_value, 2)),
        el("td", { class: "number" }, number(verdict.weight, 2)),
        el("td", { class: "reason" }, safe([verdict.standing, verdict.reason].filter((text, i, both) => text && (i || !both[1]?.includes(text))).join("; "))),
      ),
    ),
  );
  const more = one("#verdicts-all");
  more.hidden = shown.length === round.verdicts.length;
  more.textContent = `Show all ${number(round.verdicts.length)}`;
}

// Puts rows into a table; whoever has come to one with the keyboard stays there.
function fill(selector, rows) {
  const body = one(selector), active = document.activeElement;
  const focused = body.contains(active) ? active.closest("tr").dataset.client : null;
  const pressed = active?.dataset?.order;
  body.replaceChildren(...rows);
  if (focused === null) return;
  const row = rows.find((found) => found.dataset.client === focused);
  (row?.querySelector(pressed ? `[data-order="${pressed}"]` : "button") ?? row?.querySelector("button"))?.focus({ preventScroll: true });
}

function clientButton(client) {
  return el("button", { type: "button", class: "link", click: () => openClient(state, client.identity, order).catch(failed) }, called(client));
}

// clients

const STANDING = { good: ["good standing", "good"], probation: ["probation", "wait"], quarantine: ["quarantine", "bad"], held: ["quarantine", "bad"] };

async function loadClients() {
  const query = new URLSearchParams({ sort: one("#sort").value, standing: one("#standing").value, search: one("#search").value, offset: state.offset, limit: PAGE });
  const told = await answer(`/clients?${query}`);
  if (state.offset && state.offset >= told.total) {
    state.offset = Math.max(0, Math.floor((told.total - 1) / PAGE) * PAGE);
    return later.clients();
  }
  const operates = state.me.role === "operator" && ["running", "paused"].includes(state.told?.status);
  const strongest = Math.max(7, ...told.clients.map((client) => client.evidence ?? 0));
  fill("#clients tbody", told.clients.map((client) => clientRow(client, strongest, operates)));
  say(one("#clients-told"), told.total ? `${number(told.offset + 1)}–${number(told.offset + told.clients.length)} of ${number(told.total)}` : told.all ? "No client is like that" : "No client yet");
  one("#clients-back").disabled = !state.offset;
  one("#clients-more").disabled = told.offset + told.clients.length >= told.total;
  one(".pages").hidden = told.all <= PAGE && told.total === told.all;
  await refreshClient(state, order);
}

function clientRow(client, strongest, operates) {
  const replies = client.accepted + client.rejected + client.refused;
  const share = (name) => sized(el("i", { class: name }), `${(100 * client[name]) / Math.max(1, replies)}%`);
  const evidence = client.evidence ?? 0;
  const orders = operates ? orderButtons(client) : [];
  return el(
    "tr",
    { "data-client": client.identity },
    el("td", {}, clientButton(client), client.name ? el("span", { class: "sub", title: safe(client.identity) }, shortened(client.identity)) : null),
    el("td", { "data-label": "Standing" }, el("span", {}, pill(...STANDING[client.standing]), client.told ? el("span", { class: "sub" }, safe(client.told)) : null)),
    el("td", { "data-label": "Evidence", class: "figure" }, el("span", {}, el("span", { class: "meter", "aria-hidden": "true" }, sized(el("i"), `${Math.min(100, (100 * evidence) / strongest)}%`)), number(evidence, 2))),
    el("td", { "data-label": "Rounds", class: "number" }, number(client.rounds)),
    el("td", { "data-label": "Replies" }, el("span", {}, el("span", { class: "share", "aria-hidden": "true" }, share("accepted"), share("rejected"), share("refused")), el("span", { class: "sub" }, words(client)))),
    el("td", { "data-label": client.last_reason ? "Last reason" : null }, client.last_reason ? el("span", { class: "reason more", title: safe(client.last_reason) }, safe(client.last_reason)) : ""),
    el("td", { class: "operate" }, ...orders),
  );
}

function words(client) {
  const parts = [`${number(client.accepted)} accepted`];
  if (client.rejected) parts.push(`${number(client.rejected)} rejected`);
  if (client.refused) parts.push(`${number(client.refused)} refused`);
  return parts.join(", ");
}

function orderButtons(client) {
  const out = ["held", "quarantine"].includes(client.standing);
  const button = (kind, text) => el("button", { type: "button", class: "small", "data-order": kind, "aria-label": `${text} ${called(client)}`, click: () => order(kind, client) }, `${text}…`);
  return [out ? null : button("quarantine", "Quarantine"), out || client.standing === "probation" ? button("release", "Release") : null].filter(Boolean).flatMap((made) => [made, " "]);
}

// orders

async function loadOrders() {
  const told = await answer("/orders");
  one("#orders-none").hidden = told.total > 0;
  one("#orders").hidden = !told.total;
  one("#orders tbody").replaceChildren(
    ...told.orders.map((placed) =>
      el(
        "tr",
        {},
        el("td", {}, orderWords(placed)),
        el("td", { "data-label": "By" }, safe(placed.by)),
        el("td", { "data-label": "When" }, clock(placed.at)),
        el("td", { "data-label": "Result" }, el("span", {}, placed.result === null ? pill("open", "wait") : placed.result ? pill("not done", "bad") : pill("done", "good"), placed.result ? el("span", { class: "sub" }, safe(placed.result)) : null)),
      ),
    ),
  );
}

function orderWords(placed) {
  const client = placed.client ? ` ${called({ name: placed.name, identity: placed.client })}` : "";
  const term = placed.rounds ? ` for ${count(placed.rounds, "round")}` : "";
  if (placed.kind === "roll_back") return `Go back to the model after round ${placed.round}${placed.other ? ` of run ${placed.other}` : ""}`;
  return `${placed.kind[0].toUpperCase()}${placed.kind.slice(1)}${client}${term}`;
}

const QUESTIONS = {
  quarantine: (who) => [`Quarantine ${who}?`, "It is not asked any more from the next round on.", "Quarantine"],
  release: (who) => [`Release ${who}?`, "Nothing speaks against it any more, and it is asked again from the next round on.", "Release"],
  pause: () => ["Pause the run?", "The round that is on is finished; then no other begins until the run is resumed.", "Pause"],
  resume: () => ["Resume the run?", "The next round begins at once.", "Resume"],
  roll_back: (who) => [`Go back to the model after round ${who}?`, "The model and all that the defense remembers become what they were then; the rounds since stay in the records.", "Go back"],
};

async function order(kind, client = null, round = null) {
  const run = state.run;
  const [question, text, yes] = QUESTIONS[kind](client ? called(client) : round);
  const answer = await confirmed(question, text, yes, { rounds: kind === "quarantine" });
  if (!answer) return;
  try {
    const details = { kind, client: client?.identity, rounds: answer.rounds, round };
    await send(path(run, "/orders"), Object.fromEntries(Object.entries(details).filter(([, value]) => value !== null && value !== undefined)));
    notice("Ordered. The run carries it out before its next round.");
    later.orders();
  } catch (error) {
    notice(error.message);
  }
}

async function verify() {
  const run = state.run, button = one("#verify"), place = one("#verified");
  const show = (...told) => run === state.run && place.replaceChildren(...told);
  button.disabled = true;
  show("Reading every entry…");
  try {
    const told = await send(path(run, "/verify"));
    const good = !told.faults.length;
    show(el("div", { class: `verified ${good ? "" : "bad"}` }, good ? `All ${number(told.entry + 1)} entries are as they were written.` : `${count(told.faults.length, "fault")}:`, good ? null : el("ul", {}, told.faults.slice(0, 50).map((fault) => el("li", {}, safe(fault))))));
  } catch (error) {
    show(el("div", { class: "verified bad" }, error.message));
  } finally {
    if (run === state.run) button.disabled = false;
  }
}

// runs, and news

async function loadRun() {
  const told = await answer("");
  const { settings, ...rest } = told;
  state.told = rest;
  state.entry = Math.max(state.entry, told.entry);
  one("#settings").replaceChildren(...facts(Object.entries(settings).map(([name, value]) => [safe(name), value === "" ? "–" : safe(value)])));
  showRun();
}

async function loadRuns() {
  const { runs, fault } = await ask("/api/runs");
  showFault(fault);
  one("#runs").replaceChildren(...runs.map((run) => el("option", { value: run.id }, `${run.id} · ${safe(run.name) || "unnamed"}`)));
  one("#runs").disabled = !runs.length;
  return runs;
}

function showFault(fault) {
  one("#fault").hidden = !fault;
  say(one("#fault"), fault ? `${safe(fault)}. What is shown may be old.` : "");
}

async function openRun(id, round = null) {
  stream?.close();
  Object.assign(state, { run: id, told: null, rounds: null, round, entry: -1, offset: 0, all: false, metric: null });
  one("#runs").value = id;
  clear();
  try {
    await loadRun();
    remember();
    headRound(shownRound());
    await loadRounds();
    listen();
    await Promise.all([loadRound(), loadClients(), loadOrders()]);
  } catch (error) {
    if (!(error instanceof Late)) throw error;
  }
}

// Takes away what could be taken for the run that is to be shown: what is clicked on belongs to the run that is chosen.
function clear() {
  for (const place of ["#verified", "#verdicts tbody", "#clients tbody", "#orders tbody"]) one(place).replaceChildren();
  for (const button of ["#pause", "#resume", "#back"]) one(button).hidden = true;
  for (const plot of [metricPlot, repliesPlot]) plot.show({ names: [] });
  one("#verify").disabled = false;
}

function listen() {
  stream?.close();
  const opened = new EventSource(`/events?run=${state.run}&after=${state.entry}`);
  stream = opened;
  const on = (name, work) => opened.addEventListener(name, (event) => stream === opened && work(JSON.parse(event.data)));
  opened.addEventListener("open", () => live("live", true));
  on("entry", (entry) => {
    if (entry.number <= state.entry) return;
    state.entry = entry.number;
    if (["round", "metrics", "initial"].includes(entry.kind)) later.rounds();
    if (entry.kind === "round" || entry.kind === "orders") later.clients();
    if (entry.kind === "round" && state.round === null) later.round();
    if (entry.kind === "orders") later.orders();
  });
  on("run", (told) => {
    const before = state.told;
    state.told = told;
    showRun();
    if (before?.orders !== told.orders || before?.open_orders !== told.open_orders) later.orders();
    if (before?.status !== told.status || before?.quarantined !== told.quarantined) later.clients();
  });
  on("reload", () => [later.run, later.rounds, later.round, later.clients, later.orders].forEach((again) => again()));
  on("runs", () => loadRuns().then(() => (one("#runs").value = state.run)));
  on("fault", ({ fault }) => showFault(fault));
  on("over", () => location.assign("/login"));
  opened.addEventListener("error", () => {
    if (stream !== opened) return;
    live("reconnecting", false);
    if (opened.readyState === EventSource.CLOSED) setTimeout(() => stream === opened && me().then(listen, () => stream === opened && listen()), 3000);
  });
}

function live(text, on) {
  say(one("#live"), text);
  one("#live").classList.toggle("on", on);
}

function remember() {
  history.replaceState(null, "", `#run=${state.run}${state.round ? `&round=${state.round}` : ""}`);
}

function failed(error) {
  notice(error.message);
}

function controls() {
  one("#runs").addEventListener("change", (event) => openRun(Number(event.target.value)).catch(failed));
  one("#metric").addEventListener("change", (event) => {
    state.metric = event.target.value;
    if (state.rounds) showCharts();
  });
  for (const button of document.querySelectorAll("[data-last]")) {
    button.addEventListener("click", () => {
      state.last = Number(button.dataset.last);
      for (const other of document.querySelectorAll("[data-last]")) other.setAttribute("aria-pressed", String(other === button));
      later.rounds();
    });
  }
  one("#earlier").addEventListener("click", () => chooseRound(state.headed - 1));
  one("#later").addEventListener("click", () => chooseRound(state.headed + 1));
  one("#latest").addEventListener("click", () => chooseRound(null));
  one("#back").addEventListener("click", () => order("roll_back", null, state.headed));
  one("#verdicts-all").addEventListener("click", () => {
    state.all = true;
    later.round();
  });
  one("#filter").addEventListener("submit", (event) => event.preventDefault());
  for (const [name, kind] of [["#search", "input"], ["#standing", "change"], ["#sort", "change"]]) {
    one(name).addEventListener(kind, () => {
      state.offset = 0;
      later.clients();
    });
  }
  one("#clients-back").addEventListener("click", () => {
    state.offset = Math.max(0, state.offset - PAGE);
    later.clients();
  });
  one("#clients-more").addEventListener("click", () => {
    state.offset += PAGE;
    later.clients();
  });
  one("#pause").addEventListener("click", () => order("pause"));
  one("#resume").addEventListener("click", () => order("resume"));
  one("#verify").addEventListener("click", verify);
  one("#leave").addEventListener("click", () => send("/logout").finally(() => location.assign("/login")));
}

async function begin() {
  state.me = await me();
  document.body.classList.toggle("viewer", state.me.role !== "operator");
  one("#who").textContent = `${safe(state.me.name)}, ${state.me.role}`;
  controls();
  setInterval(since, 1000);
  const runs = await loadRuns();
  if (!runs.length) {
    live("no run yet", false);
    setTimeout(() => location.reload(), 5000);
    return;
  }
  const asked = new URLSearchParams(location.hash.slice(1));
  const wanted = runs.find((run) => run.id === Number(asked.get("run"))) ?? runs[0];
  await openRun(wanted.id, Number(asked.get("round")) || null);
  document.body.dataset.ready = "yes";
}

begin().catch(failed);
