// What is shown: settings of the page, and of each pane the text, its view and the selection {side: 'step' | 'source' | 'target', at}, a
// step by its number and an input token by its position. The URL fragment stores it.

const page = JSON.parse(document.getElementById('data').textContent);
const SCALES = { peak: 'relative to the step’s largest', share: 'share of the step’s total', raw: 'as computed' };
const THEMES = { '': 'Theme: system', light: 'Theme: light', dark: 'Theme: dark' };
const state = { scale: 'peak', special: false, colour: '', theme: '', panes: [] };
// JSON has no infinity.
for (const score of page.texts.flatMap((text) => text.scores)) {
  score.values = score.values.map((value) => (typeof value === 'string' ? Number(value) : value));
}
// Of several texts with one id, the first has the address.
const indexOf = new Map(page.texts.map((text, index) => [text.id, index]).reverse());

// What is selected at first: the most surprising step.
function opening(text) {
  return text.first === null ? null : { side: 'step', at: text.first };
}

// `7.3` is the fourth predicted token of the text with the id 7; `7.s3` is in its source, `7.t3` in its target, and `7` is the text alone.
function readPlace(written, view) {
  if (written === null) return null;
  const found = indexOf.has(written) ? null : /^(.*)\.([st]?)(\d+)$/.exec(written);
  const index = indexOf.get(found ? found[1] : written);
  if (index === undefined) return null;
  const text = page.texts[index];
  const side = { s: 'source', t: 'target' }[found ? found[2] : ''] || 'step';
  const count = side === 'step' ? text.end - text.start : text[side].length;
  const chosen = found && Number(found[3]) < count ? { side, at: Number(found[3]) } : null;
  const known = /^\d+$/.test(view || '') && Number(view) < text.views.length;
  return { index, chosen: chosen || opening(text), view: known ? Number(view) : 0 };
}

function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  if (parts.get('scale') in SCALES) state.scale = parts.get('scale');
  state.special = parts.get('special') === '1';
  state.colour = parts.get('colour') || '';
  const start = page.texts.length > 0 ? page.texts[0].id : null;
  const main = readPlace(parts.get('select'), parts.get('view')) || readPlace(start, parts.get('view'));
  const beside = readPlace(parts.get('beside'), parts.get('besideview'));
  state.panes = [main, beside].filter((place) => place !== null);
}

function writeAddress() {
  const parts = new URLSearchParams();
  state.panes.forEach(({ index, chosen, view }, pane) => {
    const what = chosen ? `.${{ source: 's', target: 't', step: '' }[chosen.side]}${chosen.at}` : '';
    parts.set(pane === 0 ? 'select' : 'beside', `${page.texts[index].id}${what}`);
    if (view) parts.set(pane === 0 ? 'view' : 'besideview', view);
  });
  if (state.scale !== 'peak') parts.set('scale', state.scale);
  if (state.special) parts.set('special', '1');
  if (state.colour) parts.set('colour', state.colour);
  try {
    history.replaceState(null, '', `#${parts}`);
  } catch {
    // A page in a sandboxed frame has no URL of its own.
  }
}
