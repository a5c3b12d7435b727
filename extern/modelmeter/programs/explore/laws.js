// Evaluates a file of laws (docs/laws-format.md): integers exactly, times as 64-bit floats. It knows nothing of a page.
"use strict";

class Refused extends Error {}

const SUMS = ["tensor_core_flops", "cuda_core_flops", "io_weight_bytes", "io_activation_bytes", "io_kv_bytes", "kv_added_bytes"];
const FIGURES = [
  "tensor_core_flops", "cuda_core_flops", "io_weight_bytes", "io_activation_bytes", "io_kv_bytes", "weight_bytes",
  "activation_peak_bytes", "resident_peak_bytes", "kv_bytes", "kv_added_bytes", "peak_path", "peak_operator",
];
const EXACT = 2 ** 53;

const largest = (values) => values.reduce((one, other) => (other > one ? other : one));
const gcd = (one, other) => (other ? gcd(other, one % other) : one);

/** A polynomial as integer coefficients over one divisor. */
function parsed(text) {
  const terms = text.split(" + ").map((term) => {
    const [coefficient, ...factors] = term.split("*");
    const [above, below] = coefficient.split("/").map(BigInt);
    const powers = factors.map((factor) => {
      const [name, power] = factor.split("^");
      return [name, Number(power ?? 1)];
    });
    return { above, below: below ?? 1n, powers };
  });
  const divisor = terms.reduce((all, { below }) => (all / gcd(all, below)) * below, 1n);
  for (const term of terms) {
    term.big = (term.above * divisor) / term.below;
    term.number = Number(term.big);
  }
  return { terms, divisor };
}

/** divisor x the polynomial's value: a number where every step is exact in one, else a BigInt. */
function numerator({ terms }, variables) {
  let total = 0;
  let size = 0;
  for (const { number, powers } of terms) {
    let product = number;
    for (const [name, power] of powers) product *= variables[name] ** power;
    total += product;
    size += Math.abs(product);
  }
  if (size < EXACT) return total;
  let exact = 0n;
  for (const { big, powers } of terms) {
    let product = big;
    for (const [name, power] of powers) product *= BigInt(variables[name]) ** BigInt(power);
    exact += product;
  }
  return exact;
}

/** Rounded to a whole number, half to even. */
function rounded(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 ? below + 1 : below;
}

// -- from a page to its sizes ---------------------------------------------------------------------------------------

