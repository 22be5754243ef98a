/* What every page shares: the token of the session goes with every request that htmx makes. */
(function () {
  "use strict";
  document.addEventListener("htmx:configRequest", function (event) {
    event.detail.headers["X-CSRF-Token"] = document.body.getAttribute("data-csrf") || "";
  });
})();
