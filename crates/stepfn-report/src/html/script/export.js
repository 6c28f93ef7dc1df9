// A view as a table on the clipboard, as SVG, or as PNG.

// The most cells in one drawing. Of a larger heat map, the part in view is drawn.
const MOST_DRAWN = 5000;
const INK = { above: [178, 24, 43], below: [33, 102, 172] };

function exportMenu(pane) {
  const copy = button('Copy', () => copyText(table(pane), copy), { title: 'Copy the heat map as a table' });
  const svg = button('SVG', () => save(new Blob([drawnAsSvg(pane)], { type: 'image/svg+xml' }), 'heat-map.svg'), { title: 'Save the heat map as SVG' });
  const png = button('PNG', () => drawnAsPng(pane, (blob) => save(blob, 'heat-map.png')), { title: 'Save the heat map as PNG' });
  return make('div', { className: 'export' }, copy, svg, png);
}

// The columns and rows of tokens that are exported.
function exported(pane) {
  const { grid, scores } = pane;
  const tokens = grid.rows.filter((row) => row.kind === 'input');
  if (tokens.length * scores.steps <= MOST_DRAWN) return { from: 0, to: scores.steps, rows: tokens };
  const { from, to, top, bottom } = grid.range();
  return { from, to, rows: grid.rows.slice(top, bottom).filter((row) => row.kind === 'input') };
}

function table(pane) {
  const { from, to, rows } = exported(pane);
  const cell = (text) => text.replace(/[\t\n]/g, ' ');
  const header = ['', ...Array.from({ length: to - from }, (_, at) => labelled(pane.grid.piece(from + at)))];
  const line = ({ side, at }) => {
    const numbers = Array.from({ length: to - from }, (_, index) => pane.scores.at(side, at, from + index));
    return [label(pane.text[side][at]), ...numbers.map((value) => (value === null ? '' : String(Number(value.toPrecision(4)))))];
  };
  return [header, ...rows.map(line)].map((row) => row.map(cell).join('\t')).join('\n');
}

async function copyText(text, from) {
  const area = make('textarea', { value: text });
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  from.textContent = 'Copied';
  setTimeout(() => { from.textContent = 'Copy'; }, 1500);
}

function save(blob, name) {
  const link = make('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Draws with a pen that has `rect(x, y, width, height, color)` and `text(x, y, text, {anchor, color, lean})`.
function drawView(pane, pen, { left, top }) {
  const { from, to, rows } = exported(pane);
  const { scores, text } = pane;
  for (let step = from; step < to; step += 1) {
    pen.text(left + (step - from + 0.5) * CELL.width, top - 6, clipped(labelled(pane.grid.piece(step))), { anchor: 'start', color: '#000', lean: true });
  }
  rows.forEach(({ side, at }, row) => {
    const y = top + row * CELL.input;
    pen.text(left - 6, y + 16, clipped(label(text[side][at])), { anchor: 'end', color: '#000' });
    for (let step = from; step < to; step += 1) {
      const value = scores.at(side, at, step);
      if (value === null) continue;
      const share = scores.share(side, at, value);
      const x = left + (step - from) * CELL.width;
      if (share !== null) pen.rect(x, y, CELL.width - 1, CELL.input - 1, mixed(share, value < 0));
      const color = share !== null && share > deepFrom(value < 0) ? '#fff' : '#000';
      pen.text(x + CELL.width / 2, y + 16, scores.written(value), { anchor: 'middle', color });
    }
  });
}

const clipped = (text) => ([...text].length > 24 ? `${[...text].slice(0, 23).join('')}…` : text);

function mixed(share, below) {
  const channels = INK[below ? 'below' : 'above'].map((end) => Math.round(255 + (end - 255) * share));
  return `rgb(${channels.join()})`;
}

// Room for the names, and the size of the whole drawing.
function frame(pane) {
  const { from, to, rows } = exported(pane);
  const [left, top] = [190, 150];
  return { left, top, width: left + (to - from) * CELL.width + 130, height: top + rows.length * CELL.input + 10 };
}

function drawnAsSvg(pane) {
  const { left, top, width, height } = frame(pane);
  const escaped = (text) => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
  const parts = [];
  drawView(pane, {
    rect: (x, y, w, h, color) => parts.push(`<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="${color}"/>`),
    text: (x, y, text, { anchor, color, lean }) => {
      const place = lean ? `transform="translate(${x} ${y}) rotate(-50)"` : `x="${x}" y="${y}"`;
      parts.push(`<text ${place} text-anchor="${anchor}" fill="${color}">${escaped(text)}</text>`);
    },
  }, { left, top });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" `
    + `font-family="Helvetica, Arial, sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>${parts.join('\n')}</svg>\n`;
}

function drawnAsPng(pane, done) {
  const { left, top, width, height } = frame(pane);
  // Browsers limit the size of a canvas.
  const scale = Math.min(2, 8000 / width, 8000 / height);
  const canvas = make('canvas', { width: Math.ceil(width * scale), height: Math.ceil(height * scale) });
  const context = canvas.getContext('2d');
  context.scale(scale, scale);
  const rect = (x, y, w, h, color) => {
    context.fillStyle = color;
    context.fillRect(x, y, w, h);
  };
  rect(0, 0, width, height, '#fff');
  context.font = '12px Helvetica, Arial, sans-serif';
  drawView(pane, {
    rect,
    text: (x, y, text, { anchor, color, lean }) => {
      context.save();
      context.translate(x, y);
      if (lean) context.rotate((-50 * Math.PI) / 180);
      context.fillStyle = color;
      context.textAlign = { start: 'left', middle: 'center', end: 'right' }[anchor];
      context.fillText(text, 0, 0);
      context.restore();
    },
  }, { left, top });
  canvas.toBlob(done, 'image/png');
}