const STEPS = {
  stretch: (page, step) => [step.width, step.height],
  longest_side: (page, step) => page.map((side) => rounded((side * step.pixels) / Math.max(...page))),
  pad_to_ratio: (page, step) => {
    const longer = Math.max(...page);
    if (longer <= step.ratio * Math.min(...page)) return page;
    return page.map((side) => Math.max(side, Math.ceil(longer / step.ratio)));
  },
  least_edge: (page, step) => {
    const shorter = Math.min(...page);
    if (shorter >= step.pixels) return page;
    const scale = step.pixels / shorter;
    return page.map((side) => (step.whole === "up" ? Math.ceil(side * scale) : Math.floor(side * scale)));
  },
  fit_area: ([width, height], step) => {
    const area = width * height;
    if (step.most !== null && area > step.most) {
      const scale = Math.sqrt(step.most / area);
      return [Math.floor(width * scale), Math.floor(height * scale)];
    }
    if (step.least !== null && area < step.least) {
      const scale = Math.sqrt(step.least / area);
      return [Math.ceil(width * scale), Math.ceil(height * scale)];
    }
    return [width, height];
  },
  least_side: ([width, height], { side, pixels }) => {
    if (side === "height" && height < pixels) return [rounded((width * pixels) / height), pixels];
    if (side === "width" && width < pixels) return [pixels, rounded((height * pixels) / width)];
    return [width, height];
  },
  fit: ([width, height], step) => {
    const ratio = Math.max(height / step.pixels, width / step.pixels);
    return ratio > 1 ? [Math.floor(width / ratio), Math.floor(height / ratio)] : [width, height];
  },
  refuse_ratio: (page, step) => {
    if (Math.max(...page) > step.above * Math.min(...page)) {
      throw new Refused(`the page is ${page.join(" x ")} pixels, longer than ${step.above} times its shorter side`);
    }
    return page;
  },
  smart_resize: ([width, height], step) => {
    const { multiple, frames } = step;
    const near = [width, height].map((side) => rounded(side / multiple) * multiple);
    const area = frames * near[0] * near[1];
    if (area > step.max_pixels) {
      const shrink = Math.sqrt((frames * height * width) / step.max_pixels);
      return [width, height].map((side) => Math.max(multiple, Math.floor(side / shrink / multiple) * multiple));
    }
    if (area < step.min_pixels) {
      const grow = Math.sqrt(step.min_pixels / (frames * height * width));
      return [width, height].map((side) => Math.ceil((side * grow) / multiple) * multiple);
    }
    return near;
  },
};
const GRIDS = {
  blocks: (page, step) => [...page.map((side) => Math.floor(side / step.side)), 0],
  cover: (page, step) => [...page.map((side) => Math.ceil(side / (step.side * step.multiple)) * step.multiple), 0],
  whole: () => [1, 1, 0],
  edge_tiles: ([width, height], step) => {
    const beside = (edge) => Math.floor(width >= height ? edge / (width / height) : edge * (width / height));
    const edges = step.longest_edge > step.most_edge ? [step.longest_edge, step.most_edge] : [step.longest_edge];
    edges.forEach((edge, number) => {
      let other = beside(edge);
      if (number === 0) other += other % 2;
      other = Math.max(other, 1);
      [width, height] = width >= height ? [edge, other] : [other, edge];
    });
    const along = Math.ceil(Math.max(width, height) / step.side);
    const across = Math.ceil(beside(along * step.side) / step.side);
    if (along * across <= 1) return [1, 1, 0];
    return [...(width >= height ? [along, across] : [across, along]), along * across];
  },
  tiles: ([width, height], step) => {
    if (Math.max(width, height) <= step.uncut) return [1, 1, 0];
    let best = [1, 1];
    let nearest = Infinity;
    for (const [columns, rows] of grids(step)) {
      const distance = Math.abs(width / height - columns / rows);
      const large = width * height > 0.5 * step.side * step.side * columns * rows;
      if (distance < nearest || (distance === nearest && large)) [best, nearest] = [[columns, rows], distance];
    }
    return [...best, best[0] * best[1]];
  },
};

const knownGrids = new Map();

/** All grids of so many tiles, by their number, then by columns. */
function grids({ least, most, most_a_side: side }) {
  const key = `${least}-${most}-${side}`;
  if (!knownGrids.has(key)) {
    const found = [];
    for (let columns = 1; columns <= side; columns++) {
      for (let rows = 1; rows <= side && columns * rows <= most; rows++) {
        if (columns * rows >= least) found.push([columns, rows]);
      }
    }
    knownGrids.set(key, found.sort((one, other) => one[0] * one[1] - other[0] * other[1] || one[0] - other[0]));
  }
  return knownGrids.get(key);
}

/** The columns, rows and tiles that the steps of an image rule make of a page. */
function followed(steps, width, height) {
  let page = [width, height];
  let grid = [0, 0, 0];
  for (const step of steps) {
    if (step.do in STEPS) page = STEPS[step.do](page, step);
    else if (step.do in GRIDS) grid = GRIDS[step.do](page, step);
    else throw new Error(`laws: no step is called ${step.do}`);
  }
  return { columns: grid[0], rows: grid[1], tiles: grid[2] };
}

// -- seconds of a kernel --------------------------------------------------------------------------------------------

const overlapped = (one, other, overlap) => Math.max(one, other) + overlap * Math.min(one, other);

