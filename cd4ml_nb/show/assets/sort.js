(() => {
  const number = /[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?/i;
  const read = (cell) => {
    const found = cell.textContent.replace(/[,\s]/g, '').replace(/−/g, '-').match(number);
    return found ? Number(found[0]) : NaN;
  };
  // a cell without a number comes last, whichever way
  const byNumber = (x, y, down) =>
    Number.isNaN(x) - Number.isNaN(y) || down * (x - y) || 0;
  const byText = (x, y, down) => down * x.localeCompare(y, 'en', {numeric: true});
  for (const table of document.querySelectorAll('table.sortable')) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    heads.forEach((head, k) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener('click', () => {
        const down = head.getAttribute('aria-sort') === 'ascending' ? -1 : 1;
        const numeric = head.classList.contains('number');
        const value = (row) => numeric ? read(row.cells[k]) : row.cells[k].textContent.trim();
        const order = numeric ? byNumber : byText;
        const rows = [...body.rows].map((row) => [value(row), row]);
        rows.sort(([x], [y]) => order(x, y, down));
        body.append(...rows.map(([, row]) => row));
        heads.forEach((other) => other.removeAttribute('aria-sort'));
        head.setAttribute('aria-sort', down > 0 ? 'ascending' : 'descending');
      });
    });
  }
})();
