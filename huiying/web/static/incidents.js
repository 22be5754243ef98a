/* 登记事件 and 事件详情: 「现在」 fills in the server's wall clock in Beijing time; a refused form is brought into view. */
(function () {
  "use strict";

  function fillNow(field) {
    /* Since 1992 Beijing is eight hours ahead all year; nothing before that is "now". */
    field.value = new Date(window.huiyingClock.now() + 8 * 3600 * 1000).toISOString().slice(0, 16);
    field.dispatchEvent(new Event("change", { bubbles: true }));
    field.focus();
  }

  document.querySelectorAll("[data-now-for]").forEach(function (button) {
    var field = document.getElementById(button.getAttribute("data-now-for"));
    button.hidden = false;
    button.addEventListener("click", function () { fillNow(field); });
    field.addEventListener("keydown", function (event) {
      if (event.code !== "KeyN" || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      fillNow(field);
    });
  });

  /* Alt and a letter as the labels say: browsers differ in what leads to an accesskey, and some keep it for menus. */
  document.addEventListener("keydown", function (event) {
    if (!event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !/^Key[A-Z]$/.test(event.code)) return;
    var wanted = document.querySelector('[accesskey="' + event.code.charAt(3).toLowerCase() + '"]');
    if (!wanted) return;
    event.preventDefault();
    wanted.focus();
    if (wanted.tagName === "BUTTON") wanted.click();
  });

  /* A suggestion is taken over into its field by one press. */
  document.addEventListener("click", function (event) {
    var button = event.target.closest && event.target.closest("[data-take]");
    if (!button) return;
    var field = document.getElementById(button.getAttribute("data-take"));
    field.value = button.getAttribute("data-value");
    field.dispatchEvent(new Event("change", { bubbles: true }));
    field.focus();
  });

  /* The same suggestions again are no news, and their buttons may be under somebody's hand. */
  document.addEventListener("htmx:oobBeforeSwap", function (event) {
    var place = event.detail.target;
    if (place.id === "competent" && place.textContent.trim() === event.detail.fragment.textContent.trim()) event.detail.shouldSwap = false;
  });

  var summary = document.getElementById("error-summary");
  if (summary) { summary.focus(); }

  /* One sending at a time: the key of the form makes it harmless, the button makes it visible. */
  document.addEventListener("submit", function (event) {
    var form = event.target;
    if (form.getAttribute("data-sent")) { event.preventDefault(); return; }
    if (form.method === "post" && !event.submitter) { form.setAttribute("data-sent", "1"); }
    else if (form.method === "post" && !event.submitter.formAction.endsWith("/preview")) { form.setAttribute("data-sent", "1"); }
  });
  window.addEventListener("pageshow", function () {
    document.querySelectorAll("form[data-sent]").forEach(function (form) { form.removeAttribute("data-sent"); });
  });
})();
