/* 登记事件 and 事件详情: 「现在」 fills in the server's wall clock in Beijing time; a refused form is brought into view. */
(function () {
  "use strict";
  var page = Number(document.body.getAttribute("data-now"));
  var offset = page ? page - Date.now() : 0;

  function two(number) { return (number < 10 ? "0" : "") + number; }

  function beijing() {
    /* Since 1992 Beijing is eight hours ahead all year; nothing before that is "now". */
    var at = new Date(Date.now() + offset + 8 * 3600 * 1000);
    return at.getUTCFullYear() + "-" + two(at.getUTCMonth() + 1) + "-" + two(at.getUTCDate()) + "T" +
      two(at.getUTCHours()) + ":" + two(at.getUTCMinutes());
  }

  document.querySelectorAll("[data-now-for]").forEach(function (button) {
    button.hidden = false;
    button.addEventListener("click", function () {
      var field = document.getElementById(button.getAttribute("data-now-for"));
      field.value = beijing();
      field.dispatchEvent(new Event("change", { bubbles: true }));
      field.focus();
    });
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
