"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const index = JSON.parse(byId("index").textContent);
  const families = index.families.map((row) => ({ ...row, card: byId(row.anchor) }));

  // One member is several things: a row with pictures, a curve with its mark, a picture, a row of the heat map.
  const pinned = new WeakMap();

  function highlight(card, member) {
    card.classList.toggle("active", member !== undefined);
    for (const part of card.querySelectorAll(".unit")) {
      part.classList.toggle("on", part.dataset.member === member);
    }
  }

  function pin(card, member) {
    const kept = pinned.get(card) === member ? undefined : member;
    pinned.set(card, kept);
    for (const row of card.querySelectorAll(".member")) {
      row.firstElementChild.setAttribute("aria-pressed", String(row.dataset.member === kept));
    }
    highlight(card, kept);
  }

  function onMember(handle) {
    return (event) => {
      const card = event.target.closest?.(".card");
      if (card) handle(card, event.target.closest(".unit")?.dataset.member, event);
    };
  }
  const show = onMember((card, member) => highlight(card, member ?? pinned.get(card)));
  const settle = onMember((card) => highlight(card, pinned.get(card)));
  document.addEventListener("pointerover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("pointerout", settle);
  document.addEventListener("focusout", settle);
  document.addEventListener("click", onMember((card, member) => member !== undefined && pin(card, member)));
  document.addEventListener("keydown", onMember((card, member, event) => {
    if (event.key === "Escape" && pinned.get(card) !== undefined) pin(card, pinned.get(card));
  }));

  if (!families.length) return;
  const filter = byId("filter");
  const sort = byId("sort");
  const status = byId("status");
  const ranked = byId("ranked");
  // Layers hold parts, one a transformation; both go when all their cards are filtered away.
  const groups = [...document.querySelectorAll("section.layer, section.part")];
  const home = families.map(({ card }) => card.parentElement);

  const compare = {
    ">=": (a, b) => a >= b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, "<": (a, b) => a < b, "=": (a, b) => a === b,
  };

  function matches(family, word) {
    const size = /^(?:size)?(>=|<=|>|<|=)(\d+)$/.exec(word);
    if (size) return compare[size[1]](family.size, Number(size[2]));
    // The name of a transformation means just that one: "rotation" is not "hue-rotation".
    if (index.transformations.includes(word)) return family.transformation === word;
    if (/^\d+$/.test(word)) return family.units.some((unit) => unit.endsWith(`:${word}`));
    if (/:\d+$/.test(word)) return family.units.includes(word);
    return family.text.includes(word) || family.units.some((unit) => unit.startsWith(word));
  }

  function applyFilter() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const family of families) {
      const isShown = words.every((word) => matches(family, word));
      family.card.hidden = !isShown;
      shown += isShown;
    }
    for (const group of groups) {
      group.hidden = !ranked.hidden || (words.length > 0 && !group.querySelector(".card:not([hidden])"));
    }
    const noun = families.length === 1 ? "family" : "families";
    status.textContent = shown === families.length ? `${shown} ${noun}` : `${shown} of ${families.length} ${noun}`;
  }

  const rank = {
    size: (family) => -family.size,
    score: (family) => -(family.score ?? -Infinity),
    disagreement: (family) => family.disagreement ?? Infinity,
    margin: (family) => -(family.margin ?? -Infinity),
  };

  function applySort() {
    const by = rank[sort.value];
    ranked.hidden = !by;
    if (by) {
      const order = [...families].sort((a, b) => (by(a) === by(b) ? 0 : by(a) - by(b)));
      ranked.append(...order.map(({ card }) => card));
    } else {
      families.forEach(({ card }, i) => home[i].append(card));
    }
    // A card that moves away under the pointer is not told that the pointer has left it.
    for (const card of document.querySelectorAll(".card.active")) highlight(card, pinned.get(card));
    applyFilter();
  }

  // A link must lead somewhere even when its target is filtered or sorted away.
  function reveal(hash) {
    const target = byId(hash.slice(1));
    if (!target?.closest("[hidden]")) return;
    filter.value = "";
    if (target.matches("section.layer")) sort.value = "layer";
    applySort();
    target.scrollIntoView();
  }

  filter.addEventListener("input", applyFilter);
  sort.addEventListener("change", applySort);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (link) reveal(link.hash);
  });
  window.addEventListener("hashchange", () => reveal(location.hash));
  document.querySelector(".controls").hidden = false;
  applyFilter(); // a reload keeps what was typed
  if (sort.value !== "layer") applySort();
})();
