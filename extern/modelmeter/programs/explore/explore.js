// The page: its controls are a state, the state is the link, and everything shown follows from it.
"use strict";

const PAGES = {
  letter: ["letter at 150 dpi", 1275, 1650],
  a4: ["A4 at 200 dpi", 1654, 2339],
  slide: ["slide of 1920 x 1080", 1920, 1080],
  newspaper: ["newspaper of 375 x 600 mm at 200 dpi", 2953, 4724],
  receipt: ["receipt of 80 x 200 mm at 200 dpi", 630, 1575],
};
const ENGINES = { vllm: "vLLM", sglang: "SGLang", transformers: "transformers", published: "published code", best: "best: a bound" };
const CLASSES = { gemm: "GEMMs", moe: "experts", copy: "copies", convolution: "convolutions", strided: "strided kernels" };
const STAGES = ["vision", "prefill", "decode", "total"];
const ROWS = {
  tensor_core_flops: ["tensor-core FLOPs", ""],
  cuda_core_flops: ["vector FLOPs (by convention)", ""],
  io_bytes: ["traffic (no cache)", "B"],
  io_weight_bytes: ["of it weights", "B"],
  io_activation_bytes: ["of it activations", "B"],
  io_kv_bytes: ["of it KV cache", "B"],
  weight_bytes: ["weights", "B"],
  activation_peak_bytes: ["activation peak (tensors only)", "B"],
  resident_peak_bytes: ["resident peak, cache included", "B"],
  kv_bytes: ["KV cache at the end", "B"],
};
const NUMBERS = ["width", "height", "output", "price", "workers"];
const CHOICES = ["model", "mode", "engine", "device"];
const START = { width: 1275, height: 1650, output: 1000, device: "H100-SXM", price: 2.5, workers: "", exact: 0 };

const at = (id) => document.getElementById(id);
let laws;
let state;
let shown;

// -- numbers as texts -----------------------------------------------------------------------------------------------

const PREFIXES = ["", "k", "M", "G", "T", "P", "E"];

/** A count with a prefix, in four digits. */
function prefixed(count, unit) {
  let value = Number(count);
  let place = 0;
  while (Math.abs(value) >= 999.95 && place < PREFIXES.length - 1) [value, place] = [value / 1000, place + 1];
  const digits = place === 0 ? String(value) : value.toPrecision(4);
  return [digits, `${PREFIXES[place]}${unit}`].filter(Boolean).join(" ");
}

const grouped = (count) => String(count).replace(/\B(?=(\d{3})+(?!\d))/g, ",");

/** An estimate, in three digits. */
function three(value) {
  if (!value) return "0";
  if (value >= 1000) return grouped(Number(value.toPrecision(3)));
  return value >= 0.001 ? String(Number(value.toPrecision(3))) : value.toExponential(2);
}

function ends([value, low, high]) {
  return low === value && high === value ? "a bound" : `${three(low)} to ${three(high)}`;
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// -- the state and the controls -------------------------------------------------------------------------------------

const models = () => [...new Set(laws.content.models.map((each) => each.checkpoint))];
const entries = (wanted) =>
  laws.content.models.filter((each) => Object.entries(wanted).every(([key, value]) => each[key] === value));

/** The state with each choice one that there is. */
function settled(given) {
  const found = { ...START, ...given };
  const pick = (name, options) => {
    if (!options.includes(found[name])) [found[name]] = options;
  };
  pick("model", models());
  pick("mode", [...new Set(entries({ checkpoint: found.model }).map((each) => each.mode))]);
  pick("engine", entries({ checkpoint: found.model, mode: found.mode }).map((each) => each.engine));
  pick("device", Object.keys(laws.content.devices));
  return found;
}

/** What the link says. */
function read() {
  const given = {};
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (CHOICES.includes(name)) given[name] = value;
    else if (name === "exact") given.exact = value === "1" ? 1 : 0;
    else if (NUMBERS.includes(name) && value !== "" && Number(value) >= 0 && Number.isFinite(Number(value))) given[name] = Number(value);
  }
  for (const name of ["width", "height"]) if (name in given) given[name] = Math.min(Math.max(1, Math.trunc(given[name])), 100000);
  if ("output" in given) given.output = Math.trunc(given.output);
  if ("workers" in given) given.workers = Math.min(Math.trunc(given.workers), 1024) || "";
  return settled(given);
}

