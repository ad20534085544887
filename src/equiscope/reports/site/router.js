"use strict";
// Addresses: #/ is the overview, #/KIND/NAME a view of that kind. The back button returns to where the page stood.
(() => {
  const { views, load, fileOf, index } = equiscope;
  const main = document.getElementById("main");
  const siteTitle = document.title;
  const overview = { nodes: [...main.childNodes], data: index.overview };
  const places = new Map();
  let current = null;
  let turn = 0;

  if ("scrollRestoration" in history) history.scrollRestoration = "manual";

  // A core of a family, mixed3a-rotation-3.2, is shown on the family's page.
  const pageOf = (kind, name) => (kind === "family" ? name.replace(/(-\d+)\.\d+$/, "$1") : name);

  function parse(hash) {
    const [, kind = "", name = ""] = /^#\/([^/?]*)\/?([^?]*)/.exec(hash) ?? [];
    try {
      return { kind: kind || "overview", name: pageOf(kind, decodeURIComponent(name)) };
    } catch {
      return { kind: kind || "overview", name };
    }
  }

  let shown = new AbortController();

  // A view's listeners outside of itself take equiscope.signal, and end with it.
  function show(nodes, kind, name, data) {
    shown.abort();
    shown = new AbortController();
    equiscope.signal = shown.signal;
    main.replaceChildren(...nodes);
    main.className = `view-${kind}`;
    const heading = main.querySelector("h1");
    const title = heading?.dataset.title ?? heading?.textContent.trim();
    document.title = kind === "overview" || !title ? siteTitle : `${title} · ${siteTitle}`;
    for (const link of document.querySelectorAll(".bar nav a")) {
      if (link.dataset.kind === kind) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    views[kind]?.(main, data ?? {}, name);
  }

  function settle(isFirst, place) {
    if (!isFirst) {
      const heading = main.querySelector("h1");
      heading?.setAttribute("tabindex", "-1");
      heading?.focus({ preventScroll: true });
    }
    window.scrollTo(0, place ?? 0);
  }

  // How far apart two names are, as in equiscope's own messages: shared pairs of letters.
  function likeness(a, b) {
    const pairs = (text) => new Set([...text.toLowerCase()].map((letter, i, all) => letter + (all[i + 1] ?? "")));
    const [own, other] = [pairs(a), pairs(b)];
    let shared = 0;
    for (const pair of own) shared += other.has(pair);
    return (2 * shared) / (own.size + other.size || 1);
  }

  function nearest(kind, name) {
    return equiscope.namesOf(kind)
      .map((known) => [likeness(name, known), known])
      .filter(([like]) => like > 0.3)
      .sort(([a], [b]) => b - a)
      .slice(0, 5)
      .map(([, known]) => known);
  }

  function unknown(kind, name) {
    const { make, address } = equiscope;
    const isKind = Object.hasOwn(index, kind);
    const said = isKind ? `There is no ${kind} “${name}” in this run` : `There is no view “${kind}”`;
    const near = isKind ? nearest(kind, name) : [];
    const parts = [make("h1", {}, said)];
    if (near.length) {
      const links = near.map((known) => make("li", {}, make("a", { href: address(kind, known) }, known)));
      parts.push(make("p", {}, "The nearest names are"), make("ul", { class: "nearest" }, ...links));
    }
    parts.push(make("p", {}, make("a", { href: "#/" }, "Back to the overview")));
    return parts;
  }

  async function go() {
    const mine = ++turn;
    const isFirst = current === null;
    const { kind, name } = parse(location.hash);
    const key = history.state?.key ?? null;
    const place = key === null ? 0 : places.get(key);
    const own = key ?? crypto.randomUUID?.() ?? String(Math.random());
    if (key === null) history.replaceState({ key: own }, "");
    current = own;
    if (kind === "overview") {
      show(overview.nodes, "overview", "", overview.data);
    } else if (views[kind] && !Object.hasOwn(index, kind)) {
      show([], kind, name, {}); // a view that its script makes from the index alone
    } else if (fileOf(kind, name) === null) {
      show(unknown(kind, name), "unknown", name, {});
    } else {
      main.setAttribute("aria-busy", "true");
      let content;
      try {
        content = await load(kind, name);
      } catch (error) {
        content = null;
      }
      if (mine !== turn) return; // another address was asked for meanwhile
      main.removeAttribute("aria-busy");
      if (content === null) {
        show(
          [
            equiscope.make("h1", {}, "A file of this report is missing"),
            equiscope.make("p", {}, `site/data/${kind}/${fileOf(kind, name)} could not be read. Build the report again: equiscope report, with this folder.`),
          ],
          "unknown", name, {},
        );
      } else {
        // Every fragment was rendered with all of its text escaped.
        const template = document.createElement("template");
        template.innerHTML = content.html;
        show([...template.content.childNodes], kind, name, content.data);
      }
    }
    settle(isFirst, place);
    equiscope.nShown += 1;
    main.dispatchEvent(new CustomEvent("shown", { bubbles: true, detail: { kind, name } }));
  }

  window.addEventListener("scroll", () => { if (current !== null) places.set(current, window.scrollY); }, { passive: true });
  // A hash without a slash is a place within the view: the skip link.
  window.addEventListener("popstate", () => {
    if (location.hash === "" || location.hash.startsWith("#/")) go();
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  equiscope.go = go;
  equiscope.nShown = 0; // views so far: tests wait for the next
  go();
})();
