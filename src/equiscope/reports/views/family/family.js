"use strict";
// A family: hover.js lights its members up everywhere; here arrow keys walk through them.
equiscope.views.family = (root) => {
  const list = root.querySelector(".members");
  list?.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || !event.target.matches("button")) return;
    const buttons = [...list.querySelectorAll("button")];
    const place = Math.min(buttons.length - 1, Math.max(0, buttons.indexOf(event.target) + step));
    buttons[place].focus();
    event.preventDefault();
  });
};
