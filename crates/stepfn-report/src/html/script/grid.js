// Step scores and the heat map in one box, with a column per step. Names and predicted tokens stay in view, and only what is in view is
// drawn. Rows are {kind: 'score', score} or {kind: 'side', side} or {kind: 'input', side, at}.

const CELL = { width: 46, input: 24, side: 24, score: 66 };
// Columns and rows that are drawn beyond the edges, so that scrolling shows no gaps.
const BEYOND = 4;
// The height of the longest bar.
const BAR = 42;

class Grid {
  constructor(pane) {
    this.pane = pane;
    this.box = make('div', { className: 'grid', tabIndex: 0, role: 'grid' });
    this.box.setAttribute('aria-label', 'Scores: rows are input tokens, columns are predicted tokens');
    this.sheet = make('div', { className: 'sheet', role: 'presentation' });
    this.box.append(this.sheet);
    this.box.addEventListener('scroll', () => this.draw(false));
    this.box.addEventListener('scrollend', () => this.settle());
    this.listen();
    this.observer = new ResizeObserver(() => {
      this.fitWidth();
      this.draw(false);
    });
    this.observer.observe(this.box);
  }

  // Called before the pane shows another text.
  stop() {
    this.observer.disconnect();
  }

  // Called after the view or the scale changes.
  update() {
    const { pane } = this;
    const sides = ['source', 'target'].filter((side) => pane.scores.rows(side) > 0);
    this.fitHead();
    this.rows = pane.text.scores.filter((score) => isWorthAChart(pane.text, score)).map((score) => ({ kind: 'score', score }));
    for (const side of sides) {
      if (sides.length > 1) this.rows.push({ kind: 'side', side });
      for (let at = 0; at < pane.scores.rows(side); at += 1) this.rows.push({ kind: 'input', side, at });
    }
    this.tops = [0];
    for (const row of this.rows) this.tops.push(this.tops[this.tops.length - 1] + CELL[row.kind]);
    this.box.setAttribute('aria-rowcount', this.rows.length + 1);
    this.box.setAttribute('aria-colcount', pane.scores.steps + 1);
    this.sheet.style.width = `calc(var(--names) + ${pane.scores.steps * CELL.width}px)`;
    this.sheet.style.height = `calc(var(--head) + ${this.tops[this.tops.length - 1]}px)`;
    this.draw(true);
  }

  // Makes the header as high as the longest predicted token, within limits.
  fitHead() {
    const { target, start, end } = this.pane.text;
    const longest = target.slice(start, end).reduce((most, piece) => Math.max(most, columns(labelled(piece))), 0);
    this.box.style.setProperty('--head', `${Math.min(130, 20 + 8 * longest)}px`);
  }

