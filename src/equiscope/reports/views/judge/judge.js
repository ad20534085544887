"use strict";
// Families judged by eye: ten are drawn, shown one after the other at pose 0, and answered by a key or a button.
(() => {
  const { make, address, load, views } = equiscope;
  const KEYS = { y: "yes", n: "no", u: "unsure" };

  // Random numbers in [0, 1) that are the same in every browser (mulberry32).
  function generator(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
  }

  function shuffled(list, random) {
    const all = [...list];
    for (let i = all.length - 1; i > 0; i -= 1) {
      const j = Math.floor(random() * (i + 1));
      [all[i], all[j]] = [all[j], all[i]];
    }
    return all;
  }

  // The families of a round: of all, of one verdict, or of each verdict in turn.
  function drawn(families, { verdicts, n }, draw, seed) {
    const random = generator(seed);
    if (draw !== "stratified") {
      const wanted = verdicts.indexOf(draw);
      return shuffled(families.filter(([, verdict]) => wanted < 0 || verdict === wanted), random).slice(0, n);
    }
    const piles = verdicts.map((_, verdict) => shuffled(families.filter((own) => own[1] === verdict), random));
    const taken = [];
    while (taken.length < n && piles.some((pile) => pile.length)) {
      for (const pile of piles) if (pile.length && taken.length < n) taken.push(pile.pop());
    }
    return shuffled(taken, random);
  }

  // What the browser keeps, by run; where it keeps nothing answers last as long as the page.
  function store(run) {
    const key = `equiscope-answers/${run.network}/${run.weights_sha256 ?? ""}/${run.created}`;
    let kept = {};
    let isKept = true;
    try {
      const read = JSON.parse(localStorage.getItem(key) ?? "{}");
      if (read && typeof read === "object" && !Array.isArray(read)) kept = read;
    } catch {
      isKept = false;
    }
    const write = () => {
      try {
        localStorage.setItem(key, JSON.stringify(kept));
      } catch {
        isKept = false;
      }
    };
    return {
      all: () => Object.values(kept),
      of: (id) => (Object.hasOwn(kept, id) ? kept[id].answer : null),
      add: (answer) => { kept[answer.family] = answer; write(); },
      // What the weights say of these was shown: nobody judges them without knowing it any more.
      see: (ids) => { for (const id of ids) if (Object.hasOwn(kept, id)) kept[id].isSeen = true; write(); },
      isSeen: (id) => Object.hasOwn(kept, id) && kept[id].isSeen === true,
      forget: () => { kept = {}; write(); },
      isKept: () => isKept,
    };
  }

  function save(run, answers) {
    const said = answers.map(({ family, members, answer, draw, seed }) => ({ family, members, answer, draw, seed }));
    const text = JSON.stringify({ format: "equiscope answers", version: 1, run, answers: said }, null, 1);
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "answers.json" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  views.judge = (root, data) => {
    const form = root.querySelector("form.controls");
    if (!form) return;
    const find = (selector) => root.querySelector(selector);
    const [card, round, status] = [find(".judged"), find(".round"), find("form [role=status]")];
    const answers = store(data.run);
    const { seed, draw } = form.elements;
    for (const [name, value] of equiscope.query()) if (form.elements[name]) form.elements[name].value = value;
    if (draw.selectedIndex < 0) draw.value = "all";
    let [families, place, members, turn] = [[], 0, null, 0];

    function tell() {
      const n = answers.all().length;
      find(".n-kept").textContent = n === 1 ? "1 answer in this browser." : `${n} answers in this browser.`;
      find("[data-save]").disabled = find("[data-forget]").disabled = n === 0;
      trouble(answers.isKept() ? "" : "This browser keeps nothing for this page: save the answers before you leave it.");
    }

    function trouble(said) {
      const place = find("[data-trouble]");
      place.textContent = said;
      place.hidden = !said;
    }

    async function show() {
      const mine = ++turn;
      const isOver = place >= families.length;
      if (!families.length) {
        [card.hidden, round.hidden, members] = [true, true, null];
        tell();
        status.textContent = "No family is left to draw: all of these were judged.";
        return;
      }
      card.hidden = isOver;
      round.hidden = !isOver;
      members = null;
      tell();
      status.textContent = isOver ? `${families.length} of ${families.length} judged` : `${place + 1} of ${families.length}`;
      if (isOver) {
        sum();
        return;
      }
      const [id] = families[place];
      find("#judged-title").textContent = `Family ${place + 1} of ${families.length}`;
      for (const button of card.querySelectorAll("[data-answer]")) {
        button.setAttribute("aria-pressed", String(answers.of(id) === button.dataset.answer));
      }
      find("[data-back]").disabled = place === 0;
      let content = null;
      try {
        content = await load("at_zero", id);
      } catch {
        trouble(`The pictures of ${id} could not be read. Build the report again: equiscope report, with this folder.`);
      }
      if (mine !== turn || content === null) return;
      // Every fragment was rendered with all of its text escaped.
      const template = document.createElement("template");
      template.innerHTML = content.html;
      find(".judged-family").replaceChildren(...template.content.childNodes);
      members = content.data.members;
    }

    function sum() {
      const lines = families.map(([id, verdict]) => make(
        "tr", {},
        make("th", { scope: "row" }, make("a", { href: address("family", id) }, id)), " ",
        make("td", {}, answers.of(id) ?? "–"), " ", make("td", {}, data.verdicts[verdict]),
      ));
      round.querySelector("tbody").replaceChildren(...lines);
      answers.see(families.map(([id]) => id));
      find("#round-title").focus({ preventScroll: true });
    }

    function answer(word) {
      if (members === null) return; // not shown yet, or the round is over
      const [family] = families[place];
      answers.add({ family, members, answer: word, seed: Number(seed.value), draw: draw.value });
      place += 1;
      show();
    }

    function back() {
      if (place === 0) return;
      place -= 1;
      show();
    }

    function begin() {
      if (!form.checkValidity()) return;
      families = drawn(data.families.filter(([id]) => !answers.isSeen(id)), data, draw.value, Number(seed.value));
      place = 0;
      equiscope.setQuery([["seed", seed.value], ["draw", draw.value]]);
      show();
    }

    form.addEventListener("input", begin);
    form.addEventListener("submit", (event) => event.preventDefault());
    card.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button?.dataset.answer) answer(button.dataset.answer);
      else if (button) back();
    });
    find("[data-next]").addEventListener("click", () => {
      seed.value = Number(seed.value) + 1;
      begin();
      find("#judged-title").focus({ preventScroll: true });
    });
    find("[data-save]").addEventListener("click", () => save(data.run, answers.all()));
    find("[data-forget]").addEventListener("click", () => {
      answers.forget();
      begin();
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
      const key = event.key.toLowerCase();
      if (Object.hasOwn(KEYS, key)) answer(KEYS[key]);
      else if (key === "b") back();
      else return;
      event.preventDefault();
    }, { signal: equiscope.signal });
    begin();
  };
})();
