"use strict";
// The one global name of the site: where its files find each other.
window.equiscope = (() => {
  const index = JSON.parse(document.getElementById("index").textContent);

  // Views that were loaded, the latest last. Few are kept, so that a long visit does not fill the memory.
  const KEPT = 40;
  const loaded = new Map();
  const waiting = new Map();

  // The file that holds a view, or null where there is no such view. Units are found by ranges of channels.
  function fileOf(kind, name) {
    if (!Object.hasOwn(index, kind) || kind === "overview") return null;
    if (kind !== "unit") return Object.hasOwn(index[kind], name) ? index[kind][name] : null;
    const place = name.lastIndexOf("-");
    const [layer, channel] = [name.slice(0, place), name.slice(place + 1)];
    if (!/^\d+$/.test(channel) || !Object.hasOwn(index.unit, layer)) return null;
    const own = index.unit[layer].find(([first, last]) => first <= Number(channel) && Number(channel) <= last);
    return own ? own[2] : null;
  }

  function namesOf(kind) {
    if (kind !== "unit") return Object.keys(index[kind] ?? {});
    return Object.entries(index.unit ?? {}).flatMap(([layer, files]) => files.flatMap(([first, last]) =>
      Array.from({ length: last - first + 1 }, (_, i) => `${layer}-${first + i}`)));
  }

  // Each data file calls this once for every view that it holds.
  function receive(key, content) {
    loaded.delete(key);
    loaded.set(key, content);
    for (const old of loaded.keys()) {
      if (loaded.size <= KEPT || old === key) break;
      loaded.delete(old);
    }
    // A file may hold more views than are kept; whoever asked for one gets it here.
    for (const ask of waiting.get(key) ?? []) ask(content);
    waiting.delete(key);
  }

  // A script element is the one way to load data that works from disk too.
  function load(kind, name) {
    const key = `${kind}/${name}`;
    if (loaded.has(key)) return Promise.resolve(loaded.get(key));
    return new Promise((resolve, reject) => {
      waiting.set(key, [...(waiting.get(key) ?? []), resolve]);
      const script = document.createElement("script");
      script.src = `site/data/${kind}/${fileOf(kind, name)}`;
      script.onload = () => {
        script.remove();
        if (waiting.delete(key)) reject(new Error(`${script.src} does not hold ${key}`));
      };
      script.onerror = () => {
        script.remove();
        waiting.delete(key);
        reject(new Error(`${script.src} could not be read`));
      };
      document.head.append(script);
    });
  }

  const address = (kind, name = "") => (name ? `#/${kind}/${encodeURIComponent(name)}` : `#/${kind}`);

  // What a view was narrowed down to stands behind its address: #/layer/mixed3a?transformation=hue
  const query = () => new URLSearchParams(location.hash.split("?")[1] ?? "");
  function setQuery(entries) {
    const text = String(new URLSearchParams(entries));
    history.replaceState(history.state, "", location.hash.split("?")[0] + (text ? `?${text}` : ""));
  }

  // An element with its attributes and children, for views that are made here.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  }

  // views[kind](root, data) makes a view that was put into the page behave.
  return { index, views: {}, receive, load, fileOf, namesOf, address, make, query, setQuery };
})();