  // Makes the box as wide as its names and whole columns, so that no number is cut at an edge.
  fitWidth() {
    const around = this.box.parentElement;
    if (around === null) return;
    this.observer.observe(around);
    const { paddingLeft, paddingRight } = getComputedStyle(around);
    // Borders, and the bar for scrolling down.
    const edges = this.box.offsetWidth - this.box.clientWidth;
    const fixed = edges + this.inset('--names');
    const room = around.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight) - fixed;
    const whole = Math.max(1, Math.floor(room / CELL.width));
    this.box.style.maxWidth = `min(100%, ${fixed + whole * CELL.width}px)`;
  }

  // Leaves no column half behind the names.
  settle() {
    const left = Math.round(this.box.scrollLeft / CELL.width) * CELL.width;
    if (Math.abs(left - this.box.scrollLeft) >= 1) this.box.scrollLeft = left;
  }

  // The columns and rows in view.
  range() {
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = this.box;
    const from = Math.max(0, Math.floor(scrollLeft / CELL.width) - BEYOND);
    const to = Math.min(this.pane.scores.steps, Math.ceil((scrollLeft + clientWidth) / CELL.width) + BEYOND);
    const above = this.tops.findIndex((top) => top >= scrollTop);
    const below = this.tops.findIndex((top) => top > scrollTop + clientHeight);
    const last = below < 0 ? this.rows.length : below;
    return { from, to, top: Math.max(0, above - BEYOND), bottom: Math.min(this.rows.length, last + BEYOND) };
  }

  draw(changed) {
    if (this.rows === undefined) return;
    if (changed) this.fitWidth();
    const range = this.range();
    const key = Object.values(range).map((edge) => Math.floor(edge / BEYOND)).join();
    if (!changed && key === this.drawn) return;
    this.drawn = key;
    const rows = this.rows.slice(range.top, range.bottom);
    this.sheet.replaceChildren(this.header(range), ...rows.map((row, index) => this.row(row, range.top + index, range)));
    this.mark();
  }

  header({ from, to }) {
    const line = make('div', { className: 'row head', role: 'row' }, make('div', { className: 'name', role: 'columnheader' }));
    for (let step = from; step < to; step += 1) {
      const piece = this.piece(step);
      const cell = this.cell(step, 'columnheader', make('bdi', { textContent: labelled(piece), title: labelled(piece) }));
      cell.classList.toggle('special', piece.special === true);
      line.append(cell);
    }
    return line;
  }

  row(row, index, range) {
    const line = make('div', { className: `row ${row.kind}`, role: 'row' });
    line.setAttribute('aria-rowindex', index + 2);
    line.style.top = `calc(var(--head) + ${this.tops[index]}px)`;
    if (row.kind === 'side') return this.sideRow(line, row);
    return row.kind === 'score' ? this.scoreRow(line, row, range) : this.inputRow(line, row, range);
  }

  sideRow(line, { side }) {
    line.append(make('div', { className: 'name', role: 'rowheader', textContent: side }));
    return line;
  }

  inputRow(line, { side, at }, { from, to }) {
    const { scores, text } = this.pane;
    const piece = text[side][at];
    const name = make('div', { className: 'name', role: 'rowheader', title: label(piece) }, make('bdi', { textContent: label(piece) }));
    name.classList.toggle('special', piece.special === true);
    Object.assign(name.dataset, { side, at });
    line.append(name);
    for (let step = from; step < to; step += 1) {
      const value = scores.at(side, at, step);
      const cell = this.cell(step, 'gridcell', scores.written(value));
      shade(cell, scores.share(side, at, value), value < 0);
      line.append(cell);
    }
    return line;
  }

  scoreRow(line, { score }, { from, to }) {
    const { low, high } = bounds(score.values);
    const ends = make('span', { className: 'ends' }, `${formatValue(low)} to ${formatValue(high)}`);
    line.append(make('div', { className: 'name', role: 'rowheader', title: score.name }, make('b', { textContent: score.name }), ends));
    const zero = high > low ? Math.max(0, high) / (Math.max(0, high) - Math.min(0, low)) : 1;
    for (let step = from; step < to; step += 1) {
      const value = score.values[step];
      const cell = this.cell(step, 'gridcell', make('span', { textContent: formatValue(value) }));
      if (value !== null && Number.isFinite(value)) cell.append(column(value, zero, low, high));
      line.append(cell);
    }
    return line;
  }

  cell(step, role, content) {
    const cell = make('div', { className: 'cell', role }, content);
    cell.setAttribute('aria-colindex', step + 2);
    cell.dataset.step = step;
    cell.style.left = `calc(var(--names) + ${step * CELL.width}px)`;
    return cell;
  }

  piece(step) {
    return this.pane.text.target[this.pane.text.start + step];
  }

  // Marks what is selected, without drawing again.
  mark() {
    const { shown } = this.pane;
    const column = shown && shown.side === 'step' ? String(shown.at) : null;
    for (const cell of this.sheet.querySelectorAll('.cell')) cell.classList.toggle('chosen', cell.dataset.step === column);
    for (const name of this.sheet.querySelectorAll('.input > .name')) {
      name.classList.toggle('chosen', Boolean(shown) && shown.side === name.dataset.side && String(shown.at) === name.dataset.at);
    }
  }

  // Scrolls to what is selected.
  reveal() {
    const { chosen } = this.pane;
    if (!chosen) return;
    const room = this.box.clientWidth - this.inset('--names');
    const left = chosen.at * CELL.width;
    if (chosen.side === 'step') {
      const seen = left >= this.box.scrollLeft && left + CELL.width <= this.box.scrollLeft + room;
      if (!seen) this.box.scrollLeft = Math.round((left - room / 2) / CELL.width) * CELL.width;
      return;
    }
    const index = this.rows.findIndex((row) => row.kind === 'input' && row.side === chosen.side && row.at === chosen.at);
    if (index < 0) return;
    const high = this.box.clientHeight - this.inset('--head');
    const seen = this.tops[index] >= this.box.scrollTop && this.tops[index + 1] <= this.box.scrollTop + high;
    if (!seen) this.box.scrollTop = this.tops[index] - high / 2;
  }

  inset(name) {
    return parseFloat(getComputedStyle(this.box).getPropertyValue(name));
  }

  listen() {
    const choice = (event) => {
      const cell = event.target.closest('[data-step], [data-side]');
      if (cell === null) return null;
      const { step, side, at } = cell.dataset;
      return step === undefined ? { side, at: Number(at) } : { side: 'step', at: Number(step) };
    };
    this.box.addEventListener('click', (event) => choice(event) && this.pane.choose(choice(event)));
    this.box.addEventListener('pointerover', (event) => event.pointerType === 'mouse' && this.pane.peek(choice(event)));
    this.box.addEventListener('pointerleave', () => this.pane.peek(null));
  }
}

function bounds(values) {
  const numbers = finite(values);
  return numbers.reduce(({ low, high }, value) => ({ low: Math.min(low, value), high: Math.max(high, value) }), {
    low: numbers[0] ?? 0,
    high: numbers[0] ?? 0,
  });
}

// A bar from zero, which is a share of the height of all bars below the top.
function column(value, zero, low, high) {
  const size = Math.max(0, high) - Math.min(0, low);
  const share = size > 0 ? Math.abs(value) / size : 0;
  const bar = make('i', { className: value < 0 ? 'below' : 'above' });
  bar.style.top = `${(BAR * (value < 0 ? zero : zero - share)).toFixed(1)}px`;
  bar.style.height = `${(BAR * share).toFixed(1)}px`;
  return bar;
}

// Deltas are only worth a chart where they are more than a hundredth of a step's scores.
function isWorthAChart(text, score) {
  const total = text.views.length > 0 ? text.views[0].total : [];
  return !score.delta || score.values.some((value, step) => value !== null && Math.abs(value) > 0.01 * (total[step] || 0));
}
