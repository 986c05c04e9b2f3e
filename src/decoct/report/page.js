"use strict";
const units = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

// The first number in a cell, in bytes if it is a size; -Infinity if there is none.
function number(text) {
  const found = text.replace(/−/g, "-").replace(/,(?=\d{3})/g, "").match(/^[+-]?[\d.]+(?: ([kMGT]?B)\b)?/);
  return found ? parseFloat(found[0]) * (units[found[1]] || 1) : -Infinity;
}

function sort(table, column, heading) {
  const body = table.tBodies[0];
  const down = heading.getAttribute("aria-sort") !== "descending";
  const rows = [...body.rows].map((row) => ({ row, text: row.cells[column].textContent.trim() }));
  const numeric = rows.some(({ text }) => number(text) !== -Infinity);
  rows.sort((a, b) => {
    const order = numeric ? number(b.text) - number(a.text) || 0 : b.text.localeCompare(a.text);
    return down ? order : -order;
  });
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows.map(({ row }) => row));
}

for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (!heading.textContent.trim()) return;
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, column, heading));
    heading.append(button);
  });
}

const dialog = document.createElement("dialog");
dialog.addEventListener("click", () => dialog.close());
document.body.append(dialog);
document.addEventListener("click", (event) => {
  const image = event.target.closest("main img");
  if (!image) return;
  dialog.replaceChildren(image.cloneNode());
  dialog.showModal();
});
document.documentElement.classList.add("script");
