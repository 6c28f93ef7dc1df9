
'use strict';
// Draws the page from the JSON in #data. Token text is only ever set through textContent. The state is the view and scale and, for each
// text, the selection {side: 'step' | 'source' | 'target', at}: a step by its number, an input token by its position.
(() => {
  const page = JSON.parse(document.getElementById('data').textContent);
  const SCALES = { share: 'share of the step’s total', peak: 'relative to the step’s maximum', raw: 'as computed' };
  const MOST_CELLS = 20000;
  const state = { scale: 'share', theme: '', chosen: page.texts.map(first), views: page.texts.map(() => 0) };

  function first(text) {
    return text.end > text.start ? { side: 'step', at: 0 } : null;
  }

  function make(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  function draw(tag, attributes, ...children) {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // The URL fragment stores the selection. Steps and input tokens count from 0; `s3` is in the source, `t3` in the target.
  function readAddress() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const [text, what] = (parts.get('select') || '').split('.');
    const found = /^([st]?)(\d+)$/.exec(what || '');
    const chosenText = /^\d+$/.test(text) ? page.texts[text] : undefined;
    if (chosenText && found) {
      const side = { s: 'source', t: 'target' }[found[1]] || 'step';
      const at = Number(found[2]);
      const count = side === 'step' ? chosenText.end - chosenText.start : chosenText[side].length;
      if (at < count) state.chosen[text] = { side, at };
    }
    if (parts.get('scale') in SCALES) state.scale = parts.get('scale');
    const view = Number(parts.get('view'));
    if (Number.isInteger(view) && view >= 0) state.views = page.texts.map((one) => (view < one.views.length ? view : 0));
    return chosenText ? Number(text) : null;
  }

  function writeAddress(number) {
    const chosen = state.chosen[number];
    const what = chosen ? `${number}.${{ source: 's', target: 't', step: '' }[chosen.side]}${chosen.at}` : '';
    const parts = new URLSearchParams();
    if (what) parts.set('select', what);
    if (state.scale !== 'share') parts.set('scale', state.scale);
    if (state.views[number]) parts.set('view', state.views[number]);
    try {
      history.replaceState(null, '', `#${parts}`);
    } catch {
      // A page in a sandboxed frame has no URL of its own.
    }
  }

  // A text's scores on the selected scale: {source, target, largest, signed}, with rows of numbers or null.
  function scaled(text, view, scale) {
    const sides = ['source', 'target'].map((side) => text.views[view][side] || []);
    const steps = text.end - text.start;
    const by = Array.from({ length: steps }, (_, step) => {
      const column = sides.flatMap((rows) => rows.map((row) => row[step])).filter((value) => value !== null).map(Math.abs);
      if (scale === 'share') return column.reduce((sum, value) => sum + value, 0) || 1;
      if (scale === 'peak') return column.reduce((most, value) => Math.max(most, value), 0) || 1;
      return 1;
    });
    const [source, target] = sides.map((rows) => rows.map((row) => row.map((value, step) => (value === null ? null : value / by[step]))));
    let largest = 0;
    let signed = false;
    for (const value of [...source, ...target].flat()) {
      if (value === null) continue;
      largest = Math.max(largest, Math.abs(value));
      signed = signed || value < 0;
    }
    return { source, target, largest, signed };
  }

  function format(value, largest) {
    if (value === null || value === undefined) return '';
    if (largest >= 1e6 || (largest > 0 && largest < 1e-5)) return value.toExponential(1);
    const magnitude = Math.floor(Math.log10(largest || 1));
    const decimals = Math.min(7, Math.max(0, magnitude < 0 ? 1 - magnitude : 2 - magnitude));
    const text = value.toFixed(decimals);
    return /^-[0.]*$/.test(text) ? text.slice(1) : text;
  }

  const quoted = (label) => `“${label}”`;
  const labelled = (piece) => (piece.contrast === undefined ? piece.label : `${piece.label} vs ${piece.contrast}`);

  // Colours an element by a score, with white text where black would be hard to read.
  function shade(element, value, largest) {
    element.classList.remove('shaded', 'above', 'below', 'deep');
    if (value === null || value === undefined) return;
    const share = largest > 0 ? Math.min(1, Math.abs(value) / largest) : 0;
    element.style.setProperty('--share', share.toFixed(4));
    element.classList.add('shaded', value < 0 ? 'below' : 'above');
    element.classList.toggle('deep', share > (value < 0 ? 0.88 : 0.765));
  }

  class Text {
    constructor(text, number) {
      this.text = text;
      this.number = number;
      this.preview = null;
      this.steps = text.end - text.start;
      this.tokens = { source: [], target: [] };
      this.element = make('section', { className: 'text', id: `text-${number}` });
      this.build();
    }

    get shown() {
      return this.preview || state.chosen[this.number];
    }

    piece(chosen) {
      return chosen.side === 'step' ? this.text.target[this.text.start + chosen.at] : this.text[chosen.side][chosen.at];
    }

    // The score of an input token (side, at) for the current selection: a column if a step is selected, a row if an input token is.
    scoreOf(side, at) {
      const shown = this.shown;
      if (!shown) return null;
      if (shown.side === 'step') {
        const row = this.scores[side][at];
        return row === undefined ? null : row[shown.at];
      }
      const row = this.scores[shown.side][shown.at];
      const step = at - this.text.start;
      return side === 'target' && row !== undefined && step >= 0 && step < this.steps ? row[step] : null;
    }

    build() {
      const { text, number } = this;
      const heading = `heading-${number}`;
      this.element.setAttribute('aria-labelledby', heading);
      const name = page.texts.length > 1 ? `Text ${number + 1}: ${text.title}` : text.title;
      const head = make('div', { className: 'head' }, make('h2', { id: heading, textContent: name }));
      if (text.views.length > 1) {
        this.viewSelect = select(text.views.map((view, at) => [at, view.name]), state.views[number], (value) => {
          state.views[number] = Number(value);
          this.update();
          writeAddress(number);
        });
        this.viewSelect.id = `view-${number}`;
        head.append(make('label', {}, 'Aggregation', this.viewSelect));
      }
      const left = make('div');
      if (text.source.length > 0) left.append(make('h3', { textContent: 'Source' }), this.flow('source'));
      const predicted = text.source.length > 0 ? 'Target' : 'Text';
      left.append(make('h3', { textContent: `${predicted} (underlined: predicted tokens)` }), this.flow('target'));
      this.detail = make('div', { className: 'detail' });
      this.status = make('p', { className: 'hint', role: 'status' });
      this.element.append(head, make('div', { className: 'halves' }, left, make('div', {}, this.status, this.detail)));
      this.charts = text.scores.map((score) => new Chart(this, score));
      if (this.charts.length > 0) {
        const charts = make('div', { className: 'charts' }, ...this.charts.map((chart) => chart.element));
        this.element.append(make('h3', { textContent: 'Step scores' }), charts);
      }
      this.tableBox = make('div', { className: 'scroll table', tabIndex: 0, role: 'region' });
      this.tableBox.setAttribute('aria-label', `Scores of ${name}`);
      this.legend = make('p', { className: 'legend' });
      // A large table is only drawn when it is opened.
      const cells = this.steps * (text.source.length + text.target.length);
      this.tableDetails = make('details', { open: cells <= MOST_CELLS }, make('summary', { textContent: 'Heat map' }), this.tableBox, this.legend);
      this.tableDetails.addEventListener('toggle', () => this.update());
      this.element.append(this.tableDetails);
      if (text.about.length > 0) {
        const list = make('dl');
        for (const [key, value] of text.about) list.append(make('dt', { textContent: key }), make('dd', { textContent: value }));
        this.element.append(make('details', {}, make('summary', { textContent: 'How this was computed' }), list));
      }
      this.update();
    }

    // A text as buttons. Arrow keys move between tokens; only one of them is in the tab order.
    flow(side) {
      const flow = make('p', { className: 'flow', dir: 'auto' });
      flow.setAttribute('role', 'group');
      flow.setAttribute('aria-label', side === 'source' ? 'Source tokens' : 'Target tokens');
      const { start, end } = this.text;
      this.text[side].forEach((piece, at) => {
        const step = side === 'target' && at >= start && at < end;
        const chosen = step ? { side: 'step', at: at - start } : { side, at };
        const blank = piece.text.trim() === '';
        const [, before, after] = blank ? ['', '', ''] : /^(\s*)[^]*?(\s*)$/.exec(piece.text);
        const button = make('button', { type: 'button', className: 'token', tabIndex: -1 });
        button.textContent = blank || piece.special || piece.label.includes('\\u{') ? piece.label : piece.text.trim();
        button.classList.toggle('special', piece.special);
        button.classList.toggle('step', step);
        if (piece.contrast !== undefined) button.append(make('small', { textContent: `vs ${piece.contrast}` }));
        button.addEventListener('click', () => this.choose(chosen));
        button.addEventListener('pointerenter', (event) => event.pointerType === 'mouse' && this.peek(chosen));
        button.addEventListener('pointerleave', () => this.peek(null));
        button.addEventListener('keydown', (event) => this.move(event, side, at));
        this.tokens[side].push(button);
        flow.append(before, button, after);
        if (piece.text.includes('\n')) flow.append('\n');
      });
      return flow;
    }

    move(event, side, at) {
      const buttons = this.tokens[side];
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (event.key === 'Escape') {
        state.chosen[this.number] = null;
        this.update();
        writeAddress(this.number);
      } else if (to !== undefined && buttons[to]) {
        event.preventDefault();
        buttons[to].focus();
        buttons[to].click();
      }
    }

    choose(chosen) {
      this.preview = null;
      state.chosen[this.number] = chosen;
      this.shadeAll();
      writeAddress(this.number);
    }

    peek(chosen) {
      this.preview = chosen;
      this.shadeAll();
    }

    // Called after the aggregation or the scale changes.
    update() {
      const view = state.views[this.number];
      if (this.viewSelect) this.viewSelect.value = view;
      this.scores = scaled(this.text, view, state.scale);
      if (this.tableDetails.open) this.buildTable();
      this.shadeAll();
    }

    shadeAll() {
      const { largest } = this.scores;
      const shown = this.shown;
      const chosen = state.chosen[this.number];
      for (const side of ['source', 'target']) {
        this.tokens[side].forEach((button, at) => {
          const value = this.scoreOf(side, at);
          const step = side === 'target' ? at - this.text.start : -1;
          const is = (what) => Boolean(what) && (what.side === 'step' ? what.at === step : what.side === side && what.at === at);
          shade(button, value, largest);
          button.classList.toggle('unseen', Boolean(shown) && value === null && !is(shown));
          button.setAttribute('aria-pressed', String(is(shown)));
          button.tabIndex = is(chosen) ? 0 : -1;
          const spoken = format(value, largest);
          button.setAttribute('aria-label', labelled(this.text[side][at]) + (spoken === '' ? '' : `: ${spoken}`));
        });
        const buttons = this.tokens[side];
        if (buttons.length > 0 && !buttons.some((button) => button.tabIndex === 0)) buttons[0].tabIndex = 0;
      }
      this.describe();
      for (const chart of this.charts) chart.mark(shown && shown.side === 'step' ? shown.at : null);
      for (const cell of this.tableBox.querySelectorAll('thead th')) {
        cell.classList.toggle('chosen-column', Boolean(shown) && shown.side === 'step' && Number(cell.dataset.step) === shown.at);
      }
    }

    // Describes the selected token: which inputs mattered most for it, or which steps it mattered most for.
    describe() {
      const shown = this.shown;
      const list = make('ol');
      this.detail.replaceChildren();
      if (!shown) {
        this.status.textContent = 'Choose a token to see what it was predicted from.';
        return;
      }
      const { source, target, largest } = this.scores;
      const piece = this.piece(shown);
      let entries;
      if (shown.side === 'step') {
        const of = (side, rows) => rows.map((row, at) => [this.text[side][at].label, row[shown.at]]);
        entries = [...of('source', source), ...of('target', target)];
        this.status.textContent = `${quoted(labelled(piece))} was predicted from:`;
      } else {
        const row = (shown.side === 'source' ? source : target)[shown.at] || [];
        entries = row.map((value, step) => [labelled(this.text.target[this.text.start + step]), value]);
        this.status.textContent = `${quoted(piece.label)} was used to predict:`;
      }
      entries = entries.filter(([, value]) => value !== null);
      entries.sort(([, one], [, other]) => Math.abs(other) - Math.abs(one));
      if (entries.length === 0) this.status.textContent = `${quoted(labelled(piece))}: no scores.`;
      const most = entries.length > 0 ? Math.abs(entries[0][1]) : 0;
      for (const [label, value] of entries.slice(0, 8)) {
        const bar = make('span', { className: `bar ${value < 0 ? 'below' : 'above'}` });
        bar.style.width = `${most > 0 ? (100 * Math.abs(value)) / most : 0}%`;
        bar.setAttribute('aria-hidden', 'true');
        const number = make('span', { className: 'number', textContent: format(value, largest) });
        list.append(make('li', {}, make('span', { textContent: label, title: label }), bar, number));
      }
      this.detail.append(list);
      if (shown.side === 'step') {
        const values = make('p', { className: 'values' });
        for (const score of this.text.scores) {
          const value = score.values[shown.at];
          const text = value === null ? '–' : format(value, greatest(score.values));
          values.append(make('span', {}, `${score.name} `, make('b', { textContent: text })));
        }
        this.detail.append(values);
      }
    }

    buildTable() {
      const { source, target, largest, signed } = this.scores;
      const { start } = this.text;
      const numbers = Array.from({ length: this.steps }, (_, step) => step);
      const table = make('table');
      const unit = SCALES[state.scale];
      table.append(make('caption', { textContent: `Rows: input tokens; columns: predicted tokens; ${unit}` }));
      const header = make('tr', {}, make('td'));
      for (const step of numbers) {
        const piece = this.text.target[start + step];
        const cell = make('th', { scope: 'col' }, make('span', { textContent: labelled(piece), title: labelled(piece) }));
        cell.dataset.step = step;
        cell.classList.toggle('special', piece.special);
        header.append(cell);
      }
      table.append(make('thead', {}, header));
      for (const [side, rows] of [['source', source], ['target', target]]) {
        const body = make('tbody');
        if (source.length > 0 && target.length > 0) {
          const name = make('th', { scope: 'rowgroup', className: 'side', textContent: side });
          name.colSpan = this.steps + 1;
          body.append(make('tr', {}, name));
        }
        rows.forEach((row, at) => {
          if (row.every((value) => value === null)) return;
          const piece = this.text[side][at];
          const label = make('th', { scope: 'row', textContent: piece.label, title: piece.label });
          label.classList.toggle('special', piece.special);
          const line = make('tr', {}, label);
          row.forEach((value, step) => {
            const cell = make('td', { textContent: format(value, largest) });
            cell.dataset.step = step;
            shade(cell, value, largest);
            line.append(cell);
          });
          body.append(line);
        });
        if (rows.length > 0) table.append(body);
      }
      const foot = make('tfoot');
      for (const score of this.text.scores) {
        const line = make('tr', {}, make('th', { scope: 'row', textContent: score.name, title: score.name }));
        score.values.forEach((value, step) => {
          const cell = make('td', { textContent: format(value, greatest(score.values)) });
          cell.dataset.step = step;
          line.append(cell);
        });
        foot.append(line);
      }
      if (this.text.scores.length > 0) table.append(foot);
      const stepOf = (event) => {
        const cell = event.target.closest('[data-step]');
        return cell ? { side: 'step', at: Number(cell.dataset.step) } : null;
      };
      table.addEventListener('click', (event) => stepOf(event) && this.choose(stepOf(event)));
      table.addEventListener('pointerover', (event) => event.pointerType === 'mouse' && this.peek(stepOf(event)));
      table.addEventListener('pointerleave', () => this.peek(null));
      this.tableBox.replaceChildren(table);
      this.legend.classList.toggle('signed', signed);
      this.legend.replaceChildren(format(signed ? -largest : 0, largest), make('i'), format(largest, largest));
      this.legend.hidden = largest === 0;
    }
  }

  const greatest = (values) => values.reduce((most, value) => (value === null ? most : Math.max(most, Math.abs(value))), 0);

  // A line chart of one step function; the line breaks at missing values.
  class Chart {
    constructor(owner, score) {
      const { text, steps } = owner;
      const [left, top, height, gap] = [58, 26, 78, Math.max(34, Math.min(64, 460 / Math.max(1, steps)))];
      const wide = left + gap * steps + 12;
      const numbers = score.values.filter((value) => value !== null);
      let [low, high] = [Math.min(0, ...numbers), Math.max(...numbers, 0)];
      if (low === high) high = low + 1;
      const x = (step) => left + gap * (step + 0.5);
      const y = (value) => top + height * (1 - (value - low) / (high - low));
      const name = `${score.name} per predicted token` + (numbers.length > 0 ? `, from ${format(Math.min(...numbers), greatest(numbers))} to ${format(Math.max(...numbers), greatest(numbers))}` : '');
      const svg = draw('svg', { width: wide, height: top + height + 24, role: 'img', 'aria-label': name });
      svg.append(draw('text', { x: 8, y: 16, class: 'name' }, score.name));
      // Label zero, and the ends unless their labels would overlap it.
      for (const value of new Set([0, low, high])) {
        if (value !== 0 && Math.abs(y(value) - y(0)) < 12) continue;
        svg.append(draw('line', { class: 'axis', x1: left, x2: wide - 8, y1: y(value), y2: y(value) }));
        svg.append(draw('text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, format(value, greatest(numbers)) || '0'));
      }
      this.line = draw('line', { class: 'mark', y1: top, y2: top + height, visibility: 'hidden' });
      svg.append(this.line);
      let path = '';
      score.values.forEach((value, step) => {
        if (value === null) return;
        path += `${step > 0 && score.values[step - 1] !== null ? 'L' : 'M'}${x(step).toFixed(1)} ${y(value).toFixed(1)}`;
      });
      svg.append(draw('path', { class: 'line', d: path }));
      this.dots = score.values.map((value, step) => {
        const label = labelled(text.target[text.start + step]);
        const most = Math.max(3, Math.floor(gap / 6.5));
        const short = [...label].length > most ? `${[...label].slice(0, most - 1).join('')}…` : label;
        svg.append(draw('text', { x: x(step), y: top + height + 17, 'text-anchor': 'middle' }, short));
        const dot = draw('circle', { class: 'dot', cx: x(step), cy: value === null ? -9 : y(value), r: 3.5 });
        if (value !== null) svg.append(dot);
        const hit = draw('rect', { class: 'hit', x: x(step) - gap / 2, y: top - 6, width: gap, height: height + 26 });
        hit.append(draw('title', {}, `${label}: ${value === null ? 'none' : format(value, greatest(numbers))}`));
        hit.addEventListener('click', () => owner.choose({ side: 'step', at: step }));
        svg.append(hit);
        return dot;
      });
      this.x = x;
      this.element = make('div', { className: 'chart scroll' }, svg);
    }

    mark(step) {
      this.dots.forEach((dot, at) => dot.classList.toggle('chosen', at === step));
      this.line.setAttribute('visibility', step === null ? 'hidden' : 'visible');
      if (step !== null) {
        this.line.setAttribute('x1', this.x(step));
        this.line.setAttribute('x2', this.x(step));
        const { scrollLeft, clientWidth } = this.element;
        const away = this.x(step) < scrollLeft || this.x(step) > scrollLeft + clientWidth;
        if (away) this.element.scrollLeft = this.x(step) - clientWidth / 2;
      }
    }
  }

  function select(choices, value, change) {
    const element = make('select', {}, ...choices.map(([key, name]) => make('option', { value: key, textContent: name })));
    element.value = value;
    element.addEventListener('change', () => change(element.value));
    return element;
  }

  const linked = readAddress();
  const texts = page.texts.map((text, number) => new Text(text, number));
  const scale = select(Object.entries(SCALES), state.scale, (value) => {
    state.scale = value;
    for (const text of texts) text.update();
    writeAddress(linked || 0);
  });
  scale.id = 'scale';
  const themes = { '': 'Theme: system', light: 'Theme: light', dark: 'Theme: dark' };
  const theme = make('button', { type: 'button', className: 'plain', id: 'theme', textContent: themes[''] });
  theme.addEventListener('click', () => {
    state.theme = { '': 'light', light: 'dark', dark: '' }[state.theme];
    theme.textContent = themes[state.theme];
    document.documentElement.dataset.theme = state.theme;
  });
  document.getElementById('controls').append(make('label', {}, 'Scores', scale), theme);
  document.getElementById('texts').append(...texts.map((text) => text.element));
  if (linked) texts[linked].element.scrollIntoView();
  window.addEventListener('hashchange', () => {
    readAddress();
    scale.value = state.scale;
    for (const text of texts) text.update();
  });
})();
