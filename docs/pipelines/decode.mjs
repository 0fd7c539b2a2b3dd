// Decodes what a fieldgate gateway sends to Golioth, in either encoding (docs/encodings.md), into the objects that cbor-to-json and
// batch make of rows. No dependencies; runs in browsers, Node, Deno, Bun and on edge workers.
//
// As a webhook: the default export answers a POST of a message with a JSON array. Set SECRET in its environment, and the same as
// a header in the pipeline: Golioth signs nothing, so the header is what tells its requests from others.

const MOST_CELLS = 4096;
const MOST_COLUMNS = 512;

export default {
  async fetch(request, environment) {
    if (!environment?.SECRET || request.headers.get("x-fieldgate-secret") !== environment.SECRET) {
      return new Response("the secret is missing or wrong", { status: 403 });
    }
    try {
      const readings = decode(new Uint8Array(await request.arrayBuffer()));
      return Response.json(readings);
    } catch (error) {
      return new Response(String(error), { status: 400 });
    }
  },
};

/** One object an instant or statement, of the bytes of one message. Throws on anything that is no whole message. */
export function decode(message) {
  const input = new Input(message);
  const document = item(input, 0);
  if (!Array.isArray(document) || !input.isEmpty()) throw new Error("not an array of CBOR, or more than one");
  if (typeof document[0] === "number") return columns(document);
  return document.map(withoutBytes);
}

// columns

function columns([version, epoch, tables, ...more]) {
  if (version !== 1) throw new Error(`columns of version ${version}: only version 1 is known here`);
  if (epoch?.length !== 4 || !(tables instanceof Uint8Array) || more.length) throw new Error("not a message of columns");
  const input = new Input(tables);
  const lines = [];
  let cells = 0;
  while (!input.isEmpty()) {
    const head = input.count(MOST_CELLS * 4 + 3);
    const count = head >> 2;
    if (count === 0 || count > MOST_CELLS) throw new Error(`a table of ${count} instants`);
    const boot = head & 1 ? Number(input.varint()) : undefined;
    const sequences = input.series(count);
    const times = input.series(count);
    const uncertainties = head & 2 ? input.series(count) : [];
    const table = sequences.map((sequence, i) => {
      const line = { e: base64(epoch), s: Number(BigInt.asUintN(64, sequence)) };
      if (boot === undefined) line.t = Number(times[i]);
      else Object.assign(line, { b: boot, m: Number(BigInt.asUintN(64, times[i])) });
      if (uncertainties[i] > 1000n) line.u = Number(uncertainties[i]);
      return line;
    });
    const width = input.count(MOST_COLUMNS);
    cells += count * width;
    if (cells > MOST_CELLS) throw new Error("more readings than a message may have");
    for (let i = 0; i < width; i += 1) column(input, table);
    lines.push(...table);
  }
  return lines;
}

function column(input, table) {
  const alias = input.text();
  const head = input.byte();
  const kind = head & 0x7f;
  let ratio = [1n, 1n];
  if (kind < 37) ratio = kind < 18 ? [1n, 10n ** BigInt(18 - kind)] : [10n ** BigInt(kind - 18), 1n];
  if (kind === 37) ratio = [input.varint(), input.varint()];
  const codes = new Array(table.length).fill(1);
  if (head & 0x80) {
    let end = 0;
    for (let left = input.count(table.length); left > 0; left -= 1) {
      const from = end + input.count(table.length - end);
      end = from + input.count(table.length - from);
      codes.fill(input.count(512), from, end);
    }
  }
  const count = codes.filter((code) => code % 2 === 1).length;
  const each = (read) => Array.from({ length: count }, read);
  let values;
  if (kind <= 37) values = input.series(count).map((steps) => number(steps, ...ratio));
  else if (kind === 38) values = input.series(count).map((value) => value === 1n);
  else if (kind === 39) values = each(() => input.view(4).getFloat32(0, true));
  else if (kind === 40) values = each(() => input.view(8).getFloat64(0, true));
  else if (kind === 41) values = each(() => mixed(input));
  else throw new Error(`a column of kind ${kind}`);
  values.reverse();
  codes.forEach((code, i) => {
    if (code === 0) return;
    table[i][alias] = code % 2 === 1 ? values.pop() : null;
    const quality = (code - 1) >> 1;
    if (quality !== 0) (table[i].q ??= {})[alias] = quality;
  });
}

function mixed(input) {
  const kind = input.byte();
  if (kind === 0) return input.view(8).getFloat64(0, true);
  if (kind === 1) {
    const [numerator, denominator] = [input.varint(), input.varint()];
    return number(input.signed(), numerator, denominator);
  }
  if (kind === 2 || kind === 3) return kind === 3;
  if (kind === 4) return input.text();
  throw new Error(`a value of type ${kind}`);
}

