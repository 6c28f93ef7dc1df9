// The page: its settings, and one or two panes.

let panes = [];

function showPanes() {
  for (const pane of panes) pane.stop();
  panes = state.panes.map((place) => new Pane(place));
  const texts = document.getElementById('texts');
  texts.classList.toggle('two', panes.length > 1);
  texts.replaceChildren(...panes.map((pane) => pane.element));
  // What is out of view could not be measured before.
  for (const pane of panes) {
    pane.grid.draw(true);
    pane.reveal();
  }
}

function changed() {
  for (const pane of panes) pane.update();
  writeAddress();
}

function settings() {
  const scale = select(Object.entries(SCALES), state.scale, (value) => {
    state.scale = value;
    changed();
  });
  scale.id = 'scale';
  const names = [...new Set(page.texts.flatMap((text) => text.scores.map((score) => score.name)))];
  const colours = [['', 'scores for the selection'], ...names.map((name) => [name, name])];
  const colour = select(colours, state.colour, (value) => {
    state.colour = value;
    changed();
  });
  colour.id = 'colour';
  const special = make('input', { type: 'checkbox', id: 'special', checked: state.special });
  special.addEventListener('change', () => {
    state.special = special.checked;
    changed();
  });
  const theme = button(THEMES[state.theme], () => {
    state.theme = { '': 'light', light: 'dark', dark: '' }[state.theme];
    theme.textContent = THEMES[state.theme];
    document.documentElement.dataset.theme = state.theme;
  }, { id: 'theme' });
  const beside = button('', () => {
    const [main, second] = state.panes;
    const next = Math.min(main.index + 1, page.texts.length - 1);
    state.panes = second ? [main] : [main, { index: next, chosen: opening(page.texts[next]), view: 0 }];
    name();
    showPanes();
    writeAddress();
  }, { id: 'beside' });
  const name = () => { beside.textContent = state.panes.length > 1 ? 'One text' : 'Two side by side'; };
  name();
  return [make('label', {}, 'Scores', scale), make('label', {}, 'Colour by', colour),
    make('label', {}, special, 'Special tokens with the others'), beside, theme];
}

readAddress();
if (state.panes.length > 0) {
  const wide = matchMedia('(min-width: 50rem)').matches;
  const controls = make('details', { open: wide }, make('summary', { textContent: 'Settings' }), make('div', { id: 'controls' }, ...settings()));
  document.getElementById('settings').append(controls);
}
showPanes();
window.addEventListener('hashchange', () => {
  readAddress();
  document.getElementById('controls').replaceChildren(...settings());
  showPanes();
});
