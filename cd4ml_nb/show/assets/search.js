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
  // a word is found where a word begins with it
  const pattern = (words) => words.map(
    (word) => '(?<![\\p{L}\\p{N}])' + word.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|');
  const times = (text, word) => (text.match(new RegExp(pattern([word]), 'gu')) || []).length;
  const score = (entry, words) => {
    let sum = 0;
    for (const word of words) {
      const above = times(entry.heading, word);
      const below = times(entry.plain, word);
      if (!above && !below) return 0;
      sum += (above ? 10 : 0) + Math.min(below, 5);
    }
    return sum;
  };
  const mark = (text) => {
    const made = document.createElement('mark');
    made.textContent = text;
    return made;
  };
  const show = (entry, words) => {
    const found = new RegExp(pattern(words), 'gu');
    const first = Math.max(0, entry.plain.search(found) - 60);
    const begin = first && entry.words.indexOf(' ', first) + 1;
    const parts = [begin ? '… ' : ''];
    let at = begin;
    for (const match of entry.plain.slice(0, begin + 240).matchAll(found)) {
      if (match.index < at) continue;
      parts.push(entry.words.slice(at, match.index));
      at = match.index + match[0].length;
      parts.push(mark(entry.words.slice(match.index, at)));
    }
    entry.text.replaceChildren(...parts, entry.words.slice(at, begin + 240));
  };
  const search = () => {
    const words = plain(box.value).split(/\s+/).filter(Boolean).sort((a, b) => b.length - a.length);
    const ranked = entries.map((entry) => [words.length ? score(entry, words) : 0, entry]);
    for (const [points, entry] of ranked) entry.item.hidden = !points;
    const found = ranked.filter(([points]) => points).sort(([x], [y]) => y - x);
    for (const [, entry] of found) show(entry, words);
    list.append(...found.map(([, entry]) => entry.item));
    const places = found.length === 1 ? '1 place has' : `${found.length || 'No'} places have`;
    said.textContent = words.length ? `${places} ${words.length > 1 ? 'all of it' : 'it'}.` : '';
  };
  box.addEventListener('input', search);
  box.value = new URLSearchParams(location.search).get('q') || '';
  box.parentElement.hidden = false;
  search();
})();
