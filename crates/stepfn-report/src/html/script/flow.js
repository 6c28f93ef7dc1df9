// A text as tokens that can be chosen. A long text is cut into blocks; those out of sight are plain text.

const BLOCK = 250;
const OPEN_BLOCKS = 4;

class Flow {
  constructor(pane, side, box) {
    this.pane = pane;
    this.side = side;
    this.pieces = pane.text[side];
    this.element = make('div', { className: 'flow', dir: directionOf(this.pieces), role: 'group' });
    this.element.setAttribute('aria-label', side === 'source' ? 'Source tokens' : 'Target tokens');
    this.blocks = [];
    for (let start = 0; start < this.pieces.length; start += BLOCK) {
      const block = { element: make('span'), start, end: Math.min(start + BLOCK, this.pieces.length), tokens: null };
      this.blocks.push(block);
      this.element.append(block.element);
      this.close(block);
    }
    if (this.blocks.length <= OPEN_BLOCKS) this.openAll();
    else this.watch(box);
    this.listen();
  }

  watch(box) {
    const of = new Map(this.blocks.map((block) => [block.element, block]));
    this.observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) this.open(of.get(entry.target));
        else this.close(of.get(entry.target));
      }
    }, { root: box, rootMargin: '200px' });
    for (const block of this.blocks) this.observer.observe(block.element);
  }

  // Called before the pane shows another text.
  stop() {
    if (this.observer !== undefined) this.observer.disconnect();
  }

  openAll() {
    for (const block of this.blocks) this.open(block);
  }

  close(block) {
    if (block.tokens !== null && block.element.contains(document.activeElement)) return;
    const pieces = this.pieces.slice(block.start, block.end);
    block.tokens = null;
    block.element.textContent = pieces.map((piece) => face(piece).join('')).join('');
  }

  open(block) {
    if (block.tokens !== null) return;
    block.tokens = [];
    const nodes = [];
    for (let at = block.start; at < block.end; at += 1) {
      const [before, letters, after] = face(this.pieces[at]);
      const token = this.make(at, letters);
      block.tokens.push(token);
      nodes.push(before, token, after);
    }
    block.element.replaceChildren(...nodes.filter((node) => node !== ''));
    this.shadeBlock(block);
  }

  make(at, letters) {
    const piece = this.pieces[at];
    const token = make('span', { className: 'token', role: 'button', tabIndex: -1, textContent: letters });
    token.dataset.at = at;
    token.classList.toggle('special', piece.special === true);
    token.classList.toggle('step', this.stepOf(at) !== null);
    if (piece.contrast !== undefined) token.append(make('small', { textContent: `vs ${piece.contrast}` }));
    return token;
  }

  stepOf(at) {
    const { start, end } = this.pane.text;
    return this.side === 'target' && at >= start && at < end ? at - start : null;
  }

  token(at) {
    const block = this.blocks[Math.floor(at / BLOCK)];
    this.open(block);
    return block.tokens[at - block.start];
  }

  choice(at) {
    const step = this.stepOf(at);
    return step === null ? { side: this.side, at } : { side: 'step', at: step };
  }

  listen() {
    const at = (event) => {
      const token = event.target.closest('.token');
      return token === null ? null : Number(token.dataset.at);
    };
    this.element.addEventListener('click', (event) => at(event) !== null && this.pane.choose(this.choice(at(event))));
    this.element.addEventListener('pointerover', (event) => {
      if (event.pointerType === 'mouse') this.pane.peek(at(event) === null ? null : this.choice(at(event)));
    });
    this.element.addEventListener('pointerleave', () => this.pane.peek(null));
    this.element.addEventListener('keydown', (event) => at(event) !== null && this.press(event, at(event)));
  }

  press(event, at) {
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.pieces.length - 1, Enter: at, ' ': at }[event.key];
    if (event.key === 'Escape') this.pane.choose(null);
    if (to === undefined || to < 0 || to >= this.pieces.length) return;
    event.preventDefault();
    this.pane.choose(this.choice(to));
    this.token(to).focus();
  }

  shade() {
    for (const block of this.blocks) if (block.tokens !== null) this.shadeBlock(block);
    const open = this.blocks.filter((block) => block.tokens !== null).flatMap((block) => block.tokens);
    if (open.length > 0 && !open.some((token) => token.tabIndex === 0)) open[0].tabIndex = 0;
  }

  shadeBlock(block) {
    const { shown, chosen } = this.pane;
    const is = (choice, own) => Boolean(choice) && choice.side === own.side && choice.at === own.at;
    block.tokens.forEach((token, index) => {
      const at = block.start + index;
      const own = this.choice(at);
      const { share, below, spoken, unseen } = this.pane.look(this.side, at, this.stepOf(at));
      shade(token, share, below);
      token.classList.toggle('unseen', unseen && !is(shown, own));
      token.setAttribute('aria-pressed', String(is(shown, own)));
      token.tabIndex = is(chosen, own) ? 0 : -1;
      token.setAttribute('aria-label', labelled(this.pieces[at]) + (spoken === '' ? '' : `: ${spoken}`));
    });
  }
}
