"use strict";
// Whatever shows a unit carries data-unit="LAYER:CHANNEL". Pointing at one lights up all of them; where an element
// around it says data-click="select", a click keeps them lit until Escape or another click.
(() => {
  const main = document.getElementById("main");
  let kept = null;

  const unitOf = (target) => target?.closest?.("[data-unit]")?.dataset.unit ?? null;

  function light(unit) {
    main.classList.toggle("has-lit", unit !== null);
    for (const element of main.querySelectorAll(".lit")) element.classList.remove("lit");
    if (unit === null) return;
    for (const element of main.querySelectorAll(`[data-unit="${CSS.escape(unit)}"]`)) element.classList.add("lit");
    main.dispatchEvent(new CustomEvent("lit", { detail: { unit } }));
  }

  function keep(unit) {
    kept = kept === unit ? null : unit;
    for (const element of main.querySelectorAll("[data-unit][aria-pressed]")) {
      element.setAttribute("aria-pressed", String(element.dataset.unit === kept));
    }
    light(kept);
    main.dispatchEvent(new CustomEvent("kept", { detail: { unit: kept } }));
  }

  const show = (event) => {
    const unit = unitOf(event.target);
    if (unit !== null) light(unit);
  };
  const settle = (event) => {
    if (unitOf(event.target) !== null && unitOf(event.relatedTarget) === null) light(kept);
  };
  main.addEventListener("pointerover", show);
  main.addEventListener("focusin", show);
  main.addEventListener("pointerout", settle);
  main.addEventListener("focusout", settle);
  main.addEventListener("click", (event) => {
    const unit = unitOf(event.target);
    if (unit === null || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("[data-click='select']") && !event.target.closest("a[href]")) {
      keep(unit);
    } else if (!event.target.closest("a[href], button, input, select, summary")) {
      const place = unit.lastIndexOf(":");
      location.hash = equiscope.address("unit", `${unit.slice(0, place)}-${unit.slice(place + 1)}`);
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && kept !== null) keep(kept);
  });
  main.addEventListener("shown", () => {
    kept = null;
    main.classList.remove("has-lit");
  });
  equiscope.light = light;
})();
