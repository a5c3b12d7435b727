"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => {
    head.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      const rows = [...table.tBodies[0].rows].map((row) => {
        const cell = row.cells[index];
        const text = cell.textContent.trim();
        return { row, text, value: "value" in cell.dataset ? Number(cell.dataset.value) : null, empty: text === "-" };
      });
      rows.sort((one, two) => {
        if (one.empty !== two.empty) return one.empty ? 1 : -1;
        if (one.value !== null && two.value !== null) return sign * (one.value - two.value);
        return sign * one.text.localeCompare(two.text, "en", { numeric: true });
      });
      table.tBodies[0].append(...rows.map((each) => each.row));
    });
  });
}
for (const button of document.querySelectorAll("button[data-fold]")) {
  button.addEventListener("click", () => {
    const open = button.dataset.fold === "open";
    for (const details of button.closest(".tree").querySelectorAll("details")) details.open = open;
  });
}
