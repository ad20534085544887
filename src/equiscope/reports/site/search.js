"use strict";
// The search box: layers, families and units by what is typed; arrow keys choose, Enter goes there.
(() => {
  const { make, address, index } = equiscope;
  const { layers, families, transformations } = index.overview;
  const box = document.getElementById("search");
  const list = document.getElementById("found");
  const MOST = 12;
  let chosen = -1;
  if (layers.length) {
    const [layer, n] = layers[layers.length >> 1];
    box.placeholder = `${layer}:${n - 1}, rotation family, layer …`;
  }

  function find(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    const found = [];
    // mixed3b:379, mixed3b-379, mixed3b 379, or a number alone: a unit, in any layer that has one of that number.
    const unit = /^(?:(.*?)[\s:-]+)?(\d+)$/.exec(text.trim().toLowerCase());
    if (unit) {
      const [, where = "", channel] = unit;
      for (const [name, n] of layers) {
        if (name.toLowerCase().includes(where) && Number(channel) < n) {
          found.push({ kind: "unit", text: `${name}:${Number(channel)}`, href: address("unit", `${name}-${Number(channel)}`) });
        }
      }
    }
    for (const [name] of layers) {
      if (words.every((word) => name.toLowerCase().includes(word))) found.push({ kind: "layer", text: name, href: address("layer", name) });
    }
    for (const [id, , transformation] of families) {
      if (found.length > 4 * MOST) break;
      const own = `${id} ${transformations[transformation]} family`.toLowerCase();
      if (words.every((word) => own.includes(word))) found.push({ kind: "family", text: id, href: address("family", id) });
    }
    for (const id of Object.keys(index.circuit ?? {})) {
      if (found.length > 4 * MOST) break;
      if (words.every((word) => `${id} circuit`.toLowerCase().includes(word))) found.push({ kind: "circuit", text: id, href: address("circuit", id) });
    }
    const exact = (entry) => entry.text.toLowerCase() === text.trim().toLowerCase().replace(/\s+/, ":");
    return found.sort((a, b) => exact(b) - exact(a)).slice(0, MOST);
  }

  function close() {
    list.hidden = true;
    chosen = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  }

  function choose(next) {
    const options = [...list.children];
    chosen = options.length ? (next + options.length) % options.length : -1;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === chosen)));
    if (chosen >= 0) {
      box.setAttribute("aria-activedescendant", options[chosen].id);
      options[chosen].scrollIntoView({ block: "nearest" });
    }
  }

  function go(option) {
    const { href } = option.dataset;
    box.value = "";
    close();
    if (location.hash === href) equiscope.go();
    else location.hash = href;
  }

  box.addEventListener("input", () => {
    const found = find(box.value);
    list.replaceChildren(...found.map(({ kind, text, href }, i) =>
      make("li", { role: "option", id: `found-${i}`, "data-href": href, "aria-selected": "false" }, make("span", { class: "what" }, kind), " ", text)));
    if (!found.length && box.value.trim()) list.append(make("li", { class: "nothing-found", role: "option", "aria-disabled": "true" }, "Nothing has this name or number"));
    list.hidden = !list.childElementCount;
    box.setAttribute("aria-expanded", String(!list.hidden));
    if (found.length) choose(0);
  });
  box.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && !list.hidden) {
      choose(chosen + step);
      event.preventDefault();
    } else if (event.key === "Escape") {
      close();
    }
  });
  box.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const option = list.children[chosen];
    if (option?.dataset.href) go(option);
  });
  list.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    const option = event.target.closest("[data-href]");
    if (option) go(option);
  });
  box.addEventListener("blur", close);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches?.("input, select, textarea")) {
      event.preventDefault();
      box.focus();
    }
  });
})();
