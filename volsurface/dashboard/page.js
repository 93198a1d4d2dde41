// What the browser must do by itself: keys, the strip for a lost server, the frame around a frozen page, the first-visit note.

const FIELDS = new Set(['INPUT', 'TEXTAREA', 'SELECT']);
const FONT = '13px/1.4 system-ui, "Segoe UI", Roboto, sans-serif';
const KEYS = new Set([' ', '[', ']', 'x', 's', 'v', 'c', 'm', 'p', 'r', '?', ...'1234567890-=']);

export function render({model, view}) {
  const host = document.createElement('div');
  document.querySelectorAll('[data-vs-overlay]').forEach(e => e.remove());   // of an earlier drawing of this component

  const overlay = (css, role) => {
    const element = document.createElement('div');
    element.dataset.vsOverlay = '';
    element.style.cssText = css;
    element.hidden = true;
    if (role) element.setAttribute('role', role);
    document.body.append(element);
    return element;
  };
  const lost = overlay(`position:fixed;top:0;left:0;right:0;z-index:9000;background:#b3261e;color:#fff;text-align:center;padding:9px;font:600 ${FONT}`, 'alert');
  const frame = overlay('position:fixed;inset:0;z-index:8000;border:3px solid var(--vs-accent);pointer-events:none');
  const help = overlay(`position:fixed;top:50%;left:50%;transform:translate(-50%,-50%);z-index:8500;background:var(--vs-raised);color:var(--vs-text);border:1px solid var(--vs-line);border-radius:10px;padding:18px 24px;font:${FONT};max-width:90vw`, 'dialog');
  const spoken = overlay('position:fixed;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)', 'status');
  spoken.hidden = false;

  // --- theme: style sheets read the colours from <html data-vs>
  const theme = () => { document.documentElement.dataset.vs = model.dark ? 'dark' : 'light'; };
  model.on('dark', theme); theme();

  // --- frozen
  const freeze = () => { frame.hidden = !model.frozen; };
  model.on('frozen', freeze); freeze();

  // --- announcements: polite, at most one in 10 s, the newest one
  let said = 0, waiting = null;
  const speak = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { said = Date.now(); spoken.textContent = model.announcement; }, Math.max(0, said + 10000 - Date.now()));
  };
  model.on('announcement', speak);

  // --- sentences that pass by: what a setting did, or why it was refused
  const toasts = overlay('position:fixed;right:16px;bottom:16px;z-index:8600;display:flex;flex-direction:column;gap:8px;align-items:flex-end;pointer-events:none');
  toasts.hidden = false;
  model.on('toast', () => {
    const [, kind, sentence] = model.toast;
    const toast = document.createElement('div');
    toast.setAttribute('role', kind === 'error' ? 'alert' : 'note');
    toast.textContent = (kind === 'error' ? '✕ ' : '') + sentence;
    toast.style.cssText = `max-width:min(560px,90vw);padding:10px 14px;border-radius:8px;font:${FONT};pointer-events:auto;cursor:pointer;`
      + `background:var(--vs-raised);color:var(--vs-text);border:1px solid var(--vs-line);border-left:4px solid var(${kind === 'error' ? '--vs-bad' : '--vs-accent'})`;
    toast.onclick = () => toast.remove();
    toasts.append(toast);
    while (toasts.children.length > 4) toasts.firstChild.remove();
    setTimeout(() => toast.remove(), kind === 'error' ? 10000 : 6000);
  });

  // --- lost server: the server cannot say so itself
  let since = null, timer = null;
  const tell = async () => {
    lost.hidden = false;
    lost.textContent = `disconnected ${Math.round((Date.now() - since) / 1000)} s, reconnecting, data below is old`;
    try {
      const answer = await fetch(new URL('static/js/bokeh.min.js', document.baseURI), {method: 'HEAD', cache: 'no-store'});
      if (answer.ok && Date.now() - since > 1500) location.reload();   // what was chosen is in the URL
    } catch { /* still away: asked again in a second */ }
  };
  view.model.document.on_event('connection_lost', () => {
    if (leaving || since !== null) return;
    since = Date.now();
    timer = setInterval(tell, 1000);
    tell();
  });
  let leaving = false;
  window.addEventListener('pagehide', () => { leaving = true; clearInterval(timer); });

  // --- what the server should know of this browser
  const motion = window.matchMedia('(prefers-reduced-motion: reduce)');
  const report = () => model.send_msg({type: 'browser', visible: !document.hidden, reduced_motion: motion.matches, width: window.innerWidth});
  document.addEventListener('visibilitychange', () => setTimeout(report, 100));   // not while the page is being left
  motion.addEventListener('change', report);
  setTimeout(report, 0);

  // --- keys; none while a text field has focus
  const inField = e => {
    const target = e.composedPath()[0];
    return FIELDS.has(target.tagName) || target.isContentEditable || target.getAttribute?.('role') === 'slider';
  };
  const isPlainButton = e => {
    const target = e.composedPath()[0];
    return target.tagName === 'BUTTON' && !['radio', 'tab'].includes(target.getAttribute('role'));
  };
  document.addEventListener('keydown', e => {
    if (e.key === 'Escape') { help.hidden = true; return; }
    if (!KEYS.has(e.key) || e.ctrlKey || e.metaKey || e.altKey || e.repeat || inField(e)) return;
    if (e.key === ' ' && isPlainButton(e)) return;
    e.preventDefault();
    if (e.key === '?') { help.hidden = !help.hidden; return; }
    model.send_msg({type: 'key', key: e.key});
  });
  help.innerHTML = '<b>Keys</b><table style="border-spacing:14px 3px;margin-left:-14px">' + [
    ['Space', 'freeze, resume at the newest'], ['1 … 9 0 - =', 'choose an expiry, nearest first'], ['[ ]', 'previous, next expiry'],
    ['x', 'next x axis of the smile'], ['v s', 'height of the surface: vol, total variance'], ['c m', 'next colour of the surface, next measure of the map'], ['p', 'pin what is shown and compare with it'], ['r', 'axes back to the data'],
    ['arrows + - 0', 'turn, zoom and reset the focused surface'], ['?', 'this help'],
  ].map(([k, t]) => `<tr><td><kbd>${k}</kbd></td><td>${t}</td></tr>`).join('') + '</table>';
  help.onclick = () => { help.hidden = true; };

  // --- first-visit note, dismissed once per browser and text
  const remembered = () => { try { return localStorage.getItem('vs-note') === model.note_id; } catch { return false; } };
  function note() {
    host.replaceChildren();
    if (!model.note || remembered()) return;
    const bar = document.createElement('div'), text = document.createElement('span'), button = document.createElement('button');
    bar.className = 'note';
    for (const [i, part] of model.note.split('`').entries()) {
      const piece = document.createElement(i % 2 ? 'code' : 'span');
      piece.textContent = part;
      text.append(piece);
    }
    button.textContent = 'Got it';
    button.onclick = () => { try { localStorage.setItem('vs-note', model.note_id); } catch { /* private window */ } bar.remove(); };
    bar.append(text, button);
    host.append(bar);
  }
  model.on('note', note); model.on('note_id', note); note();
  window.__page = {get frozen() { return model.frozen }, get dark() { return model.dark }};
  return host;
}
