// Scores as the page stores them, and on the scale that is selected.

// Columns of codes, one per step, each as long as its last score. Code 0 is no score; the middle code is zero; the ends are the step's
// largest score, of special tokens by themselves.
class Packed {
  constructor(packed, bits, pieces) {
    const raw = atob(packed.data);
    const bytes = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at += 1) bytes[at] = raw.charCodeAt(at);
    this.codes = bits === 8 ? bytes : new Uint16Array(bytes.buffer);
    this.zero = 2 ** (bits - 1);
    this.lengths = packed.lengths;
    this.starts = [];
    let start = 0;
    for (const length of packed.lengths) {
      this.starts.push(start);
      start += length;
    }
    this.rows = packed.lengths.reduce((most, length) => Math.max(most, length), 0);
    this.largest = packed.largest;
    this.special = packed.special;
    this.pieces = pieces;
  }

  at(token, step) {
    if (token >= this.lengths[step]) return null;
    const code = this.codes[this.starts[step] + token];
    if (code === 0) return null;
    const largest = this.pieces[token].special ? this.special[step] : this.largest[step];
    return ((code - this.zero) / (this.zero - 1)) * largest;
  }
}

function unpacked(text, view) {
  const side = (name) => (view[name] === null ? null : new Packed(view[name], text.bits, text[name]));
  view.sides ??= { source: side('source'), target: side('target') };
  return view.sides;
}

// The scores of a view on the selected scale. Special tokens are apart: they don't set the scale of the others.
class Scaled {
  constructor(text, view) {
    this.text = text;
    this.steps = text.end - text.start;
    this.sides = view === undefined ? { source: null, target: null } : unpacked(text, view);
    this.signed = view !== undefined && view.signed;
    const sides = Object.values(this.sides).filter((side) => side !== null);
    const most = (name, step) => sides.reduce((largest, side) => Math.max(largest, side[name][step]), 0);
    const steps = Array.from({ length: this.steps }, (_, step) => step);
    this.apart = !state.special && steps.some((step) => most('largest', step) > 0);
    const largest = steps.map((step) => {
      const ordinary = most('largest', step);
      return this.apart ? ordinary : Math.max(ordinary, most('special', step));
    });
    this.by = steps.map((step) => {
      if (state.scale === 'raw' || view === undefined) return 1;
      if (state.scale === 'share') return view.total[step] || 1;
      return largest[step] || most('special', step) || 1;
    });
    this.largest = steps.reduce((all, step) => Math.max(all, largest[step] / this.by[step]), 0);
  }

  rows(side) {
    return this.sides[side] === null ? 0 : this.sides[side].rows;
  }

  at(side, token, step) {
    const value = this.sides[side] === null ? null : this.sides[side].at(token, step);
    return value === null ? null : value / this.by[step];
  }

  // A score as text. Those of special tokens that are apart may be larger than all others.
  written(value) {
    return value === null ? '' : formatScore(value, Math.max(this.largest, Math.abs(value)));
  }

  // The share of the full colour; none for special tokens that are apart.
  share(side, token, value) {
    if (value === null || (this.apart && this.text[side][token].special)) return null;
    return this.largest > 0 ? Math.min(1, Math.abs(value) / this.largest) : 0;
  }
}

const finite = (values) => values.filter((value) => value !== null && Number.isFinite(value));
const greatest = (values) => finite(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
