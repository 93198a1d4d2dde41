// A volatility surface on a plain 2-D canvas: one binary frame in, painter's algorithm out. No WebGL, no fetch.
// The camera lives here, so an update can never move it. Counters for tests: window.__surface.

const VIRIDIS = [[68,1,84],[72,40,120],[62,74,137],[49,104,142],[38,130,142],
                 [31,158,137],[53,183,121],[109,205,89],[180,222,44],[253,231,37]];
const HOME = {azimuth: -0.62, elevation: 0.46, zoom: 1};
const DEPTH = 0.95, FLOOR = -0.5, TOP = 0.5, EYE = 4.5;   // half extent of the expiry axis, box in z, eye distance
const HEADER = 6;                                         // float32 values before the grid, see surface3d.py
const FONT = '12px system-ui, "Segoe UI", Roboto, sans-serif';
const cameras = new Map();                                // by model: a tab that is drawn again keeps its view

function colour(t) {
  t = Math.max(0, Math.min(0.999, t)) * 9;
  const i = t | 0, f = t - i, a = VIRIDIS[i], b = VIRIDIS[i + 1];
  return `rgb(${a[0] + (b[0]-a[0])*f | 0},${a[1] + (b[1]-a[1])*f | 0},${a[2] + (b[2]-a[2])*f | 0})`;
}

// Signed values: `ends` are the colours of the least, of zero and of the largest.
function signedColour(t, ends) {
  const f = Math.abs(2 * Math.max(0, Math.min(1, t)) - 1), a = hex(ends[1]), b = hex(ends[t < 0.5 ? 0 : 2]);
  return `rgb(${a.map((v, i) => v + (b[i] - v) * f | 0).join(',')})`;
}
const hex = text => [1, 3, 5].map(i => parseInt(text.slice(i, i + 2), 16));

// The value arrives as an ArrayBuffer or as a view into a larger one whose offset may not be a multiple of 4, hence the copy.
function floats(bytes) {
  const u8 = bytes instanceof ArrayBuffer ? new Uint8Array(bytes) : bytes;
  return u8 && u8.byteLength >= 4 * HEADER ? new Float32Array(u8.slice().buffer) : null;
}

// Round steps for an axis: about `count` of them between low and high.
function ticks(low, high, count) {
  const rough = (high - low) / count, power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(s => s >= rough);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) found.push(v);
  return [found, step];
}

const clamp = (v, lo, hi) => Math.max(lo, Math.min(hi, v));

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }   // NaN fails both comparisons
  return low <= high ? [low, high] : null;
}

