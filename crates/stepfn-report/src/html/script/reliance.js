// Reliance on context: the output with its tokens shaded by how much they depend on context, and the contexts shaded by what the chosen token
// depends on.

const MOST_CUES = 10;
const NAMES = ['Input context', 'Output context'];
const SIDES = ['input', 'output'];

// A token in its text, as a button if it can be chosen.
function tokenOf([gap, text, label], act) {
  const shown = text.trim() === '' || label.includes('\\u{') ? label : text;
  const properties = { className: 'token', textContent: shown };
  const token = act ? make('button', { type: 'button', ...properties }) : make('span', properties);
  if (act) token.addEventListener('click', act);
  return { gap: text.includes('\n') && text.trim() === '' ? `${gap}\n` : gap, token };
}

function flowOf(name, pieces) {
  const flow = make('p', { className: 'flow', dir: 'auto' });
  for (const { gap, token } of pieces) flow.append(gap, token);
  return [make('h3', { textContent: name }), flow];
}

const largestOf = (values) => values.reduce((largest, value) => Math.max(largest, Math.abs(value ?? 0)), 0);

function paint(token, value, largest, title) {
  shade(token, value === null || largest === 0 ? 0 : Math.abs(value) / largest, (value ?? 0) < 0);
  token.title = title;
}

class Reliance {
  constructor(text, several) {
    this.text = text;
    const choosable = new Map(text.tokens.map((token, number) => [token.at, number]));
    this.output = text.output.map((piece, at) => {
      return tokenOf(piece, choosable.has(at) ? () => this.choose(choosable.get(at)) : null);
    });
    this.contexts = text.contexts.map((pieces) => pieces && pieces.map((piece) => tokenOf(piece, null)));
    this.status = make('p', { className: 'hint', 'aria-live': 'polite' });
    this.detail = make('div', { className: 'detail' });
    const largest = largestOf(text.scores);
    this.output.forEach(({ token }, at) => {
      const value = text.scores[at];
      shade(token, value === null || largest === 0 ? 0 : Math.abs(value) / largest, true);
      token.title = `${text.metric} ${formatValue(value)}`;
    });
    const flows = make('div', {});
    const [input, output] = this.contexts;
    if (input) flows.append(...flowOf(NAMES[0], input));
    flows.append(make('h3', { textContent: 'Current input' }), make('p', { className: 'given', textContent: text.input, dir: 'auto' }));
    if (output) flows.append(...flowOf(NAMES[1], output));
    flows.append(...flowOf('Current output', this.output));
    const about = make('dl', {});
    for (const [name, value] of text.about) about.append(make('dt', { textContent: name }), make('dd', { textContent: value }));
    this.element = make('section', { className: 'text reliance' },
      several ? make('h2', { textContent: `Text ${text.id}` }) : null,
      make('div', { className: 'halves' }, flows, make('div', { className: 'explanation' }, this.status, this.detail)),
      make('details', {}, make('summary', { textContent: 'How it was made' }), about));
    this.choose(text.tokens.length > 0 ? 0 : null, true);
  }

  choose(number, isFirst) {
    const { text } = this;
    text.tokens.forEach(({ at }, other) => {
      this.output[at].token.setAttribute('aria-pressed', String(other === number));
    });
    if (number === null) {
      this.status.textContent = `No token of the output depends on context so much: ${text.metric} of ${formatValue(text.threshold)} or more was asked for.`;
      return;
    }
    const chosen = text.tokens[number];
    const largest = largestOf(chosen.scores.flatMap((scores) => scores ?? []));
    const entries = [];
    const both = this.contexts.every((tokens) => tokens !== null);
    this.contexts.forEach((tokens, side) => {
      if (!tokens || !chosen.scores[side]) return;
      tokens.forEach(({ token }, at) => {
        const value = chosen.scores[side][at];
        paint(token, value, largest, formatValue(value));
        token.classList.toggle('cue', chosen.shown[side].includes(at));
        const name = text.contexts[side][at][2];
        entries.push({ name: both ? `${name} · ${SIDES[side]}` : name, value: value ?? 0, isShown: chosen.shown[side].includes(at) });
      });
    });
    const own = quoted(text.output[chosen.at][2]);
    const other = chosen.other === null ? ', which the model prefers without context, too' : `; without context the model prefers ${quoted(chosen.other)}`;
    this.status.textContent = `${own} depends on context: ${text.metric} ${formatValue(text.scores[chosen.at])} (from ${formatValue(text.threshold)} on)${other}.`;
    entries.sort((one, two) => Math.abs(two.value) - Math.abs(one.value));
    const list = make('ol', {});
    for (const { name, value } of entries.slice(0, MOST_CUES)) {
      const bar = make('span', { className: `bar ${value < 0 ? 'below' : 'above'}`, 'aria-hidden': 'true' });
      bar.style.width = `${largest > 0 ? (100 * Math.abs(value)) / largest : 0}%`;
      const number = make('span', { className: 'number', textContent: formatScore(value, largest) });
      list.append(make('li', {}, make('bdi', { textContent: name, title: name }), bar, number));
    }
    const marked = entries.filter(({ isShown }) => isShown).length;
    const line = `${marked} of ${entries.length} tokens of the contexts are marked, from ${formatValue(chosen.threshold)} on.`;
    this.detail.replaceChildren(make('h3', { textContent: 'What it depends on' }), list, make('p', { className: 'values', textContent: line }));
    if (!isFirst) history.replaceState(null, '', `#select=${encodeURIComponent(text.id)}.${chosen.at}`);
  }
}

const { texts } = JSON.parse(document.getElementById('data').textContent);
const all = texts.map((text) => new Reliance(text, texts.length > 1));
document.getElementById('texts').append(...all.map(({ element }) => element));

// The token that the address names.
const named = /^#select=(.*)\.(\d+)$/.exec(location.hash);
const linked = named && all.find(({ text }) => text.id === decodeURIComponent(named[1]));
const number = linked ? linked.text.tokens.findIndex(({ at }) => at === Number(named[2])) : -1;
if (number >= 0) {
  linked.choose(number, true);
  linked.element.scrollIntoView();
}