/** Seconds that a device takes for a kernel, by its class. k: constants that all devices share. */
const SECONDS = {
  gemm(device, c, peak, sizes, k) {
    const [rows, columns, batch] = [sizes.rows, sizes.columns, sizes.batch].map((size) => Math.max(size, 1));
    const perSecond = (c.matmul * peak) / device.processors;
    const [mostRows, mostColumns] = k.largest_tile;
    const side = (high, wide) => (high * wide) / (high + wide) / ((high * wide) / (high + wide) + c.tile_half);
    const sized = k.tiles.flatMap((high) => k.tiles.map((wide) => [high, wide])).filter(([high, wide]) => {
      const even = Math.min(high, wide) >= c.tile && high <= 2 * wide && wide <= 2 * high;
      return even && high * wide <= mostRows * mostColumns;
    });
    const few = k.few_rows_tiles.filter(([high]) => high >= c.least_rows);
    let least = Infinity;
    for (const [high, wide] of [...few, ...sized]) {
      const reached = side(high, wide) / side(mostRows, mostColumns);
      const tiles = batch * Math.ceil(rows / high) * Math.ceil(columns / wide);
      const one = (high * wide * (sizes.flops / (rows * columns))) / (batch * reached * perSecond);
      for (const parts of k.splits) {
        const even = (tiles * parts) / device.processors;
        let seconds = ((even + c.waves * (Math.ceil(even) - even)) * one) / parts;
        if (parts > 1) seconds += c.split_s + (8 * parts * batch * rows * columns) / device.bandwidth;
        least = Math.min(least, seconds);
      }
    }
    return c.overhead_s + overlapped(least, sizes.nbytes / (c.bandwidth * device.bandwidth), c.overlap);
  },
  moe(device, c, peak, sizes, k) {
    const rows = Math.max(sizes.rows / (sizes.weight_bytes / sizes.expert_bytes), 1);
    let tile = k.fewest_rows;
    if (rows > c.few) for (tile = c.tile_least; tile < c.tile && rows > tile; ) tile *= 2;
    const compute = (sizes.flops * ((Math.ceil(rows / tile) * tile) / rows)) / (c.matmul * peak);
    const memory = sizes.weight_bytes / (c.bandwidth * device.bandwidth);
    const slower = sizes.width % k.aligned_width ? c.misaligned : 1;
    const between = (c.activations * sizes.activation_bytes) / device.bandwidth;
    return c.overhead_s / sizes.of_a_block + slower * overlapped(compute, memory, c.overlap) + between;
  },
  context_attention: (...given) => withoutWrite(prefillAttention(true, ...given), ...given),
  encoder_attention: (...given) => prefillAttention(false, ...given),
  generation_attention(device, c, peak, sizes, k) {
    const { batch, heads, kv_heads, keys, head_dim } = sizes;
    const shared = heads !== kv_heads;
    const work =
      (c.tile_s * batch * kv_heads) / device.processors + ((shared ? c.grouped_key_s : c.key_s) * keys * head_dim) / 128;
    const memory = (4 * batch * (heads + kv_heads * keys) * head_dim) / (c.bandwidth * device.bandwidth);
    const split = shared && keys > k.split_keys ? c.split_s : 0;
    return withoutWrite(c.overhead_s + split + overlapped(work, memory, c.overlap), device, c, peak, sizes, k);
  },
  bias_attention(device, c, peak, sizes) {
    const work = sizes.flops / (c.matmul * peak) + sizes.nbytes / (c.bytes_per_flop * device.vector);
    return c.overhead_s + Math.max(work, sizes.nbytes / device.bandwidth);
  },
  convolution(device, c, peak, sizes, k) {
    const rate = sizes.channels % k.aligned_channels ? c.vector * device.vector : c.matmul * peak;
    return c.overhead_s + c.depth_s * sizes.depth + Math.max(sizes.flops / rate, sizes.nbytes / device.bandwidth);
  },
  strided(device, c, peak, sizes, k) {
    const within = sizes.elements / (c.elements_per_flop * device.vector);
    return c.overhead_s + Math.max(beyondCache(device, c, sizes.nbytes, k), within);
  },
  elementwise: (device, c, peak, sizes, k) => moving(device, c, sizes.nbytes, k),
  copy: (device, c, peak, sizes, k) => moving(device, c, sizes.nbytes, k),
};

