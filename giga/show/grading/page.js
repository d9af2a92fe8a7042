// The page of giga grade: keys, pictures, and answers that are sent before anything moves on.
"use strict";
(() => {
  const body = document.body;
  const CYCLES = { s: "stretch", d: "band", z: "share", v: "view" };
  const settings = JSON.parse(localStorage.getItem("giga-grade") || "{}");
  let busy = false, since = performance.now(), away = 0, hiddenAt = 0;

  const $ = (what, where = document) => where.querySelector(what);
  const $$ = (what, where = document) => [...where.querySelectorAll(what)];
  const place = () => { const one = $("[data-position][data-waits]"); return one ? Number(one.dataset.position) : null; };

  function trouble(text) {
    const box = $("#trouble");
    box.textContent = text || "";
    box.hidden = !text;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) hiddenAt = performance.now();
    else { away += performance.now() - hiddenAt; }
  });
  const looked = () => Math.max(performance.now() - since - away, 0) / 1000;
  const begin = () => { since = performance.now(); away = 0; };

  // One answer at a time: keys that come before the last one is on the disk are for a picture nobody has seen.
  async function send(path, content) {
    if (busy) return null;
    busy = true;
    try {
      const act = crypto.randomUUID();
      const answer = await fetch(path, {
        method: "POST", headers: { "Content-Type": "application/json" }, credentials: "same-origin",
        body: JSON.stringify({ ...content, act, grader: body.dataset.grader, seconds: looked() }) });
      const said = await answer.json();
      if (!answer.ok) { trouble(`Not saved: ${said.error}`); return null; }
      trouble("");
      return said;
    } catch (error) {
      trouble("Not saved: the server does not answer. Start giga grade again and open the address that it prints; " +
              "all earlier answers are kept.");
      return null;
    } finally { busy = false; }
  }

  async function show(address, remember = true) {
    try {
      const answer = await fetch(address, { credentials: "same-origin" });
      const text = await answer.text();
      if (!answer.ok) { trouble(text); return; }
      const page = new DOMParser().parseFromString(text, "text/html");
      for (const name of ["main", "header"]) $(name).replaceWith(document.adoptNode($(name, page)));
      for (const [name, value] of Object.entries(page.body.dataset)) body.dataset[name] = value;
      if (remember) history.pushState(null, "", answer.url);
      draw();
      begin();
    } catch (error) { trouble("The server does not answer. Start giga grade again; all answers are kept."); }
  }
  window.addEventListener("popstate", () => show(location.href, false));

  // --- pictures ---
  function value(name, where = document) {
    const options = $$(`[data-set="${name}"]`, where).filter((one) => !one.closest("[hidden]"))
      .map((one) => one.dataset.value);
    return options.includes(settings[name]) ? settings[name] : options[0];
  }

  function set(name, to) {
    settings[name] = to;
    localStorage.setItem("giga-grade", JSON.stringify(settings));
    draw();
  }

  function cycle(name) {
    const view = currentView();
    const options = name === "band" && view ? $$("figure[data-panel=plain]", view).map((one) => one.dataset.pick)
      : $$(`[data-set="${name}"]`).filter((one) => !one.closest("[hidden]")).map((one) => one.dataset.value);
    if (!options.length) return;
    const now = name === "band" && view ? pick(view).dataset.pick : value(name);
    if (name === "band") settings.panel = "plain";
    set(name, options[(options.indexOf(now) + 1) % options.length]);
  }

  const currentView = () => { const n = value("view") || "0"; return $(`.view[data-view="${n}"]`); };

  function pick(view) {
    const all = $$("figure", view);
    const wanted = all.find((one) => one.dataset.panel === settings.panel && settings.panel === "subtracted");
    return wanted || all.find((one) => one.dataset.panel === "plain" && one.dataset.pick === settings.band) || all[0];
  }

  function address(position, view, figure) {
    const look = new URLSearchParams({ k: body.dataset.mark, view: view.dataset.view, band: figure.dataset.pick,
      stretch: value("stretch") || "arcsinh", share: value("share", view) || "0", panel: figure.dataset.panel });
    return `/image/${position}?${look}`;
  }

  function picture(image, source) {
    if (image.getAttribute("src") === source) return;
    const figure = image.closest("figure");
    figure.classList.add("waiting");
    image.onload = () => figure.classList.remove("waiting");
    image.src = source;
  }

  function bar(view) {
    const box = $(".bar"), width = Number(view.dataset.width);
    box.hidden = !width;
    if (!width) return;
    const seen = width * [1, 0.5, 0.25][Number(value("share", view) || 0)];
    const length = [60, 30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1].find((one) => one < 0.4 * seen) || 0.05;
    const side = $(".large img").getBoundingClientRect().width;
    $("i", box).style.width = `${side * length / seen}px`;
    $("b", box).textContent = `${length}″`;
  }

  function drawOne(position) {
    for (const view of $$(".view")) view.hidden = true;
    const view = $(`.view[data-view="${value("view") || "0"}"]`);
    if (!view) return;
    view.hidden = false;
    const main = pick(view);
    for (const figure of $$("figure", view)) {
      figure.classList.toggle("on", figure === main);
      picture($("img", figure), address(position, view, figure));
    }
    picture($(".large img"), address(position, view, main));
    $(".large figcaption").textContent = [$("figcaption", main).textContent, value("stretch"),
      $(`[data-set="share"][data-value="${value("share", view)}"]`, view)?.textContent].filter(Boolean).join(" · ");
    bar(view);
    // The next one is drawn while this one is looked at.
    const next = body.dataset.next;
    if (next && Number(next) !== position) new Image().src = address(next, view, main);
  }

  function drawMosaic(mosaic) {
    const look = new URLSearchParams({ k: body.dataset.mark, stretch: value("stretch") || "arcsinh",
      band: value("band") || "" });
    const count = $$(".tile", mosaic).length, rows = Math.ceil(count / 10);
    const source = `/sheet/${mosaic.dataset.page}?${look}`;
    for (const tile of $$(".tile", mosaic)) {
      const k = Number(tile.dataset.place), row = Math.floor(k / 10);
      tile.style.backgroundImage = `url("${source}")`;
      tile.style.backgroundPosition = `${(k % 10) / 9 * 100}% ${rows > 1 ? row / (rows - 1) * 100 : 0}%`;
    }
    const ready = new Image();
    ready.onload = () => {
      mosaic.dataset.ready = source;
      const next = Number(mosaic.dataset.page) + 1;  // fetched while this one is looked at
      if (next <= Number(mosaic.dataset.last)) new Image().src = `/sheet/${next}?${look}`;
    };
    ready.src = source;
  }

  function draw() {
    body.classList.toggle("smooth", Boolean(settings.smooth));
    const mosaic = $(".mosaic"), position = place();
    if (mosaic) drawMosaic(mosaic);
    if (position !== null && $(".large")) drawOne(position);
    for (const one of $$("[data-set]")) {
      const near = one.closest(".view") || document;
      one.classList.toggle("on", value(one.dataset.set, near) === one.dataset.value);
    }
    body.dataset.drawn = String(Number(body.dataset.drawn || 0) + 1);
  }

  // --- answers ---
  async function kept() {  // a comment that was typed and not entered goes with the answer
    const comment = $("#comment");
    if (!comment || comment.value === comment.defaultValue) return true;
    if (!await send("/note", { position: place(), comment: comment.value })) return false;
    comment.defaultValue = comment.value;
    return true;
  }

  async function answer(button) {
    if (!await kept()) return;
    const said = await send("/answer", { position: place(), question: button.dataset.question,
      answer: button.dataset.answer });
    if (!said) return;
    button.classList.add("sent");
    await show(said.next);
  }

  const acts = {
    async undo() {
      const said = await send("/undo", {});
      if (said && said.position === null) trouble("Nothing to undo.");
      else if (said) await show($(".mosaic") ? location.href : `/one/${said.position}`, !$(".mosaic"));
    },
    async "undo-here"() {
      const said = await send("/undo", { position: place() });
      if (said) await show(`/one/${place()}`);
    },
    async flag() {
      const button = $('[data-do="flag"]');
      if (await send("/note", { position: place(), flag: button.getAttribute("aria-pressed") !== "true" }))
        await show(location.href, false);
    },
    async file() {
      const mosaic = $(".mosaic"), number = Number(mosaic.dataset.page);
      if (!await send("/page", { page: number })) return;
      await show(number < Number(mosaic.dataset.last) ? `/mosaic/${number + 1}` : "/next");
    },
    async next() { if (await kept()) await show("/next"); },
    async skip() { if (await kept()) await show(`/next?passing=${place()}`); },
    help: () => $("#help").showModal(),
    back: () => show($('[data-do="back"]').getAttribute("href")),
    on: () => show($('[data-do="on"]').getAttribute("href")),
  };

  async function mark(tile, open) {
    const position = Number(tile.dataset.position);
    if (open || body.dataset.scheme === "models") { await show(`/one/${position}`); return; }
    const said = tile.classList.contains("open")
      ? await send("/answer", { position, question: "detect", answer: "escalate" })
      : await send("/undo", { position });
    if (said) await show(location.href, false);
  }

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const found = (what) => target && target.closest(what);
    const dialog = found("dialog");
    if (dialog) { dialog.close(); return; }
    const tile = found(".tile"), setting = found("[data-set]"), small = found(".panels figure");
    const button = found("[data-answer]"), act = found("[data-do]");
    if (tile) mark(tile, event.shiftKey);
    else if (setting) set(setting.dataset.set, setting.dataset.value);
    else if (small) { settings.panel = small.dataset.panel; if (settings.panel === "plain") settings.band = small.dataset.pick;
      set("panel", settings.panel); }
    else if (button) answer(button);
    else if (act) { event.preventDefault(); acts[act.dataset.do](); }
    if (target instanceof HTMLElement && target.closest("button")) target.closest("button").blur();
  });

  document.addEventListener("keydown", async (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("#help").open) return;
    const comment = $("#comment");
    if (event.target === comment) {
      if (event.key === "Escape") { comment.value = comment.defaultValue; comment.blur(); }
      if (event.key !== "Enter") return;
      event.preventDefault();
      if (await kept()) comment.blur();
      return;
    }
    if (event.repeat) return;  // a key that is held down is one answer
    const key = event.key.toLowerCase(), asked = $(`[data-key="${CSS.escape(key)}"]`);
    const does = { u: $('[data-do="undo-here"]') ? "undo-here" : "undo", f: "flag", "?": "help",
      enter: $('[data-do="file"]') ? "file" : "next", arrowright: $('[data-do="on"]') ? "on" : $('[data-do="skip"]')
        ? "skip" : "next" }[key];
    if (asked) { event.preventDefault(); answer(asked); }
    else if (key === "arrowleft") { event.preventDefault();
      if ($('[data-do="back"]')) acts.back(); else if (place() > 0) show(`/one/${place() - 1}`); }
    else if (does && ($(`[data-do="${does}"]`) || does === "next")) { event.preventDefault(); acts[does](); }
    else if (key === "/" && comment) { event.preventDefault(); comment.focus(); }
    else if (key in CYCLES) cycle(CYCLES[key]);
    else if (key === "p") { settings.smooth = !settings.smooth; set("smooth", settings.smooth); }
    else if (key === "l") set("panel", settings.panel === "subtracted" ? "plain" : "subtracted");
  });

  window.addEventListener("resize", () => { const view = currentView(); if (view && $(".bar")) bar(view); });
  draw();
  begin();
})();
