"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const { nodes, edges, most } = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const svg = byId("graph"), details = byId("details"), search = byId("search"), found = byId("found");
  const rows = [...byId("rows").rows];
  const partial = nodes.length > most;
  const usersOf = nodes.map(() => []), bodiesOf = nodes.map(() => []);
  edges.forEach((edge, i) => { usersOf[edge.b].push(i); bodiesOf[edge.u].push(i); });

  const make = (name, attributes, parent, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent?.append(element);
    return element;
  };
  const html = (name, text, parent, className) => {
    const element = document.createElement(name);
    element.textContent = text;
    if (className) element.className = className;
    parent?.append(element);
    return element;
  };

  // ---- layout: one layer a distance from the seeds, large layers in several columns -----------------------------
  const CHAR = 7.25, LINE = 16, GAP_X = 92, GAP_Y = 14, MOST_CHARS = 34, MOST_BENT = 400;

  function pieces(name) {
    const lines = [];
    for (let rest = name; rest;) {
      if (rest.length <= MOST_CHARS) { lines.push(rest); break; }
      const cut = Math.max(...["_", ".", " ", "/"].map((c) => rest.lastIndexOf(c, MOST_CHARS - 1) + 1));
      const end = cut > MOST_CHARS / 2 ? cut : MOST_CHARS;
      lines.push(rest.slice(0, end));
      rest = rest.slice(end);
    }
    return lines.length ? lines : [""];
  }

  // The things to place: a box for each function and, where an edge passes over a layer, a bend to lead it between boxes.
  function things(visible) {
    const all = new Map(), bends = new Map();
    for (const id of visible) {
      const lines = pieces(nodes[id].name), below = pieces(nodes[id].place);
      const longest = Math.max(...lines.map((l) => l.length), ...below.map((l) => l.length * 0.84));
      all.set(id, { lines, below, near: [], layer: nodes[id].distance, w: longest * CHAR + 26, h: (lines.length + below.length) * LINE + 12, x: 0, y: 0 });
    }
    edges.forEach((edge, i) => {
      const from = all.get(edge.b), to = all.get(edge.u);
      if (!from || !to || from === to) return;
      let last = edge.b;
      bends.set(i, []);
      if (visible.length <= MOST_BENT) {
        for (let layer = from.layer + 1; layer < to.layer; layer++) {
          const bend = `${i} ${layer}`;
          all.set(bend, { near: [last], layer, w: 0, h: 8, x: 0, y: 0 });
          all.get(last).near.push(bend);
          bends.get(i).push(bend);
          last = bend;
        }
      }
      all.get(last).near.push(edge.u);
      to.near.push(last);
    });
    return { all, bends };
  }

  // Order each layer by the mean place of what its members are tied to, a few times forth and back.
  function order(all) {
    const layers = new Map();
    for (const [id, thing] of all) {
      if (!layers.has(thing.layer)) layers.set(thing.layer, []);
      layers.get(thing.layer).push(id);
    }
    const rank = new Map([...layers.values()].flatMap((ids) => ids.map((id, i) => [id, i])));
    const sorted = [...layers.keys()].sort((a, b) => a - b);
    const along = (id) => (rank.get(id) + 0.5) / layers.get(all.get(id).layer).length;
    for (let sweep = 0; sweep < 8; sweep++) {
      for (const layer of sweep % 2 ? [...sorted].reverse() : sorted) {
        const ids = layers.get(layer);
        const wish = new Map(ids.map((id) => {
          const others = all.get(id).near.filter((o) => (sweep % 2 ? all.get(o).layer > layer : all.get(o).layer < layer));
          return [id, others.length ? others.reduce((sum, o) => sum + along(o), 0) / others.length : along(id)];
        }));
        ids.sort((a, b) => wish.get(a) - wish.get(b) || rank.get(a) - rank.get(b));
        ids.forEach((id, i) => rank.set(id, i));
      }
    }
    return sorted.map((layer) => layers.get(layer));
  }

  function place(visible) {
    const { all, bends } = things(visible);
    const tallest = Math.max(10, Math.ceil(Math.sqrt(all.size) * 1.3));
    let x = 0;
    for (const ids of order(all)) {
      const count = Math.ceil(ids.length / tallest), per = Math.ceil(ids.length / count);
      for (let c = 0; c < count; c++) {
        const column = ids.slice(c * per, (c + 1) * per).map((id) => all.get(id));
        const width = Math.max(...column.map((thing) => thing.w));
        let y = -column.reduce((sum, thing) => sum + thing.h + GAP_Y, -GAP_Y) / 2;
        for (const thing of column) {
          Object.assign(thing, { x, y, w: thing.w || width });
          y += thing.h + GAP_Y;
        }
        x += width + (c + 1 < count ? GAP_X * 0.45 : GAP_X);
      }
    }
    ways = new Map([...bends].map(([i, ids]) => [i, ids.map((id) => all.get(id))]));
    return new Map(visible.map((id) => [id, all.get(id)]));
  }

  function neighbourhood(start) {
    const seen = new Set([start]);
    for (const e of nodes[start].chain) { seen.add(edges[e].b); seen.add(edges[e].u); }
    let border = [start];
    for (let step = 0; step < 4 && border.length; step++) {
      const next = [];
      for (const id of border) {
        for (const o of [...usersOf[id].map((e) => edges[e].u), ...bodiesOf[id].map((e) => edges[e].b)]) {
          if (seen.size >= 60) return [...seen];
          if (!seen.has(o)) { seen.add(o); next.push(o); }
        }
      }
      border = next;
    }
    return [...seen];
  }

  // ---- drawing ---------------------------------------------------------------------------------------------------
  let stage, ways = new Map(), boxes = new Map(), nodeElements = new Map(), edgeElements = new Map(), view = { x: 0, y: 0, k: 1 }, chosen = null;

  function draw(visible) {
    svg.replaceChildren();
    const defs = make("defs", {}, svg);
    for (const kind of new Set(edges.map((edge) => edge.k))) {
      const marker = make("marker", { id: `arrow${kind}`, viewBox: "0 0 8 8", refX: 7.5, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, defs);
      make("path", { class: `arrow k${kind}`, d: "M0 0L8 4L0 8Z" }, marker);
    }
    stage = make("g", {}, svg);
    boxes = place(visible);
    nodeElements = new Map();
    edgeElements = new Map();
    const between = new Map();
    edges.forEach((edge, i) => {
      const from = boxes.get(edge.b), to = boxes.get(edge.u);
      if (!from || !to) return;
      const key = `${edge.b} ${edge.u}`, nth = between.get(key) || 0;
      between.set(key, nth + 1);
      const path = make("path", { class: `edge k${edge.k}`, d: curve(from, to, nth, ways.get(i) ?? []), "marker-end": `url(#arrow${edge.k})` }, stage);
      make("title", {}, path, edge.s);
      edgeElements.set(i, path);
    });
    for (const id of [...visible].sort((a, b) => a - b)) drawNode(id);
  }

  function curve(from, to, nth, bends) {
    const shift = nth * 9 * (nth % 2 ? 1 : -1);
    const y1 = from.y + from.h / 2 + shift / 2, y2 = to.y + to.h / 2 + shift / 2;
    const x1 = from.x + from.w;
    if (to.x >= x1) {
      let path = `M${x1} ${y1}`, x = x1, y = y1;
      for (const stop of [...bends, { x: to.x - 1, y: y2 - 4, h: 8, w: 0 }]) {
        const middle = stop.y + stop.h / 2, half = Math.max(24, (stop.x - x) / 2);
        path += `C${x + half} ${y} ${stop.x - half} ${middle} ${stop.x} ${middle}`;
        if (stop.w) path += `H${stop.x + stop.w}`;
        x = stop.x + stop.w;
        y = middle;
      }
      return path;
    }
    // Backwards, within a column or to itself: leave and arrive on the right.
    const x2 = to.x + to.w, loop = Math.max(x1, x2) + 40 + Math.abs(shift), down = from === to ? 9 : 0;
    return `M${x1} ${y1 - down}C${loop} ${y1 - down} ${loop} ${y2 + down} ${x2 + 1} ${y2 + down}`;
  }

  function drawNode(id) {
    const node = nodes[id], box = boxes.get(id);
    const kind = ["node", `how-${node.how}`, node.seed && "seed", node.marks.length && "forbidden"].filter(Boolean).join(" ");
    const label = [node.name, node.place, node.how_sentence, ...node.marks].join(", ");
    const g = make("g", { class: kind, transform: `translate(${box.x} ${box.y})`, tabindex: 0, role: "button", "aria-label": label }, stage);
    make("title", {}, g, [node.name, node.place, node.how_sentence, ...node.marks, ...node.notes].join("\n"));
    make("rect", { width: box.w, height: box.h, rx: 7 }, g);
    if (node.marks.length) make("rect", { class: "stripe", x: 0, y: 6, width: 4, height: box.h - 12 }, g);
    box.lines.forEach((line, i) => make("text", { class: "name", x: 13, y: 18 + i * LINE }, g, line));
    box.below.forEach((line, i) => make("text", { class: "place", x: 13, y: 17 + (box.lines.length + i) * LINE }, g, line));
    g.addEventListener("click", () => { if (!moved) choose(id); });
    g.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(id); }
    });
    g.addEventListener("focus", () => { if (g.matches(":focus-visible")) reveal(id); });
    nodeElements.set(id, g);
  }

  // ---- moving and zooming ----------------------------------------------------------------------------------------
  const apply = () => stage.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`);
  const size = () => svg.getBoundingClientRect();

  const frame = (some) => ({
    x0: Math.min(...some.map((b) => b.x)), x1: Math.max(...some.map((b) => b.x + b.w)) + 24,
    y0: Math.min(...some.map((b) => b.y)), y1: Math.max(...some.map((b) => b.y + b.h)),
  });

  function fit(some = [...boxes.values()], largest = 1.25) {
    const { x0, x1, y0, y1 } = frame(some), { width, height } = size();
    const k = Math.min(largest, (width - 40) / (x1 - x0), (height - 40) / (y1 - y0));
    view = { k, x: (width - (x0 + x1) * k) / 2, y: (height - (y0 + y1) * k) / 2 };
    apply();
  }

  // The first look: everything if that is legible, else the seeds at the left at a size to read.
  function start() {
    const { y0, y1 } = frame([...boxes.values()]);
    svg.style.height = y1 - y0 < 420 && !partial ? `${Math.max(340, (y1 - y0) * 1.25 + 80)}px` : "";
    fit();
    if (view.k >= 0.55) return;
    if (chosen !== null) { bring(chosen); return; }
    const box = boxes.get(Math.max(0, nodes.findIndex((node) => node.seed)));
    view = { k: 0.8, x: 24 - box.x * 0.8, y: size().height / 2 - (box.y + box.h / 2) * 0.8 };
    apply();
  }

  // Show a function with the whole chain that leads to it, or alone where the chain would get too small to read.
  function bring(id) {
    const chain = [id, ...nodes[id].chain.flatMap((e) => [edges[e].b, edges[e].u])].map((o) => boxes.get(o)).filter(Boolean);
    fit(chain, Math.max(view.k, 0.9));
    if (view.k < 0.6) { view.k = 0.9; centre(id); }
  }

  function zoom(factor, x = size().width / 2, y = size().height / 2) {
    const k = Math.min(4, Math.max(0.03, view.k * factor));
    view = { k, x: x - (x - view.x) * (k / view.k), y: y - (y - view.y) * (k / view.k) };
    apply();
  }

  function centre(id) {
    const box = boxes.get(id), { width, height } = size();
    view.x = width / 2 - (box.x + box.w / 2) * view.k;
    view.y = height / 2 - (box.y + box.h / 2) * view.k;
    apply();
  }

  function reveal(id) {
    const box = boxes.get(id), { width, height } = size();
    const x = box.x * view.k + view.x, y = box.y * view.k + view.y;
    if (x < 0 || y < 0 || x + box.w * view.k > width || y + box.h * view.k > height) centre(id);
  }

  const fingers = new Map();
  let moved = false;
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { left, top } = size();
    const lines = event.deltaMode ? event.deltaY * 18 : event.deltaY;
    zoom(Math.exp(-lines * 0.0016), event.clientX - left, event.clientY - top);
  }, { passive: false });
  svg.addEventListener("pointerdown", (event) => {
    moved = false;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  svg.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const dx = event.clientX - before.x, dy = event.clientY - before.y;
    if (!moved && Math.abs(dx) + Math.abs(dy) < 4) return;
    moved = true;
    svg.setPointerCapture(event.pointerId);
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1], { left, top } = size();
      const was = Math.hypot(before.x - other.x, before.y - other.y), is = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      zoom(is / Math.max(was, 1), other.x - left, other.y - top);
    } else {
      view.x += dx;
      view.y += dy;
      apply();
    }
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const type of ["pointerup", "pointercancel"]) window.addEventListener(type, (event) => fingers.delete(event.pointerId));
  svg.addEventListener("keydown", (event) => {
    const step = 60, move = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) { view.x += move[0]; view.y += move[1]; apply(); }
    else if (event.key === "+" || event.key === "=") zoom(1.25);
    else if (event.key === "-") zoom(0.8);
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  });
  byId("zoom-in").addEventListener("click", () => zoom(1.25));
  byId("zoom-out").addEventListener("click", () => zoom(0.8));
  byId("fit").addEventListener("click", () => fit());

  // ---- choosing a function ---------------------------------------------------------------------------------------
  function choose(id, far = false) {
    chosen = id;
    if (partial) show(neighbourhood(id));
    if (partial || far) bring(id); else reveal(id);
    mark();
    describe(id);
    rows.forEach((row, i) => row.classList.toggle("chosen", i === id));
  }

  function mark() {
    const lit = new Set(chosen === null ? [] : nodes[chosen].chain);
    const beside = chosen === null ? [] : [...usersOf[chosen], ...bodiesOf[chosen]];
    const bright = new Set(chosen === null ? [] : [chosen, ...[...lit, ...beside].flatMap((e) => [edges[e].b, edges[e].u])]);
    for (const [id, element] of nodeElements) {
      element.classList.toggle("chosen", id === chosen);
      element.classList.toggle("dim", chosen !== null && !bright.has(id));
      element.classList.toggle("match", matches.has(id));
    }
    for (const [i, element] of edgeElements) {
      element.classList.toggle("lit", lit.has(i));
      element.classList.toggle("dim", chosen !== null && !lit.has(i) && !beside.includes(i));
    }
  }

  function describe(id) {
    const node = nodes[id];
    details.replaceChildren();
    html("h2", node.name, details);
    html("p", node.owner && node.owner !== node.place ? `${node.place} · ${node.owner}` : node.place, details, "hint");
    html("h3", "How", details);
    html("p", node.how_sentence, details, `how-${node.how}`);
    for (const text of node.marks) html("p", text, details).className = "mark";
    for (const text of node.notes) html("p", text, details);
    html("h3", "Why", details);
    if (!node.chain.length) html("p", node.why, details);
    else {
      const list = html("ol", "", details);
      for (const e of node.chain) html("li", edges[e].s, list);
    }
    list("Also depends on", bodiesOf[id].filter((e) => !node.chain.includes(e)));
    list("Changes with it", usersOf[id]);
  }

  function list(title, some) {
    if (!some.length) return;
    html("h3", `${title} (${some.length})`, details);
    const items = html("ul", "", details);
    for (const e of some.slice(0, 50)) html("li", edges[e].s, items);
    if (some.length > 50) html("p", `and ${some.length - 50} more; the table has them all`, details, "hint");
  }

  function forget() {
    chosen = null;
    mark();
    details.replaceChildren();
    html("p", "Choose a function to see why it must be patched and how.", details, "hint");
    rows.forEach((row) => row.classList.remove("chosen"));
  }

  byId("rows").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-node]");
    if (!button) return;
    choose(Number(button.dataset.node), true);
    svg.scrollIntoView({ block: "nearest" });
  });

  // ---- search ----------------------------------------------------------------------------------------------------
  let matches = new Map(), current = -1;
  const haystack = nodes.map((node) => `${node.name}\n${node.place}\n${node.owner}`.toLowerCase());

  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    matches = new Map();
    nodes.forEach((_, id) => { if (words.length && words.every((word) => haystack[id].includes(word))) matches.set(id, true); });
    rows.forEach((row, id) => { row.hidden = words.length > 0 && !matches.has(id); });
    byId("shown-rows").textContent = words.length ? `${matches.size} of ${nodes.length}` : `${nodes.length}`;
    current = -1;
    if (matches.size) go(0); else { found.textContent = words.length ? "no match" : ""; mark(); }
  }

  function go(to) {
    const ids = [...matches.keys()];
    current = (to + ids.length) % ids.length;
    found.textContent = `${current + 1} of ${ids.length}`;
    choose(ids[current], true);
  }

  let waiting;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(find, nodes.length > 1000 ? 150 : 0); });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && matches.size) { event.preventDefault(); go(current + (event.shiftKey ? -1 : 1)); }
    if (event.key === "Escape") { search.value = ""; find(); forget(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) { event.preventDefault(); search.focus(); }
    if (event.key === "Escape" && document.activeElement !== search) forget();
  });

  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((element) => { element.open = true; }));

  // ---- go ----------------------------------------------------------------------------------------------------------
  function show(visible) {
    draw(visible);
    if (!partial) return;
    const note = byId("partial");
    note.hidden = false;
    note.textContent = `The answer has ${nodes.length.toLocaleString("en")} functions: the graph shows ${visible.length} of them, around ${nodes[chosen].name}. Choose another in the table or by search.`;
  }

  const first = Math.max(0, nodes.findIndex((node) => node.seed));
  byId("shown-rows").textContent = `${nodes.length}`;
  if (!nodes.length) return;
  if (partial) {
    chosen = first;
    show(neighbourhood(first));
    describe(first);
  } else show(nodes.map((_, id) => id));
  start();
  // A link such as page.html#f=NAME opens with that function chosen.
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("f")) choose(Math.max(0, nodes.findIndex((node) => node.name === asked.get("f"))), true);
  if (asked.has("q")) { search.value = asked.get("q"); find(); }
  let width = size().width;
  new ResizeObserver(() => { if (size().width !== width) { width = size().width; start(); } }).observe(svg);
})();