function prefillAttention(causal, device, c, peak, sizes, k) {
  const { batch, heads, kv_heads, length, head_dim } = sizes;
  const widths = k.head_widths;
  const rows = head_dim > widths[1] ? c.tile_rows_wide : c.tile_rows;
  const keys = c.tile_keys;
  const width = widths.find((each) => head_dim <= each) ?? widths.at(-1);
  const queryTiles = Math.ceil(length / rows);
  const keyTiles = Math.ceil(length / keys);
  const blocks = batch * heads * queryTiles;
  const seen = causal ? Math.min((((queryTiles + 1) / 2) * rows) / keys, keyTiles) : keyTiles;
  const idle = (Math.ceil(blocks / device.processors) * device.processors) / blocks - 1;
  const load = ((blocks * seen) / device.processors) * (1 + c.waves * idle) + c.chain * keyTiles;
  const products = (4 * rows * keys * width * device.processors) / (c.matmul * peak);
  const exponentials = (rows * keys * device.processors) / (c.exponentials * device.vector);
  const memory = (4 * batch * (heads + kv_heads) * length * head_dim) / (c.bandwidth * device.bandwidth);
  return c.overhead_s + overlapped(load * (products + exponentials), memory, c.overlap);
}

function beyondCache(device, c, nbytes, k) {
  return (nbytes - Math.min(k.held * device.l2_bytes, nbytes)) / (c.bandwidth * device.bandwidth);
}

function moving(device, c, nbytes, k) {
  return c.overhead_s + Math.max(beyondCache(device, c, nbytes, k), nbytes / (c.bytes_per_flop * device.vector));
}

/** An attention's seconds without the copy of its new keys and values, which is a kernel of its own. */
function withoutWrite(seconds, device, c, peak, sizes, k) {
  if (!("copy" in device.kernels)) return seconds;
  const nbytes = 8 * sizes.batch * sizes.kv_heads * (sizes.length ?? 1) * sizes.head_dim;
  return Math.max(seconds - moving(device, device.kernels.copy.values, nbytes, k), 0);
}

const WITHOUT_PEAK = ["elementwise", "copy", "strided"];

/** Seconds and launches of a stage, or of several: by class, and how far each, and the pass, may be off. */
class Estimate {
  constructor() {
    this.byClass = {};
    this.widths = {};
    this.launches = 0;
  }

  add(other, times = 1) {
    for (const name of ["byClass", "widths"]) {
      for (const [key, value] of Object.entries(other[name])) this[name][key] = (this[name][key] ?? 0) + value * times;
    }
    this.launches += other.launches * times;
    return this;
  }

  get seconds() {
    return Object.values(this.byClass).reduce((one, other) => one + other, 0);
  }

  /** The estimate, and the ends of its interval. */
  get cases() {
    const seconds = this.seconds;
    const relative = seconds ? Math.hypot(...Object.values(this.widths)) / seconds : 0;
    return [seconds, seconds / (1 + relative), seconds * (1 + relative)];
  }
}

// -- a file ---------------------------------------------------------------------------------------------------------

class Laws {
  constructor(content) {
    if (content.format !== "modelmeter laws" || content.version !== 2) {
      throw new Error(`laws: ${content.format} ${content.version} is no file that this reader knows`);
    }
    this.content = content;
    this.polynomials = content.polynomials.map(() => null);
    this.families = new Map();
  }

  numerator(place, variables) {
    this.polynomials[place] ??= parsed(this.content.polynomials[place]);
    return numerator(this.polynomials[place], variables);
  }

  /** The value of a polynomial where its conditions hold: a number where that is exact, else a BigInt. */
  value(place, variables) {
    const above = this.numerator(place, variables);
    const { divisor } = this.polynomials[place];
    if (divisor === 1n) return above;
    return typeof above === "bigint" ? above / divisor : above / Number(divisor);
  }

  holds(place, variables) {
    const [polynomial, outcome, modulus, than] = this.content.conditions[place];
    let above = this.numerator(polynomial, variables);
    const { divisor } = this.polynomials[polynomial];
    let beside = Number(divisor) * than;
    if (typeof above === "bigint") beside = divisor * BigInt(than);
    if (modulus) {
      const by = typeof above === "bigint" ? divisor * BigInt(modulus) : Number(divisor) * modulus;
      above = ((above % by) + by) % by;
    }
    if (outcome === "==") return above === beside;
    if (outcome === "!=") return above !== beside;
    return outcome === "<" ? above < beside : above >= beside;
  }