const link = () => `#${new URLSearchParams([...CHOICES, ...NUMBERS, "exact"].map((name) => [name, state[name]]))}`;

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => element("option", text, { value })));
  select.value = chosen;
}

function controls() {
  const { model, mode, engine } = state;
  const preset = Object.entries(PAGES).find(([, page]) => page[1] === state.width && page[2] === state.height);
  fill(at("preset"), [["", "of your own"], ...Object.entries(PAGES).map(([key, [text]]) => [key, text])], preset?.[0] ?? "");
  fill(at("model"), models().map((name) => [name, name]), model);
  const modes = [...new Set(entries({ checkpoint: model }).map((each) => each.mode))];
  fill(at("mode"), modes.map((name) => [name, name]), mode);
  const engines = entries({ checkpoint: model, mode }).map((each) => each.engine);
  fill(at("engine"), engines.map((name) => [name, ENGINES[name] ?? name]), engine);
  const devices = Object.entries(laws.content.devices);
  fill(at("device"), devices.map(([name, device]) => [name, `${name} (${Math.round(Number(device.memory_bytes) / 2 ** 30)} GiB)`]), state.device);
  for (const name of NUMBERS) if (document.activeElement !== at(name) || at(name).value === "") at(name).value = state[name];
  at("workers").placeholder = entries({ checkpoint: model, mode, engine })[0].host.workers;
  at("exact").checked = Boolean(state.exact);
}

// -- computing ------------------------------------------------------------------------------------------------------

/** Everything about a state: the page's figures, memory, and times at the batch that fits and of a page alone. */
function ask(asked) {
  const number = laws.content.models.indexOf(entries({ checkpoint: asked.model, mode: asked.mode, engine: asked.engine })[0]);
  const page = laws.page(number, asked.width, asked.height, asked.output);
  const answer = { number, page, memory: laws.memory(number, asked.device, page, 1), batch: 0, refused: null };
  try {
    answer.batch = laws.largestBatch(number, asked.device, page);
    answer.alone = laws.throughput(number, asked.device, page, 1, asked.price, { alone: true });
    if (answer.batch) {
      answer.memory = laws.memory(number, asked.device, page, answer.batch);
      answer.times = laws.throughput(number, asked.device, page, answer.batch, asked.price, { workers: asked.workers });
    }
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    answer.refused = error.message;
  }
  return answer;
}

/** An answer as plain values: integers as texts. */
function plain(asked, answer) {
  const model = laws.content.models[answer.number];
  const { page, times, alone } = answer;
  return {
    format: "modelmeter explore",
    version: 1,
    state: asked,
    link: location.href,
    settings: model.settings,
    image_tokens: page.imageTokens,
    prefill_tokens: page.seqLen,
    stages: Object.fromEntries(
      Object.entries(page.stages).map(([stage, figures]) => [
        stage,
        Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, String(value)])),
      ]),
    ),
    memory: answer.memory,
    times: times ? { batch: times.batch, limited_by: times.limitedBy, ...times.figures } : null,
    alone: alone ? alone.figures : null,
    refused: answer.refused,
    assumptions: [...model.assumptions, ...model.timed_assumptions].map((place) => laws.content.assumptions[place]),
  };
}

// -- showing --------------------------------------------------------------------------------------------------------

function tile(name, value, note) {
  const made = element("div", "");
  const figure = element("dd", value);
  if (note) figure.append(element("span", note, { class: "ends" }));
  made.append(element("dt", name), figure);
  return made;
}