/** Exact where it is whole, else the nearest double. */
function number(steps, numerator, denominator) {
  const product = steps * numerator;
  return product % denominator === 0n ? Number(product / denominator) : Number(product) / Number(denominator);
}

class Input {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  isEmpty() {
    return this.at >= this.bytes.length;
  }

  take(count) {
    if (count > this.bytes.length - this.at) throw new Error(`cut short at byte ${this.at}`);
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  byte() {
    return this.take(1)[0];
  }

  view(count) {
    const bytes = this.take(count);
    return new DataView(bytes.buffer, bytes.byteOffset, count);
  }

  varint() {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80 && value < 1n << 64n) return value;
    }
    throw new Error(`a number beyond 64 bits at byte ${this.at}`);
  }

  count(most) {
    const count = this.varint();
    if (count > BigInt(most)) throw new Error(`${count} at byte ${this.at}, where at most ${most} is possible`);
    return Number(count);
  }

  signed() {
    return unzigzag(this.varint());
  }

  text(length = this.count(this.bytes.length)) {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.take(length));
  }

  series(count) {
    if (count < 2) return Array.from({ length: count }, () => this.signed());
    const head = this.byte();
    const [isLine, k] = [head >= 0x80, head & 0x7f];
    if (k > 63 && k !== 127) throw new Error(`residuals of ${k} bits`);
    const [base, step] = [this.signed(), this.signed()];
    const bits = new Bits(this);
    const numbers = [];
    for (let i = 0; i < count; i += 1) {
      let expected = base + step * BigInt(i);
      if (!isLine) expected = i === 0 ? base : numbers[i - 1] + step;
      const residual = k === 127 || (i === 0 && !isLine) ? 0n : bits.residual(k);
      numbers.push(BigInt.asIntN(64, expected + residual));
    }
    return numbers;
  }
}

/** Bits of an input, most significant first; what is left of the last byte is passed over. */
class Bits {
  constructor(input) {
    this.input = input;
    this.left = 0;
  }

  bit() {
    if (this.left === 0) {
      this.current = this.input.byte();
      this.left = 8;
    }
    this.left -= 1;
    return (this.current >> this.left) & 1;
  }

  number(count, before = 0n) {
    let value = before;
    for (let i = 0; i < count; i += 1) value = (value << 1n) | BigInt(this.bit());
    return value;
  }

  residual(k) {
    let ones = 0;
    while (ones < 12 && this.bit() === 1) ones += 1;
    if (ones === 12) return unzigzag(this.number(Number(this.number(6)) + 1));
    return unzigzag(this.number(k, BigInt(ones)));
  }
}

function unzigzag(value) {
  return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n));
}

// rows: as much of CBOR (RFC 8949) as they are made of

function item(input, depth) {
  if (depth > 8) throw new Error("nested too deep");
  const head = input.byte();
  const [major, info] = [head >> 5, head & 31];
  if (major === 7) return simple(input, info);
  const argument = length(input, info);
  const many = (read) => {
    if (argument > input.bytes.length) throw new Error(`cut short at byte ${input.at}`);
    return Array.from({ length: argument }, read);
  };
  switch (major) {
    case 0:
      return argument;
    case 1:
      return -1 - argument;
    case 2:
      return input.take(argument);
    case 3:
      return input.text(argument);
    case 4:
      return many(() => item(input, depth + 1));
    case 5:
      return Object.fromEntries(many(() => [item(input, depth + 1), item(input, depth + 1)]));
    default:
      throw new Error(`a tag at byte ${input.at}`);
  }
}

function length(input, info) {
  if (info < 24) return info;
  if (info === 24) return input.byte();
  if (info === 25) return input.view(2).getUint16(0);
  if (info === 26) return input.view(4).getUint32(0);
  if (info === 27) return Number(input.view(8).getBigUint64(0));
  throw new Error(`no length at byte ${input.at}`);
}

function simple(input, info) {
  if (info === 20 || info === 21) return info === 21;
  if (info === 22) return null;
  if (info === 25) return half(input.view(2).getUint16(0));
  if (info === 26) return input.view(4).getFloat32(0);
  if (info === 27) return input.view(8).getFloat64(0);
  throw new Error(`a value JSON has no word for at byte ${input.at}`);
}

function half(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  if (exponent === 31) throw new Error("a number JSON has no word for");
  return bits >> 15 ? -size : size;
}

/** Byte strings as base64, as cbor-to-json has them. */
function withoutBytes(value) {
  if (value instanceof Uint8Array) return base64(value);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutBytes(inner)]));
}

function base64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}