  /** The first law that holds for these variables. */
  case(families, stage, kind, variables) {
    if (!this.families.has(families)) {
      const key = (family) => `${family.stage}/${family.kind}/${[...family.variables].sort()}`;
      this.families.set(families, new Map(families.map((family) => [key(family), family.cases])));
    }
    const cases = this.families.get(families).get(`${stage}/${kind}/${Object.keys(variables).sort()}`) ?? [];
    const found = cases.find((each) => each.conditions.every((place) => this.holds(place, variables)));
    if (!found) throw new Refused(`there is no law for ${stage} of such a page`);
    return found;
  }

  lawsOf(number) {
    return this.content.laws[this.content.models[number].laws];
  }

  figures(number, stage, kind, variables) {
    const found = {};
    for (const [name, law] of Object.entries(this.case(this.lawsOf(number).figures, stage, kind, variables))) {
      if (name === "conditions") continue;
      if (!Array.isArray(law)) {
        found[name] = BigInt(this.value(law, variables));
        continue;
      }
      const sizes = law.map(([place]) => BigInt(this.value(place, variables)));
      found[name] = largest(sizes);
      if (name === "activation_peak_bytes") [, found.peak_path, found.peak_operator] = law[sizes.indexOf(found[name])];
    }
    return found;
  }

  /** What a page becomes before the model sees it: its kind, its variables, its tokens. */
  image(number, width, height) {
    const { image, prompt_tokens } = this.content.models[number];
    const grid = followed(image.steps, width, height);
    const kind = image.kinds.find((each) => each.conditions.every((place) => this.holds(place, grid)));
    const sizes = {};
    for (const [name, place] of Object.entries(kind.variables)) sizes[name] = this.value(place, grid);
    const tokens = this.value(this.case(image.tokens, "tokens", kind.name, sizes).image_tokens, sizes);
    const around = prompt_tokens + this.value(kind.markers, grid);
    return { grid, kind: kind.name, sizes, imageTokens: tokens, around, seqLen: tokens + around };
  }

  /** The variables of a step after `generated` steps behind a prefill of `seqLen` tokens. */
  stepVariables(number, seqLen, generated, pages = 1) {
    const several = pages > 1 ? { pages } : {};
    if (this.lawsOf(number).by_context) return { context: seqLen + generated, ...several };
    return { seq_len: seqLen, ...(generated ? { generated } : {}), ...several };
  }

  /** A page, or `pages` equal ones together, and `steps` decode steps: layout, and every figure by stage. */
  page(number, width, height, steps, pages = 1) {
    const model = this.content.models[number];
    const image = this.image(number, width, height);
    const { kind, sizes, seqLen } = image;
    if (seqLen + steps > model.max_position_embeddings) {
      throw new Refused(
        `${seqLen} tokens of prompt and image and ${steps} output tokens exceed the model's ` +
          `${model.max_position_embeddings} positions`,
      );
    }
    const several = pages > 1 ? { pages } : {};
    const vision = this.figures(number, "vision", kind, { ...sizes, ...several });
    const prefill = this.figures(number, "prefill", kind, { seq_len: seqLen, ...sizes, ...several });
    let decode;
    if (steps > 1) decode = this.figures(number, "decode", "", { seq_len: seqLen, steps, ...several });
    else if (steps === 1) decode = this.figures(number, "step", "", this.stepVariables(number, seqLen, 0, pages));
    else {
      decode = Object.fromEntries(FIGURES.map((name) => [name, name.startsWith("peak_") ? "" : 0n]));
      Object.assign(decode, { weight_bytes: prefill.weight_bytes, kv_bytes: prefill.kv_bytes });
    }
    return { ...image, steps, stages: { vision, prefill, decode, total: added(prefill, decode) } };
  }

  // -- times ---------------------------------------------------------------------------------------------------------

  /** Bytes of experts' weights that a layer reads for so many tokens, as variables. */
  hitVariables(number, tokens) {
    const { experts } = this.lawsOf(number);
    if (!experts) return {};
    const { experts: all, top_k: each, hit } = experts;
    let numbers = Math.min(all, each * tokens);
    if (hit === "uniform") numbers = all * (1 - (1 - each / all) ** tokens);
    else if (hit !== "max") numbers = Math.min(hit, numbers);
    const [up, down] = experts.bytes;
    return { hit_bytes: rounded(numbers * (up + down)), up_bytes: rounded(numbers * up) };
  }