export function render({model}) {
  const canvas = document.createElement('canvas');
  canvas.style.cssText = 'width:100%;height:100%;display:block;touch-action:none;cursor:grab;outline-offset:-2px';
  canvas.tabIndex = 0;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label',
    '3-D implied volatility surface. Arrow keys rotate, plus and minus zoom, 0 resets; click a line to choose its expiry.');

  if (!cameras.has(model)) cameras.set(model, {...HOME});
  const camera = cameras.get(model);
  let rows = 0, columns = 0, selected = -1, zMin = -1, zMax = 1;
  let heights = null, colours = null, axis = null, scale = null, kind = 0;
  let coloured = '', dirty = true, draws = 0, frames = 0, draw_ms = 0, boxes = [], ribs = [];
  window.__surface = {
    get draws() { return draws }, get frames() { return frames }, get draw_ms() { return draw_ms },
    get boxes() { return boxes }, get size() { return [canvas.clientWidth, canvas.clientHeight] },
    get heights() { return heights }, get colours() { return colours }, get scale() { return scale }, get selected() { return selected }, get ribs() { return ribs }, camera,
  };

  function accept(bytes) {
    const frame = floats(bytes);
    if (!frame) return;
    const [r, c, sel, lo, hi, hasColours] = frame, n = r * c;
    if (frame.length < HEADER + n * (hasColours ? 2 : 1)) return;
    const changedShape = r !== rows || c !== columns, otherColours = hasColours !== kind || model.colour_title !== coloured;
    kind = hasColours; coloured = model.colour_title;
    rows = r; columns = c; selected = sel; zMin = lo; zMax = hi;
    heights = frame.subarray(HEADER, HEADER + n);
    colours = hasColours ? frame.subarray(HEADER + n, HEADER + 2 * n) : heights;
    frames++;
    axis = follow(axis, extent(heights), changedShape);
    let seen = extent(colours);
    if (kind === 2 && seen) { const far = Math.max(-seen[0], seen[1], 1e-9); seen = [-far, far]; }   // zero in the middle
    scale = hasColours ? follow(scale, seen, changedShape || otherColours) : axis;
    dirty = true;
  }

  // Smoothed autoscale: the axes follow over about ten frames instead of breathing at each one.
  function follow(current, seen, jump) {
    if (!seen) return current;
    if (!current || jump || seen[1] < current[0] || seen[0] > current[1]) return seen;
    return [current[0] + (seen[0] - current[0]) * 0.2, current[1] + (seen[1] - current[1]) * 0.2];
  }

  function draw() {
    if (!canvas.isConnected && draws) return;                       // ends when the page drops the view
    requestAnimationFrame(draw);
    if (!dirty || !canvas.clientWidth) return;
    dirty = false;
    const start = performance.now(), ratio = window.devicePixelRatio || 1;
    const w = canvas.clientWidth, h = canvas.clientHeight, look = model.colours || {};
    if (canvas.width !== (w * ratio | 0) || canvas.height !== (h * ratio | 0)) {
      canvas.width = w * ratio; canvas.height = h * ratio;
    }
    const g = canvas.getContext('2d');
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, w, h);
    boxes = []; ribs = [];
    if (!heights || !axis || rows < 1) return;

    const ca = Math.cos(camera.azimuth), sa = Math.sin(camera.azimuth);
    const ce = Math.cos(camera.elevation), se = Math.sin(camera.elevation);
    const view = (x, y, z) => {                                     // -> [right, up, depth] before scaling
      const X = x * ca - y * sa, Y = x * sa + y * ca;
      const depth = Y * ce - z * se, k = EYE / (EYE + depth);
      return [X * k, (z * ce + Y * se) * k, depth];
    };
    let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity;
    for (const x of [-1, 1]) for (const y of [-DEPTH, DEPTH]) for (const z of [FLOOR, TOP]) {
      const p = view(x, y, z);
      x0 = Math.min(x0, p[0]); x1 = Math.max(x1, p[0]); y0 = Math.min(y0, p[1]); y1 = Math.max(y1, p[1]);
    }
    const left = 62, right = 112, top = 12, bottom = 40;            // room for labels and the colour bar
    const wide = (w - left - right) / (x1 - x0), tall = (h - top - bottom) / (y1 - y0);
    // A wide card is filled by stretching sideways, within limits: the three axes have no common unit anyway.
    const across = Math.min(wide, 1.6 * tall) * camera.zoom, up = Math.min(wide, tall) * camera.zoom;
    const middle = left + (w - left - right) / 2;
    const cx = middle - (x0 + x1) / 2 * across, cy = top + (h - top - bottom) / 2 + (y0 + y1) / 2 * up;
    const project = (x, y, z) => { const p = view(x, y, z); return [cx + p[0] * across, cy - p[1] * up, p[2]]; };
    const span = axis[1] - axis[0] || 1e-9;
    const ey = i => rows > 1 ? i / (rows - 1) * 2 * DEPTH - DEPTH : 0, kx = j => columns > 1 ? j / (columns - 1) * 2 - 1 : 0;
    const height = v => (v - axis[0]) / span * 0.92 - 0.46;

    // Floor and the two back walls, chosen by where the eye stands.
    const line = (a, b) => { g.beginPath(); g.moveTo(a[0], a[1]); g.lineTo(b[0], b[1]); g.stroke(); };
    const backX = view(-1, 0, 0)[2] > view(1, 0, 0)[2] ? -1 : 1, backY = view(0, -1, 0)[2] > view(0, 1, 0)[2] ? -DEPTH : DEPTH;
    g.strokeStyle = look.grid; g.lineWidth = 1;
    const sigmas = [];
    for (let s = Math.ceil(zMin); s <= zMax + 1e-6; s++) sigmas.push(s);
    const sx = s => (s - zMin) / (zMax - zMin) * 2 - 1;
    for (const s of sigmas) { line(project(sx(s), -DEPTH, FLOOR), project(sx(s), DEPTH, FLOOR));
                              line(project(sx(s), backY, FLOOR), project(sx(s), backY, TOP)); }
    for (let i = 0; i < rows; i++) line(project(-1, ey(i), FLOOR), project(1, ey(i), FLOOR));
    const [vols, step] = ticks(axis[0], axis[1], h < 320 ? 3 : 5);
    for (const v of vols) { line(project(-1, backY, height(v)), project(1, backY, height(v)));
                            line(project(backX, -DEPTH, height(v)), project(backX, DEPTH, height(v))); }

    const points = new Array(rows * columns);
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++)
      points[i * columns + j] = project(kx(j), ey(i), height(heights[i * columns + j]));
    const quads = [], range = scale[1] - scale[0] || 1e-9;
    for (let i = 0; i < rows - 1; i++) for (let j = 0; j < columns - 1; j++) {
      const n = i * columns + j;
      const mean = (colours[n] + colours[n + 1] + colours[n + columns] + colours[n + columns + 1]) / 4;
      const a = points[n], b = points[n + 1], c = points[n + columns + 1], d = points[n + columns];
      if (mean !== mean || a[1] + b[1] + c[1] + d[1] !== a[1] + b[1] + c[1] + d[1]) continue;   // NaN: a hole stays a hole
      quads.push([a[2] + b[2] + c[2] + d[2], a, b, c, d, mean]);
    }
    const ink = kind === 2 && look.diverging ? t => signedColour(t, look.diverging) : colour;
    quads.sort((p, q) => q[0] - p[0]);                              // far to near
    g.lineWidth = 0.7;
    for (const [, a, b, c, d, mean] of quads) {
      g.fillStyle = g.strokeStyle = ink((mean - scale[0]) / range);
      g.beginPath(); g.moveTo(a[0], a[1]); g.lineTo(b[0], b[1]); g.lineTo(c[0], c[1]); g.lineTo(d[0], d[1]);
      g.closePath(); g.fill(); g.stroke();
    }
    for (let i = 0; i < rows; i++) {                                // ribs: the expiries that exist
      g.strokeStyle = i === selected ? look.accent : look.rib;
      g.lineWidth = i === selected ? 2.5 : 1;
      g.beginPath();
      let pen = false;
      const rib = [];
      for (let j = 0; j < columns; j++) {
        const p = points[i * columns + j];
        if (p[1] !== p[1]) { pen = false; continue; }
        pen ? g.lineTo(p[0], p[1]) : g.moveTo(p[0], p[1]);
        pen = true;
        rib.push(p);
      }
      g.stroke();
      ribs.push(rib);
    }

    // Labels: kept inside the canvas, skipped rather than overlapping.
    g.font = FONT; g.textBaseline = 'middle';
    const write = (text, x, y, align, ink) => {
      const width = g.measureText(text).width;
      const at = clamp(align === 'right' ? x - width : align === 'center' ? x - width / 2 : x, 2, w - width - 2);
      const box = [at, clamp(y, 9, h - 9) - 8, at + width, clamp(y, 9, h - 9) + 8];
      if (boxes.some(b => box[0] < b[2] + 4 && b[0] < box[2] + 4 && box[1] < b[3] && b[1] < box[3])) return;
      boxes.push(box);
      g.fillStyle = ink || look.muted;
      g.fillText(text, at, box[1] + 8);
    };
    colourBar(g, w, h, ink, write);
    const frontX = -backX, frontY = -backY, labels = model.labels || [];
    const out = p => p[0] > middle;
    if (labels[selected]) { const p = project(frontX * 1.05, ey(selected), FLOOR);
                            write(labels[selected], p[0] + (out(p) ? 6 : -6), p[1] + 5, out(p) ? 'left' : 'right', look.accent); }
    for (let i = 0; i < rows; i++) {
      if (!labels[i] || i === selected) continue;
      const p = project(frontX * 1.05, ey(i), FLOOR);
      write(labels[i], p[0] + (out(p) ? 6 : -6), p[1] + 5, out(p) ? 'left' : 'right');
    }
    for (const s of sigmas) {
      const p = project(sx(s), frontY * 1.06, FLOOR);
      write(s === 0 ? 'ATM' : `${s > 0 ? '+' : '−'}${Math.abs(s)}σ`, p[0], p[1] + 9, 'center');
    }
    const corners = [[backX, -backY], [-backX, backY]].map(([x, y]) => [project(x, y, FLOOR)[0], x, y]).sort((p, q) => p[0] - q[0]);
    const [, vx, vy] = corners[0], places = step < 0.1 ? 3 : step < 1 ? 1 : 0;
    for (const v of vols) { const p = project(vx, vy, height(v)); write(v.toFixed(places), p[0] - 7, p[1], 'right'); }
    const peak = project(vx, vy, TOP);
    write(model.height_title, peak[0] - 7, peak[1] - 12, 'center');
    draws++;
    draw_ms = draw_ms ? draw_ms * 0.9 + (performance.now() - start) * 0.1 : performance.now() - start;
  }

  function colourBar(g, w, h, ink, write) {
    const x = w - 46, y = 34, tall = Math.min(150, h - 90), steps = 40;
    if (tall < 50) return;
    for (let s = 0; s < steps; s++) {
      g.fillStyle = ink(1 - s / (steps - 1));
      g.fillRect(x, y + s * tall / steps, 10, tall / steps + 1);
    }
    write(model.colour_title, w - 3, y - 16, 'right');
    const [marks, step] = ticks(scale[0], scale[1], 3);
    for (const v of marks) {
      const at = y + (1 - (v - scale[0]) / (scale[1] - scale[0] || 1e-9)) * tall;
      write(v.toFixed(step < 0.1 ? 3 : step < 1 ? 1 : 0), x + 14, at, 'left');
    }
  }

  let drag = null, moved = 0;
  canvas.onpointerdown = e => { drag = [e.clientX, e.clientY]; moved = 0; canvas.setPointerCapture(e.pointerId); };
  canvas.onpointercancel = () => { drag = null; };
  canvas.onpointerup = e => {
    if (drag && moved < 4) pick(e.offsetX, e.offsetY);
    drag = null;
  };
  canvas.onpointermove = e => {
    if (!drag) return;
    const dx = e.clientX - drag[0], dy = e.clientY - drag[1];
    moved += Math.abs(dx) + Math.abs(dy);
    camera.azimuth += dx * 0.008;
    camera.elevation = clamp(camera.elevation + dy * 0.006, 0.02, 1.5);
    drag = [e.clientX, e.clientY];
    dirty = true;
  };

  // A click chooses the expiry whose line is nearest, when one is near.
  function pick(x, y) {
    let best = 14 * 14, row = -1;
    ribs.forEach((rib, i) => rib.forEach(p => {
      const d = (p[0] - x) ** 2 + (p[1] - y) ** 2;
      if (d < best) { best = d; row = i; }
    }));
    if (row >= 0) model.send_msg({row});
  }

  canvas.addEventListener('wheel', e => {
    e.preventDefault();
    camera.zoom = clamp(camera.zoom * Math.exp(-e.deltaY * 0.001), 0.5, 3);
    dirty = true;
  }, {passive: false});
  const keys = {
    ArrowLeft: () => { camera.azimuth -= 0.08; }, ArrowRight: () => { camera.azimuth += 0.08; },
    ArrowUp: () => { camera.elevation = clamp(camera.elevation + 0.05, 0.02, 1.5); },
    ArrowDown: () => { camera.elevation = clamp(camera.elevation - 0.05, 0.02, 1.5); },
    '+': () => { camera.zoom = clamp(camera.zoom * 1.1, 0.5, 3); }, '=': () => keys['+'](),
    '-': () => { camera.zoom = clamp(camera.zoom / 1.1, 0.5, 3); }, '0': () => Object.assign(camera, HOME),
  };
  canvas.onkeydown = e => {
    if (!keys[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;
    keys[e.key]();
    e.preventDefault(); e.stopPropagation();                        // 0, - and = also choose an expiry on the page
    dirty = true;
  };

  new ResizeObserver(() => { dirty = true; }).observe(canvas);
  for (const name of ['labels', 'colours', 'height_title', 'colour_title']) model.on(name, () => { dirty = true; });
  model.on('frame', () => accept(model.frame));
  accept(model.frame);
  requestAnimationFrame(draw);
  return canvas;
}
