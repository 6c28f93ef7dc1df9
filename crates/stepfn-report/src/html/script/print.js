// On paper nothing scrolls: whole texts, and the heat map as tables of a few columns that fit the page.

const COLUMNS = 10;
const MOST_PRINTED = 20000;

function printed(pane) {
  const box = make('div', { className: 'printed' });
  const tokens = pane.grid.rows.filter((row) => row.kind !== 'side');
  if (tokens.length * pane.scores.steps > MOST_PRINTED) {
    box.append(make('p', { textContent: 'The heat map has too many cells to print. Save a part of it as SVG or PNG instead.' }));
    return box;
  }
  for (let from = 0; from < pane.scores.steps; from += COLUMNS) {
    box.append(printedTable(pane, tokens, from, Math.min(from + COLUMNS, pane.scores.steps)));
  }
  return box;
}

function printedTable(pane, rows, from, to) {
  const steps = Array.from({ length: to - from }, (_, at) => from + at);
  const names = steps.map((step) => make('th', { textContent: labelled(pane.grid.piece(step)) }));
  const body = make('tbody');
  for (const row of rows) {
    const cells = steps.map((step) => printedCell(pane, row, step));
    if (cells.every((cell) => cell.textContent === '')) continue;
    const name = row.kind === 'score' ? row.score.name : label(pane.text[row.side][row.at]);
    body.append(make('tr', {}, make('th', { textContent: name }), ...cells));
  }
  return make('table', {}, make('thead', {}, make('tr', {}, make('td'), ...names)), body);
}

function printedCell(pane, row, step) {
  if (row.kind === 'score') return make('td', { textContent: formatValue(row.score.values[step]) });
  const value = pane.scores.at(row.side, row.at, step);
  const cell = make('td', { textContent: pane.scores.written(value) });
  shade(cell, pane.scores.share(row.side, row.at, value), value < 0);
  return cell;
}

window.addEventListener('beforeprint', () => {
  for (const pane of panes) {
    for (const flow of pane.flows) if (flow.pieces.length <= MOST_PRINTED) flow.openAll();
    pane.legend.before(printed(pane));
  }
});
window.addEventListener('afterprint', () => {
  for (const tables of document.querySelectorAll('.printed')) tables.remove();
});