  /** Kernels of a stage at these variables, each with its number and its seconds. */
  kernels(number, device, stage, kind, variables, tokens) {
    const model = this.content.models[number];
    const law = this.case(this.lawsOf(number).kernels, stage, kind, variables);
    const known = { ...variables, ...this.hitVariables(number, tokens) };
    return law.kernels.map(([place, count]) => {
      const kernel = this.content.kernels[place];
      const sizes = {};
      for (const [name, size] of Object.entries(kernel.sizes)) sizes[name] = Number(this.value(size, known));
      return { name: kernel.class, count: Number(this.value(count, known)), each: this.seconds(model, device, kernel, sizes) };
    });
  }

  seconds(model, deviceName, kernel, sizes) {
    const device = this.content.devices[deviceName];
    const constants = this.content.constants;
    const peak = kernel.dtype === "float32" ? "fp32" : (constants.peak_of_dtype[kernel.dtype] ?? kernel.dtype);
    const without = model.bound ? !sizes.flops : WITHOUT_PEAK.includes(kernel.class);
    if (!without && !(peak in device.peaks)) throw new Refused(`${deviceName} has no peak for ${peak}`);
    if (model.bound) {
      const rates = device.bound;
      const seconds = Math.max(sizes.vector_flops / rates.vector, sizes.nbytes / rates.bandwidth);
      return Math.max(seconds, sizes.flops ? sizes.flops / rates.peaks[peak] : 0) + rates.launch_s;
    }
    if (!(kernel.class in device.kernels)) throw new Refused(`${deviceName} has no constants of ${kernel.class} kernels`);
    return SECONDS[kernel.class](device, device.kernels[kernel.class].values, device.peaks[peak], sizes, constants);
  }

  estimate(number, deviceName, kernels) {
    const estimate = new Estimate();
    const squares = {};
    for (const { name, count, each } of kernels) {
      estimate.byClass[name] = (estimate.byClass[name] ?? 0) + count * each;
      squares[name] = (squares[name] ?? 0) + (count * each) ** 2;
      estimate.launches += count;
    }
    if (this.content.models[number].bound) return estimate;
    for (const [name, seconds] of Object.entries(estimate.byClass)) {
      const { median, p90 } = this.content.devices[deviceName].kernels[name];
      if (median === null) continue;
      estimate.widths[name] = Math.sqrt((median * seconds) ** 2 + p90 ** 2 * squares[name]);
      estimate.widths.pass = (estimate.widths.pass ?? 0) + this.content.constants.pass_error * seconds;
    }
    return estimate;
  }

  prefillTime(number, device, page) {
    const variables = { seq_len: page.seqLen, ...page.sizes };
    return this.estimate(number, device, this.kernels(number, device, "prefill", page.kind, variables, page.seqLen));
  }

  /** All decode steps behind a prefill, of `pages` at once. */
  decodeTime(number, device, seqLen, steps, pages) {
    const total = new Estimate();
    for (let step = 0; step < steps; step++) total.add(this.stepTime(number, device, seqLen, step, pages));
    return total;
  }

  /** One step. Kernels that no step changes are computed once for each law. */
  stepTime(number, device, seqLen, generated, pages) {
    const variables = this.stepVariables(number, seqLen, generated, pages);
    const law = this.case(this.lawsOf(number).kernels, "step", "", variables);
    const key = `${number}/${device}/${pages}/${this.lawsOf(number).by_context ? "" : seqLen}`;
    this.steps ??= new Map();
    if (this.steps.get(law)?.key !== key) this.steps.set(law, { key, known: this.stepKernels(number, law, device, variables, pages) });
    const { fixed, varying, hit } = this.steps.get(law).known;
    const model = this.content.models[number];
    const known = { ...variables, ...hit };
    const kernels = varying.map(([kernel, count]) => {
      const sizes = {};
      for (const [name, size] of Object.entries(kernel.sizes)) sizes[name] = Number(this.value(size, known));
      return { name: kernel.class, count: Number(this.value(count, known)), each: this.seconds(model, device, kernel, sizes) };
    });
    return this.estimate(number, device, [...fixed, ...kernels]);
  }

