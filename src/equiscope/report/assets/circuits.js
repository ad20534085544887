"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  // The whole network: pointing at a family shows what leads to it and from it.
  const network = document.querySelector(".network");
  if (network) {
    const pointed = byId("pointed");
    const edges = [...network.querySelectorAll(".edge")];
    const dots = new Map([...network.querySelectorAll(".dot")].map((dot) => [dot.dataset.i, dot]));
    const showFamily = (dot) => {
      network.classList.toggle("active", Boolean(dot));
      const near = new Set(dot ? [dot.dataset.i] : []);
      for (const edge of edges) {
        const isOwn = Boolean(dot) && [edge.dataset.a, edge.dataset.b].includes(dot.dataset.i);
        edge.classList.toggle("on", isOwn);
        if (isOwn) near.add(edge.dataset.a).add(edge.dataset.b);
      }
      for (const [i, other] of dots) {
        other.classList.toggle("on", near.has(i));
        other.classList.toggle("own", other === dot);
      }
      pointed.textContent = dot ? dot.getAttribute("aria-label") : "\u00a0";
    };
    const kept = () => document.activeElement?.closest?.(".network .dot");
    network.addEventListener("pointerover", (event) => showFamily(event.target.closest(".dot") ?? kept()));
    network.addEventListener("pointerleave", () => showFamily(kept()));
    network.addEventListener("focusin", (event) => showFamily(event.target.closest(".dot")));
    network.addEventListener("focusout", () => showFamily(null));
    network.addEventListener("click", (event) => {
      const dot = event.target.closest("a.dot");
      if (dot && filter) showOnly(dot.dataset.family);
    });
  }

  // Kernels: a cursor on the picture, the same kernel in the other one, and a click shows it large.
  const dialog = byId("kernel");
  let shown = null;

  function cellAt(board, event) {
    const box = board.getBoundingClientRect();
    const place = (offset, size, n) => Math.min(n - 1, Math.max(0, Math.floor((offset / size) * n)));
    return {
      x: place(event.clientX - box.left, box.width, Number(board.dataset.columns)),
      y: place(event.clientY - box.top, box.height, Number(board.dataset.rows)),
    };
  }

  const labelsOf = (figure, kind) => [...figure.querySelectorAll(`.${kind} > .label`)];

  function setCursor(board, cell, name) {
    board.style.setProperty("--x", cell.x);
    board.style.setProperty("--y", cell.y);
    board.classList.add(name);
  }

  function clear(circuit) {
    for (const part of circuit.querySelectorAll(".pointing, .linked")) part.classList.remove("pointing", "linked");
    for (const part of circuit.querySelectorAll(".label.on")) part.classList.remove("on");
  }

  const links = new WeakMap();
  function linksOf(circuit) {
    if (!links.has(circuit)) links.set(circuit, circuit.dataset.links.split(" "));
    return links.get(circuit);
  }

  // Where the kernels of one cell stand in the other picture: a reordered cell may be the mean of several.
  function partners(circuit, board, cell) {
    const raw = circuit.querySelector('.board[data-part="raw"]');
    const reordered = circuit.querySelector('.board[data-part="reordered"]');
    const columns = Number(raw.dataset.columns);
    const own = linksOf(circuit);
    if (board === raw) {
      const link = own[cell.y * columns + cell.x];
      if (!link || link === "-") return [];
      const [y, x] = link.split(".").map(Number);
      return [{ board: reordered, cell: { x, y } }];
    }
    if (board !== reordered) return [];
    const i = own.indexOf(`${cell.y}.${cell.x}`);
    return i < 0 ? [] : [{ board: raw, cell: { x: i % columns, y: Math.floor(i / columns) } }];
  }

  function point(board, cell) {
    const circuit = board.closest(".circuit");
    clear(circuit);
    setCursor(board, cell, "pointing");
    const mark = (where, at) => {
      const figure = where.closest(".kernels");
      const isTemplate = where.dataset.part === "template";
      const isLeft = figure.classList.contains("with-lead");
      if (!isTemplate || !isLeft) labelsOf(figure, "columns")[at.x]?.classList.add("on");
      if (!isTemplate || isLeft) labelsOf(figure, "rows")[at.y]?.classList.add("on");
    };
    mark(board, cell);
    for (const partner of partners(circuit, board, cell)) {
      setCursor(partner.board, partner.cell, "linked");
      mark(partner.board, partner.cell);
    }
  }

  const isSlotRow = (figure) => Boolean(figure.querySelector(".rows > .tick"));

  function line(label) {
    const picture = document.createElement("i");
    picture.className = label?.dataset.picture ? `picture ${label.dataset.picture}` : "empty";
    const name = document.createElement("span");
    name.textContent = label?.dataset.name ?? "template";
    return [picture, name];
  }

  function enlarge(board, cell) {
    shown = { board, cell };
    point(board, cell);
    const figure = board.closest(".kernels");
    const image = board.querySelector("img");
    const [columns, rows] = [Number(board.dataset.columns), Number(board.dataset.rows)];
    const [pitchX, pitchY] = [image.naturalWidth / columns, image.naturalHeight / rows];
    const picture = byId("kernel-picture");
    // Shares of what is shown, without the line between kernels, so that it fits any width.
    const [width, height] = [pitchX - 1, pitchY - 1];
    picture.style.aspectRatio = `${width} / ${height}`;
    picture.style.backgroundImage = `url(${image.src})`;
    picture.style.backgroundSize = `${(100 * image.naturalWidth) / width}% ${(100 * image.naturalHeight) / height}%`;
    const offset = (at, pitch, total, side) => (total > side ? (100 * at * pitch) / (total - side) : 0);
    picture.style.backgroundPosition =
      `${offset(cell.x, pitchX, image.naturalWidth, width)}% ${offset(cell.y, pitchY, image.naturalHeight, height)}%`;
    const isTemplate = board.dataset.part === "template";
    const isLeft = figure.classList.contains("with-lead");
    const row = isTemplate && !isLeft ? null : labelsOf(figure, "rows")[cell.y];
    const column = isTemplate && isLeft ? null : labelsOf(figure, "columns")[cell.x];
    byId("kernel-title").replaceChildren(...line(column), ...line(row));
    const other = partners(board.closest(".circuit"), board, cell)[0];
    const there = other?.board.closest(".kernels");
    let said = isTemplate ? "Fitted to all members." : "";
    if (board.dataset.part === "raw") {
      said = "From the first unit to the second, as it is.";
      const slot = other && labelsOf(there, isSlotRow(there) ? "rows" : "columns")[isSlotRow(there) ? other.cell.y : other.cell.x];
      if (slot?.matches(".tick")) said += ` Their ${slot.dataset.name}.`;
    } else if (board.dataset.part === "reordered") {
      const n = linksOf(board.closest(".circuit")).filter((link) => link === `${cell.y}.${cell.x}`).length;
      said = `${figure.querySelector("figcaption").textContent}.`;
      if (n > 1) said += ` The mean of ${n} kernels.`;
      else if (other) {
        const [from, to] = ["columns", "rows"].map((kind) => labelsOf(there, kind)[other.cell[kind === "rows" ? "y" : "x"]]);
        said += ` From ${from?.dataset.name} to ${to?.dataset.name}.`;
      } else said += " No two members are this far apart.";
    }
    byId("kernel-pose").textContent = said;
    byId("kernel-scale").textContent = figure.closest(".circuit").dataset.scale;
    picture.setAttribute("aria-label", `Kernel: ${[column, row].map((own) => own?.dataset.name ?? "template").join(", ")}`);
    if (!dialog.open) dialog.showModal();
  }

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function moved(board, cell, key) {
    const [dx, dy] = steps[key];
    const within = (value, n) => Math.min(n - 1, Math.max(0, value));
    return { x: within(cell.x + dx, Number(board.dataset.columns)), y: within(cell.y + dy, Number(board.dataset.rows)) };
  }
  const cursorOf = (board) => ({
    x: Number(board.style.getPropertyValue("--x") || 0), y: Number(board.style.getPropertyValue("--y") || 0),
  });

  document.addEventListener("pointermove", (event) => {
    const board = event.target.closest?.(".board");
    if (board) point(board, cellAt(board, event));
  });
  document.addEventListener("pointerout", (event) => {
    const board = event.target.closest?.(".board");
    if (board && !dialog.open) clear(board.closest(".circuit"));
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches?.(".board") && event.target.matches(":focus-visible")) point(event.target, cursorOf(event.target));
  });
  document.addEventListener("focusout", (event) => {
    if (event.target.matches?.(".board") && !dialog.open) clear(event.target.closest(".circuit"));
  });
  document.addEventListener("click", (event) => {
    const board = event.target.closest?.(".board");
    // A key press arrives as a click without a place.
    if (board) enlarge(board, event.detail ? cellAt(board, event) : cursorOf(board));
  });
  document.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    if (dialog.open && shown) {
      enlarge(shown.board, moved(shown.board, shown.cell, event.key));
    } else if (event.target.matches?.(".board")) {
      point(event.target, moved(event.target, cursorOf(event.target), event.key));
    } else return;
    event.preventDefault();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { if (shown) clear(shown.board.closest(".circuit")); });

  // The filter.
  const filter = byId("filter");
  if (!filter) return;
  const entries = [...document.querySelectorAll(".entry")].map((element) => ({
    element, text: element.dataset.text, ends: [element.dataset.source, element.dataset.target].filter(Boolean).map((id) => id.toLowerCase()),
  }));
  const ids = new Set(entries.flatMap((entry) => entry.ends));
  const groups = [...document.querySelectorAll(".pair-group, .pair-group .part, .others, #factors, #transposed")];
  const circuits = entries.filter((entry) => entry.element.matches(".circuit"));

  // A whole id means just that family: rotation-1 is not rotation-12.
  // Pairs of circuits have more ends than two, and only their text.
  const matches = (entry, word) =>
    ids.has(word) && entry.ends.length ? entry.ends.includes(word) : entry.text.includes(word);

  function applyFilter() {
    const text = filter.value.toLowerCase().trim();
    const words = ids.has(text) ? [text] : text.split(/\s+/).filter(Boolean);
    for (const entry of entries) entry.element.hidden = !words.every((word) => matches(entry, word));
    for (const group of groups) {
      const isFound = !words.length || Boolean(group.querySelector(".entry:not([hidden])"));
      group.hidden = !isFound;
    }
    for (const others of document.querySelectorAll(".others")) {
      // What is found must be seen, unless there are cards to see.
      others.open = words.length > 0 && !others.hidden && !others.parentElement.querySelector(".circuit:not([hidden])");
    }
    const n = circuits.filter((entry) => !entry.element.hidden).length;
    const noun = circuits.length === 1 ? "circuit" : "circuits";
    byId("status").textContent = n === circuits.length ? `${n} ${noun} drawn` : `${n} of ${circuits.length} ${noun} drawn`;
  }

  function showOnly(family) {
    filter.value = family;
    applyFilter();
  }

  function reveal(hash) {
    const target = byId(decodeURIComponent(hash.slice(1)));
    if (!target?.closest("[hidden]")) return;
    filter.value = "";
    applyFilter();
    target.scrollIntoView();
  }

  filter.addEventListener("input", applyFilter);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (link && !link.matches(".dot")) reveal(link.getAttribute("href"));
  });
  window.addEventListener("hashchange", () => reveal(location.hash));
  document.querySelector(".controls").hidden = false;
  applyFilter(); // a reload keeps what was typed
})();
