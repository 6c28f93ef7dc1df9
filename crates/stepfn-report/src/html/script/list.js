// The texts of the page: one before, one after, and a list in which one is found by its id or its words.

const LINE = 30;

class Chooser {
  constructor(pane) {
    this.pane = pane;
    this.summary = make('summary');
    this.find = make('input', { type: 'search', placeholder: 'Find a text', 'aria-label': 'Find a text' });
    this.lines = make('div', { role: 'presentation' });
    this.box = make('div', { className: 'lines' }, this.lines);
    this.details = make('details', { className: 'chooser' }, this.summary, make('div', { className: 'menu' }, this.find, this.box));
    this.element = make('nav', { className: 'texts', 'aria-label': 'Texts' },
      button('‹', () => this.go(-1), { 'aria-label': 'The text before' }), this.details, button('›', () => this.go(1), { 'aria-label': 'The next text' }));
    this.details.addEventListener('toggle', () => this.details.open && this.filter());
    this.find.addEventListener('input', () => this.filter());
    this.box.addEventListener('scroll', () => this.draw());
    this.update();
  }

  update() {
    const { text } = this.pane;
    this.summary.replaceChildren(make('b', { textContent: nameOf(text) }), ` of ${page.texts.length} · `, make('bdi', { textContent: excerpt(text) }));
  }

  go(by) {
    const index = this.pane.place.index + by;
    if (index >= 0 && index < page.texts.length) this.pane.open(index);
  }

  filter() {
    const wanted = this.find.value.trim().toLowerCase();
    const found = (text) => `${nameOf(text)} ${excerpt(text)}`.toLowerCase().includes(wanted);
    this.found = page.texts.map((_, index) => index).filter((index) => wanted === '' || found(page.texts[index]));
    this.lines.style.height = `${this.found.length * LINE}px`;
    this.draw();
  }

  draw() {
    const from = Math.max(0, Math.floor(this.box.scrollTop / LINE) - 2);
    const shown = this.found.slice(from, from + Math.ceil(this.box.clientHeight / LINE) + 4);
    this.lines.replaceChildren(...shown.map((index, at) => {
      const text = page.texts[index];
      const line = button('', () => this.pick(index), { className: 'line' });
      line.append(make('b', { textContent: nameOf(text) }), ' ', make('bdi', { textContent: excerpt(text) }));
      line.style.top = `${(from + at) * LINE}px`;
      return line;
    }));
  }

  pick(index) {
    this.details.open = false;
    this.pane.open(index);
  }
}

const nameOf = (text) => `Text ${text.id}`;
