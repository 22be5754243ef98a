/* What every page shares: the session's token with every request of htmx, the live channel and its strip, shortcuts,
   and ticked boxes that outlive a refresh. Nothing here is needed for reading or acknowledging. */
(function () {
  "use strict";
  var BEATS = 16000; // ms without a message after which the channel counts as lost; the server speaks every 5 s
  var FIRST_WAIT = 1000, LAST_WAIT = 32000; // ms until a refused stream is asked for again
  var clock = window.huiyingClock;
  var heardAt = 0, heardServer = 0, lost = false, refreshing = 0;

  function byId(id) { return document.getElementById(id); }

  document.addEventListener("htmx:configRequest", function (event) {
    event.detail.headers["X-CSRF-Token"] = document.body.getAttribute("data-csrf") || "";
  });

  /* -- the live channel -------------------------------------------------------------------------------------------- */

  function strip() { return byId("live-strip"); }

  function say(name, kind) {
    var place = strip();
    if (!place) return;
    var text = place.getAttribute("data-" + name).replace("{time}", clock.beijing(heardServer));
    if (place.textContent !== text) place.textContent = text;
    place.className = "strip" + (kind ? " " + kind : "");
    place.hidden = false;
  }

  function refresh() {
    ["#board", "#feed", "#panel [data-shown]"].forEach(function (place) {
      var found = document.querySelector(place);
      if (found) window.htmx.trigger(found, "huiying:refresh");
    });
  }

  function lose() {
    if (!lost) { lost = true; say("lost"); }
  }

  function hear(event) {
    var said = {};
    try { said = JSON.parse(event.data); } catch (error) { said = {}; }
    if (said.now) { clock.sync(said.now); heardServer = said.now; }
    heardAt = performance.now();
    if (!lost) return;
    lost = false;
    say("back", "good");
    refresh();
    window.setTimeout(function () { if (!lost && strip()) strip().hidden = true; }, 5000);
  }

  /* -- the session behind the page ---------------------------------------------------------------------------------- */

  var WATCH = 60000; // ms between two looks at the session, and at least between two signs of life
  var touched = null, leaving = false, livedAt = 0; // what loaded the page was a sign of life

  function seat() { return document.body.getAttribute("data-seat"); }

  /* Is it still open, locked, over? Also after a stream that the server refused: it may be only the server. */
  function askState() { ask("/live/state?auto=1", "GET"); }

  function ask(url, method) {
    var headers = { "X-CSRF-Token": document.body.getAttribute("data-csrf") || "" };
    fetch(url, { method: method, headers: headers, credentials: "same-origin", redirect: "manual", cache: "no-store" })
      .then(function (answer) {
        if (answer.type === "opaqueredirect" || answer.status === 401) { leave("/"); return null; }
        if (answer.status === 403 && method === "POST") { askState(); return null; } // a token of before an unlocking
        return answer.ok ? answer.json() : null;
      })
      .then(function (said) { if (said) settle(said); })
      .catch(function () { /* The network is down: the strip says so already. */ });
  }

  function settle(said) {
    if (!seat()) return;
    if (said.person !== seat()) leave("/"); // somebody else has taken over in another tab
    else if (said.stage !== "open") lockPage();
    else renew(said.csrf);
  }

  /* The token changes with every unlocking, perhaps in another tab: forms that are open here go on being ours. */
  function renew(token) {
    if (token === document.body.getAttribute("data-csrf")) return;
    document.body.setAttribute("data-csrf", token);
    document.querySelectorAll("input[name=csrf]").forEach(function (field) { field.value = token; });
  }

  function leave(place) {
    if (leaving || byId("kept")) return; // what a locked page holds for its person does not go by itself
    leaving = true;
    window.location.assign(place);
  }

  /* Nothing of a page stays readable on a locked desk; what somebody was writing there is kept by the server's answer. */
  function lockPage() {
    var here = window.location.pathname + window.location.search;
    if (leaving || handOver(here)) return;
    if (window.location.pathname === "/") leave("/");
    else leave(here.length > 900 ? "/" : "/?next=" + encodeURIComponent(here));
  }

  /* Reading and writing send nothing by themselves. What a person really does at the page counts, once a minute. */
  function stir(event) {
    if (!event.isTrusted || performance.now() - livedAt < WATCH) return;
    livedAt = performance.now();
    ask("/live/awake", "POST");
  }

  /* -- what somebody was writing ------------------------------------------------------------------------------------ */

  var KEPT = "huiying-kept", SEALED = "huiying-sealed", MOST_TRIES = 3, MOST = 240000; // bytes that a request may carry, with room for the rest

  function isOurs(field) {
    return field.form && field.form.method === "post" && field.type !== "password" && !field.closest("header.top, #board");
  }

  function noteWriting(event) { if (event.isTrusted && isOurs(event.target)) touched = event.target.form; }

  /* A form that is on its way must not be overtaken; where nothing came of it, the page is watched again. */
  function noteSending(event) {
    window.setTimeout(function () {
      if (event.defaultPrevented) return;
      leaving = true;
      window.setTimeout(function () { leaving = false; }, 20000);
    }, 0);
  }

  function pairsOf(form) {
    var found = [];
    new FormData(form).forEach(function (value, name) {
      var field = form.elements.namedItem(name);
      if (typeof value === "string" && name !== "csrf" && !(field && field.type === "password")) found.push([name, value]);
    });
    return found;
  }

  function localOf(form) {
    var url = new URL(form.getAttribute("action") || "", window.location.href);
    return url.pathname + url.search;
  }

  function addField(form, name, value) {
    var field = document.createElement("input");
    field.type = "hidden";
    field.name = name;
    field.value = value;
    form.appendChild(field);
  }

  /* Give an unsent form to the server, which seals it into the alarm view. Tells whether there was one. */
  function handOver(here) {
    if (!touched || !document.contains(touched)) return false;
    var fields = JSON.stringify(pairsOf(touched));
    if (encodeURIComponent(fields).length > MOST) return false;
    send("/kept", { to: localOf(touched), page: here, fields: fields });
    return true;
  }

  function send(action, values) {
    var form = document.createElement("form");
    form.method = "post";
    form.action = action;
    form.hidden = true;
    addField(form, "csrf", document.body.getAttribute("data-csrf"));
    Object.keys(values).forEach(function (name) { addField(form, name, values[name]); });
    document.body.appendChild(form);
    leaving = true;
    form.submit();
  }

  /* After unlocking, on the page that shows what was kept: take it along to the page where its form stands. */
  function offerRefill() {
    var form = byId("kept-form"), button = document.querySelector("[data-refill]");
    if (!form || !button) return;
    function go() {
      var kept = { to: localOf(form), pairs: pairsOf(form), back: form.getAttribute("data-back"), missing: form.getAttribute("data-missing") };
      try { window.sessionStorage.setItem(KEPT, JSON.stringify(kept)); } catch (error) { return; }
      window.location.replace(form.getAttribute("data-page"));
    }
    button.hidden = false;
    button.addEventListener("click", go);
    if (form.hasAttribute("data-draft")) go();
  }

  /* The unlocking may lead elsewhere first: to the unit's own sign-in, a new password, the other language. What a locked page
     holds, sealed, goes along in this tab, and its person sees it on the first page that is open again. */
  function carrySealed() {
    var held = byId("kept"), kept = null;
    try {
      if (held) { keepSealed({ person: held.getAttribute("data-person"), sealed: held.value, tries: 0 }); return; }
      kept = JSON.parse(window.sessionStorage.getItem(SEALED) || "null");
      if (!kept || kept.person !== seat()) return; // for its person alone
      if (byId("kept-form") || kept.tries >= MOST_TRIES) { window.sessionStorage.removeItem(SEALED); return; }
      if (document.querySelector("#notices .notice")) return; // what is said once is read first; the next page takes it along
      kept.tries += 1;
      keepSealed(kept);
    } catch (error) { return; }
    send("/kept/again", { sealed: kept.sealed });
  }

  function keepSealed(kept) { window.sessionStorage.setItem(SEALED, JSON.stringify(kept)); }

  function refill() {
    var text = null, kept = null;
    if (byId("kept-form")) return;
    try {
      text = window.sessionStorage.getItem(KEPT);
      window.sessionStorage.removeItem(KEPT); // for this one step only
    } catch (error) { return; }
    if (!text || !seat()) return;
    kept = JSON.parse(text);
    var forms = document.querySelectorAll("main form[method=post]"), form = null;
    for (var i = 0; i < forms.length && !form; i++) if (localOf(forms[i]) === kept.to) form = forms[i];
    if (form) fill(form, kept.pairs);
    tell(form ? kept.back : kept.missing, form ? [] : kept.pairs);
  }

  function fill(form, pairs) {
    var values = {};
    pairs.forEach(function (pair) { (values[pair[0]] = values[pair[0]] || []).push(pair[1]); });
    for (var i = 0; i < form.elements.length; i++) fillOne(form.elements[i], values[form.elements[i].name] || []);
    for (var node = form; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    touched = form;
    form.scrollIntoView({ block: "center" });
    // What is shown beside the form follows, once htmx listens.
    window.setTimeout(function () { form.dispatchEvent(new Event("change", { bubbles: true })); }, 500);
  }

  function fillOne(field, values) {
    if (!field.name || /^(hidden|password|file|submit|button)$/.test(field.type)) return;
    if (field.type === "checkbox" || field.type === "radio") field.checked = values.indexOf(field.value) >= 0;
    else if (field.type === "select-multiple") {
      for (var i = 0; i < field.options.length; i++) field.options[i].selected = values.indexOf(field.options[i].value) >= 0;
    } else if (values.length) field.value = values[0];
    for (var node = field; values.length && node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  }

  function tell(sentence, pairs) {
    var place = byId("notices"), box = document.createElement("div");
    if (!place) return;
    box.className = "notice warn";
    box.setAttribute("role", "status");
    box.appendChild(document.createElement("p")).textContent = sentence;
    pairs.forEach(function (pair) {
      if (pair[1].trim()) box.appendChild(document.createElement("p")).textContent = pair[1];
    });
    place.appendChild(box);
  }

  function watchSession() {
    carrySealed();
    if (!seat()) return;
    offerRefill();
    refill();
    document.addEventListener("input", noteWriting, true);
    document.addEventListener("submit", noteSending);
    window.setInterval(function () { if (!document.hidden) askState(); }, WATCH);
    document.addEventListener("visibilitychange", function () { if (!document.hidden) askState(); });
    window.addEventListener("pageshow", function (event) { if (event.persisted) askState(); });
    document.body.addEventListener("huiying:locked", lockPage);
    ["keydown", "input", "pointerdown", "wheel"].forEach(function (name) {
      document.addEventListener(name, stir, { passive: true, capture: true });
    });
  }

  /* -- the stream --------------------------------------------------------------------------------------------------- */

  /* What htmx takes for an EventSource. A browser gives a server six connections at HTTP/1.1 and a stream keeps one, so
     only a page that is looked at holds a stream; one that is hidden lets it go and catches up when it is shown. */
  function open(url) {
    var channel = new EventTarget(), source = null, timer = 0, wait = FIRST_WAIT, over = false;

    function release() {
      window.clearTimeout(timer);
      if (source) source.close();
      source = null;
    }

    function end() { over = true; release(); }

    function pass(event) {
      wait = FIRST_WAIT;
      hear(event);
      channel.dispatchEvent(new MessageEvent(event.type, { data: event.data }));
    }

    /* A stream that the server or a proxy refused is not opened again by the browser itself. */
    function fail() {
      lose();
      if (!source || source.readyState !== 2) return;
      release();
      askState();
      timer = window.setTimeout(connect, wait);
      wait = Math.min(2 * wait, LAST_WAIT);
    }

    function connect() {
      if (over || source || document.hidden) return;
      source = new EventSource(url);
      ["beat", "queue", "feed"].forEach(function (name) { source.addEventListener(name, pass); });
      source.addEventListener("locked", function () { end(); lockPage(); });
      source.addEventListener("ended", function () { end(); leave("/"); });
      source.addEventListener("closing", lose);
      source.addEventListener("full", function () { end(); say("full"); });
      source.addEventListener("error", fail);
    }

    document.addEventListener("visibilitychange", function () {
      if (document.hidden) { release(); return; }
      heardAt = performance.now();
      connect();
      if (!over) refresh();
    });
    channel.close = end;
    connect();
    return channel;
  }

  function watchChannel() {
    if (!strip()) return;
    heardAt = performance.now();
    heardServer = Number(document.body.getAttribute("data-now"));
    window.setInterval(function () { if (!document.hidden && performance.now() - heardAt > BEATS) lose(); }, 2000);
  }

  /* -- what outlives a renewal of the queue, the panel, the feed ----------------------------------------------------- */

  var ticked = {}, focused = null, newest = "", pressedAt = 0, owed = false;
  var underWay = 0, overlapped = false, actedAt = 0; // acknowledgements
  var LONGEST_PRESS = 1500, SHOWN = 12000, MOST_SAID = 4; // ms, notices

  /* Between pressing and letting go a button must stay the same one, or the press comes to nothing. */
  function press(event) {
    if (!event.target.closest || !event.target.closest("#board, #panel, #feed")) return;
    if (event.type === "keydown" && event.key !== " " && event.key !== "Enter") return;
    if (event.type === "keydown" && event.repeat) return;
    pressedAt = performance.now();
    window.setTimeout(catchUp, LONGEST_PRESS + 50);
  }

  function letGo() {
    pressedAt = 0;
    window.setTimeout(catchUp, 0); // after the click, which comes last
  }

  function isPressed() { return pressedAt && performance.now() - pressedAt < LONGEST_PRESS; }

  function catchUp() {
    if (!owed || isPressed()) return;
    owed = false;
    refresh();
  }

  function renewed(event) {
    var place = event.detail.target;
    return place && /^(board|panel|feed)$/.test(place.id) ? place : null;
  }

  /* Not what the person at the desk asked to see, but what the page fetches by itself or gets as an answer to a press. */
  function mayWait(asked) { return asked.verb === "post" || /[?&]auto=1/.test(asked.path); }

  function remember(event) {
    var place = renewed(event), asked = event.detail.requestConfig;
    if (!place || !event.detail.shouldSwap) return;
    if (place.id === "board") noteTicks(asked);
    if (place.id === "board" && isOutdated(event.detail.xhr, asked)) { event.detail.shouldSwap = false; owe(); return; }
    if (isPressed() && mayWait(asked)) { hold(event.detail, asked); return; }
    focused = place.contains(document.activeElement) ? handleOf(document.activeElement) : null;
  }

  function noteTicks(asked) {
    if (asked.elt.hasAttribute("data-bulk")) untick(); // they are acknowledged
    ticked = {};
    ticks().forEach(function (box) { if (box.checked) ticked[box.id] = true; });
  }

  /* What an answer says besides is said at once; only the rows wait. */
  function hold(detail, asked) {
    if (asked.verb === "post") detail.swapOverride = "none";
    else detail.shouldSwap = false;
    owed = true;
  }

  /* A queue that was asked for before an acknowledgement was answered would show it undone. */
  function isOutdated(xhr, asked) { return asked.verb === "get" && xhr.huiyingAskedAt < actedAt; }

  function owe() {
    owed = true;
    window.setTimeout(catchUp, 0);
  }

  function watchAcknowledging(xhr) {
    underWay += 1;
    if (underWay > 1) overlapped = true;
    xhr.addEventListener("loadend", function () {
      underWay -= 1;
      actedAt = performance.now();
      if (underWay || !overlapped) return;
      overlapped = false; // nobody knows whose answer was written last
      owe();
    });
  }

  function ticks() { return document.querySelectorAll("#board input[name=clock]"); }

  function untick() { ticks().forEach(function (box) { box.checked = false; }); }

  /* How an element is found again after it was renewed. */
  function handleOf(element) {
    var line = element.closest("li");
    return { id: element.id, href: element.getAttribute("href"), line: line && line.textContent };
  }

  function findAgain(place, handle) {
    if (!handle) return null;
    if (handle.id) return place.querySelector("#" + handle.id);
    var links = Array.prototype.filter.call(place.querySelectorAll("a[href]"), function (link) {
      return link.getAttribute("href") === handle.href;
    });
    var same = links.filter(function (link) { return handle.line && link.closest("li") && link.closest("li").textContent === handle.line; });
    return same[0] || links[0] || null;
  }

  function recall(event) {
    var place = renewed(event), again = place && findAgain(place, focused);
    if (!place) return;
    focused = null;
    if (again) again.focus({ preventScroll: true });
    if (place.id === "board") recallBoard();
    if (place.id === "feed") tellNewest();
    mark();
  }

  function recallBoard() {
    Object.keys(ticked).forEach(function (id) { if (byId(id)) byId(id).checked = true; });
    enhance();
    count();
  }

  function newestLine() {
    var line = document.querySelector("#feed li:not(.empty)");
    return line ? line.textContent.trim() : "";
  }

  /* Who listens instead of looking hears the newest line alone, not the list again. */
  function tellNewest() {
    var line = newestLine(), place = byId("feed-newest");
    if (line && line !== newest) {
      place.textContent = document.querySelector("#feed a").textContent + " ";
      place.appendChild(document.querySelector("#feed li > span").cloneNode(true));
    }
    newest = line;
  }

  /* On the main screen what came of a press is said over the foot of the page, so that no row moves under somebody's hand:
     what was done for a while, what was not done until somebody has read it and presses it (or Esc) away. */
  function gatherSaid() {
    var place = byId("toasts"), faults = document.querySelectorAll("#notices .notice.fault");
    if (!place) return;
    for (var i = 0; i < faults.length; i++) place.appendChild(faults[i]);
    while (place.children.length > MOST_SAID) place.removeChild(place.firstElementChild);
    place.querySelectorAll(".notice:not([data-seen])").forEach(function (said) {
      function hide() { said.remove(); }
      said.setAttribute("data-seen", "");
      if (said.classList.contains("fault")) said.addEventListener("click", hide);
      else window.setTimeout(hide, SHOWN);
    });
  }

  /* How many are overdue stands in the tab's title: somebody who is reading another page sees it, too. */
  var title = document.title;

  function count() {
    var place = document.querySelector("#board .tile.overdue .count");
    if (!place) return;
    var overdue = Number(place.textContent);
    document.title = overdue ? "■" + overdue + " " + title : title;
  }

  /* -- small comforts ----------------------------------------------------------------------------------------------- */

  function enhance() {
    if (byId("all")) byId("all").hidden = false;
  }

  function tickAll(event) {
    if (event.target.id === "all") ticks().forEach(function (box) { box.checked = event.target.checked; });
  }

  /* The row of the incident that the panel shows. */
  function mark() {
    var shown = document.querySelector("#panel [data-shown]"), rows = document.querySelectorAll("#board tr[data-no]");
    for (var i = 0; shown && i < rows.length; i++) {
      rows[i].classList.toggle("here", rows[i].getAttribute("data-no") === shown.getAttribute("data-shown"));
    }
  }

  /* Where the panel stands below the queue instead of beside it, nobody would see it change: go to the incident. */
  function choose(event) {
    var link = event.target.closest && event.target.closest("#board a[hx-get]");
    if (!link || !window.matchMedia("(max-width:1180px)").matches) return;
    event.preventDefault();
    event.stopPropagation();
    window.location.assign("/incidents/" + link.closest("tr").getAttribute("data-no"));
  }

  /* -- answers that are none -------------------------------------------------------------------------------------- */

  function warn(name) {
    var place = byId("notices"), line = document.createElement("div");
    line.className = "notice fault";
    line.setAttribute("role", "alert");
    line.textContent = place.getAttribute("data-" + name);
    place.textContent = "";
    place.appendChild(line);
    if (byId("toasts")) gatherSaid();
    else place.scrollIntoView({ block: "nearest" });
  }

  /* Our own refusals say where they belong; what a proxy in between answers is no part of any page. */
  function foreign(event) {
    if (event.detail.xhr.status < 400 || event.detail.xhr.getResponseHeader("HX-Retarget")) return;
    event.detail.shouldSwap = false;
    if (event.detail.requestConfig.verb === "post") warn("refused");
    else if (strip()) lose();
  }

  /* Nobody knows whether what was sent has arrived: the person is told, and looks again. Its button may have been renewed
     since, and what happens to a button that is gone reaches nobody: the request itself is listened to. */
  function watchAnswer(event) {
    function unanswered() {
      if (event.detail.requestConfig.verb === "post") warn("unanswered");
      else if (strip()) lose();
    }
    var xhr = event.detail.xhr;
    xhr.huiyingAskedAt = performance.now();
    if (event.detail.requestConfig.path === "/acknowledge") watchAcknowledging(xhr);
    xhr.addEventListener("error", unanswered);
    xhr.addEventListener("timeout", unanswered);
  }

  /* Paper cannot be unfolded: it shows what the screen folds away, except for the forms. */
  function unfold() {
    var folded = document.querySelectorAll("main details:not([open]):not(.act):not(.fold)");
    for (var i = 0; i < folded.length; i++) { folded[i].open = true; folded[i].setAttribute("data-printed", ""); }
  }

  function fold() {
    var opened = document.querySelectorAll("main details[data-printed]");
    for (var i = 0; i < opened.length; i++) { opened[i].open = false; opened[i].removeAttribute("data-printed"); }
  }

  function isTyping(element) {
    return /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName) && element.type !== "checkbox" || element.isContentEditable;
  }

  function shortcut(event) {
    if (event.key === "Escape") document.querySelectorAll("#toasts .fault").forEach(function (said) { said.remove(); });
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    var search = byId("q"), help = byId("keys");
    if (event.key === "/" && search) { event.preventDefault(); search.focus(); search.select(); }
    else if (event.key === "n" && document.querySelector('a[href="/incidents/new"]')) window.location.assign("/incidents/new");
    else if (event.key === "?" && help && help.showModal && !help.open) help.showModal();
  }

  function start() {
    watchChannel();
    watchSession();
    enhance();
    count();
    mark();
    document.body.addEventListener("htmx:beforeSwap", foreign);
    document.body.addEventListener("htmx:beforeSend", watchAnswer);
    document.body.addEventListener("htmx:beforeSwap", remember);
    document.body.addEventListener("htmx:afterSwap", recall);
    document.body.addEventListener("htmx:afterSwap", gatherSaid);
    document.body.addEventListener("htmx:oobAfterSwap", gatherSaid);
    document.body.addEventListener("huiying:band", function () {
      window.clearTimeout(refreshing);
      refreshing = window.setTimeout(function () { if (byId("board")) window.htmx.trigger(byId("board"), "huiying:refresh"); }, 1500);
    });
    window.addEventListener("beforeprint", unfold);
    window.addEventListener("afterprint", fold);
    document.addEventListener("click", choose, true);
    document.addEventListener("change", tickAll);
    document.addEventListener("keydown", shortcut);
    ["pointerdown", "keydown"].forEach(function (name) { document.addEventListener(name, press, { passive: true, capture: true }); });
    ["pointerup", "pointercancel", "keyup"].forEach(function (name) { document.addEventListener(name, letGo, true); });
    var filters = document.querySelector("form.filters");
    if (filters) filters.addEventListener("change", function (event) { if (event.target.tagName === "SELECT") filters.submit(); });
    var keys = document.querySelector("button.keys"), help = byId("keys");
    if (keys && help && help.showModal) {
      keys.hidden = false;
      keys.addEventListener("click", function () { help.showModal(); });
    }
    newest = newestLine();
  }

  if (window.htmx) window.htmx.createEventSource = open;
  window.huiyingDesk = { open: open };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
