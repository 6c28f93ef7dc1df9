// Elements, numbers and labels: what all other parts use. Text is only ever set as text, so a token is shown and never run.

function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function select(choices, value, change) {
  const element = make('select', {}, ...choices.map(([key, name]) => make('option', { value: key, textContent: name })));
  element.value = value;
  element.addEventListener('change', () => change(element.value));
  return element;
}

function button(name, act, properties) {
  const element = make('button', { type: 'button', className: 'plain', textContent: name, ...properties });
  element.addEventListener('click', act);
  return element;
}

// A score of a view. The largest score sets the decimals, so that numbers below each other have the same.
function formatScore(value, largest) {
  if (value === null || value === undefined) return '';
  if (!Number.isFinite(value)) return formatValue(value);
  if (largest >= 1e6 || (largest > 0 && largest < 1e-5)) return value.toExponential(1);
  const magnitude = Math.floor(Math.log10(largest || 1));
  const decimals = Math.min(7, Math.max(0, magnitude < 0 ? 1 - magnitude : 2 - magnitude));
  const text = value.toFixed(decimals);
  return /^-[0.]*$/.test(text) ? text.slice(1) : text;
}

// A value by itself, such as a probability: two digits at least, and never 0.00 for something that is not zero.
function formatValue(value) {
  if (value === null || value === undefined) return '–';
  if (!Number.isFinite(value)) return value < 0 ? '−∞' : '∞';
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 1e-3 || size >= 1e6) return value.toExponential(1).replace('.0e', 'e');
  if (size < 0.1) return value.toPrecision(2);
  return size < 10 ? value.toFixed(2) : value.toFixed(size < 100 ? 1 : 0);
}

const label = (piece) => piece.label ?? piece.text.trim();
// The width of a text in narrow characters; those of East Asian scripts, and pictures, are twice as wide.
const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const columns = (text) => [...text].reduce((sum, character) => sum + (WIDE.test(character) ? 2 : 1), 0);
const labelled = (piece) => (piece.contrast === undefined ? label(piece) : `${label(piece)} vs ${piece.contrast}`);
const quoted = (text) => `“${text}”`;

// A token in its text: the spaces around it, and its letters, or its label where the letters can't be seen.
function face(piece) {
  const own = label(piece);
  if (piece.text.trim() === '') return ['', own, piece.text.includes('\n') ? '\n' : ''];
  const [, before, , after] = /^(\s*)([^]*?)(\s*)$/.exec(piece.text);
  const hidden = piece.special || own.includes('\\u{');
  return [before, hidden ? own : piece.text.trim(), after];
}

// The direction of a text: that of its first letter. The letters of special tokens don't count.
function directionOf(pieces) {
  for (const piece of pieces) {
    const letter = piece.special ? null : /\p{L}/u.exec(piece.text);
    if (letter) return /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/.test(letter[0]) ? 'rtl' : 'ltr';
  }
  return 'auto';
}

// The beginning of a text, for lists.
function excerpt(text) {
  const pieces = text.source.length > 0 ? text.source : text.target;
  const ordinary = pieces.slice(0, 40).filter((piece) => !piece.special);
  const words = ordinary.map((piece) => (piece.text.trim() === '' ? ' ' : face(piece).join('')));
  return words.join('').replace(/\s+/g, ' ').trim() || '(empty)';
}

// Colours an element by a share of the full colour, with white letters where black would be hard to read.
function shade(element, share, below) {
  element.classList.remove('shaded', 'above', 'below', 'deep');
  if (share === null) return;
  element.style.setProperty('--share', share.toFixed(4));
  element.classList.add('shaded', below ? 'below' : 'above');
  element.classList.toggle('deep', share > deepFrom(below));
}

const deepFrom = (below) => (below ? 0.88 : 0.765);

// Scrolls a box, and nothing around it, until an element in it can be seen.
function revealIn(box, element) {
  const [outer, inner] = [box.getBoundingClientRect(), element.getBoundingClientRect()];
  if (inner.top < outer.top || inner.bottom > outer.bottom) {
    box.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
  }
}
