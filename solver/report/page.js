"use strict";
// Sorting, filters and keys. Everything is on the page already; this only orders, hides and moves the focus.
{
  const form = document.getElementById("filters");
  const search = document.getElementById("search");
  const help = document.getElementById("help");
  const body = document.querySelector("#tasks tbody");
  const heads = [...document.querySelectorAll("#tasks thead th")];
  const tasks = [...body.rows].map((row, place) => ({
    place,
    row,
    link: row.querySelector("a"),
    section: document.getElementById(row.dataset.task),
    id: row.querySelector("a").textContent,
    shown: new Set(row.dataset.shown.split(" ")),
    values: [...row.querySelectorAll("td")].map((cell) => Number(cell.dataset.value)),
  }));
  let order = tasks; // as sorted
  let current = -1; // place in `order` of the task that the keys are at

  const name = new Intl.Collator("en", { numeric: true });
  const visible = (task) => !task.row.hidden;

  function filter() {
    const wanted = ["result", "votes"].map((group) => form.elements[group].value);
    const text = search.value.trim().toLowerCase();
    for (const task of tasks) {
      const shown = wanted.every((key) => task.shown.has(key)) && task.id.toLowerCase().includes(text);
      task.row.hidden = task.section.hidden = !shown;
    }
    const count = tasks.filter(visible).length;
    document.getElementById("shown").textContent = `${count} of ${tasks.length} tasks shown`;
  }

  function sort(column) {
    const descending = heads[column].getAttribute("aria-sort") === "ascending";
    const compare = column === 0
      ? (a, b) => name.compare(a.id, b.id)
      : (a, b) => a.values[column - 1] - b.values[column - 1];
    order = [...tasks].sort((a, b) => (descending ? compare(b, a) : compare(a, b)) || a.place - b.place);
    heads.forEach((head, place) => {
      head.setAttribute("aria-sort", place !== column ? "none" : descending ? "descending" : "ascending");
    });
    body.append(...order.map((task) => task.row));
    document.querySelector("main").append(...order.map((task) => task.section));
  }

  function here() {
    const focused = document.activeElement.closest("section.task");
    const place = order.findIndex((task) => task.section === focused);
    if (place >= 0 || current < 0) return place;
    return current;
  }

  function go(direction) {
    let place = here() + direction;
    while (order[place] && !visible(order[place])) place += direction;
    if (!order[place]) return;
    current = place;
    order[place].section.focus({ preventScroll: true });
    order[place].section.scrollIntoView();
  }

  function back() {
    const task = order[here()];
    const link = task && visible(task) ? task.link : order.find(visible)?.link;
    if (link) link.focus();
  }

  const find = () => search.focus();
  const keys = { j: () => go(1), n: () => go(1), k: () => go(-1), p: () => go(-1), t: back, "/": find, "?": showHelp };

  function showHelp() {
    if (!help.open) help.showModal();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.target.matches("input[type=search]")) {
      if (event.key === "Escape") search.blur();
      return;
    }
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(column));
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
  });
  document.getElementById("keys").addEventListener("click", showHelp);
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  form.reset(); // a reload keeps choices that are not applied
  filter();
}
