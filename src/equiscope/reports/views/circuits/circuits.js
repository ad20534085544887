"use strict";
// All circuits: the whole network, and lists that are loaded when they are opened.
(() => {
  const { make, address, load } = equiscope;
  const ROWS_SHOWN = 100;

  // The network -------------------------------------------------------------------------------------------------------

  const svgNode = (tag, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

  function drawNetwork(data) {
    const svg = svgNode("svg", { class: "chart network", viewBox: `0 0 ${data.width} ${data.height}` });
    for (const [x, name, anchor, n] of data.columns) {
      const label = svgNode("text", { class: `column-name ${anchor}`, x, y: 12 }, name);
      label.append(svgNode("tspan", { class: "n", dx: 5 }, String(n)));
      svg.append(label);
    }
    const style = (kind) => `--light:${data.kinds[kind][1]};--dark:${data.kinds[kind][2]}`;
    for (const [a, b, width, opacity, r2] of data.edges) {
      const [from, to] = [data.dots[a], data.dots[b]];
      const [x0, x1] = [from[0] + from[2], to[0] - to[2]];
      const bend = 0.45 * (x1 - x0);
      svg.append(svgNode("path", {
        class: "edge own", "data-a": a, "data-b": b, "stroke-width": width, style: `${style(from[3])};--o:${opacity}`,
        d: `M${x0},${from[1]}C${x0 + bend},${from[1]} ${x1 - bend},${to[1]} ${x1},${to[1]}`,
      }, svgNode("title", {}, `${from[4]} to ${to[4]}: R² ${r2}`)));
    }
    data.dots.forEach(([x, y, r, kind, name, size, nIn, nOut, hasView], i) => {
      const label = `${name}: ${counted(size, "member")}, ${counted(nIn, "symmetric circuit")} in, ${nOut} out`;
      const circles = [svgNode("circle", { class: "reach", cx: x, cy: y, r: 8 }), svgNode("circle", { cx: x, cy: y, r, class: hasView ? "" : "none" })];
      const attributes = { class: "dot own", "data-i": i, "data-family": name, "aria-label": label, style: style(kind) };
      svg.append(hasView ? svgNode("a", { ...attributes, href: address("family", name) }, ...circles) : svgNode("g", { ...attributes, role: "img" }, ...circles));
    });
    return svg;
  }

  function showNetwork(root, data) {
    const box = root.querySelector(".network-box");
    if (!box || !data) return;
    const network = drawNetwork(data);
    box.append(network);
    const pointed = root.querySelector(".pointed");
    const edges = [...network.querySelectorAll(".edge")];
    const dots = new Map([...network.querySelectorAll(".dot")].map((dot) => [dot.dataset.i, dot]));
    const show = (dot) => {
      network.classList.toggle("active", Boolean(dot));
      const near = new Set(dot ? [dot.dataset.i] : []);
      for (const edge of edges) {
        const isOwn = Boolean(dot) && [edge.dataset.a, edge.dataset.b].includes(dot.dataset.i);
        edge.classList.toggle("on", isOwn);
        if (isOwn) near.add(edge.dataset.a).add(edge.dataset.b);
      }
      for (const [i, other] of dots) {
        other.classList.toggle("on", near.has(i));
        other.classList.toggle("here", other === dot);
      }
      pointed.textContent = dot ? dot.getAttribute("aria-label") : "\u00a0";
    };
    const focused = () => document.activeElement?.closest?.(".network .dot");
    network.addEventListener("pointerover", (event) => show(event.target.closest(".dot") ?? focused()));
    network.addEventListener("pointerleave", () => show(focused()));
    network.addEventListener("focusin", (event) => show(event.target.closest(".dot")));
    network.addEventListener("focusout", () => show(null));
  }

  // Lists of circuits -------------------------------------------------------------------------------------------------

  const number = (value, digits = 2) => (value === null ? "–" : value.toFixed(digits).replace("-", "−"));
  const percent = (value) => (value === null ? "–" : value < 0.001 ? "< 0.1 %" : `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`);
  const qText = (value) => (value === null ? "–" : value < 0.001 ? "< 0.001" : value.toFixed(3));

  // What a file holds as places in tables, as objects; texts are made once, for the filter.
  const unpack = (data) => data.rows.map(([source, target, kind, r2, low, high, nullR2, q, share, isSymmetric, hasView]) => {
    const ends = [source, target].map((place) => ({ name: data.names[place], isFamily: data.families[place] === 1 }));
    const text = `${ends[0].name} ${ends[1].name} ${data.classes[kind]}`.toLowerCase().replaceAll(" → ", "→");
    return { ends, kind: data.classes[kind], r2, low, high, nullR2, q, share, isSymmetric: isSymmetric === 1, hasView: hasView === 1, text };
  });

  // A whole id means just that family or unit: rotation-1 is not rotation-12.
  function matches(row, words) {
    const names = row.ends.map((end) => end.name.toLowerCase());
    return words.every((word) => (/[-:]\d+(\.\d+)?$/.test(word) ? names.includes(word) : row.text.includes(word)));
  }

  function endCell(end) {
    const place = end.name.lastIndexOf(":");
    const isUnit = !end.isFamily && place > 0;
    const view = isUnit ? address("unit", `${end.name.slice(0, place)}-${end.name.slice(place + 1)}`) : address("family", end.name);
    return make("td", {}, end.isFamily || isUnit ? make("a", { class: "end", href: view }, end.name) : make("span", { class: "end" }, end.name));
  }

  function rowOf(row) {
    const id = row.ends.map((end) => end.name).join(">");
    const interval = row.low === null || row.high === null ? [] : [" ", make("span", { class: "interval" }, `${number(row.low)} to ${number(row.high)}`)];
    return make("tr", row.isSymmetric ? {} : { class: "asymmetric" },
      endCell(row.ends[0]), endCell(row.ends[1]),
      make("td", {}, row.hasView ? make("a", { href: address("circuit", id), "aria-label": `Circuit ${id}` }, row.kind) : row.kind),
      make("td", { class: "number" }, make("b", {}, number(row.r2)), ...interval),
      make("td", { class: "number" }, number(row.nullR2)),
      make("td", { class: "number" }, qText(row.q)),
      make("td", { class: "number" }, percent(row.share)));
  }

  // A table that shows some rows, and more when asked for.
  function tableOf(rows, state) {
    const body = make("tbody");
    const status = make("p", { class: "caption", role: "status" });
    const more = make("button", { type: "button", class: "more-rows" }, "Show more");
    const head = ["from", "to", "class", "R²", "by chance, 95 %", "q", "energy"].map((name, i) =>
      make("th", { scope: "col", class: i > 2 ? "number" : null }, name));
    const table = make("table", { class: "said-table circuit-table" }, make("thead", {}, make("tr", {}, ...head)), body);
    let found = [];
    const extend = () => {
      const start = body.childElementCount;
      body.append(...found.slice(start, start + ROWS_SHOWN).map(rowOf));
      more.hidden = body.childElementCount >= found.length;
    };
    const apply = () => {
      const words = state.text.toLowerCase().trim().replaceAll(" → ", "→").split(/\s+/).filter(Boolean);
      const all = rows.filter((row) => state.isAll || row.isSymmetric);
      found = all.filter((row) => matches(row, words));
      body.replaceChildren();
      extend();
      status.textContent = words.length ? `${found.length} of ${counted(all.length, "circuit")}` : counted(all.length, "circuit");
      table.hidden = !found.length;
      return found.length;
    };
    more.addEventListener("click", extend);
    apply();
    return { nodes: [status, make("div", { class: "scroll" }, table), more], apply };
  }

  async function rowsOf(files) {
    const parts = await Promise.all(files.map((file) => load("list", file)));
    return parts.flatMap((part) => unpack(part.data));
  }

  const failed = (error) => make("p", { class: "caption" }, `${error.message}. Build the report again.`);

  equiscope.views.circuits = (root, data) => {
    showNetwork(root, data.network);
    const filter = root.querySelector(".list-filter");
    const all = root.querySelector(".list-all");
    const state = { text: "", isAll: false };
    const tables = [];
    for (const list of root.querySelectorAll("details.list")) {
      let asked = false;
      list.addEventListener("toggle", async () => {
        if (!list.open || asked) return;
        asked = true;
        const body = list.querySelector(".list-body");
        body.setAttribute("aria-busy", "true");
        try {
          const table = tableOf(await rowsOf(JSON.parse(list.dataset.files)), state);
          tables.push(table);
          body.replaceChildren(...table.nodes);
        } catch (error) {
          asked = false;
          body.replaceChildren(failed(error));
        }
        body.removeAttribute("aria-busy");
      });
    }
    const apply = () => {
      state.text = filter.value;
      state.isAll = all.checked;
      for (const table of tables) table.apply();
    };
    filter?.addEventListener("input", apply);
    all?.addEventListener("change", apply);
    for (const part of root.querySelectorAll("details.part")) {
      part.addEventListener("toggle", async () => {
        const body = part.querySelector(".part-body");
        if (!part.open || body.childElementCount) return;
        try {
          // Rendered with all of its text escaped, as every fragment.
          body.innerHTML = (await load("list", part.dataset.file)).html;
        } catch (error) {
          body.replaceChildren(failed(error));
        }
      });
    }
  };

  equiscope.views.list = (root, data) => {
    const body = root.querySelector(".list-body");
    if (body && data.rows) body.append(...tableOf(unpack(data), { text: "", isAll: false }).nodes);
  };
})();
