"use strict";
// The one global name of the site: where its files find each other.
window.equiscope = (() => {
  const index = JSON.parse(document.getElementById("index").textContent);

  // Views that were loaded, the latest last. Few are kept, so that a long visit does not fill the memory.
  const KEPT = 40;
  const loaded = new Map();
  const waiting = new Map();

  const fileOf = (kind, name) => (Object.hasOwn(index, kind) && Object.hasOwn(index[kind], name) ? index[kind][name] : null);

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
  return { index, views: {}, receive, load, fileOf, address, make };
})();
