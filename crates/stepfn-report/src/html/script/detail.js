// What the selected token is about: which inputs mattered most for it, or which steps it mattered most for, and what else the model
// expected.

const MOST_ENTRIES = 8;
const MOST_APART = 3;

function describe(pane) {
  const { shown, text } = pane;
  pane.detail.replaceChildren();
  if (!shown) {
    pane.status.textContent = 'Choose a token to see what it was predicted from.';
    return;
  }
  const piece = shown.side === 'step' ? text.target[text.start + shown.at] : text[shown.side][shown.at];
  const entries = shown.side === 'step' ? inputsOf(pane, shown.at) : stepsOf(pane, shown);
  const says = shown.side === 'step' ? 'was predicted from:' : 'was used to predict:';
  pane.status.textContent = `${quoted(labelled(piece))} ${entries.length === 0 ? 'has no scores.' : says}`;
  pane.detail.append(bars(entries, pane.scores));
  if (shown.side !== 'step') return;
  pane.detail.append(values(text, shown.at));
  const others = text.alternatives && text.alternatives[shown.at];
  if (others && others.length > 0) pane.detail.append(expected(others));
}

// Entries {name, value, apart}: special tokens come last if they are apart.
function inputsOf(pane, step) {
  const { text, scores } = pane;
  const of = (side) => text[side].map((piece, at) => {
    return { name: label(piece), value: scores.at(side, at, step), apart: scores.apart && piece.special === true };
  });
  return sorted([...of('source'), ...of('target')]);
}

function stepsOf(pane, { side, at }) {
  const { text, scores } = pane;
  const piece = (step) => text.target[text.start + step];
  const entry = (_, step) => ({ name: labelled(piece(step)), value: scores.at(side, at, step), apart: false });
  return sorted(Array.from({ length: scores.steps }, entry));
}

function sorted(entries) {
  const seen = entries.filter((entry) => entry.value !== null);
  seen.sort((one, other) => one.apart - other.apart || Math.abs(other.value) - Math.abs(one.value));
  const ordinary = seen.filter((entry) => !entry.apart).slice(0, MOST_ENTRIES);
  return [...ordinary, ...seen.filter((entry) => entry.apart).slice(0, MOST_APART)];
}

function bars(entries, scores) {
  const list = make('ol');
  const most = entries.reduce((all, entry) => Math.max(all, entry.apart ? 0 : Math.abs(entry.value)), 0);
  for (const { name, value, apart } of entries) {
    const bar = make('span', { className: `bar ${value < 0 ? 'below' : 'above'}${apart ? ' apart' : ''}`, 'aria-hidden': 'true' });
    bar.style.width = `${most > 0 ? Math.min(100, (100 * Math.abs(value)) / most) : 0}%`;
    const number = make('span', { className: 'number', textContent: scores.written(value) });
    list.append(make('li', {}, make('bdi', { textContent: name, title: name }), bar, number));
  }
  return list;
}

function values(text, step) {
  const line = make('p', { className: 'values' });
  for (const score of text.scores) {
    line.append(make('span', {}, `${score.name} `, make('b', { textContent: formatValue(score.values[step]) })));
  }
  return line;
}

function expected(others) {
  const line = make('p', { className: 'values alternatives' }, 'Most likely here: ');
  for (const [name, probability] of others) {
    line.append(make('span', {}, make('bdi', { textContent: name }), ' ', make('b', { textContent: formatValue(probability) })));
  }
  return line;
}
