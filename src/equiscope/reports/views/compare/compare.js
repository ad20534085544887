"use strict";
// Two networks side by side: rows of matched families, made when they are asked for.
(() => {
  const { make, address } = equiscope;
  const AT_ONCE = 24;

  const modulo = (value, period) => ((value % period) + period) % period;

  // A pair's poses are two, and of words; others are angles.
  function poseText(changed, pose) {
    if (!changed) return `${Math.round(pose)}°`;
    return pose ? changed : "as it is";
  }

  // Members in order of their poses; those of the other network are brought to this one's zero first.
  function strip(data, family, changed, run, offset, period) {
    const members = family.members
      .map(([channel, pose, place]) => ({ channel, pose: modulo(Math.round(10 * (pose + offset)) / 10, period), place }))
      .sort((one, other) => one.pose - other.pose || one.channel - other.channel);
    return make("div", { class: "member-strip" }, ...members.map(({ channel, pose, place }) => {
      const style = place && `background-image:url('${data.sheets[place[0]][0]}');--x:${place[1]};--y:${place[2]};--nx:${data.sheets[place[0]][1]};--ny:${data.sheets[place[0]][2]}`;
      const parts = [
        make("i", { class: place ? "picture" : "picture none", style, "aria-hidden": "true" }),
        make("span", { class: "pose" }, poseText(changed, pose)),
        make("span", { class: "channel" }, String(channel)),
      ];
      const label = `${family.layer}:${channel}, ${poseText(changed, pose)}`;
      return run === "a"
        ? make("a", { class: "unit-picture", href: address("unit", `${family.layer}-${channel}`), "data-unit": `${family.layer}:${channel}`, "aria-label": label }, ...parts)
        : make("span", { class: "unit-picture", role: "img", "aria-label": label }, ...parts);
    }));
  }

  const nameOf = (family) => (family.hasView ? make("a", { class: "end", href: address("family", family.id) }, family.id) : make("span", { class: "end" }, family.id));

  function side(data, id, changed, run, offset, period) {
    const family = data.families[`${run}:${id}`];
    return make("div", { class: `side-${run}` }, make("p", { class: "who" }, nameOf(family), ` ${family.members.length} members`), strip(data, family, changed, run, offset, period));
  }

  function row(data, changed, match) {
    const period = Math.max(data.families[`a:${match.a}`].period, data.families[`b:${match.b}`].period);
    const also = [...match.also.a, ...match.also.b];
    return make("section", { class: "pair-of-families", "aria-label": `${match.a} and ${match.b}` },
      side(data, match.a, changed, "a", 0, period),
      make("p", { class: "verdict" },
        make("b", {}, match.score), match.interval ? make("span", { class: "interval" }, match.interval) : "",
        make("span", { title: "Estimated share of families of other identity among the pairs that score as high" }, `identity q ${match.q}`),
        make("span", { title: "Estimated share of pairs whose poses agree by chance among those that score as high" }, `pose q ${match.poseQ}`), make("span", {}, match.offsetText),
        also.length ? make("span", { class: "also" }, `also ${also.join(", ")}`) : ""),
      side(data, match.b, changed, "b", match.offset, period));
  }

  // Some rows, and more when asked for.
  function fill(box, rows, build, atFirst = AT_ONCE) {
    const more = make("button", { type: "button", class: "more-button" }, "Show more");
    const list = make("div");
    const extend = () => {
      const start = list.childElementCount;
      list.append(...rows.slice(start, start + (start ? AT_ONCE : atFirst)).map(build));
      more.hidden = list.childElementCount >= rows.length;
    };
    more.addEventListener("click", extend);
    box.append(list, more);
    extend();
  }

  const once = (details, make_) => details?.addEventListener("toggle", () => {
    if (details.open && !details.dataset.made) {
      details.dataset.made = "yes";
      make_();
    }
  });

  equiscope.views.compare = (root, data) => {
    for (const section of root.querySelectorAll(".compared")) {
      const name = section.dataset.transformation;
      const part = data.parts?.[name];
      if (!part) continue;
      const of = (kind) => part.matches.filter((match) => match.kind === kind);
      const show = (kind) => {
        const box = section.querySelector(`[data-list=${kind}]`);
        if (box && of(kind).length) fill(box, of(kind), (match) => row(data, part.changed, match), kind === "alike" ? 6 : AT_ONCE);
      };
      show("counterparts");
      show("alike");
      once(section.querySelector(".near"), () => show("near"));
      for (const alone of section.querySelectorAll(".alone")) {
        const run = alone.dataset.run;
        once(alone, () => fill(alone.querySelector(".alone-body"), part.alone[run], ([id, nearest, score]) => {
          const family = data.families[`${run}:${id}`];
          const said = nearest ? `nearest ${nearest}, ${score}` : "nothing to compare it with";
          return make("div", { class: "alone-family" }, make("p", { class: "who" }, nameOf(family), ` ${said}`), strip(data, family, part.changed, run, 0, family.period));
        }));
      }
    }
  };
})();
