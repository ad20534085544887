"use strict";
// All families in one list, made from the index alone.
(() => {
  const { make, address, views, index } = equiscope;
  const { families, transformations, pairs, layers, sheets } = index.overview;
  const PAGE = 200;

  function picture(tile) {
    if (!tile) return make("i", { class: "picture none" });
    const [sheet, x, y] = tile;
    const [src, nx, ny] = sheets[sheet];
    return make("i", { class: "picture", style: `background-image:url('${src}');--x:${x};--y:${y};--nx:${nx};--ny:${ny}` });
  }

  const titleOf = ([, , transformation, size]) => {
    const name = transformations[transformation];
    return size === 2 && pairs[transformation] ? `${name} pair` : `${name} family of ${size}`;
  };

  function line(family) {
    const [id, layer, , , score, q, members] = family;
    const pictures = members.map(([own, channel, tile]) => make("span", { "data-unit": own < 0 ? null : `${layers[own][0]}:${channel}` }, picture(tile)));
    return make("li", {}, make(
      "a", { class: "family-line", href: address("family", id) },
      make("span", { class: "tiles", "aria-hidden": "true" }, ...pictures),
      make("span", { class: "name" }, titleOf(family)), " ",
      make("span", { class: "where" }, id.startsWith(layer) ? id : `${id}, ${layer}`), " ",
      make("span", { class: "figure" }, score === null ? "score –" : `score ${score.toFixed(2)}`, q === null ? "" : `, q ${q < 0.001 ? "< 0.001" : q.toFixed(3)}`),
    ));
  }

  const orders = {
    layer: () => 0,
    size: (a, b) => b[3] - a[3],
    score: (a, b) => (b[4] ?? -2) - (a[4] ?? -2),
    q: (a, b) => (a[5] ?? 2) - (b[5] ?? 2),
  };

  equiscope.familyLine = line;
  views.families = (root) => {
    const select = (name, options) => make("select", { name }, ...options.map(([value, text]) => make("option", { value }, text)));
    const form = make(
      "form", { class: "controls", "aria-label": "Sort and filter families" },
      make("label", {}, "Transformation ", select("transformation", [["", "all"], ...transformations.map((name) => [name, name])])),
      make("label", {}, "Layer ", select("layer", [["", "all"], ...layers.map(([name]) => [name, name]), ["+", "across layers"]])),
      make("label", {}, "Sort ", select("sort", [["layer", "by layer"], ["size", "by size"], ["score", "by score"], ["q", "by q"]])),
      make("label", {}, "Size at least ", make("input", { name: "size", type: "number", min: 0, placeholder: "0" })),
      make("label", {}, "Score at least ", make("input", { name: "score", type: "number", min: 0, max: 1, step: 0.05, placeholder: "0" })),
      make("p", { role: "status" }),
    );
    const list = make("ul", { class: "families-list" });
    const more = make("button", { type: "button", class: "more-button", hidden: true });
    root.replaceChildren(
      make("header", { class: "head" }, make("p", { class: "eyebrow" }, "All layers"), make("h1", {}, "Families")),
      form, list, more,
    );
    const fields = form.elements;
    for (const [name, value] of equiscope.query()) if (fields[name]) fields[name].value = value;
    const known = new Set(layers.map(([name]) => name));
    let shown = [];

    function append() {
      const n = list.childElementCount;
      list.append(...shown.slice(n, n + PAGE).map(line));
      more.hidden = list.childElementCount >= shown.length;
      more.textContent = `Show ${Math.min(PAGE, shown.length - list.childElementCount)} more`;
    }

    function update() {
      const { transformation, layer, sort, size, score } = Object.fromEntries([...new FormData(form)]);
      shown = families
        .filter((family) => (!transformation || transformations[family[2]] === transformation)
          && (!layer || (layer === "+" ? !known.has(family[1]) : family[1] === layer))
          && family[3] >= Number(size) && (!(Number(score) > 0) || (family[4] ?? -1) >= Number(score)))
        .sort(orders[sort] ?? orders.layer);
      list.replaceChildren();
      append();
      const noun = families.length === 1 ? "family" : "families";
      form.querySelector("[role=status]").textContent = shown.length === families.length ? `${shown.length} ${noun}` : `${shown.length} of ${families.length} ${noun}`;
    }
    more.addEventListener("click", append);
    form.addEventListener("input", () => {
      update();
      equiscope.setQuery([...new FormData(form)].filter(([name, value]) => value && !(name === "sort" && value === "layer")));
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    update();
  };
})();