function showAnswer(answer) {
  const { page, times, alone, batch } = answer;
  const model = laws.content.models[answer.number];
  const { columns, rows, tiles } = page.grid;
  const lies = tiles ? `${tiles} tiles in ${columns} x ${rows}` : columns * rows > 1 ? `a grid of ${columns} x ${rows}` : "one view";
  at("lead").textContent =
    `${grouped(page.imageTokens)} image tokens (${lies}) and ${page.around} of the prompt; ` +
    (times
      ? `${grouped(batch)} ${batch > 1 ? "pages decode together" : "page at a time"}, and the ${times.limitedBy} decides.`
      : answer.refused ?? `${state.device} does not hold one such page.`);
  const figure = (name, from = times) => (from ? [three(from.figures[name][0]), ends(from.figures[name])] : ["-", ""]);
  const tiled = [
    tile("pages/s", ...figure("pages_per_s")),
    tile("pages a day", ...figure("pages_per_day")),
    tile("for 1,000 pages, as the price", ...(state.price ? figure("cost_per_1000_pages") : ["-", "give a price"])),
    tile("seconds, a page alone", ...figure("page_latency_s", alone)),
    tile("to the first token, s", ...figure("ttft_s", alone)),
    tile("for each token, ms", ...(times && state.output ? [three(times.figures.tpot_s[0] * 1000), ends(times.figures.tpot_s.map((each) => each * 1000))] : ["-", ""])),
  ];
  at("tiles").replaceChildren(...tiled);
}

function showCost({ number, page }) {
  const write = (value, unit) => (state.exact ? grouped(value) : prefixed(value, unit));
  const head = element("thead", "");
  const titles = element("tr", "");
  titles.append(...["figure", ...STAGES].map((name, place) => element("th", name, { scope: "col", ...(place ? { class: "figure" } : {}) })));
  head.append(titles);
  const body = element("tbody", "");
  for (const [name, [title, unit]] of Object.entries(ROWS)) {
    const row = element("tr", "");
    const hit = name === "io_weight_bytes" && laws.content.models[number].settings["runtime.experts_hit"];
    row.append(element("th", hit ? `${title} (experts_hit=${hit})` : title, { scope: "row", ...(title.startsWith("of it") ? { class: "part" } : {}) }));
    for (const stage of STAGES) {
      const figures = page.stages[stage];
      const value = name === "io_bytes" ? figures.io_weight_bytes + figures.io_activation_bytes + figures.io_kv_bytes : figures[name];
      row.append(element("td", write(value, unit), { class: value ? "figure" : "figure zero", title: grouped(value) }));
    }
    body.append(row);
  }
  at("cost").replaceChildren(head, body);
}

function bars(title, seconds) {
  const names = Object.keys(seconds).filter((name) => seconds[name] > 0).sort((one, other) => seconds[other] - seconds[one]);
  const total = names.reduce((sum, name) => sum + seconds[name], 0);
  const list = element("dl", "");
  for (const name of names) {
    const bar = element("dd", "", name === "host" ? { class: "host" } : {});
    const inner = element("i", "");
    inner.style.width = `${(100 * seconds[name]) / seconds[names[0]]}%`;
    bar.append(inner);
    const percent = Math.round((100 * seconds[name]) / total);
    const share = `${three(seconds[name] * 1000)} ms, ${percent || "below 1"} %`;
    list.append(element("dt", CLASSES[name] ?? name.replaceAll("_", " ")), bar, element("dd", share, { class: "figure" }));
  }
  return [element("h3", `${title}: ${three(total * 1000)} ms`), list];
}

function showTime(answer) {
  const { times, alone } = answer;
  const from = times ?? alone;
  if (!from) {
    at("bars").replaceChildren(element("p", "There is no time to show."));
    return;
  }
  const shares = Object.fromEntries(Object.entries(from.decodeClasses).map(([name, seconds]) => [name, seconds / from.batch]));
  at("bars").replaceChildren(...bars("Prefill", from.prefillClasses), ...(state.output ? bars(`Decode, of ${grouped(from.batch)} at once`, shares) : []));
}

function showMemory(answer) {
  const { memory, batch } = answer;
  const write = (value) => (state.exact ? `${grouped(value)} B` : prefixed(value, "B"));
  const pairs = [
    ["pages at once that fit", grouped(batch)],
    ["all together", `${write(memory.total)} of ${write(memory.memory)}`],
    ["weights", write(memory.weights)],
    ["KV cache of all of them", write(memory.cache)],
    ...(memory.pool === null
      ? [["activations", write(memory.activations)]]
      : [["the engine's pool", `${grouped(memory.pool)} tokens; a page takes ${grouped(memory.pageTokens)}`]]),
    ["left free, or the engine's own", write(memory.reserve)],
    ["KV cache of a token", write(Number(answer.page.stages.prefill.kv_bytes) / answer.page.seqLen)],
  ];
  at("memory").replaceChildren(
    ...pairs.map(([name, value]) => {
      const row = element("div", "");
      row.append(element("dt", name), element("dd", value));
      return row;
    }),
  );
}

