/* Remaining time: the same words as huiying/domain/remaining.py (shared vectors in tests/data/human_left.json).
   One timer for the page, on the second; the server's time, never the client's; only what is on the screen is rewritten. */
(function () {
  "use strict";
  var HOUR = 3600, DAY = 24 * HOUR;
  var ICONS = { overdue: "■", hour: "▲", four: "◆", normal: "●" };
  var WORDS = {
    zh: { overdue: "已超时", hour: "1小时内", four: "4小时内", normal: "正常" },
    en: { overdue: "Overdue", hour: "Within 1 h", four: "Within 4 h", normal: "On time" }
  };
  var offset = 0, visible = null, watched = [], crossing = 0, face = null;

  function two(n) { return (n < 10 ? "0" : "") + n; }

  /* HH:MM:SS in Beijing, wherever the browser thinks it is: since 1992 it is eight hours ahead all year. */
  function beijing(millis) {
    var local = new Date(millis + 8 * HOUR * 1000);
    return two(local.getUTCHours()) + ":" + two(local.getUTCMinutes()) + ":" + two(local.getUTCSeconds());
  }

  function chinese(size) {
    if (size >= DAY) return Math.floor(size / DAY) + " 天 " + two(Math.floor(size % DAY / HOUR)) + " 小时";
    if (size >= HOUR) return Math.floor(size / HOUR) + " 小时 " + two(Math.floor(size % HOUR / 60)) + " 分";
    return Math.floor(size / 60) + " 分 " + two(size % 60) + " 秒";
  }

  function english(size) {
    if (size >= DAY) return Math.floor(size / DAY) + " d " + two(Math.floor(size % DAY / HOUR)) + " h";
    if (size >= HOUR) return Math.floor(size / HOUR) + " h " + two(Math.floor(size % HOUR / 60)) + " min";
    return Math.floor(size / 60) + " min " + two(size % 60) + " s";
  }

  /* Whole seconds to text; language "zh" (default) or "en". */
  function humanLeft(seconds, language) {
    var en = language === "en";
    if (seconds === 0) return en ? "due now" : "已到期";
    var size = Math.abs(seconds);
    if (en) return english(size) + (seconds > 0 ? " left" : " over");
    return (seconds > 0 ? "剩 " : "超 ") + chinese(size);
  }

  function urgency(seconds) {
    if (seconds < 0) return "overdue";
    if (seconds < HOUR) return "hour";
    return seconds < 4 * HOUR ? "four" : "normal";
  }

  function now() { return Date.now() + offset; }

  /* The server said what time it is; called with every page and every message of the live channel. */
  function sync(serverMillis) {
    if (serverMillis > 0) offset = serverMillis - Date.now();
  }

  function language() { return document.body.getAttribute("data-lang") === "en" ? "en" : "zh"; }

  function draw(element, at) {
    var seconds = Math.trunc((Number(element.getAttribute("data-due")) - at) / 1000);
    var text = humanLeft(seconds, language());
    if (element.firstChild && element.firstChild.nodeType === 3) {
      if (element.firstChild.data !== text) element.firstChild.data = text;
    } else element.textContent = text;
    element.classList.toggle("over", seconds < 0);
    var row = element.closest("[data-urgency]");
    if (row) band(row, urgency(seconds));
  }

  /* A band changed by time alone: sign, word and class of the chip, without a reload. */
  function band(row, name) {
    var was = row.getAttribute("data-urgency");
    if (was === name) return;
    row.setAttribute("data-urgency", name);
    var marked = row.querySelectorAll(".chip." + was + ",.bar." + was);
    for (var i = 0; i < marked.length; i++) {
      marked[i].classList.remove(was);
      marked[i].classList.add(name);
      var icon = marked[i].querySelector("i"), word = marked[i].querySelector("b");
      if (icon) icon.textContent = ICONS[name];
      if (word) word.textContent = WORDS[language()][name];
    }
    row.dispatchEvent(new CustomEvent("huiying:band", { bubbles: true, detail: { was: was, now: name } }));
  }

  /* The next instant at which a clock enters another band, wherever it stands on the page. */
  function nextCrossing(at) {
    var next = Infinity;
    for (var i = 0; i < watched.length; i++) {
      var due = Number(watched[i].getAttribute("data-due"));
      [due + 1000, due - HOUR * 1000 + 1000, due - 4 * HOUR * 1000 + 1000].forEach(function (point) {
        if (point > at && point < next) next = point;
      });
    }
    return next;
  }

  function tick() {
    var at = now(), everywhere = at >= crossing;
    for (var i = 0; i < watched.length; i++) {
      if (!visible || watched[i].huiyingSeen || everywhere) draw(watched[i], at);
    }
    if (everywhere) crossing = nextCrossing(at);
    if (face) face.textContent = beijing(at);
    window.setTimeout(tick, 1000 - now() % 1000 + 5);
  }

  function seen(entries) {
    var at = now();
    for (var i = 0; i < entries.length; i++) {
      entries[i].target.huiyingSeen = entries[i].isIntersecting;
      if (entries[i].isIntersecting) draw(entries[i].target, at);
    }
  }

  /* Find the clocks anew: at the start and after every swap. */
  function watch() {
    if (visible) visible.disconnect();
    watched = Array.prototype.slice.call(document.querySelectorAll("time.left[data-due]"));
    for (var i = 0; i < watched.length; i++) if (visible) visible.observe(watched[i]);
    crossing = 0;
  }

  function start() {
    sync(Number(document.body.getAttribute("data-now")));
    if (window.IntersectionObserver) visible = new IntersectionObserver(seen, { rootMargin: "40px" });
    watch();
    face = document.getElementById("now");
    if (face) face.parentNode.hidden = false; // without a script it would stand still, and be wrong
    document.body.addEventListener("htmx:afterSwap", watch);
    document.body.addEventListener("htmx:oobAfterSwap", watch);
    tick();
  }

  window.huiyingClock = { humanLeft: humanLeft, urgency: urgency, sync: sync, now: now, watch: watch, beijing: beijing };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