  stepKernels(number, law, device, variables, pages) {
    const model = this.content.models[number];
    const hit = this.hitVariables(number, pages);
    const known = { ...variables, ...hit };
    const varies = (place) => {
      this.polynomials[place] ??= parsed(this.content.polynomials[place]);
      return this.polynomials[place].terms.some(({ powers }) => powers.some(([name]) => name === "context" || name === "generated"));
    };
    const [fixed, varying] = [[], []];
    for (const [place, count] of law.kernels) {
      const kernel = this.content.kernels[place];
      if ([count, ...Object.values(kernel.sizes)].some(varies)) {
        varying.push([kernel, count]);
        continue;
      }
      const sizes = {};
      for (const [name, size] of Object.entries(kernel.sizes)) sizes[name] = Number(this.value(size, known));
      fixed.push({ name: kernel.class, count: Number(this.value(count, known)), each: this.seconds(model, device, kernel, sizes) });
    }
    return { fixed, varying, hit };
  }

  // -- what an engine makes of it: docs/throughput.md ----------------------------------------------------------------

  /** What `pages` pages at once need of a device, and whether it holds them. */
  memory(number, deviceName, page, pages) {
    const model = this.content.models[number];
    const device = this.content.devices[deviceName];
    const limits = this.content.limits[model.limits][deviceName];
    const { prefill } = page.stages;
    const memory = Number(device.memory_bytes);
    const weights = Number(prefill.weight_bytes);
    const tokenBytes = Math.max(1, Math.floor(Number(prefill.kv_bytes) / page.seqLen));
    const step = (count) => this.figures(number, "step", "", this.stepVariables(number, page.seqLen, page.steps - 1, count));
    const pageCache = page.steps ? Number(step(1).kv_bytes) : Number(prefill.kv_bytes);
    const load = Number(model.load_bytes);
    let need;
    if (limits.utilization === null) {
      const cache = pages * pageCache;
      const peaks = [Number(prefill.resident_peak_bytes) + cache - pageCache, cache];
      if (page.steps) peaks.push(Number(step(pages).resident_peak_bytes));
      need = { weights, cache, activations: Math.max(...peaks) - cache, reserve: model.reserve_bytes[device.kind], pool: null };
    } else {
      const block = tokenBytes * limits.block_size;
      const left = Math.floor(limits.utilization * memory) - weights - limits.reserve_bytes;
      const pool = Math.floor(Math.max(left, 0) / block) * limits.block_size;
      const tokens = Math.ceil(pageCache / block) * limits.block_size;
      const reserve = limits.reserve_bytes + memory - Math.floor(limits.utilization * memory);
      need = { weights, cache: pages * tokens * tokenBytes, activations: 0, reserve, pool, pageTokens: tokens };
    }
    need.total = need.weights + Math.max(need.cache + need.activations, load) + need.reserve;
    need.fits = need.total <= memory && (need.pool === null || pages * need.pageTokens <= need.pool);
    need.memory = memory;
    return need;
  }

