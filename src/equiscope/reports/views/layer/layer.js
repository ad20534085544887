"use strict";
// All units of a layer as pictures. What is chosen in the form stands in the address, so that it can be kept and sent.
(() => {
  const { make, address, views } = equiscope;
  const KINDS_KNOWN = { equivariant: 0, invariant: 1, neither: 2 };
  const SVG = "http://www.w3.org/2000/svg";

  // The state of every unit under one transformation.
  function unitsUnder(data, transformation) {
    const units = data.channels.map((channel, i) => ({
      i,
      channel,
      name: `${data.layer}:${channel}`,
      kind: data.kindNames[Number(transformation.kinds[i])] ?? null,
      invariance: transformation.invariance?.[i] ?? null,
      family: null,
      score: null,
    }));
    for (const [i, family, score] of transformation.members) {
      // A unit in several families of one transformation stands in its first.
      if (units[i].family === null) Object.assign(units[i], { family, score: score === null ? null : score / 100 });
    }
    return units;
  }

  function picture(data, i) {
    const tile = data.tiles[i];
    if (!tile) return make("i", { class: "picture none", "aria-hidden": "true" });
    const [sheet, x, y] = tile;
    const [src, nx, ny] = data.sheets[sheet];
    return make("i", {
      class: "picture", "aria-hidden": "true",
      style: `background-image:url('${src}');--x:${x};--y:${y};--nx:${nx};--ny:${ny}`,
    });
  }

  function describe(unit) {
    const said = [unit.name];
    if (unit.kind) said.push(unit.kind);
    if (unit.score !== null) said.push(`score ${unit.score.toFixed(2)}`);
    if (unit.invariance !== null) said.push(`invariance ${(unit.invariance / 100).toFixed(2)}`);
    return said.join(", ");
  }

  function unitLink(data, unit) {
    return make(
      "a",
      { class: `unit-picture kind-mark-${(unit.kind ?? "unknown").replace(" ", "-")}`, href: address("unit", `${data.layer}-${unit.channel}`), "data-unit": unit.name, "aria-label": describe(unit), title: describe(unit) },
      picture(data, unit.i),
      make("span", { class: "channel", "aria-hidden": "true" }, String(unit.channel)),
    );
  }

  const orders = {
    channel: (a, b) => a.channel - b.channel,
    score: (a, b) => (b.score ?? -2) - (a.score ?? -2) || a.channel - b.channel,
    invariance: (a, b) => (b.invariance ?? -200) - (a.invariance ?? -200) || a.channel - b.channel,
  };

  function groupsOf(data, units, group) {
    if (group === "none") return [{ title: null, units }];
    const groups = new Map();
    for (const unit of units) {
      const key = group === "family" && unit.family !== null ? `f${unit.family}` : `k${unit.kind ?? "not known"}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(unit);
    }
    return [...groups].map(([key, own]) => {
      if (key.startsWith("f")) {
        const [id, size, score, , title] = data.families[Number(key.slice(1))];
        return { id, title, size, score, rank: -1, units: own };
      }
      return { title: key.slice(1), rank: KINDS_KNOWN[key.slice(1)] ?? 3, units: own };
    }).sort((a, b) => a.rank - b.rank || (b.size ?? 0) - (a.size ?? 0) || (b.score ?? 0) - (a.score ?? 0));
  }

  function heading(group) {
    if (group.title === null) return [];
    if (group.id === undefined) {
      return [make("h3", {}, group.title, make("span", { class: "count" }, ` ${group.units.length}`))];
    }
    const inside = group.units.length < group.size ? `, ${group.units.length} of them here` : "";
    const score = group.score === null ? "" : `, score ${group.score.toFixed(2)}`;
    return [make("h3", {}, make("a", { href: address("family", group.id) }, group.id), make("span", { class: "count" }, ` ${group.title}${inside}${score}`))];
  }

  function svg(tag, attributes, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // Every unit as a dot at its invariance, stacked where several lie close.
  function drawPopulation(figure, data, units, transformation) {
    const measured = units.filter((unit) => unit.invariance !== null);
    figure.hidden = measured.length === 0; // shown first, so that it has a width
    if (figure.hidden) return figure.replaceChildren();
    const width = Math.min(1056, Math.max(300, figure.clientWidth || 900));
    const [left, right, radius] = [10, 10, width < 600 ? 2.4 : 3.2];
    const low = Math.min(-25, ...measured.map((unit) => unit.invariance));
    const place = (value) => left + ((width - left - right) * (value - low)) / (100 - low);
    const columns = new Map();
    const dots = measured.map((unit) => {
      const column = Math.round(place(unit.invariance) / (2 * radius));
      const height = columns.get(column) ?? 0;
      columns.set(column, height + 1);
      return { unit, x: column * 2 * radius, height };
    });
    const step = Math.min(2 * radius, 130 / Math.max(...columns.values()));
    const base = 20 + step * Math.max(...columns.values());
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${base + 26}`, width, height: base + 26, role: "img", "aria-label": `Invariance of ${measured.length} units under ${transformation}: lowest correlation of each with its own transformed copies; from ${data.invarianceCut} on a unit counts as invariant` });
    const cut = place(100 * data.invarianceCut);
    drawing.append(svg("path", { class: "grid", d: `M${left},${base + 2}H${width - right}` }), svg("path", { class: "cut", d: `M${cut.toFixed(1)},6V${base + 2}` }));
    for (const value of [-100, -50, 0, 50, 100].filter((value) => value >= low)) {
      const text = svg("text", { class: "tick middle", x: Math.max(14, Math.min(width - 14, place(value))).toFixed(1), y: base + 15 });
      text.textContent = (value / 100).toFixed(1).replace("-", "−");
      drawing.append(text);
    }
    const named = svg("text", { class: "tick", x: (cut + 5).toFixed(1), y: 10 });
    named.textContent = "invariant →";
    drawing.append(named);
    for (const { unit, x, height } of dots) {
      const dot = svg("circle", { class: `dot kind-dot-${(unit.kind ?? "unknown").replace(" ", "-")}`, cx: x.toFixed(1), cy: (base - 2 - step * (height + 0.5)).toFixed(1), r: radius, "data-unit": unit.name });
      const title = svg("title", {});
      title.textContent = describe(unit);
      dot.append(title);
      drawing.append(dot);
    }
    figure.replaceChildren(
      make("figcaption", {}, `Lowest correlation of each unit with its own copies under ${transformation}: 1 is the same at every step. Its kind also asks for an accepted family, on the other half of the images.`),
      drawing,
    );
  }

  views.layer = (root, data) => {
    const form = root.querySelector(".controls");
    if (!form) return;
    const grid = root.querySelector(".grid-of-units");
    const figure = root.querySelector(".population");
    const status = root.querySelector("#status");
    const fields = form.elements;
    for (const { name } of data.transformations) fields.transformation.append(make("option", { value: name }, name));
    if (!data.transformations.length) fields.transformation.append(make("option", { value: "" }, "nothing yet"));
    fields.kind.append(make("option", { value: "" }, "all"), ...data.kindNames.map((name) => make("option", { value: name }, name)));
    for (const [name, value] of equiscope.query()) {
      if (fields[name] && (fields[name].tagName !== "SELECT" || [...fields[name].options].some((option) => option.value === value))) fields[name].value = value;
    }
    let drawn = null;

    function update() {
      const transformation = data.transformations.find(({ name }) => name === fields.transformation.value) ?? { name: "", kinds: "", invariance: null, members: [] };
      const all = unitsUnder(data, transformation);
      const sizeOf = (unit) => (unit.family === null ? 0 : data.families[unit.family][1]);
      const wanted = fields.unit.value.trim();
      const units = all.filter((unit) =>
        (!fields.kind.value || unit.kind === fields.kind.value)
        && (!(Number(fields.score.value) > 0) || (unit.score ?? -1) >= Number(fields.score.value))
        && (!(Number(fields.size.value) > 0) || sizeOf(unit) >= Number(fields.size.value))
        && (!wanted || String(unit.channel).startsWith(wanted)));
      const order = fields.sort.value === "size" ? (a, b) => sizeOf(b) - sizeOf(a) || a.channel - b.channel : orders[fields.sort.value];
      units.sort(order);
      const groups = groupsOf(data, units, fields.group.value);
      grid.replaceChildren(...groups.map((group) => make("section", { class: group.id === undefined ? "units-group" : "units-group of-family" }, ...heading(group), make("div", { class: "unit-grid" }, ...group.units.map((unit) => unitLink(data, unit))))));
      const noun = all.length === 1 ? "unit" : "units";
      status.textContent = units.length === all.length ? `${all.length} ${noun}` : `${units.length} of ${all.length} ${noun}`;
      if (drawn !== transformation.name) drawPopulation(figure, data, all, transformation.name);
      drawn = transformation.name;
    }

    form.addEventListener("input", () => {
      update();
      equiscope.setQuery([...new FormData(form)].filter(([name, value]) => value && value !== defaults[name]));
    });
    window.addEventListener("resize", () => {
      drawn = null;
      update();
    }, { signal: equiscope.signal });
    form.addEventListener("submit", (event) => event.preventDefault());
    // Enter in the field for a number goes to that unit.
    fields.unit.addEventListener("keydown", (event) => {
      const wanted = fields.unit.value.trim();
      if (event.key === "Enter" && wanted && data.channels.includes(Number(wanted))) {
        location.hash = address("unit", `${data.layer}-${Number(wanted)}`);
      }
    });
    const defaults = { transformation: data.transformations[0]?.name ?? "", group: "family", sort: "channel" };
    update();
  };
})();
