"use strict";
for (const each of document.querySelectorAll("[hidden]")) each.hidden = false; // what a script alone serves
const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const seen = new Set();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) seen[isIntersecting ? "add" : "delete"](target.id);
    const current = [...links.keys()].find((id) => seen.has(id));
    if (current === undefined) return;
    for (const [id, link] of links) {
      if (id !== current) link.removeAttribute("aria-current");
      else if (!link.hasAttribute("aria-current")) {
        link.setAttribute("aria-current", "true");
        const list = link.closest("ul");
        list.scrollLeft = link.offsetLeft - list.offsetLeft - (list.clientWidth - link.offsetWidth) / 2;
      }
    }
  },
  { rootMargin: "-64px 0px -50% 0px" },
);
for (const id of links.keys()) watcher.observe(document.getElementById(id));
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
for (const modules of document.querySelectorAll(".modules")) {
  const heads = [...modules.querySelectorAll(".heads > span")];
  const all = [...modules.querySelectorAll("details")];
  const order = new Map(all.map((details, index) => [details, index]));
  const key = (details, index) => {
    const cell = details.firstElementChild.children[index];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
  };
  heads.forEach((head, index) => {
    head.addEventListener("click", () => {
      const down = index > 0 && head.dataset.sort !== "descending";
      for (const each of heads) delete each.dataset.sort;
      if (index > 0) head.dataset.sort = down ? "descending" : "ascending";
      for (const parent of new Set(all.map((details) => details.parentElement))) {
        const children = [...parent.children].filter((each) => each.tagName === "DETAILS");
        children.sort((one, two) => {
          if (index === 0) return order.get(one) - order.get(two);
          const [a, b] = [key(one, index), key(two, index)];
          const sign = down ? -1 : 1;
          return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en")) || order.get(one) - order.get(two);
        });
        const rest = [...parent.children].find((each) => each.className === "operators") ?? null;
        for (const each of children) parent.insertBefore(each, rest);
      }
    });
  });
}
for (const button of document.querySelectorAll("button[data-fold]")) {
  button.addEventListener("click", () => {
    const open = button.dataset.fold === "open";
    for (const details of button.closest(".tree").querySelectorAll("details")) details.open = open;
  });
}
for (const tree of document.querySelectorAll(".tree")) {
  const found = tree.querySelector(".found");
  const nodes = [...tree.querySelectorAll("details")];
  const path = (details) => {
    const outer = details.parentElement.closest("details");
    return `${outer ? `${path(outer)}.` : ""}${details.firstElementChild.firstElementChild.textContent}`;
  };
  const told = new Map(
    nodes.map((details) => {
      const operators = [...details.children].find((each) => each.className === "operators");
      return [details, { path: path(details).toLowerCase(), operators: (operators?.textContent ?? "").toLowerCase() }];
    }),
  );
  tree.querySelector("input").addEventListener("input", (event) => {
    const words = event.target.value.trim().toLowerCase();
    let count = 0;
    const show = (details, all) => {
      const { path, operators } = told.get(details);
      const named = all || path.includes(words);
      const own = named || operators.includes(words);
      if (own && !all) count += 1;
      let inside = false;
      for (const child of details.children) if (child.tagName === "DETAILS") inside = show(child, named) || inside;
      details.hidden = !(own || inside);
      details.open = words !== "" && !all && (inside || (own && !named));
      return own || inside;
    };
    for (const details of nodes) if (!details.parentElement.closest("details")) show(details, words === "");
    found.textContent = words === "" ? "" : `${count} ${count === 1 ? "line" : "lines"} found`;
  });
}
