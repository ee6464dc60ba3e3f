// One client's story: how it stands, how unlikely its updates were, its scores, and every verdict.

import { ask } from "./ask.js";
import { dots, line, Plot, range } from "./charts.js";
import { called, count, el, number, one, safe } from "./build.js";

let open = null; // the identity that is shown

const sheet = one("#sheet");
sheet.addEventListener("close", () => (open = null));
sheet.querySelector(".close").addEventListener("click", () => sheet.close());
sheet.addEventListener("click", (event) => event.target === sheet && sheet.close());

export async function openClient(state, identity, order) {
  open = identity;
  one("#sheet-title").textContent = "";
  one("#sheet-body").replaceChildren(el("p", { class: "soft" }, "Reading its story…"));
  sheet.showModal();
  await show(state, identity, order);
}

export async function refreshClient(state, order) {
  if (open !== null && sheet.scrollTop < 40 && !sheet.contains(document.activeElement?.closest("svg"))) await show(state, open, order);
}

async function show(state, identity, order) {
  const run = state.run;
  const client = await ask(`/api/runs/${run}/clients/${encodeURIComponent(identity)}`);
  if (open !== identity || state.run !== run) return;
  const focused = document.activeElement?.dataset?.order;
  one("#sheet-title").textContent = called(client);
  const operates = state.me.role === "operator" && ["running", "paused"].includes(state.told.status);
  const out = ["held", "quarantine"].includes(client.standing);
  const act = (kind, text) => el("button", { type: "button", "data-order": kind, click: () => order(kind, client) }, `${text}…`);
  const history = client.history;
  const body = [
    el("div", { class: "steps" }, ...(operates ? [out ? null : act("quarantine", "Quarantine"), client.standing === "good" && !client.evidence ? null : act("release", "Release")] : []).filter(Boolean)),
    el(
      "dl",
      { class: "facts" },
      ...[
        ["Identity", el("code", {}, safe(client.identity))],
        ["Standing", client.told ? safe(client.told) : "in good standing"],
        ["Evidence", `${number(client.evidence, 2)}${client.quarantines ? `, in quarantine ${number(Math.round(client.quarantines * 10) / 10)}× before` : ""}`],
        ["Replies", `${number(client.accepted)} accepted, ${number(client.rejected)} rejected, ${number(client.refused)} refused in ${count(client.rounds, "round")}`],
        ["Last seen", `round ${client.last_round}`],
      ].flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
    ),
  ];
  const plots = [];
  if (history.round.length) {
    const unlikely = history.p_value.map((p) => (p === null ? null : -Math.log10(Math.max(p, 1e-16))));
    plots.push(plot(body, "How unlikely for an honest client, −log₁₀ p", history, unlikely, (at) => dots(unlikely, history.accepted), (i) => [["p", number(history.p_value[i], 2)], ["", history.accepted[i] ? "accepted" : "rejected"]], { zero: true }));
    for (const [name, values] of Object.entries(history.scores)) {
      plots.push(plot(body, `Score: ${safe(name).replaceAll("_", " ")}`, history, values, () => line(values), (i) => [["", number(values[i])]]));
    }
  }
  body.push(verdicts(history));
  one("#sheet-body").replaceChildren(...body);
  plots.forEach((draw) => draw());
  if (focused) one(`#sheet [data-order="${focused}"]`)?.focus();
}

function plot(body, label, history, values, paint, told, options = {}) {
  const output = el("output"), place = el("div", { class: "plot" });
  body.push(el("div", {}, el("div", { class: "cap" }, el("h3", {}, label), output), place));
  return () => {
    const made = new Plot(place, { label, output, read: (i) => [["round", String(history.round[i])], ...told(i)] });
    made.show({ names: history.round, ...range(values, options), paint: paint(), dot: (i) => values[i] });
  };
}

function verdicts(history) {
  const rows = history.verdicts.map((one) =>
    el(
      "tr",
      {},
      el("td", { "data-label": "Round" }, String(one.round)),
      el("td", { "data-label": "Verdict" }, el("span", { class: `pill ${one.accepted ? "good" : "bad"}` }, one.accepted ? "accepted" : one.admitted ? "rejected" : "refused")),
      el("td", { "data-label": "p", class: "number" }, number(one.p_value, 2)),
      el("td", { class: "reason" }, safe([one.standing, one.reason].filter((text, i, both) => text && (i || !both[1]?.includes(text))).join("; "))),
    ),
  );
  const head = el("thead", {}, el("tr", {}, ...["Round", "Verdict", "p", "Reason"].map((name) => el("th", { scope: "col", class: name === "p" ? "number" : null }, name))));
  return el("div", {}, el("h3", {}, history.verdicts.length < history.total ? `The newest ${history.verdicts.length} of ${number(history.total)} verdicts` : "Verdicts"), el("table", { class: "stack" }, head, el("tbody", {}, rows)));
}