  /** The most pages at once that fit and the engine runs; 0: not even one. */
  largestBatch(number, deviceName, page) {
    const { limits } = this.content.models[number];
    const limit = page.steps ? this.content.limits[limits][deviceName].max_num_seqs : 1;
    const fits = (pages) => this.memory(number, deviceName, page, pages).fits;
    let [low, high] = [0, 1];
    while ((limit === null || high <= limit) && fits(high)) [low, high] = [high, 2 * high];
    if (limit !== null) high = Math.min(high, limit + 1);
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (fits(middle)) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Seconds of a stage with the host that the device waits for, by case. */
  served(number, stage, estimate, beside, waits) {
    const model = this.content.models[number];
    const k = this.content.constants;
    if (model.bound) return estimate.cases;
    const spread = model.host.spread;
    const hosts = [1, 1 / (1 + spread), 1 + spread];
    const issuing = [1, 1 / k.hosts_differ, k.hosts_differ];
    return estimate.cases.map((seconds, at) => {
      let longest = Math.max(seconds, hosts[at] * beside);
      if (!model.graphed.includes(stage)) longest = Math.max(longest, issuing[at] * estimate.launches * k.operator_s);
      return longest + hosts[at] * waits;
    });
  }

  /** Times, rates and money of pages like this one, `batch` at once; alone: one at a time, so that nothing overlaps.
   * Workers: of the host, the engine's own number where none is given. Each figure: its value, low and high end. */
  throughput(number, deviceName, page, batch, price, { alone = false, workers } = {}) {
    const model = this.content.models[number];
    const limits = this.content.limits[model.limits][deviceName];
    const host = { ...model.host, workers: workers || model.host.workers };
    if (page.seqLen + page.steps > limits.max_model_len) {
      throw new Refused(`the engine takes ${limits.max_model_len} positions, and the page needs ${page.seqLen + page.steps}`);
    }
    const prefillEstimate = this.prefillTime(number, deviceName, page);
    const decodeEstimate = this.decodeTime(number, deviceName, page.seqLen, page.steps, batch);
    const passes = limits.max_num_batched_tokens === null ? 1 : Math.ceil(page.seqLen / limits.max_num_batched_tokens);
    const compared = host.ngram && !model.bound ? batch * comparisons(host, page.steps) * host.seconds_per_comparison : 0;
    const prefill = this.served(number, "prefill", prefillEstimate, 0, passes * host.seconds_per_prefill);
    const steps = page.steps
      ? this.served(number, "decode", decodeEstimate, compared, page.steps * host.seconds_per_step)
      : [0, 0, 0];
    const spread = model.bound ? 0 : host.spread;
    const hosts = [1, 1 / (1 + spread), 1 + spread].map((factor) => factor * host.seconds_per_page);
    const cases = [0, 1, 2].map((at) => {
      const [hostS, prefillS, stepsS] = [hosts[at], prefill[at], steps[at]];
      const pageS = prefillS + stepsS / batch;
      const device = 1 / pageS;
      const pagesPerS = alone ? 1 / (hostS + pageS) : Math.min(device, hostS ? host.workers / hostS : device);
      return {
        pages_per_s: pagesPerS,
        page_s: pageS,
        prefill_s: prefillS,
        decode_s: stepsS / batch,
        ttft_s: hostS + prefillS,
        tpot_s: page.steps ? stepsS / page.steps : 0,
        page_latency_s: hostS + batch * pageS,
        pages_per_day: 86400 * pagesPerS,
        cost_per_1000_pages: price === null ? 0 : (price * 1000) / pagesPerS / 3600,
      };
    });
    const figures = {};
    for (const name of Object.keys(cases[0])) {
      const values = cases.map((each) => each[name]);
      figures[name] = [values[0], Math.min(...values), Math.max(...values)];
    }
    let limitedBy = "device";
    if (alone && hosts[0]) limitedBy = "device and host, one after the other";
    else if (hosts[0] && host.workers / hosts[0] < 1 / cases[0].page_s) limitedBy = "host";
    const waits = (estimate, all) => Math.max(0, all - estimate.seconds);
    return {
      batch,
      figures,
      limitedBy,
      prefillClasses: { ...prefillEstimate.byClass, host: waits(prefillEstimate, prefill[0]) },
      decodeClasses: { ...decodeEstimate.byClass, host: waits(decodeEstimate, steps[0]) },
    };
  }
}

/** Comparisons of the n-gram processor in all steps of a request. */
function comparisons({ ngram_size, ngram_window }, steps) {
  if (ngram_window < ngram_size) return 0;
  const rising = Math.min(steps, ngram_window) - ngram_size + 1;
  if (rising <= 0) return 0;
  return (rising * (rising + 1)) / 2 + Math.max(steps - ngram_window, 0) * (ngram_window - ngram_size + 1);
}

/** Prefill, then decode. */
function added(prefill, decode) {
  const peak = prefill.activation_peak_bytes >= decode.activation_peak_bytes ? prefill : decode;
  const total = {};
  for (const name of SUMS) total[name] = prefill[name] + decode[name];
  for (const name of ["weight_bytes", "resident_peak_bytes"]) total[name] = largest([prefill[name], decode[name]]);
  for (const name of ["activation_peak_bytes", "peak_path", "peak_operator"]) total[name] = peak[name];
  total.kv_bytes = decode.kv_bytes;
  return total;
}
