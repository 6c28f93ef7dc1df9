// A text with its explanation, its step scores and its heat map. There are one or two panes.

class Pane {
  constructor(place) {
    this.place = place;
    this.preview = null;
    this.parts = [];
    this.element = make('section', { className: 'text' });
    this.build();
  }

  get text() {
    return page.texts[this.place.index];
  }

  get chosen() {
    return this.place.chosen;
  }

  get shown() {
    return this.preview || this.place.chosen;
  }

  open(index) {
    Object.assign(this.place, { index, chosen: opening(page.texts[index]), view: 0 });
    this.build();
    writeAddress();
  }

  // Nothing of the text that was shown before is drawn again.
  stop() {
    for (const part of this.parts) part.stop();
  }

  build() {
    const { text } = this;
    this.stop();
    this.scale();
    this.status = make('p', { className: 'hint', role: 'status' });
    this.detail = make('div', { className: 'detail' });
    this.flowBox = make('div', { className: 'flows' });
    this.flows = [];
    for (const side of ['source', 'target']) {
      if (text[side].length === 0) continue;
      const flow = new Flow(this, side, this.flowBox);
      this.flows.push(flow);
      this.flowBox.append(make('h3', { textContent: this.titleOf(side) }), flow.element);
    }
    this.grid = new Grid(this);
    this.parts = [...this.flows, this.grid];
    this.legend = make('p', { className: 'legend' });
    const explanation = make('div', { className: 'explanation' }, this.status, this.detail);
    explanation.style.setProperty('--entries', Math.min(MOST_ENTRIES + MOST_APART, text.source.length + text.target.length));
    const heading = make('h3', { textContent: text.scores.length > 0 ? 'Step scores and heat map' : 'Heat map' });
    this.element.replaceChildren(...[this.head(), this.note(), make('div', { className: 'halves' }, this.flowBox, explanation), heading,
      this.deltas(), this.grid.box, this.legend, this.about()].filter((part) => part !== null));
    this.update();
    this.reveal();
  }

  titleOf(side) {
    if (side === 'source') return 'Source';
    return `${this.text.source.length > 0 ? 'Target' : 'Text'} (underlined: predicted tokens)`;
  }

  head() {
    const { text, place } = this;
    const head = make('div', { className: 'head' });
    if (page.texts.length > 1) head.append(new Chooser(this).element);
    if (text.title !== page.texts[0].title) head.append(make('h2', { textContent: text.title }));
    if (text.views.length > 1) {
      const views = select(text.views.map((view, at) => [at, view.name]), place.view, (value) => {
        place.view = Number(value);
        this.update();
        writeAddress();
      });
      views.className = 'view';
      head.append(make('label', {}, 'Aggregation', views));
    }
    head.append(exportMenu(this));
    return head;
  }

  note() {
    return this.text.note === undefined ? null : make('p', { className: 'note', textContent: this.text.note });
  }

  // Deltas that are too small for a chart.
  deltas() {
    const small = this.text.scores.filter((score) => score.delta && !isWorthAChart(this.text, score));
    const text = (score) => `Every ${score.name} is at most ${formatValue(greatest(score.values))}.`;
    return small.length > 0 ? make('p', { className: 'hint', textContent: small.map(text).join(' ') }) : null;
  }

  about() {
    const list = make('dl');
    for (const [key, value] of this.text.about) list.append(make('dt', { textContent: key }), make('dd', { textContent: value }));
    if (this.text.bits === 8) list.append(make('dt', { textContent: 'numbers' }), make('dd', { textContent: 'rounded to 1/127 of the largest of their step; the JSON has them exactly' }));
    return this.text.about.length > 0 ? make('details', {}, make('summary', { textContent: 'How this was computed' }), list) : null;
  }

  choose(chosen) {
    this.preview = null;
    this.place.chosen = chosen;
    this.shade();
    this.reveal();
    writeAddress();
  }

  peek(chosen) {
    if (!chosen && !this.preview) return;
    this.preview = chosen;
    this.shade();
  }

  scale() {
    this.scores = new Scaled(this.text, this.text.views[this.place.view]);
  }

  // Called after the view, the scale or the colours change.
  update() {
    this.scale();
    this.grid.update();
    this.shade();
    const { largest, signed } = this.scores;
    this.legend.classList.toggle('signed', signed);
    const unit = make('span', { textContent: `${SCALES[state.scale]}${this.scores.apart ? ', special tokens apart' : ''}` });
    this.legend.replaceChildren(formatScore(signed ? -largest : 0, largest), make('i'), formatScore(largest, largest), unit);
    this.legend.hidden = largest === 0;
  }

  shade() {
    for (const flow of this.flows) flow.shade();
    describe(this);
    this.grid.mark();
  }

  reveal() {
    this.grid.reveal();
    const { chosen } = this;
    if (!chosen) return;
    const flow = this.flows.find((one) => one.side === (chosen.side === 'source' ? 'source' : 'target'));
    const at = chosen.side === 'step' ? this.text.start + chosen.at : chosen.at;
    if (flow) revealIn(this.flowBox, flow.token(at));
  }

  // How a token of the text looks: by its step score, or by its score for the selection.
  look(side, at, step) {
    const { shown, scores } = this;
    if (state.colour !== '') return this.lookOfStep(step);
    let value = null;
    if (shown && shown.side === 'step') value = scores.at(side, at, shown.at);
    else if (shown && step !== null) value = scores.at(shown.side, shown.at, step);
    const spoken = scores.written(value);
    return { share: scores.share(side, at, value), below: value < 0, spoken, unseen: Boolean(shown) && value === null };
  }

  lookOfStep(step) {
    const score = this.text.scores.find((one) => one.name === state.colour);
    const value = score === undefined || step === null ? null : score.values[step];
    if (value === null) return { share: null, below: false, spoken: '', unseen: false };
    const most = greatest(score.values);
    const share = most > 0 ? Math.min(1, Math.abs(value) / most) : 0;
    return { share, below: value < 0, spoken: formatValue(value), unseen: false };
  }
}
