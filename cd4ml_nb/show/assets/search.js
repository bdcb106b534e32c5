(() => {
  const box = document.getElementById('find');
  const list = document.getElementById('entries');
  const said = document.getElementById('found');
  // one letter for one letter, so that places in the plain text are places in the text
  const plain = (text) => text.split('').map(
    (letter) => letter.normalize('NFD')[0].toLowerCase()[0]).join('');
  const entries = [...list.children].map((item) => {
    const text = item.querySelector('.text');
    return {
      item, text, words: text.textContent, plain: plain(text.textContent),
      heading: plain(item.querySelector('.place').textContent),
    };
  });
  const score = (entry, words) => {
    let sum = 0;
    for (const word of words) {
      const above = entry.heading.includes(word);
      const times = entry.plain.split(word).length - 1;
      if (!above && !times) return 0;
      sum += (above ? 10 : 0) + Math.min(times, 5);
    }
    return sum;
  };
  const marked = (entry, words) => {
    const places = words.map((word) => entry.plain.indexOf(word)).filter((at) => at >= 0);
    const first = Math.max(0, Math.min(...places, entry.words.length) - 60);
    const begin = first && entry.words.indexOf(' ', first) + 1;
    const shown = entry.words.slice(begin, begin + 240);
    const hidden = entry.plain.slice(begin, begin + 240);
    const parts = [begin ? '… ' : ''];
    let at = 0;
    while (at < shown.length) {
      const next = words.map((word) => [hidden.indexOf(word, at), word])
        .filter(([place]) => place >= 0)
        .sort(([x, a], [y, b]) => x - y || b.length - a.length)[0];
      if (!next) break;
      const mark = document.createElement('mark');
      mark.textContent = shown.slice(next[0], next[0] + next[1].length);
      parts.push(shown.slice(at, next[0]), mark);
      at = next[0] + next[1].length;
    }
    entry.text.replaceChildren(...parts, shown.slice(at));
  };
  const search = () => {
    const words = plain(box.value).split(/\s+/).filter(Boolean);
    const ranked = entries.map((entry) => [words.length ? score(entry, words) : 0, entry]);
    for (const [points, entry] of ranked) entry.item.hidden = !points;
    const found = ranked.filter(([points]) => points).sort(([x], [y]) => y - x);
    for (const [, entry] of found) marked(entry, words);
    list.append(...found.map(([, entry]) => entry.item));
    const places = found.length === 1 ? '1 place has' : `${found.length || 'No'} places have`;
    said.textContent = words.length ? `${places} ${words.length > 1 ? 'all of it' : 'it'}.` : '';
  };
  box.addEventListener('input', search);
  box.value = new URLSearchParams(location.search).get('q') || '';
  box.parentElement.hidden = false;
  search();
})();