function showRests(answer) {
  const model = laws.content.models[answer.number];
  const words = (places) => places.map((place) => laws.content.assumptions[place]).map(({ label, text }) => `${label}: ${text}`);
  const told = [...words(model.assumptions), ...words(model.timed_assumptions).map((text) => `in times, ${text}`)];
  const device = laws.content.devices[state.device];
  const origins = {};
  const run = { ...answer.alone?.prefillClasses, ...answer.alone?.decodeClasses };
  for (const [name, { origin }] of Object.entries(device.kernels)) {
    if (name in run) (origins[origin] ??= []).push(CLASSES[name] ?? name.replaceAll("_", " "));
  }
  const constants = Object.entries(origins).map(([origin, names]) => `${names.join(", ")} ${origin}`).join("; ");
  told.push(model.bound ? "times: a bound, the least that any code could take" : `times: estimates, of ${device.title}'s constants: ${constants}`);
  if (model.host.seconds_per_page) told.push(`host: ${model.host.seconds_per_page} s of one of ${state.workers || model.host.workers} workers prepare a page`);
  at("rests").replaceChildren(...told.map((text) => element("li", text)));
}

function show() {
  controls();
  history.replaceState(null, "", link());
  at("copied").textContent = "";
  let answer = null;
  let refused = "";
  try {
    answer = ask(state);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    refused = `${state.model} does not take this: ${error.message}.`;
  }
  shown = answer;
  at("refused").hidden = !refused;
  at("refused").textContent = refused;
  for (const section of document.querySelectorAll("main > section")) section.hidden = !answer;
  if (!answer) return;
  showAnswer(answer);
  showCost(answer);
  showTime(answer);
  showMemory(answer);
  showRests(answer);
}

// -- starting -------------------------------------------------------------------------------------------------------

/** Says what a field takes; the figures stay those of the last number that it had. */
function refuse(field) {
  const [name, kind] = [field.labels[0].textContent.trim(), field.step === "any" ? "number" : "whole number"];
  const last = state[field.id] === "" ? "of the engine's" : `of ${state[field.id]}`;
  at("refused").textContent = `${name} takes a ${kind} from ${field.min} to ${grouped(field.max)}: the figures below are still ${last}.`;
  at("refused").hidden = false;
}

function changed(event) {
  const { id, value } = event.target;
  if (id === "preset") {
    if (!value) return;
    const [, width, height] = PAGES[value];
    state = { ...state, width, height };
  } else if (id === "exact") state = { ...state, exact: event.target.checked ? 1 : 0 };
  else if (NUMBERS.includes(id)) {
    if (!event.target.checkValidity()) {
      refuse(event.target);
      return;
    }
    state = { ...state, [id]: value === "" ? "" : Number(value) };
  } else state = settled({ ...state, [id]: value });
  show();
}

async function copy() {
  try {
    await navigator.clipboard.writeText(location.href);
    at("copied").textContent = "copied";
  } catch {
    at("copied").textContent = "the link is in the address bar";
  }
}

function download() {
  const text = JSON.stringify(plain(state, shown), null, 1);
  const anchor = element("a", "", { download: `${state.model}-${state.width}x${state.height}.json` });
  anchor.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  anchor.click();
  URL.revokeObjectURL(anchor.href);
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

async function start() {
  laws = new Laws(await unpacked(at("data").textContent));
  const count = models().length;
  at("scope").textContent =
    `${count} checkpoints in bfloat16, each in its modes and by the engines whose code is written down. Left out here, but ` +
    "not of the command modelmeter: regions of a page, speculative decoding, other types, prompts of your own, mixes of pages.";
  state = read();
  show();
  at("form").addEventListener("input", changed);
  at("form").addEventListener("submit", (event) => event.preventDefault());
  at("copy").addEventListener("click", copy);
  at("download").addEventListener("click", download);
  addEventListener("hashchange", () => {
    state = read();
    show();
  });
  document.body.dataset.ready = "yes";
}

start();
