// One line of numbers, changed in place so that tooltips and clicks survive; the least important cells leave when it is narrow.
// Cells: {id, label, value, note, tone, rank, title, right, click}.
const ROOM = 46;   // gap between the two sides and padding of the strip, see the style sheet

export function render({model}) {
  const strip = document.createElement('div');
  strip.className = 'strip';
  strip.setAttribute('role', 'group');
  strip.setAttribute('aria-label', 'Market and fit status');
  const left = document.createElement('div'), right = document.createElement('div');
  left.className = 'side'; right.className = 'side right';
  strip.append(left, right);
  const known = new Map();
  window.__strip = {get cells() { return Object.fromEntries([...known].map(([id, c]) => [id, c.element.innerText])) },
                    get hidden() { return [...known].filter(([, c]) => c.element.hidden).map(([id]) => id) }};

  function make(cell) {
    const element = document.createElement(cell.click ? 'button' : 'div');
    if (cell.click) { element.type = 'button'; element.onclick = () => model.send_msg({click: cell.id}); }
    const parts = {};
    for (const name of ['label', 'value', 'note']) {
      parts[name] = document.createElement('span');
      parts[name].className = name;
      element.append(parts[name]);
    }
    return {element, parts, rank: cell.rank};
  }

  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };

  function show() {
    let cells;
    try { cells = JSON.parse(model.frame || '[]'); } catch { return; }
    const ids = new Set(cells.map(c => c.id));
    let changed = false, leftAt = 0, rightAt = 0;
    for (const [id, cell] of known) if (!ids.has(id)) { cell.element.remove(); known.delete(id); changed = true; }
    for (const cell of cells) {
      let mine = known.get(cell.id);
      if (!mine) { known.set(cell.id, mine = make(cell)); changed = true; }
      const side = cell.right ? right : left, at = cell.right ? rightAt++ : leftAt++;
      if (side.children[at] !== mine.element) side.insertBefore(mine.element, side.children[at] || null);
      const width = (cell.value + cell.note).length;
      if (mine.width !== width) { mine.width = width; changed = true; }
      mine.rank = cell.rank;
      const name = `cell ${cell.tone || ''} ${cell.badge ? 'badge' : ''}`;
      if (mine.element.className !== name) mine.element.className = name;
      if (mine.element.title !== cell.title) mine.element.title = cell.title || '';
      for (const part of ['label', 'value', 'note']) set(mine.parts[part], cell[part] || '');
    }
    if (changed) fit();
  }

  // Nothing wraps and nothing is cut: the most important cells (lowest rank) take their place first, the others if they fit.
  function fit() {
    const cells = [...known.values()].sort((a, b) => a.rank - b.rank);
    for (const cell of cells) cell.element.hidden = true;
    for (const cell of cells) {
      cell.element.hidden = false;
      if (cell.rank > 0 && left.offsetWidth + right.offsetWidth + ROOM > strip.clientWidth) cell.element.hidden = true;
    }
  }

  new ResizeObserver(fit).observe(strip);
  model.on('frame', show);
  show();
  return strip;
}
