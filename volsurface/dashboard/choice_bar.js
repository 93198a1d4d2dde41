// A row of buttons of which one is pressed: tabs, coins, expiries. Items are [value, label, mark, title].
export function render({model}) {
  const bar = document.createElement('div');
  bar.className = `bar ${model.look}`;
  bar.setAttribute('role', model.look === 'tabs' ? 'tablist' : 'radiogroup');
  bar.setAttribute('aria-label', model.label);
  const isTab = model.look === 'tabs';

  function build() {
    const focused = bar.getRootNode().activeElement?.dataset?.value;
    bar.replaceChildren(...model.items.map(([value, label, mark, title]) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.dataset.value = value;
      button.setAttribute('role', isTab ? 'tab' : 'radio');
      button.textContent = label;
      if (title) button.title = title;
      if (mark) {
        const badge = document.createElement('span');
        badge.className = 'mark';
        badge.textContent = mark;
        button.append(badge);
      }
      button.onclick = () => { model.value = value; };
      return button;
    }));
    press();
    if (focused !== undefined) [...bar.children].find(b => b.dataset.value === focused)?.focus();
  }

  function press() {
    for (const button of bar.children) {
      const on = button.dataset.value === model.value;
      button.setAttribute(isTab ? 'aria-selected' : 'aria-checked', on);
      button.classList.toggle('on', on);
      button.tabIndex = on || !model.value ? 0 : -1;
      if (on && bar.scrollWidth > bar.clientWidth) button.scrollIntoView({block: 'nearest', inline: 'nearest'});
    }
  }

  bar.onkeydown = e => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[e.key];
    if (!step) return;
    const buttons = [...bar.children], at = buttons.findIndex(b => b.dataset.value === model.value);
    const next = buttons[(at + step + buttons.length) % buttons.length];
    if (next) { model.value = next.dataset.value; next.focus(); }
    e.preventDefault(); e.stopPropagation();
  };
  model.on('items', build);
  model.on('value', press);
  build();
  return bar;
}
