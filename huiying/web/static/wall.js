/* The wall: fetches counts and cards every five seconds, turns its pages, and says when it has heard nothing for 15 s. */
(function () {
  "use strict";
  var FETCH_MS = 5000, STALE_MS = 15000, PAGE_MS = 12000, GIVE_UP_MS = 4500;
  var page = 0, heard = performance.now(), turned = performance.now(), asking = null;

  function byId(id) { return document.getElementById(id); }

  /* Beijing time, whatever zone the screen's computer is in. */
  function showClock() {
    byId("wall-clock").textContent = window.huiyingClock.beijing(window.huiyingClock.now());
  }

  function showPage() {
    var pages = document.querySelectorAll(".wall-cards"), number = document.querySelector("[data-page-no]");
    if (page >= pages.length) page = 0;
    for (var i = 0; i < pages.length; i++) pages[i].hidden = i !== page;
    if (number) number.textContent = String(page + 1);
    window.huiyingClock.watch();
  }

  function take(html) {
    byId("wall-body").innerHTML = html;
    window.huiyingClock.sync(Number(byId("wall-data").getAttribute("data-now")));
    heard = performance.now();
    showPage();
    showStale();
  }

  function showStale() {
    var banner = byId("wall-stale"), stale = performance.now() - heard > STALE_MS;
    if (stale && banner.hidden) {
      banner.textContent = banner.getAttribute("data-text").replace("%s", byId("wall-data").getAttribute("data-at"));
    }
    banner.hidden = !stale;
  }

  function ask() {
    if (asking) asking.abort();
    var mine = asking = new AbortController();
    var timer = window.setTimeout(function () { mine.abort(); }, GIVE_UP_MS);
    fetch("/wall/cards?auto=1", { signal: mine.signal, headers: { "HX-Request": "true", "X-Quiet": "1" } })
      .then(function (response) {
        if (!response.ok || response.headers.get("HX-Redirect")) throw new Error("refused");
        return response.text();
      })
      .then(take)
      .catch(showStale)
      .then(function () {
        window.clearTimeout(timer);
        if (asking === mine) asking = null;
      });
  }

  function tick() {
    showClock();
    showStale();
    if (performance.now() - turned >= PAGE_MS) {
      turned = performance.now();
      page += 1;
      showPage();
    }
    window.setTimeout(tick, 1000 - window.huiyingClock.now() % 1000 + 5);
  }

  window.addEventListener("load", function () {
    showPage();
    tick();
    window.setInterval(ask, FETCH_MS);
  });
})();
