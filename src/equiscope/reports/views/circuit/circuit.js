"use strict";
// One circuit. Its weights are drawn twice, as they are and in order; here a cursor links both, a click shows a kernel
// large, and the kernels fly from their raw places to those in order, turning back to pose 0 on the way.
equiscope.views.circuit = (root, data) => {
  const figures = root.querySelector(".figures");
  const boards = Object.fromEntries([...root.querySelectorAll(".board")].map((board) => [board.dataset.part, board]));
  const sizeOf = (board) => ({ columns: Number(board.dataset.columns), rows: Number(board.dataset.rows) });
  const imageOf = (board) => {
    // The drawing of the reordered weights has two pictures: theirs first, that of the template after it.
    const images = board.closest(".matrix-box").querySelectorAll("image.kernels");
    return images[board.dataset.part === "template" ? 1 : 0];
  };

  // Which kernels are the same ------------------------------------------------------------------------------------

  const partnerOf = (board, cell) => {
    if (board === boards.raw) {
      const to = data.links[cell.y * data.raw.n + cell.x];
      return to < 0 ? null : { board: boards.reordered, cell: { x: to % data.reordered.n, y: Math.floor(to / data.reordered.n) } };
    }
    if (board !== boards.reordered) return null;
    const from = data.links.indexOf(cell.y * data.reordered.n + cell.x);
    return from < 0 ? null : { board: boards.raw, cell: { x: from % data.raw.n, y: Math.floor(from / data.raw.n) } };
  };

  const [NAME, UNIT, TICK] = [0, 1, 2];
  // The labels of a cell's row and column; a template stands for all members of one of them.
  const labelsOf = (board, cell) => {
    const own = board === boards.raw ? data.raw : data.reordered;
    const isTemplate = board === boards.template;
    return {
      row: isTemplate && !data.isTransposed ? null : own.rows[cell.y],
      column: isTemplate && data.isTransposed ? null : own.columns[cell.x],
    };
  };

  function setCursor(board, cell, name) {
    board.style.setProperty("--x", cell.x);
    board.style.setProperty("--y", cell.y);
    board.classList.add(name);
  }

  function clear() {
    for (const board of Object.values(boards)) board.classList.remove("pointing", "linked");
    for (const label of root.querySelectorAll(".label.pointed")) label.classList.remove("pointed");
  }

  function point(board, cell) {
    clear();
    setCursor(board, cell, "pointing");
    const shown = [[board, cell]];
    const partner = partnerOf(board, cell);
    if (partner) {
      setCursor(partner.board, partner.cell, "linked");
      shown.push([partner.board, partner.cell]);
    }
    for (const [where, at] of shown) {
      const { row, column } = labelsOf(where, at);
      const names = [row, column].filter(Boolean).map((label) => label[NAME]);
      for (const label of where.closest(".matrix-box").querySelectorAll(".label")) {
        if (names.includes(label.querySelector("title").textContent)) label.classList.add("pointed");
      }
    }
  }

  // One kernel, large -----------------------------------------------------------------------------------------------

  const dialog = root.querySelector("dialog");
  let shown = null;

  function line(label) {
    const { make, address } = equiscope;
    const picture = make("span", { class: "end-picture" });
    const unit = label?.[UNIT];
    if (unit) {
      const tile = [...root.querySelectorAll(".matrix .label")].find((own) => own.dataset.unit === unit)?.querySelector("svg");
      if (tile) {
        const copy = tile.cloneNode(true);
        for (const name of ["x", "y", "width", "height"]) copy.removeAttribute(name);
        picture.append(copy);
      }
    }
    const name = label?.[NAME] ?? "template";
    if (!unit) return [picture, make("span", {}, name)];
    const place = unit.lastIndexOf(":");
    const view = `${unit.slice(0, place)}-${unit.slice(place + 1)}`;
    return [picture, make("a", { href: address("unit", view) }, name)];
  }

  function saidOf(board, cell) {
    if (board === boards.template) return "Fitted to all members.";
    const partner = partnerOf(board, cell);
    if (board === boards.raw) {
      const slot = partner && Object.values(labelsOf(partner.board, partner.cell)).find((label) => label?.[TICK]);
      return `From the first unit to the second, as it is.${slot ? ` Their ${slot[NAME]}.` : ""}`;
    }
    const own = cell.y * data.reordered.n + cell.x;
    const n = data.links.filter((link) => link === own).length;
    if (n > 1) return `${data.caption}. The mean of ${n} kernels.`;
    if (!partner) return `${data.caption}. No two members are this far apart.`;
    const { row, column } = labelsOf(partner.board, partner.cell);
    return `${data.caption}. From ${column[NAME]} to ${row[NAME]}.`;
  }

  function enlarge(board, cell) {
    shown = { board, cell };
    point(board, cell);
    const { columns, rows } = sizeOf(board);
    const source = sheets.get(board);
    const picture = dialog.querySelector("#kernel-picture");
    // Shares of what is shown, without the line between kernels, so that it fits any width.
    const [pitchX, pitchY] = [source.naturalWidth / columns, source.naturalHeight / rows];
    const [width, height] = [pitchX - 1, pitchY - 1];
    const offset = (at, pitch, total, side) => (total > side ? (100 * at * pitch) / (total - side) : 0);
    picture.style.aspectRatio = `${width} / ${height}`;
    picture.style.backgroundImage = `url(${source.src})`;
    picture.style.backgroundSize = `${(100 * source.naturalWidth) / width}% ${(100 * source.naturalHeight) / height}%`;
    picture.style.backgroundPosition =
      `${offset(cell.x, pitchX, source.naturalWidth, width)}% ${offset(cell.y, pitchY, source.naturalHeight, height)}%`;
    const { row, column } = labelsOf(board, cell);
    dialog.querySelector("#kernel-title").replaceChildren(...line(column), ...line(row));
    dialog.querySelector("#kernel-pose").textContent = saidOf(board, cell);
    picture.setAttribute("aria-label", `Kernel: ${[column, row].map((label) => label?.[NAME] ?? "template").join(", ")}`);
    if (!dialog.open) dialog.showModal();
  }

  function cellAt(board, event) {
    const box = board.getBoundingClientRect();
    const { columns, rows } = sizeOf(board);
    const place = (offset, size, n) => Math.min(n - 1, Math.max(0, Math.floor((offset / size) * n)));
    return { x: place(event.clientX - box.left, box.width, columns), y: place(event.clientY - box.top, box.height, rows) };
  }

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function moved(board, cell, key) {
    const [dx, dy] = steps[key];
    const { columns, rows } = sizeOf(board);
    const within = (value, n) => Math.min(n - 1, Math.max(0, value));
    return { x: within(cell.x + dx, columns), y: within(cell.y + dy, rows) };
  }
  const cursorOf = (board) => ({
    x: Number(board.style.getPropertyValue("--x") || 0), y: Number(board.style.getPropertyValue("--y") || 0),
  });

  for (const board of Object.values(boards)) {
    board.addEventListener("pointermove", (event) => point(board, cellAt(board, event)));
    board.addEventListener("pointerleave", () => { if (!dialog.open) clear(); });
    board.addEventListener("focus", () => { if (board.matches(":focus-visible")) point(board, cursorOf(board)); });
    board.addEventListener("blur", () => { if (!dialog.open) clear(); });
    // A key press arrives as a click without a place.
    board.addEventListener("click", (event) => enlarge(board, event.detail ? cellAt(board, event) : cursorOf(board)));
    board.addEventListener("keydown", (event) => {
      if (!(event.key in steps)) return;
      point(board, moved(board, cursorOf(board), event.key));
      event.preventDefault();
    });
  }
  dialog.addEventListener("keydown", (event) => {
    if (!(event.key in steps) || !shown) return;
    enlarge(shown.board, moved(shown.board, shown.cell, event.key));
    event.preventDefault();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", clear);

  // From raw to in order --------------------------------------------------------------------------------------------

  const sheets = new Map(Object.values(boards).map((board) => {
    const image = new Image();
    image.src = imageOf(board).getAttribute("href");
    return [board, image];
  }));
  const canvas = root.querySelector("canvas.flight");
  const button = root.querySelector(".order");
  const range = root.querySelector(".scrub input");
  const FLIGHT_MS = 1600;
  let place = 1; // 0: as they are, 1: in order
  let running = 0;

  const ease = (t) => (t < 0.5 ? 4 * t ** 3 : 1 - (-2 * t + 2) ** 3 / 2);
  const mix = (a, b, t) => a + (b - a) * t;

  // Every kernel starts when those above it are on their way.
  function shareOf(cell, t) {
    const { rows } = sizeOf(boards.raw);
    const late = rows > 1 ? (0.35 * Math.floor(cell / data.raw.n)) / (rows - 1) : 0;
    return ease(Math.min(1, Math.max(0, (t - late) / 0.65)));
  }

  function draw(t) {
    place = t;
    const isThere = t >= 1;
    figures.classList.toggle("in-flight", !isThere);
    if (isThere) {
      canvas.width = canvas.height = 0;
      return;
    }
    const whole = figures.getBoundingClientRect();
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.round(figures.scrollWidth * density);
    canvas.height = Math.round(figures.scrollHeight * density);
    canvas.style.width = `${figures.scrollWidth}px`;
    canvas.style.height = `${figures.scrollHeight}px`;
    const brush = canvas.getContext("2d");
    brush.scale(density, density);
    brush.imageSmoothingEnabled = false;
    const boxOf = (board) => {
      const box = board.getBoundingClientRect();
      const { columns, rows } = sizeOf(board);
      const sheet = sheets.get(board);
      return {
        left: box.left - whole.left, top: box.top - whole.top, width: box.width / columns, height: box.height / rows,
        pitchX: sheet.naturalWidth / columns, pitchY: sheet.naturalHeight / rows, sheet,
      };
    };
    const [from, to] = [boxOf(boards.raw), boxOf(boards.reordered)];
    const paper = getComputedStyle(root).getPropertyValue("--paper").trim() || "#fff";
    const stamp = (own, x, y, width, height, alpha) => {
      brush.globalAlpha = alpha;
      brush.drawImage(own.sheet, x * own.pitchX, y * own.pitchY, own.pitchX - 1, own.pitchY - 1, -width / 2, -height / 2, width, height);
    };
    data.links.forEach((link, cell) => {
      if (link < 0) return;
      const share = shareOf(cell, t);
      if (share <= 0) return; // still in its place on the left
      const [x, y] = [cell % data.raw.n, Math.floor(cell / data.raw.n)];
      const [toX, toY] = [link % data.reordered.n, Math.floor(link / data.reordered.n)];
      const width = mix(from.width, to.width, share);
      const height = mix(from.height, to.height, share);
      const turn = data.turns ? data.turns[data.isTransposed ? x : y] : 0;
      brush.save();
      brush.translate(
        mix(from.left + (x + 0.5) * from.width, to.left + (toX + 0.5) * to.width, share),
        mix(from.top + (y + 0.5) * from.height, to.top + (toY + 0.5) * to.height, share),
      );
      // What was turned counter-clockwise is turned back clockwise, which on a canvas is positive.
      brush.rotate((share * turn * Math.PI) / 180);
      brush.globalAlpha = 1;
      brush.fillStyle = paper;
      brush.fillRect(-width / 2, -height / 2, width, height);
      // Close to its place it becomes what stands there, which is turned exactly and may be the mean of several.
      const near = Math.min(1, Math.max(0, (share - 0.85) / 0.15));
      if (near < 1) stamp(from, x, y, width, height, 1 - near);
      if (near > 0) {
        brush.rotate((-share * turn * Math.PI) / 180);
        stamp(to, toX, toY, width, height, near);
      }
      brush.restore();
    });
  }

  function goTo(goal) {
    const mine = ++running;
    button.setAttribute("aria-pressed", String(goal === 1));
    const finish = () => {
      draw(goal);
      range.value = String(1000 * goal);
    };
    if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
      finish();
      return;
    }
    const [start, began] = [place, performance.now()];
    const step = (now) => {
      if (mine !== running || !canvas.isConnected) return;
      const done = Math.min(1, Math.max(0, now - began) / (FLIGHT_MS * Math.max(0.2, Math.abs(goal - start))));
      if (done >= 1) {
        finish();
        return;
      }
      draw(mix(start, goal, done));
      range.value = String(Math.round(1000 * place));
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  button.addEventListener("click", () => goTo(button.getAttribute("aria-pressed") === "true" ? 0 : 1));
  range.addEventListener("input", () => {
    running += 1;
    const t = Number(range.value) / 1000;
    button.setAttribute("aria-pressed", String(t >= 1));
    draw(t);
  });
  const resized = new ResizeObserver(() => {
    if (!canvas.isConnected) resized.disconnect();
    else if (place < 1) draw(place);
  });
  resized.observe(figures);
};
